"""A block with norms on both sides, and a gain that is counted from one.

D model width

What Gemma 3 does to the norms of a Llama. Both are kept apart from the norm
and the block that they extend, whose pages do not need them.
"""

from typing import Any

import torch
from torch import nn

from handmade import checks
from handmade.blocks.block import Block
from handmade.blocks.norms import RMSNorm


class OnePlusRMSNorm(RMSNorm):
    """Scale each axis by one plus its weight, so that 0 means unchanged.

    y = (1 + w) * x / sqrt(mean(x^2) + eps),  (..., D) -> (..., D)

    Weight decay then pulls the gain to one and not to nothing. The gain is
    multiplied in the wide dtype, before the result is rounded to that of x;
    ``RMSNorm`` rounds first. Raises as ``RMSNorm``. [gemma2024]
    """

    def __init__(
        self,
        d_model: int,
        eps: float = 1e-5,
        *,
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__(d_model, eps, precision=precision)
        nn.init.zeros_(self.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        checks.width("x", x, len(self.weight))
        wide = x.to(
            self.precision or torch.promote_types(x.dtype, torch.float32)
        )
        mean_square = wide.pow(2).mean(-1, keepdim=True)
        normed = wide * torch.rsqrt(mean_square + self.eps)
        return ((1 + self.weight.to(wide.dtype)) * normed).to(x.dtype)


class SandwichBlock(Block):
    """Normalize what a layer reads, and what it says.

    x = x + attn_post_norm(attn(attn_norm(x)))
    x = x + ffn_post_norm(ffn(ffn_norm(x))),  (B, T, D) -> (B, T, D)

    The stream itself is never rescaled, as in a pre-norm block, and no layer
    can add more to it than its last gain allows. [gemma2024]
    """

    def __init__(
        self,
        *,
        attn_norm: nn.Module,
        attn: nn.Module,
        attn_post_norm: nn.Module,
        ffn_norm: nn.Module,
        ffn: nn.Module,
        ffn_post_norm: nn.Module,
    ) -> None:
        super().__init__(
            attn_norm=attn_norm, attn=attn, ffn_norm=ffn_norm, ffn=ffn
        )
        checks.module("attn_post_norm", attn_post_norm)
        checks.module("ffn_post_norm", ffn_post_norm)
        self.attn_post_norm = attn_post_norm
        self.ffn_post_norm = ffn_post_norm

    def forward(self, x: torch.Tensor, **to_attention: Any) -> torch.Tensor:
        said = self.attn(self.attn_norm(x), **to_attention)
        x = x + self.attn_post_norm(said)
        said = self.ffn(self.ffn_norm(x))
        return x + self.ffn_post_norm(said)

    def extra_repr(self) -> str:
        return ""
