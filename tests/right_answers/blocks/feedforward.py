"""Right answers by special functions, einsum, counting up and slopes."""

import torch
from torch.autograd.functional import jacobian


def gelu(x):
    return x * torch.special.ndtr(x)


def swiglu(x, gate, up, down):
    z = torch.einsum("...d,fd->...f", x, gate)
    hidden = z / (1 + torch.exp(-z)) * torch.einsum("...d,fd->...f", x, up)
    return torch.einsum("...f,df->...d", hidden, down)


def swiglu_width(d_model, multiple):
    width = multiple
    while width < 8 * d_model // 3:
        width += multiple
    return width


def is_affine(layer, x):
    # what is affine has one slope everywhere, also far away
    points = [torch.zeros_like(x[0])]
    points += [sign * 100 * row for row in x[:4] for sign in (1, -1)]
    slopes = torch.stack([jacobian(layer, point) for point in points])
    return bool((slopes - slopes[0]).abs().max() < 1e-5)
