"""Right answers by PyTorch's norms, autograd and probing."""

import torch
from torch.nn import functional


def layer_norm(x, gain, bias, eps):
    return functional.layer_norm(x, x.shape[-1:], gain, bias, eps)


def batch_norm(x, running_mean, running_var, momentum, eps):
    mean, var = running_mean.clone(), running_var.clone()
    y = functional.batch_norm(
        x.flatten(0, 1), mean, var, training=True, momentum=momentum, eps=eps
    )
    return y.view_as(x), mean, var


def layer_norm_backward(x, grad, eps):
    x = x.clone().requires_grad_()
    y = functional.layer_norm(x, x.shape[-1:], eps=eps)
    return torch.autograd.grad(y, x, grad)[0]


def fold_norm(gain, bias, weight, proj_bias):
    def both(normed):
        return functional.linear(normed * gain + bias, weight, proj_bias)

    at_zero = both(torch.zeros_like(gain))
    columns = both(torch.eye(len(gain), dtype=gain.dtype)) - at_zero
    return columns.T, at_zero
