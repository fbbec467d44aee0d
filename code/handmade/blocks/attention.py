"""Scaled dot-product attention, with grouped heads and masks.

B batch · T query tokens · S key/value tokens · H query heads · G key/value
heads · K head width

The whole weight matrix is built, (B, H, T, S) numbers, because seeing it is
the point. Left out: dropout on the weights, and the tiled evaluation that
never stores the matrix (the page on flash attention derives it).
"""

import math

import torch


def attention(
    q_BHTK: torch.Tensor,
    k_BGSK: torch.Tensor,
    v_BGSK: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    scale: float | None = None,
    return_weights: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Mix the values by how well each query matches each key.

    softmax(q k^T scale + mask) v, with scale = 1 / sqrt(K) by default
    (B, H, T, K), (B, G, S, K), (B, G, S, K) -> (B, H, T, K)

    Any leading axes will do, also none; where there is a head axis (third
    from the end), G may divide H. Values may have a width of their own.
    ``mask`` broadcasts to (B, H, T, S): True where a query may attend, or
    numbers added to the scores. A query that may attend to nothing gets
    zeros, as in ``F.scaled_dot_product_attention``.

    With ``return_weights`` also returns the weights (B, H, T, S).
    Raises ValueError on shapes or dtypes that do not fit. [vaswani2017]
    """
    _check(q_BHTK, k_BGSK, v_BGSK)
    if q_BHTK.ndim > 2:
        k_BHSK = repeat_kv(k_BGSK, q_BHTK.shape[-3])
        v_BHSK = repeat_kv(v_BGSK, q_BHTK.shape[-3])
    else:
        k_BHSK, v_BHSK = k_BGSK, v_BGSK
    if scale is None:
        scale = 1 / math.sqrt(q_BHTK.shape[-1])

    scores_BHTS = q_BHTK @ k_BHSK.mT * scale
    if mask is not None:
        scores_BHTS = apply_mask(scores_BHTS, mask)
    weights_BHTS = softmax_or_zero(scores_BHTS)
    out_BHTK = weights_BHTS @ v_BHSK
    return (out_BHTK, weights_BHTS) if return_weights else out_BHTK


def apply_mask(scores_BHTS: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Put -inf where a bool mask is False, or add a float mask.

    Raises ValueError on other dtypes and on masks that do not broadcast.
    """
    shape = tuple(scores_BHTS.shape)
    try:
        fits = torch.broadcast_shapes(mask.shape, shape) == shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"mask: got shape {tuple(mask.shape)}, "
            f"want one that broadcasts to the scores' {shape}"
        )
    if mask.dtype == torch.bool:
        return scores_BHTS.masked_fill(~mask, -math.inf)
    if mask.dtype == scores_BHTS.dtype:
        return scores_BHTS + mask
    # a 0/1 integer mask, added to the scores, would hide almost nothing
    raise ValueError(
        f"mask: got dtype {mask.dtype}, want torch.bool (True: may attend) "
        f"or {scores_BHTS.dtype} (added to the scores)"
    )


def softmax_or_zero(scores_BHTS: torch.Tensor) -> torch.Tensor:
    """Normalize over the keys; a row of only -inf becomes zeros, not nan.

    w_s = exp(score_s) / sum_s' exp(score_s'),  (B, H, T, S) -> the same
    """
    empty = (scores_BHTS == -math.inf).all(-1, keepdim=True)
    # filled before the softmax too: a nan inside would poison the gradient
    # even where the output is overwritten
    weights_BHTS = scores_BHTS.masked_fill(empty, 0).softmax(-1)
    return weights_BHTS.masked_fill(empty, 0)


def repeat_kv(x_BGSK: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Give each query head its key/value head, (B, G, S, K) -> (B, H, S, K).

    Query head h reads key/value head h // (H / G): neighbours share.
    Raises ValueError where G does not divide H. [ainslie2023]
    """
    n_kv_heads = x_BGSK.shape[-3]
    if n_kv_heads == n_heads:
        return x_BGSK
    if n_kv_heads < 1 or n_heads % n_kv_heads:
        raise ValueError(
            f"n_heads: got {n_heads}, want a multiple of the "
            f"{n_kv_heads} key/value heads"
        )
    return x_BGSK.repeat_interleave(n_heads // n_kv_heads, dim=-3)


def _check(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.ndim < 2 or x.ndim != q.ndim:
            raise ValueError(
                f"{name}: got {x.ndim} axes, want at least 2 and as many as "
                f"q, which has {q.ndim}"
            )
        if x.dtype != q.dtype or not x.is_floating_point():
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
