"""The two passes of attention by tiles, and the softmax that allows them.

B batch · T query tokens · S key/value tokens · G key/value heads · K head
width · R query heads of a group · M queries of a tile · N keys of a tile

A row of scores is normalized without ever being whole: its maximum and its
sum are carried along. Left out: everything that checks and arranges what a
caller brings, which is `flash_attention`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from handmade import checks


def online_softmax(scores: Tensor, block: int = 1) -> tuple[Tensor, Tensor]:
    """Find the two numbers of a softmax in one pass over the keys.

    peak = max_s x_s,  total = sum_s exp(x_s - peak)
    (..., S) -> (..., 1), (..., 1), so that softmax(x) = exp(x - peak) / total

    Reads ``block`` keys at a time and keeps none of them. A row of nothing
    but -inf has the peak -inf and the total 0. Raises ValueError where there
    is no key axis. [milakov2018]
    """
    _check_scores(scores, block)
    peak = scores.new_full((*scores.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(peak)
    for keys in spans(scores.shape[-1], block):
        peak, shrunk, weights = raised(peak, scores[..., keys])
        total = total * shrunk + weights.sum(-1, keepdim=True)
    return peak, total


def raised(peak: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Raise the running maximum to that of the new scores.

    new = max(peak, max_s x_s);  new, exp(peak - new), exp(x - new)
    (..., 1), (..., N) -> (..., 1), (..., 1), (..., N)

    What was summed under the old peak is worth exp(peak - new) of it now.
    """
    new = torch.maximum(peak, scores.amax(-1, keepdim=True))
    # while a row has seen nothing, -inf - (-inf) would be nan
    level = new.masked_fill(new == -math.inf, 0)
    return new, torch.exp(peak - level), torch.exp(scores - level)


@dataclass(frozen=True)
class Tiles:
    """Which tiles of the (T, S) scores are computed, and what they hide.

    ``mask`` is bool, with the axes of (B, G, R, T, S), each of its size or 1.
    """

    T: int
    S: int
    block_q: int
    block_k: int
    causal: bool = False
    mask: Tensor | None = None

    def rows(self) -> Iterator[slice]:
        """Yield the queries, ``block_q`` at a time."""
        return spans(self.T, self.block_q)

    def keys(self, rows: slice) -> Iterator[slice]:
        """Yield the keys that any of these queries may see, in blocks."""
        # query t stands at S - T + t, and sees no key behind that
        seen = self.S - self.T + rows.stop if self.causal else self.S
        for keys in spans(self.S, self.block_k):
            hidden = self.mask is not None and not self._cut(rows, keys).any()
            if keys.start < seen and not hidden:
                yield keys

    def hide(self, scores: Tensor, rows: slice, keys: slice) -> Tensor:
        """Put -inf where a query may not look, (..., M, N) -> the same."""
        if self.mask is not None:
            scores = scores.masked_fill(~self._cut(rows, keys), -math.inf)
        first = self.S - self.T + rows.start
        if self.causal and keys.stop - 1 > first:  # on the diagonal
            M, N = scores.shape[-2:]
            past = scores.new_ones((M, N), dtype=torch.bool).tril(
                first - keys.start
            )
            scores = scores.masked_fill(~past, -math.inf)
        return scores

    def _cut(self, rows: slice, keys: slice) -> Tensor:
        assert self.mask is not None
        *_, T, S = self.mask.shape
        everything = slice(None)
        return self.mask[
            ..., rows if T > 1 else everything, keys if S > 1 else everything
        ]


def spans(length: int, block: int) -> Iterator[slice]:
    """Cut 0 .. length into blocks; the last may be shorter."""
    for start in range(0, length, block):
        yield slice(start, min(start + block, length))


def flash_forward(
    q_BGRTK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    scale: float,
    tiles: Tiles,
) -> tuple[Tensor, Tensor]:
    """Attend tile by tile; return the output and the log-sum-exp.

    out = softmax(scores) v,  lse = log sum_s exp(scores)
    (B, G, R, T, K), (B, G, S, K), (B, G, S, K)
    -> (B, G, R, T, K), (B, G, R, T)

    A query that may look at nothing gets zeros and -inf. [dao2022, dao2024]
    """
    out_BGRTK = q_BGRTK.new_empty((*q_BGRTK.shape[:-1], v_BGSK.shape[-1]))
    lse_BGRT = q_BGRTK.new_empty(q_BGRTK.shape[:-1], dtype=wide(q_BGRTK))
    for rows in tiles.rows():
        q_BGRMK = widened(q_BGRTK[..., rows, :]) * scale
        peak = q_BGRMK.new_full((*q_BGRMK.shape[:-1], 1), -math.inf)
        total = torch.zeros_like(peak)
        out = torch.zeros_like(out_BGRTK[..., rows, :], dtype=peak.dtype)
        for keys in tiles.keys(rows):
            k, v = (widened(x[:, :, None, keys]) for x in (k_BGSK, v_BGSK))
            scores = tiles.hide(q_BGRMK @ k.mT, rows, keys)
            peak, shrunk, weights = raised(peak, scores)
            # what was gathered under the old peak shrinks with it
            total = total * shrunk + weights.sum(-1, keepdim=True)
            out = out * shrunk + weights @ v
        out_BGRTK[..., rows, :] = out / total.masked_fill(total == 0, 1)
        lse_BGRT[..., rows] = (peak + total.log())[..., 0]
    return out_BGRTK, lse_BGRT


def flash_backward(
    q_BGRTK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    out_BGRTK: Tensor,
    lse_BGRT: Tensor,
    d_out: Tensor,
    d_lse: Tensor,
    scale: float,
    tiles: Tiles,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute each tile again, and from it the three gradients.

    p = exp(scores - lse),  dv = p^T dout,  dp = dout v^T
    dscores = p (dp - rowsum(dout * out) + dlse)
    dq = dscores k scale,  dk = dscores^T q scale

    Shapes as in `flash_forward`; gradients have those of q, k and v.
    """
    dq, dk, dv = (
        torch.zeros_like(x, dtype=wide(x)) for x in (q_BGRTK, k_BGSK, v_BGSK)
    )
    for rows in tiles.rows():
        q = widened(q_BGRTK[..., rows, :]) * scale
        dout = widened(d_out[..., rows, :])
        out = widened(out_BGRTK[..., rows, :])
        # what the softmax's own gradient takes off, once for a whole row
        less = (dout * out).sum(-1, keepdim=True) - d_lse[..., rows, None]
        lse = lse_BGRT[..., rows, None]
        lse = lse.masked_fill(lse == -math.inf, 0)
        for keys in tiles.keys(rows):
            k, v = (widened(x[:, :, None, keys]) for x in (k_BGSK, v_BGSK))
            weights = torch.exp(tiles.hide(q @ k.mT, rows, keys) - lse)
            dscores = weights * (dout @ v.mT - less)
            dq[..., rows, :] += dscores @ k * scale
            # q was scaled already; a group's queries share keys and values
            dk[:, :, keys] += (dscores.mT @ q).sum(2)
            dv[:, :, keys] += (weights.mT @ dout).sum(2)
    return dq.to(q_BGRTK), dk.to(k_BGSK), dv.to(v_BGSK)


def wide(x: Tensor) -> torch.dtype:
    """Return the dtype to compute in: float32, or wider if x is."""
    return torch.promote_types(x.dtype, torch.float32)


def widened(x: Tensor) -> Tensor:
    """Return x in the dtype to compute in."""
    return x.to(wide(x))


def _check_scores(scores: Tensor, block: int) -> None:
    checks.floats("scores", scores, axes=1)
    checks.whole("block", block)
