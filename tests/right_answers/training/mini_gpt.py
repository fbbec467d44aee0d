"""Right answers by loops, einsum, singular values and sorting."""

import math

import torch


def held_out_windows(n, T, share):
    held = round(share * n)
    mine = set(range(n - held))
    train, judge, at = [], [], n - held
    for start in range(n):
        if set(range(start, start + T + 1)) <= mine:
            train.append(start)
    while at + T + 1 <= n:
        judge.append(at)
        at += T
    return torch.tensor(train), torch.tensor(judge, dtype=torch.int64)


def qk_norm_weights(q, k):
    K = q.shape[-1]
    q = torch.nn.functional.rms_norm(q, (K,), eps=1e-6)
    k = torch.nn.functional.rms_norm(k, (K,), eps=1e-6)
    e = (torch.einsum("bhtk,bhsk->bhts", q, k) / math.sqrt(K)).exp().tril()
    return e / e.sum(-1, keepdim=True)


def newton_schulz(g, steps):
    u, s, v = torch.linalg.svd(g, full_matrices=False)
    s = s / (g.pow(2).sum().sqrt() + 1e-7)
    for _ in range(steps):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ torch.diag(s) @ v


def newest_whole(found):
    steps = []
    for name, whole in found.items():
        head, _, digits = name.partition("-")
        if head == "step" and digits.isdecimal() and whole:
            steps.append((int(digits), name))
    return sorted(steps)[-1][1] if steps else None


def look_back_key(query, back, theta):
    """As complex numbers, whose product turns."""
    pairs = torch.complex(*query.double().chunk(2))
    i = torch.arange(len(pairs), dtype=torch.float64)
    angle = back * theta ** (-i / len(pairs))
    turned = pairs * torch.polar(torch.ones_like(angle), angle)
    return torch.cat((turned.real, turned.imag)).to(query.dtype)
