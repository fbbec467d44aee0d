"""The block: attention moves information, the feed-forward layer uses it.

B batch · T tokens · D model width
"""

import torch
from torch import nn


class Block(nn.Module):
    """Add what attention and the feed-forward layer have to say.

    x = x + attn(attn_norm(x));  x = x + ffn(ffn_norm(x)),  (B, T, D) -> same

    The norms stand before the layers they serve (pre-norm), so the residual
    stream itself is never rescaled. The four parts are given, not chosen by
    flags: any norm, attention or feed-forward module of width D fits.
    ``mask``, ``rope`` and ``cache`` go to the attention. [xiong2020]
    """

    def __init__(
        self,
        *,
        attn_norm: nn.Module,
        attn: nn.Module,
        ffn_norm: nn.Module,
        ffn: nn.Module,
    ) -> None:
        super().__init__()
        self.attn_norm = attn_norm
        self.attn = attn
        self.ffn_norm = ffn_norm
        self.ffn = ffn

    def forward(self, x: torch.Tensor, **to_attention) -> torch.Tensor:
        x = x + self.attn(self.attn_norm(x), **to_attention)
        return x + self.ffn(self.ffn_norm(x))
