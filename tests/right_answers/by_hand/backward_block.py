"""Right answers by autograd."""

import torch
from torch.nn import functional as F


def tensors(*lists):
    return [
        torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in lists
    ]


def scalar_layer_norm_backward(u, x, eps):
    (x,) = tensors(x)
    y = F.layer_norm(x, x.shape, eps=eps)
    return torch.autograd.grad(y, x, torch.tensor(u, dtype=torch.float64))[
        0
    ].tolist()


def scalar_attention_backward(grad, q, k, v, weights):
    """The weights are the softmax of their own logarithms plus q k^T."""
    q, k, v, grad = tensors(q, k, v, grad)
    kept = torch.tensor(weights, dtype=torch.float64)
    scores = q @ k.T / q.shape[1] ** 0.5
    # scores with these weights, and the slopes of q k^T
    w = (scores - scores.detach() + kept.log()).softmax(-1)
    found = torch.autograd.grad(w @ v, (q, k, v), grad.detach())
    return tuple(x.tolist() for x in found)


def scalar_sum_backward(grad, x, weight, eps):
    x, weight, grad = tensors(x, weight, grad)
    y = x + F.linear(F.layer_norm(x, x.shape[1:], eps=eps), weight)
    return torch.autograd.grad(y, x, grad.detach())[0].tolist()
