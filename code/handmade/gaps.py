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

from handmade import checks

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
    _check(got, want, chosen, nan_equal)
    # float64 on the CPU: every device has one, and not all have float64
    got, want = got.detach().cpu().double(), want.detach().cpu().double()
    if chosen is None:
        chosen = torch.ones((), dtype=torch.bool)
    chosen = chosen.cpu().expand(got.shape)
    if not chosen.any():
        raise ValueError(
            f"got: got shape {tuple(got.shape)} and nothing chosen in it, "
            "want some numbers to compare"
        )
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
    checks.floats("want", want)
    _check_chosen(chosen, want)
    sizes = want.abs().where(chosen & want.isfinite(), 0.0)
    sizes = sizes.amax(-1, keepdim=True) if sizes.ndim else sizes
    filled = sizes[sizes > 0]
    if not filled.numel():
        return torch.ones_like(sizes)
    # above zero also where a hundredth of the smallest number is none
    floor = FLOOR * filled.median().item()
    return sizes.clamp(min=max(floor, torch.finfo(sizes.dtype).tiny))


def _check(
    got: Tensor, want: Tensor, chosen: Tensor | None, nan_equal: bool
) -> None:
    checks.floats("got", got)
    checks.floats("want", want)
    if got.shape != want.shape:
        shapes = f"{tuple(got.shape)} and {tuple(want.shape)}"
        raise ValueError(f"got, want: got shapes {shapes}, want one shape")
    if chosen is not None:
        _check_chosen(chosen, got)
    checks.flag("nan_equal", nan_equal)


def _check_chosen(chosen: Tensor, x: Tensor) -> None:
    checks.kind("chosen", chosen, Tensor, "a tensor of bool")
    wanted = chosen.dtype == torch.bool
    checks.need(wanted, "chosen", f"dtype {chosen.dtype}", "torch.bool")
    # aligned at the right, as it will be broadcast
    sizes = zip(chosen.shape[::-1], x.shape[::-1], strict=False)
    fits = all(size in (1, whole) for size, whole in sizes)
    shape = f"shape {tuple(chosen.shape)}"
    want = f"one that broadcasts to {tuple(x.shape)}"
    checks.need(fits and chosen.ndim <= x.ndim, "chosen", shape, want)
