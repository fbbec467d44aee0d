"""Normalization: keep the size of the residual stream's readings in hand.

D model width

Left out: LayerNorm and BatchNorm, which PyTorch has and the page on norms
compares.
"""

import torch
from torch import nn


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
        if x.shape[-1] != len(self.weight):
            raise ValueError(
                f"x: got width {x.shape[-1]}, want {len(self.weight)}"
            )
        x_float = x.float()
        mean_square = x_float.pow(2).mean(-1, keepdim=True)
        normed = x_float * torch.rsqrt(mean_square + self.eps)
        return self.weight * normed.to(x.dtype)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"
