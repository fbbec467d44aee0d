"""The largest difference of two tensors, each token on a scale of its own.

A row is the last axis: one token's vector (B, T, D) or logits (B, T, V), one
query's attention (B, H, T, S), one head of one token (B, H, T, K), one
sequence's pooled vector (B, D), a vector (D) as a whole, a number by itself.
Its scale is the largest finite number of the reference in that row, so that
one enormous token lends its size to no other. Rows of zeros, and rows in
which nearly everything cancels, hold little but rounding: no scale falls
below a hundredth (FLOOR) of the median row's. Where the reference is zero
everywhere the scale is 1.

Left out: the size of the axes within a row. An enormous axis of a token does
hide small ones of the same token.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

FLOOR = 1e-2


@dataclass(frozen=True)
class Gap:
    """The largest difference, as a share of its row's scale, and where."""

    difference: float
    scale: float
    index: tuple[int, ...]


def largest_gap(
    got: Tensor,
    want: Tensor,
    chosen: Tensor | None = None,
    *,
    nan_equal: bool = False,
) -> Gap:
    """Return the largest |got - want| / scale(want's row).

    ``chosen`` (bool, broadcast to got) says what is compared. Equal
    infinities are equal; an infinity against anything else, and nan against
    anything (unless ``nan_equal``: against nan), differs by infinity.
    (..., N), (..., N) -> one Gap. Raises ValueError on unequal shapes, where
    there is nothing to compare, on integers.
    """
    if got.shape != want.shape:
        shapes = f"{tuple(got.shape)} and {tuple(want.shape)}"
        raise ValueError(f"got, want: got shapes {shapes}, want one shape")
    if not (got.is_floating_point() and want.is_floating_point()):
        kinds = f"{got.dtype} and {want.dtype}"
        raise ValueError(f"got, want: got {kinds}, want floating dtypes")
    # float64 on the CPU: every device has one, and not all have float64
    got, want = got.detach().cpu().double(), want.detach().cpu().double()
    if chosen is None:
        chosen = torch.ones((), dtype=torch.bool)
    chosen = chosen.cpu().expand(got.shape)
    if not chosen.any():
        raise ValueError(f"got: got nothing to compare in {tuple(got.shape)}")
    same = got == want
    if nan_equal:
        same = same | (got.isnan() & want.isnan())
    gap = (got - want).abs().nan_to_num(nan=math.inf, posinf=math.inf)
    scale = row_scales(want, chosen)
    share = torch.where(same, 0.0, gap / scale).masked_fill(~chosen, -1.0)
    at = share.argmax()
    index = tuple(int(i) for i in torch.unravel_index(at, share.shape))
    scale = scale.expand_as(share)
    return Gap(share[index].item(), scale[index].item(), index)


def row_scales(want: Tensor, chosen: Tensor) -> Tensor:
    """Return each row's largest finite number, or the floor.

    (..., N), (..., N) bool -> (..., 1)
    """
    sizes = want.abs().where(chosen & want.isfinite(), 0.0)
    sizes = sizes.amax(-1, keepdim=True) if sizes.ndim else sizes
    filled = sizes[sizes > 0]
    if not filled.numel():
        return torch.ones_like(sizes)
    # above zero also where a hundredth of the smallest number is none
    floor = FLOOR * filled.median().item()
    return sizes.clamp(min=max(floor, torch.finfo(sizes.dtype).tiny))
