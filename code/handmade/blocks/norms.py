"""Normalization: keep the size of the residual stream's readings in hand.

D model width

Three norms that differ in what they average over: LayerNorm and RMSNorm over
the axes of one token, BatchNorm over all tokens for one axis. Left out: norms
over groups and images, and weights that are normalized instead of
activations.
"""

import torch
from torch import nn


class LayerNorm(nn.Module):
    """Give each vector mean 0 and variance 1, then scale and shift each axis.

    y = gain * (x - mean(x)) / sqrt(var(x) + eps) + bias,  (..., D) -> same

    ``var`` divides by D, not by D - 1, and ``eps`` stands under the root, in
    units of x squared. Half precision is computed in float32.
    Raises ValueError where the last axis is not D wide. [ba2016]
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _check_width(x, len(self.weight))
        wide = _at_least_float32(x)
        centred = wide - wide.mean(-1, keepdim=True)
        variance = centred.pow(2).mean(-1, keepdim=True)
        normed = centred * torch.rsqrt(variance + self.eps)
        return (self.weight * normed + self.bias).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"


class RMSNorm(nn.Module):
    """Divide a vector by its root mean square, then scale each axis.

    y = gain * x / sqrt(mean(x^2) + eps),  (..., D) -> (..., D)

    The mean square is taken in float32 whatever the dtype of ``x``, as
    Hugging Face does it: in float16 the square of 300 is already infinite.
    ``eps`` stands under the root, in units of x squared.
    Raises ValueError where the last axis is not D wide. [zhang2019]
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _check_width(x, len(self.weight))
        x_float = x.float()
        mean_square = x_float.pow(2).mean(-1, keepdim=True)
        normed = x_float * torch.rsqrt(mean_square + self.eps)
        return self.weight * normed.to(x.dtype)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"


class BatchNorm(nn.Module):
    """Give each axis mean 0 and variance 1 over all vectors of the batch.

    y = gain * (x - mean) / sqrt(var + eps) + bias,  (..., D) -> (..., D)

    In training the mean and variance (D) are the batch's own, over every axis
    but the last, and two buffers keep running ones, ``momentum`` of each
    new batch; in evaluation the buffers are used. The variance that divides
    is the biased one, the one that is kept is unbiased, as in PyTorch.
    Raises ValueError for a wrong width or, in training, a single vector.
    [ioffe2015]
    """

    def __init__(
        self, d_model: int, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.register_buffer("running_mean", torch.zeros(d_model))
        self.register_buffer("running_var", torch.ones(d_model))
        self.eps, self.momentum = eps, momentum

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _check_width(x, len(self.weight))
        mean, variance = self.running_mean, self.running_var
        if self.training:
            rows = x.reshape(-1, x.shape[-1])
            if len(rows) < 2:
                raise ValueError("x: got one vector, want a batch of them")
            mean, variance = rows.mean(0), rows.var(0, unbiased=False)
            self._remember(mean, rows.var(0, unbiased=True))
        normed = (x - mean) * torch.rsqrt(variance + self.eps)
        return self.weight * normed + self.bias

    @torch.no_grad()
    def _remember(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)

    def extra_repr(self) -> str:
        size = len(self.weight)
        return f"{size}, eps={self.eps}, momentum={self.momentum}"


def _at_least_float32(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _check_width(x: torch.Tensor, width: int) -> None:
    if x.shape[-1] != width:
        raise ValueError(f"x: got width {x.shape[-1]}, want {width}")
