"""Right answers by loops, exact sums and lists."""

import torch


def keep_probability(p, q, drafted):
    out = torch.empty_like(p[:, 0])
    for i, x in enumerate(drafted.tolist()):
        out[i] = 1.0 if p[i, x] >= q[i, x] else p[i, x] / q[i, x]
    return out


def replacement_law(p, q):
    kept = torch.minimum(p, q)
    rejected = 1 - kept.sum()
    if torch.equal(p, q):
        return p.clone()
    return (p - kept) / rejected


def expected_tokens(alpha, n):
    """Sum over how many are kept, each with its probability."""
    total = (n + 1) * alpha**n
    for kept in range(n):
        total += (kept + 1) * alpha**kept * (1 - alpha)
    return torch.tensor(total, dtype=torch.double)


def rewind(k, n, kept):
    before = len(k) - 1 - n
    return torch.stack([k[i] for i in range(before + 1 + kept)])
