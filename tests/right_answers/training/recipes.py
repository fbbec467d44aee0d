"""Right answers by torch.optim, torch's own clipping, and spelled-out sums."""

import math

import torch
from torch import nn


def first_adam_step(grad, lr, beta1, beta2, eps):
    weight = nn.Parameter(torch.zeros_like(grad))
    weight.grad = grad.clone()
    torch.optim.Adam([weight], lr=lr, betas=(beta1, beta2), eps=eps).step()
    return weight.detach()


def clip_once(grads, tokens, max_norm):
    weight = nn.Parameter(torch.zeros_like(grads[0]))
    weight.grad = torch.zeros_like(grads[0])
    for grad, count in zip(grads, tokens.tolist(), strict=True):
        weight.grad += grad * count
    weight.grad /= tokens.sum()
    length = math.sqrt(sum(x * x for x in weight.grad.tolist()))
    return weight.grad * min(1.0, max_norm / length)


def lost_updates(w, update, dtype):
    lost = 0
    for one, step in zip(w.to(dtype), update.to(dtype), strict=True):
        lost += (one + step).item() == one.item()
    return torch.tensor(lost / len(w), dtype=torch.float64)


def paired_gain(base, other):
    gains = [a - b for a, b in zip(base.tolist(), other.tolist(), strict=True)]
    n = len(gains)
    mean = math.fsum(gains) / n
    variance = math.fsum((gain - mean) ** 2 for gain in gains) / (n - 1)
    return torch.tensor([mean, math.sqrt(variance / n)], dtype=torch.float64)
