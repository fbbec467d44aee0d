"""Right answers by PyTorch's attention, Jacobians and loops."""

import torch
from torch.autograd.functional import jacobian
from torch.nn.functional import scaled_dot_product_attention


def scaled_dot_product(q, k, v, mask=None):
    return scaled_dot_product_attention(q, k, v, attn_mask=mask)


def softmax_backward(weights, grad):
    outer = weights[..., :, None] * weights[..., None, :]
    slopes = torch.diag_embed(weights) - outer
    return torch.einsum("...i,...ij->...j", grad, slopes)


def causal_mask(T, S):
    first = S - T  # the position of the first query
    rows = [[key <= first + t for key in range(S)] for t in range(T)]
    return torch.tensor(rows)


def leaks(attend, x):
    slopes = jacobian(attend, x).abs().amax((1, 3))  # (output t, token s)
    return bool((slopes.triu(1) > 1e-9).any())
