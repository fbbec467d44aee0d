"""The block: attention moves information, the feed-forward layer uses it.

B batch · T tokens · D model width

Left out: dropout, cross-attention, and blocks that run both layers side by
side on the same reading.
"""

from typing import Any

import torch
from torch import nn

from handmade import checks


class Block(nn.Module):
    """Add what attention and the feed-forward layer have to say.

    pre:   x = x + attn(attn_norm(x));  x = x + ffn(ffn_norm(x))
    post:  x = attn_norm(x + attn(x));  x = ffn_norm(x + ffn(x))
    (B, T, D) -> (B, T, D)

    With the norms before the layers they serve (pre, the default), the
    residual stream itself is never rescaled; after the sum (post), it is at
    every step. The four parts are given, not chosen by flags: any norm,
    attention or feed-forward module of width D fits. ``mask``, ``rope`` and
    ``cache`` go to the attention. Raises ValueError for another placement.
    [vaswani2017] is post, [xiong2020] compares.
    """

    def __init__(
        self,
        *,
        attn_norm: nn.Module,
        attn: nn.Module,
        ffn_norm: nn.Module,
        ffn: nn.Module,
        placement: str = "pre",
    ) -> None:
        super().__init__()
        parts = {
            "attn_norm": attn_norm,
            "attn": attn,
            "ffn_norm": ffn_norm,
            "ffn": ffn,
        }
        _check_parts(parts, placement)
        self.placement = placement
        self.attn_norm = attn_norm
        self.attn = attn
        self.ffn_norm = ffn_norm
        self.ffn = ffn

    def forward(self, x: torch.Tensor, **to_attention: Any) -> torch.Tensor:
        if self.placement == "post":
            x = self.attn_norm(x + self.attn(x, **to_attention))
            x = self.ffn_norm(x + self.ffn(x))
        else:
            x = x + self.attn(self.attn_norm(x), **to_attention)
            x = x + self.ffn(self.ffn_norm(x))
        return x

    def extra_repr(self) -> str:
        return f"placement={self.placement!r}"


def _check_parts(parts: dict[str, nn.Module], placement: str) -> None:
    for name, part in parts.items():
        is_module = isinstance(part, nn.Module)
        checks.need(is_module, name, repr(part), "a module")
    fits = placement in ("pre", "post")
    checks.need(fits, "placement", repr(placement), "pre or post")
