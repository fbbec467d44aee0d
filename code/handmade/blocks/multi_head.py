"""Multi-head attention: one class for self, cross and grouped queries.

B batch · T query tokens · S key/value tokens · D model width
H query heads · G key/value heads · K head width

Left out: dropout on the attention weights, and one fused projection for
queries, keys and values, which saves launches and hides the shapes.
"""

from typing import TypedDict

import torch
from torch import nn

from handmade import checks
from handmade.blocks.attention import attention
from handmade.blocks.rope import Rope, apply_rope
from handmade.contracts import Cache


class ScoreOptions(TypedDict, total=False):
    """What ``attention`` does to the scores, where it is not the usual."""

    scale: float
    soft_cap: float


class MultiHeadAttention(nn.Module):
    """Attend with H query heads that share G key/value heads.

    o_proj(concat_h attention(x W_q^h, y W_k^g, y W_v^g)),  g = h // (H / G)
    (B, T, D) -> (B, T, D);  y is ``context`` (B, S, D), or x itself

    G = H is multi-head attention [vaswani2017], G = 1 multi-query, between
    them grouped-query attention [ainslie2023]. ``d_head`` defaults to D / H,
    ``out_bias`` to ``bias``, which is that of q, k and v. ``q_norm`` and
    ``k_norm`` are modules of width K for each query and key, before they are
    rotated; ``scale`` and ``soft_cap`` are those of ``attention``.
    ``layer`` says which layer of a cache is this module's: only with one can
    it use a cache. Raises ValueError where heads do not divide.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        n_kv_heads: int | None = None,
        d_head: int | None = None,
        bias: bool = False,
        out_bias: bool | None = None,
        q_norm: nn.Module | None = None,
        k_norm: nn.Module | None = None,
        scale: float | None = None,
        soft_cap: float | None = None,
        layer: int | None = None,
    ) -> None:
        super().__init__()
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        _check_sizes(d_model, n_heads, n_kv_heads, d_head, layer)
        d_head = d_model // n_heads if d_head is None else d_head
        out_bias = bias if out_bias is None else out_bias
        _check_parts(bias, out_bias, q_norm, k_norm)
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads
        self.d_model, self.d_head = d_model, d_head
        self.score_options, self.layer = _given(scale, soft_cap), layer
        self.q_proj = nn.Linear(d_model, n_heads * d_head, bias=bias)
        self.k_proj = nn.Linear(d_model, n_kv_heads * d_head, bias=bias)
        self.v_proj = nn.Linear(d_model, n_kv_heads * d_head, bias=bias)
        self.o_proj = nn.Linear(n_heads * d_head, d_model, bias=out_bias)
        self.q_norm, self.k_norm = q_norm, k_norm

    def forward(
        self,
        x: torch.Tensor,
        context: torch.Tensor | None = None,
        *,
        mask: torch.Tensor | None = None,
        rope: Rope | None = None,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """Mix the tokens of x, or for each token of x those of context.

        ``mask`` as in ``attention``, over all S keys, cached ones included.
        ``rope`` are the angles of the T new tokens (keys are cached after
        their rotation). ``cache`` has ``update(layer, k, v)``.
        Raises ValueError for a context together with rope or a cache, and
        for a cache where the module has no ``layer``.
        """
        _check_call(self, x, context, rope, cache)
        context = x if context is None else context
        q_BHTK = split_heads(self.q_proj(x), self.n_heads)
        k_BGSK = split_heads(self.k_proj(context), self.n_kv_heads)
        v_BGSK = split_heads(self.v_proj(context), self.n_kv_heads)
        q_BHTK = _normed(q_BHTK, self.q_norm)
        k_BGSK = _normed(k_BGSK, self.k_norm)
        if rope is not None:
            q_BHTK, k_BGSK = apply_rope(q_BHTK, rope), apply_rope(k_BGSK, rope)
        if cache is not None:
            k_BGSK, v_BGSK = cache.update(_slot(self), k_BGSK, v_BGSK)
        out_BHTK = attention(
            q_BHTK, k_BGSK, v_BGSK, mask, **self.score_options
        )
        return self.o_proj(merge_heads(out_BHTK))


def split_heads(x: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Cut the last axis into heads, (B, T, H * K) -> (B, H, T, K).

    Raises ValueError where the heads do not divide it.
    """
    _check_split(x, n_heads)
    return torch.unflatten(x, -1, (n_heads, -1)).transpose(-3, -2)


