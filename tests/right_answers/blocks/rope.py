"""Right answers by complex numbers, lists of rows, and wavelengths."""

import math

import torch


def rope_neighbours(x, positions, theta):
    K = x.shape[-1]
    speed = torch.tensor([theta ** (-i / K) for i in range(0, K, 2)])
    angle = torch.outer(positions.float(), speed)
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    turned = pairs * torch.polar(torch.ones_like(angle), angle)
    return torch.view_as_real(turned).flatten(-2)


def rope_permute(weight, n_heads):
    rows = []
    for head in weight.chunk(n_heads):
        rows += [*head[::2], *head[1::2]]
    return torch.stack(rows)


def rope_full_turns(d_head, theta, length):
    turns = 0
    for axis in range(0, d_head, 2):
        wavelength = 2 * math.pi * theta ** (axis / d_head)
        turns += wavelength <= length
    return turns


def rope_sound(rotate, q, k):
    T = q.shape[2]
    same = torch.zeros_like(q) + q[:, :, 2:3]
    scores = torch.einsum("bhtk,bhsk->bhts", rotate(same), rotate(same))
    means = []
    for offset in range(1 - T, T):
        diagonal = scores.diagonal(offset, -2, -1)
        means.append(diagonal.mean(-1))
        if (diagonal - means[-1][..., None]).abs().max() > 1e-6:
            return False
    return bool((torch.stack(means) - means[0]).abs().max() > 1e-6)
