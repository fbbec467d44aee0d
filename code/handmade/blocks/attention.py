"""Scaled dot-product attention, with grouped heads and masks.

B batch · T query tokens · S key/value tokens · H query heads · G key/value
heads · K head width

The whole weight matrix is built, (B, H, T, S) numbers, because seeing it is
the point. Left out: dropout on the weights, and the tiled evaluation that
never stores the matrix (the page on flash attention derives it).
"""

import math
from typing import Literal, overload

import torch

from handmade import checks


@overload
def attention(
    q_BHTK: torch.Tensor,
    k_BGSK: torch.Tensor,
    v_BGSK: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    scale: float | None = None,
    soft_cap: float | None = None,
    return_weights: Literal[False] = False,
) -> torch.Tensor:
    """Return the mixed values alone."""


@overload
def attention(
    q_BHTK: torch.Tensor,
    k_BGSK: torch.Tensor,
    v_BGSK: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    scale: float | None = None,
    soft_cap: float | None = None,
    return_weights: Literal[True],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mixed values and the weights."""


def attention(
    q_BHTK: torch.Tensor,
    k_BGSK: torch.Tensor,
    v_BGSK: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    scale: float | None = None,
    soft_cap: float | None = None,
    return_weights: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Mix the values by how well each query matches each key.

    softmax(q k^T scale + mask) v, with scale = 1 / sqrt(K) by default
    (B, H, T, K), (B, G, S, K), (B, G, S, K) -> (B, H, T, K)

    Any leading axes will do, also none; where there is a head axis (third
    from the end), G may divide H. Values may have a width of their own.
    ``mask`` is (T, S), or has as many axes as the scores (B, H, T, S), each
    of their size or 1: True where a query may attend, or floats added to the
    scores. A query that may attend to nothing gets zeros, as in
    ``F.scaled_dot_product_attention``. ``soft_cap`` bends the scores s to
    soft_cap * tanh(s / soft_cap), before the mask [gemma2024].

    With ``return_weights`` also returns the weights (B, H, T, S). Half
    precision is computed in float32. Raises ValueError on shapes or dtypes
    that do not fit. [vaswani2017]
    """
    _check(q_BHTK, k_BGSK, v_BGSK, scale, soft_cap, return_weights)
    dtype = q_BHTK.dtype
    if scale is None:
        scale = 1 / math.sqrt(q_BHTK.shape[-1])
    q_BHTK, k_BHSK, v_BHSK = _heads(q_BHTK, k_BGSK, v_BGSK)

    # scaled first, as in PyTorch's own
    scores_BHTS = (q_BHTK * scale) @ k_BHSK.mT
    if soft_cap is not None:
        scores_BHTS = soft_cap * torch.tanh(scores_BHTS / soft_cap)
    weights_BHTS = softmax_or_zero(scores_BHTS, mask)
    out_BHTK = (weights_BHTS @ v_BHSK).to(dtype)
    return (out_BHTK, weights_BHTS.to(dtype)) if return_weights else out_BHTK


def softmax_or_zero(
    scores_BHTS: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Normalize over the keys; a row with all keys hidden becomes zeros.

    w_s = exp(score_s) / sum_s' exp(score_s'),  (B, H, T, S) -> the same
    """
    if mask is None:
        return scores_BHTS.softmax(-1)
    scores_BHTS = apply_mask(scores_BHTS, mask)
    # told by the mask: a score of -inf may also be an overflow, not hidden
    empty = _hidden(mask, scores_BHTS.dtype).all(-1, keepdim=True)
    # filled before the softmax too: under a mask of numbers a nan inside
    # would poison the gradient even where the output is overwritten
    weights_BHTS = scores_BHTS.masked_fill(empty, 0).softmax(-1)
    return weights_BHTS.masked_fill(empty, 0)


def apply_mask(scores_BHTS: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Put -inf where a bool mask is False, or add a float mask.

    Raises ValueError on other dtypes and shapes: (T, S), or as many axes as
    the scores, each of their size or 1.
    """
    _check_mask(mask, scores_BHTS)
    if mask.dtype == torch.bool:
        return scores_BHTS.masked_fill(~mask, -math.inf)
    return scores_BHTS + mask.to(scores_BHTS.dtype)


def repeat_kv(x_BGSK: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Give each query head its key/value head, (B, G, S, K) -> (B, H, S, K).

    Query head h reads key/value head h // (H / G): neighbours share.
    Raises ValueError where G does not divide H. [ainslie2023]
    """
    n_kv_heads = _count_heads(x_BGSK, n_heads)
    if n_kv_heads == n_heads:
        return x_BGSK
    return x_BGSK.repeat_interleave(n_heads // n_kv_heads, dim=-3)


def _heads(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Repeat the key/value heads; bring half precision to float32."""
    if q.ndim > 2:
        k, v = repeat_kv(k, q.shape[-3]), repeat_kv(v, q.shape[-3])
    wide = torch.promote_types(q.dtype, torch.float32)
    return q.to(wide), k.to(wide), v.to(wide)


def _hidden(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if mask.dtype == torch.bool:
        return ~mask
    # as it was added: the least float32 is -inf in bfloat16
    return mask.to(dtype) == -math.inf


def _check(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float | None,
    soft_cap: float | None,
    return_weights: bool,
) -> None:
    checks.flag("return_weights", return_weights)
    for name, x in (("q", q), ("k", k), ("v", v)):
        checks.floats(name, x)
        if x.ndim < 2 or x.ndim != q.ndim:
            raise ValueError(
                f"{name}: got {x.ndim} axes, want at least 2 and as many as "
                f"q, which has {q.ndim}"
            )
        if x.dtype != q.dtype:
            raise ValueError(
                f"{name}: got dtype {x.dtype}, want one floating dtype for "
                f"q, k and v (q has {q.dtype})"
            )
        if x.shape[:-3] != q.shape[:-3]:
            raise ValueError(
                f"{name}: got shape {tuple(x.shape)}, want the batch axes "
                f"{tuple(q.shape[:-3])} of q"
            )
    if k.shape[-1] != q.shape[-1]:
        raise ValueError(f"k: got width {k.shape[-1]}, want q's {q.shape[-1]}")
    if v.shape[:-1] != k.shape[:-1]:
        raise ValueError(
            f"v: got shape {tuple(v.shape)}, want k's {tuple(k.shape)} "
            "up to the width"
        )
    if scale is None:
        checks.need(q.shape[-1] > 0, "q", "width 0", "1 or more")
    else:
        checks.positive("scale", scale)
    if soft_cap is not None:
        checks.positive("soft_cap", soft_cap)


def _check_mask(mask: torch.Tensor, scores: torch.Tensor) -> None:
    checks.floats("scores", scores, axes=2)
    if not isinstance(mask, torch.Tensor):
        raise ValueError(
            f"mask: got a {type(mask).__name__}, want a tensor of bool or "
            "floats, or None"
        )
    if mask.dtype != torch.bool and not mask.is_floating_point():
        # of 0 and 1, added to the scores: it would hide almost nothing
        raise ValueError(
            f"mask: got dtype {mask.dtype}, want torch.bool (True: may "
            "attend) or floats added to the scores; padding_mask makes one "
            "of a tokenizer's attention_mask"
        )
    # by rank, not by what happens to broadcast: a (B, S) with B = T would
    full = scores.shape[-2:] if mask.ndim == 2 else scores.shape
    if mask.ndim != len(full) or any(
        size not in (1, whole)
        for size, whole in zip(mask.shape, full, strict=True)
    ):
        raise ValueError(
            f"mask: got shape {tuple(mask.shape)}, want (T, S) = "
            f"{tuple(scores.shape[-2:])}, or the {scores.ndim} axes of the "
            f"scores {tuple(scores.shape)}, each of that size or 1: of "
            "(B, T, S) make mask[:, None], of (H, T, S) mask[None]"
        )


def _count_heads(x: torch.Tensor, n_heads: int) -> int:
    checks.numbers("x", x, axes=3)
    checks.whole("n_heads", n_heads)
    n_kv_heads = x.shape[-3]
    if n_kv_heads < 1 or n_heads % n_kv_heads:
        raise ValueError(
            f"n_heads: got {n_heads}, want a multiple of the "
            f"{n_kv_heads} key/value heads"
        )
    return n_kv_heads
