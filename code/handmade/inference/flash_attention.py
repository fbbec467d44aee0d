"""Attention without its matrix: tile by tile, both ways, as one function.

B batch · T query tokens · S key/value tokens · H query heads · G key/value
heads · K head width · R query heads of a group (H = G R)

Equal to `handmade.blocks.attention`, which builds (B, H, T, S) weights; here
only a tile of them exists at a time, and the backward pass computes it anew
(`flash_tiles`). Left out: dropout, masks of numbers added to the scores, and
speed: a loop in Python has none. The kernel is in `flash_kernel`.
"""

import math
from contextlib import AbstractContextManager
from typing import Any, Literal, overload
from unittest.mock import patch

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from handmade import checks
from handmade.blocks import multi_head
from handmade.blocks.masks import check_lengths
from handmade.inference.flash_tiles import Tiles, flash_backward, flash_forward


class FlashAttention(torch.autograd.Function):
    """Attention that keeps q, k, v, out and one number a query."""

    @staticmethod
    def forward(
        ctx: Any,
        q_BGRTK: Tensor,
        k_BGSK: Tensor,
        v_BGSK: Tensor,
        scale: float,
        tiles: Tiles,
    ) -> tuple[Tensor, Tensor]:
        out, lse = flash_forward(q_BGRTK, k_BGSK, v_BGSK, scale, tiles)
        ctx.save_for_backward(q_BGRTK, k_BGSK, v_BGSK, out, lse)
        ctx.scale, ctx.tiles = scale, tiles
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_lse: Tensor) -> tuple[Any, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        grads = flash_backward(
            q, k, v, out, lse, d_out, d_lse, ctx.scale, ctx.tiles
        )
        return *grads, None, None  # nothing for scale and tiles


@overload
def flash_attention(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    block_q: int = 64,
    block_k: int = 64,
    return_lse: Literal[False] = False,
) -> Tensor:
    """Return the mixed values alone."""


@overload
def flash_attention(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    block_q: int = 64,
    block_k: int = 64,
    return_lse: Literal[True],
) -> tuple[Tensor, Tensor]:
    """Return the mixed values and the log-sum-exp."""


def flash_attention(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    block_q: int = 64,
    block_k: int = 64,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Mix the values as `attention` does, without its matrix of weights.

    softmax(q k^T scale + mask) v, with scale = 1 / sqrt(K) by default
    (B, H, T, K), (B, G, S, K), (B, G, S, K) -> (B, H, T, K)

    ``mask`` is bool, True where a query may attend: (T, S), or four axes,
    each of (B, H, T, S) or 1. ``causal`` hides the future without a mask,
    the queries being the last T of S positions, and skips its tiles.
    ``block_q`` times ``block_k`` scores of each head exist at a time.

    With ``return_lse`` also returns the log-sum-exp of the scores
    (B, H, T). Half precision is computed in float32. Raises ValueError on
    shapes or dtypes that do not fit. [dao2022, dao2024]
    """
    _check(q_BHTK, k_BGSK, v_BGSK, mask, scale, causal, return_lse)
    checks.whole("block_q", block_q)
    checks.whole("block_k", block_k)
    (_, H, T, K), (_, G, S, _) = q_BHTK.shape, k_BGSK.shape
    if mask is not None:
        mask = _by_group(mask, G)
    tiles = Tiles(T, S, block_q, block_k, causal, mask)
    scale = 1 / math.sqrt(K) if scale is None else scale
    q_BGRTK = q_BHTK.unflatten(1, (G, H // G))
    attend: Any = FlashAttention.apply
    out, lse = attend(q_BGRTK, k_BGSK, v_BGSK, scale, tiles)
    out, lse = out.flatten(1, 2), lse.flatten(1, 2)
    return (out, lse) if return_lse else out


def in_every_layer() -> AbstractContextManager[Any]:
    """Let every `MultiHeadAttention` attend by tiles while it lasts."""
    return patch.object(multi_head, "attention", flash_attention)


def _by_group(mask: Tensor, n_kv_heads: int) -> Tensor:
    """Give a mask the axes (B, G, R, T, S), as views."""
    if mask.ndim == 2:
        return mask[None, None, None]
    if mask.shape[1] == 1:
        return mask[:, :, None]
    return mask.unflatten(1, (n_kv_heads, -1))


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    scale: float | None,
    causal: bool,
    return_lse: bool,
) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        checks.floats(name, x)
        shape = tuple(x.shape)
        four = x.ndim == 4 and x.shape[-1] > 0
        checks.need(four, name, shape, "4 axes (B, heads, tokens, K), K > 0")
        alike = x.dtype == q.dtype
        checks.need(alike, name, f"dtype {x.dtype}", f"that of q, {q.dtype}")
    want = f"q's {tuple(q.shape)} in batch and width"
    fits = (k.shape[0], k.shape[-1]) == (q.shape[0], q.shape[-1])
    checks.need(fits, "k", f"shape {tuple(k.shape)}", want)
    groups = k.shape[1] > 0 and q.shape[1] % k.shape[1] == 0
    want = f"a divisor of the {q.shape[1]} query heads"
    checks.need(groups, "k", f"{k.shape[1]} heads", want)
    fits = v.shape[:-1] == k.shape[:-1]
    want = f"k's {tuple(k.shape)} up to the width"
    checks.need(fits, "v", f"shape {tuple(v.shape)}", want)
    checks.flag("causal", causal)
    checks.flag("return_lse", return_lse)
    if scale is not None:
        checks.positive("scale", scale)
    if causal:
        check_lengths(q.shape[2], k.shape[2])
    if mask is not None:
        _check_mask(mask, (*q.shape[:3], k.shape[2]))


def _check_mask(mask: Tensor, scores: tuple[int, ...]) -> None:
    dtype = getattr(mask, "dtype", type(mask).__name__)
    yes = dtype == torch.bool
    checks.need(yes, "mask", dtype, "torch.bool, True: may attend, or None")
    full = scores[2:] if mask.ndim == 2 else scores
    fits = mask.ndim == len(full) and all(
        size in (1, whole)
        for size, whole in zip(mask.shape, full, strict=True)
    )
    checks.need(
        fits,
        "mask",
        f"shape {tuple(mask.shape)}",
        f"(T, S) = {scores[2:]} or the four axes of the scores {scores}, "
        "each of that size or 1",
    )
