"""Normalization: keep the size of the residual stream's readings in hand.

D model width

Three norms that differ in what they average over: LayerNorm and RMSNorm over
the axes of one token, BatchNorm over all tokens for one axis. Left out: norms
over groups and images, and weights that are normalized instead of
activations.
"""

import torch
from torch import nn

from handmade import checks


class LayerNorm(nn.Module):
    """Give each vector mean 0 and variance 1, then scale and shift each axis.

    y = gain * (x - mean(x)) / sqrt(var(x) + eps) + bias,  (..., D) -> same

    ``var`` divides by D, not by D - 1, and ``eps`` stands under the root, in
    units of x squared. Half precision is computed in float32.
    Raises ValueError where the last axis is not D wide. [ba2016]
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        _check_norm(d_model, eps)
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        checks.width("x", x, len(self.weight))
        wide = x.to(_at_least_float32(x.dtype))
        centred = wide - wide.mean(-1, keepdim=True)
        variance = centred.pow(2).mean(-1, keepdim=True)
        normed = centred * torch.rsqrt(variance + self.eps)
        return (self.weight * normed + self.bias).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"


class RMSNorm(nn.Module):
    """Divide a vector by its root mean square, then scale each axis.

    y = gain * x / sqrt(mean(x^2) + eps),  (..., D) -> (..., D)

    ``eps`` stands under the root, in units of x squared. Half precision is
    computed in float32, where the square of 300 is not yet infinite, and
    float64 in float64. With ``precision=torch.float32`` float64 is rounded
    to that too, as Hugging Face's Llama does.
    Raises ValueError where the last axis is not D wide. [zhang2019]
    """

    def __init__(
        self,
        d_model: int,
        eps: float = 1e-5,
        *,
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check_norm(d_model, eps)
        _check_precision(precision)
        self.weight = nn.Parameter(torch.ones(d_model))
        self.eps, self.precision = eps, precision

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        checks.width("x", x, len(self.weight))
        wide = x.to(self.precision or _at_least_float32(x.dtype))
        mean_square = wide.pow(2).mean(-1, keepdim=True)
        normed = wide * torch.rsqrt(mean_square + self.eps)
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
    Half precision is computed in float32.
    Raises ValueError for a wrong width or, in training, a single vector.
    [ioffe2015]
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(
        self, d_model: int, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__()
        _check_norm(d_model, eps)
        _check_momentum(momentum)
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.register_buffer("running_mean", torch.zeros(d_model))
        self.register_buffer("running_var", torch.ones(d_model))
        self.eps, self.momentum = eps, momentum

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        checks.width("x", x, len(self.weight))
        wide = x.to(_at_least_float32(x.dtype))
        mean, variance = self.running_mean, self.running_var
        if self.training:
            rows = wide.reshape(-1, x.shape[-1])
            _check_batch(rows)
            mean, variance = rows.mean(0), rows.var(0, unbiased=False)
            self._remember(mean, rows.var(0, unbiased=True))
        normed = (wide - mean) * torch.rsqrt(variance + self.eps)
        return (self.weight * normed + self.bias).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        kept = self.running_mean.dtype
        self.running_mean.lerp_(mean.to(kept), self.momentum)
        self.running_var.lerp_(variance.to(kept), self.momentum)

    def extra_repr(self) -> str:
        size = len(self.weight)
        return f"{size}, eps={self.eps}, momentum={self.momentum}"


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Widen half precision, leave float32 and float64 as they are."""
    return torch.promote_types(dtype, torch.float32)


def _check_norm(d_model: int, eps: float) -> None:
    checks.whole("d_model", d_model)
    checks.number("eps", eps, at_least=0)


def _check_precision(precision: torch.dtype | None) -> None:
    wide = (None, torch.float32, torch.float64)
    checks.need(precision in wide, "precision", precision, f"one of {wide}")


def _check_momentum(momentum: float) -> None:
    checks.number("momentum", momentum, at_least=0)
    checks.need(momentum <= 1, "momentum", momentum, "0 to 1")


def _check_batch(rows: torch.Tensor) -> None:
    if len(rows) < 2:
        got = "one vector" if len(rows) else "no vector"
        raise ValueError(f"x: got {got}, want a batch of them")
