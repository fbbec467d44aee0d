"""Cross-attention: the queries of one text, the keys and values of another.

B batch · T tokens that look · S tokens looked at · D model width
H query heads · G key/value heads · K head width

Left out: an encoder that changes while the decoder writes, and gates on what
is read.
"""

from typing import Any

import torch
from torch import nn

from handmade import checks
from handmade.blocks.attention import attention
from handmade.blocks.multi_head import (
    MultiHeadAttention,
    merge_heads,
    split_heads,
)

KeysValues = tuple[torch.Tensor, torch.Tensor]


class CrossAttention(MultiHeadAttention):
    """Look into another text, whose keys and values can be kept.

    o_proj(concat_h attention(x W_q^h, y W_k^h, y W_v^h))
    (B, T, D), y (B, S, D) -> (B, T, D)

    ``y`` does not change while x grows, so its keys and values need to be
    computed once: ``keys_values(y)`` may be given in its place. Raises
    ValueError where they are of other heads. [vaswani2017]
    """

    def keys_values(self, context: torch.Tensor) -> KeysValues:
        """Return what a text is found by, and what is found.

        (B, S, D) -> (B, G, S, K), twice
        """
        checks.width("context", context, self.d_model, axes=2)
        k_BGSK = split_heads(self.k_proj(context), self.n_kv_heads)
        v_BGSK = split_heads(self.v_proj(context), self.n_kv_heads)
        return k_BGSK, v_BGSK

    def forward(  # type: ignore[override]
        self,
        x: torch.Tensor,
        context: torch.Tensor | KeysValues,
        *,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        _check_call(self, x, context)
        if isinstance(context, torch.Tensor):
            context = self.keys_values(context)
        q_BHTK = split_heads(self.q_proj(x), self.n_heads)
        out_BHTK = attention(q_BHTK, *context, mask, **self.score_options)
        return self.o_proj(merge_heads(out_BHTK))


class DecoderBlock(nn.Module):
    """Look at what is written, then at what was read, then think.

    x = x + attn(attn_norm(x))
    x = x + cross_attn(cross_norm(x), context)
    x = x + ffn(ffn_norm(x))
    (B, T, D), context of S tokens -> (B, T, D)

    ``mask`` and ``cache`` go to the attention to what is written,
    ``context_mask`` to the one to what was read. Raises ValueError where a
    part is no module. [vaswani2017]
    """

    def __init__(
        self,
        *,
        attn_norm: nn.Module,
        attn: nn.Module,
        cross_norm: nn.Module,
        cross_attn: nn.Module,
        ffn_norm: nn.Module,
        ffn: nn.Module,
    ) -> None:
        super().__init__()
        _check_parts(attn_norm, attn, cross_norm, cross_attn, ffn_norm, ffn)
        self.attn_norm, self.attn = attn_norm, attn
        self.cross_norm, self.cross_attn = cross_norm, cross_attn
        self.ffn_norm, self.ffn = ffn_norm, ffn

    def forward(
        self,
        x: torch.Tensor,
        context: torch.Tensor | KeysValues,
        *,
        context_mask: torch.Tensor | None = None,
        **to_attention: Any,
    ) -> torch.Tensor:
        _check_mask(context_mask)
        x = x + self.attn(self.attn_norm(x), **to_attention)
        x = x + self.cross_attn(self.cross_norm(x), context, mask=context_mask)
        return x + self.ffn(self.ffn_norm(x))


def _check_call(
    attn: CrossAttention, x: torch.Tensor, context: object
) -> None:
    checks.width("x", x, attn.d_model, axes=2)
    if not isinstance(context, tuple):
        want = "a tensor (B, S, D), or what keys_values() returned"
        checks.kind("context", context, torch.Tensor, want)
        return
    checks.need(len(context) == 2, "context", f"{len(context)} parts", "two")
    want = f"keys and values (B, {attn.n_kv_heads}, S, {attn.d_head})"
    for part in context:
        checks.floats("context", part, axes=4)
        shape = tuple(part.shape)
        fits = shape[1::2] == (attn.n_kv_heads, attn.d_head)
        checks.need(fits, "context", shape, want)


def _check_mask(context_mask: torch.Tensor | None) -> None:
    want = "a tensor of bool or floats, or None"
    checks.kind("context_mask", context_mask, (torch.Tensor, type(None)), want)


def _check_parts(
    attn_norm: nn.Module,
    attn: nn.Module,
    cross_norm: nn.Module,
    cross_attn: nn.Module,
    ffn_norm: nn.Module,
    ffn: nn.Module,
) -> None:
    checks.module("attn_norm", attn_norm)
    checks.module("attn", attn)
    checks.module("cross_norm", cross_norm)
    checks.module("cross_attn", cross_attn)
    checks.module("ffn_norm", ffn_norm)
    checks.module("ffn", ffn)
