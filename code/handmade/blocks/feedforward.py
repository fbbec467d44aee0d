"""The feed-forward half of a block: each token thinks alone.

B batch · T tokens · D model width · F feed-forward width

Left out: the two-layer networks with ReLU and GELU, which the page on
feed-forward layers compares.
"""

import torch
from torch import nn
from torch.nn import functional as F


class SwiGLU(nn.Module):
    """Widen twice, let one half gate the other, narrow again.

    y = W_down (silu(W_gate x) * (W_up x)),  silu(z) = z * sigmoid(z)
    (B, T, D) -> (B, T, D) by way of (B, T, F)

    Three matrices where a plain layer has two: F is usually 8/3 D, so that
    the number of parameters stays the same. [shazeer2020]
    """

    def __init__(self, d_model: int, d_ff: int, *, bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.up_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.down_proj = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