def merge_heads(x_BHTK: torch.Tensor) -> torch.Tensor:
    """Put the heads side by side again, (B, H, T, K) -> (B, T, H * K).

    Raises ValueError where there is no axis of heads.
    """
    checks.numbers("x", x_BHTK, axes=3)
    return x_BHTK.transpose(-3, -2).flatten(-2)


def _normed(x_BHTK: torch.Tensor, norm: nn.Module | None) -> torch.Tensor:
    if norm is None:
        return x_BHTK
    # a norm's float32 gain makes float32 of it under autocast
    normed: torch.Tensor = norm(x_BHTK)
    return normed.to(x_BHTK.dtype)


def _check_sizes(
    d_model: int,
    n_heads: int,
    n_kv_heads: int,
    d_head: int | None,
    layer: int | None,
) -> None:
    checks.whole("d_model", d_model)
    checks.whole("n_heads", n_heads)
    checks.whole("n_kv_heads", n_kv_heads)
    if n_heads % n_kv_heads:
        raise ValueError(
            f"n_kv_heads: got {n_kv_heads}, want a divisor of the "
            f"{n_heads} query heads"
        )
    if d_head is not None:
        checks.whole("d_head", d_head)
    elif d_model % n_heads:
        raise ValueError(
            f"n_heads: got {n_heads}, want a divisor of d_model = {d_model}, "
            "or a d_head of your own"
        )
    if layer is not None:
        checks.whole("layer", layer, at_least=0)


def _check_parts(
    bias: bool,
    out_bias: bool,
    q_norm: nn.Module | None,
    k_norm: nn.Module | None,
) -> None:
    checks.flag("bias", bias)
    checks.flag("out_bias", out_bias)
    for name, norm in (("q_norm", q_norm), ("k_norm", k_norm)):
        if norm is not None:
            checks.module(name, norm)


def _given(scale: float | None, soft_cap: float | None) -> ScoreOptions:
    options = ScoreOptions()
    if scale is not None:
        options["scale"] = checks.positive("scale", scale)
    if soft_cap is not None:
        options["soft_cap"] = checks.positive("soft_cap", soft_cap)
    return options


def _check_call(
    attn: MultiHeadAttention,
    x: torch.Tensor,
    context: torch.Tensor | None,
    rope: Rope | None,
    cache: Cache | None,
) -> None:
    checks.width("x", x, attn.d_model, axes=2)
    checks.cache("cache", cache)
    if context is not None:
        checks.width("context", context, attn.d_model, axes=2)
        if rope is not None or cache is not None:
            raise ValueError(
                "context: got one together with rope or cache, want it "
                "alone: those are for self-attention"
            )


def _slot(attn: MultiHeadAttention) -> int:
    if attn.layer is None:
        raise ValueError(
            "cache: got one, want a module that knows its layer: give each "
            "MultiHeadAttention of the model a number of its own, layer=0, 1 "
            "and so on, or they would share one place in the cache"
        )
    return attn.layer


def _check_split(x: torch.Tensor, n_heads: int) -> None:
    checks.numbers("x", x, axes=2)
    checks.whole("n_heads", n_heads)
    if x.shape[-1] % n_heads:
        raise ValueError(
            f"n_heads: got {n_heads}, want a divisor of the width "
            f"{x.shape[-1]}"
        )
