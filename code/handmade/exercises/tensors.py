"""What exercises know of PyTorch, which a reader's browser has not.

Where it is not installed nothing is a tensor, and Python's random numbers
are all that an answer can change. Everything else of `exercises` does with
Python's own library, so that the pages in plain Python can be answered
without a kernel.
"""

import importlib.util
import math
from typing import TYPE_CHECKING, Any, TypeGuard

from handmade.exercises.words import both_numbers, named_kind

INSTALLED = importlib.util.find_spec("torch") is not None
if TYPE_CHECKING or INSTALLED:
    import numpy as np
    import torch

    from handmade.tolerances import TOLERANCES


def is_tensor(value: Any) -> "TypeGuard[torch.Tensor]":
    """True for a tensor; where there is no PyTorch, nothing is one."""
    return INSTALLED and isinstance(value, torch.Tensor)


def requires_grad(value: Any) -> list[bool]:
    """Of a tensor, of a model's parameters, or of all items of a list."""
    if is_tensor(value):
        return [value.requires_grad]
    if INSTALLED and isinstance(value, torch.nn.Module):
        return [x.requires_grad for x in value.parameters()]
    if isinstance(value, tuple | list):
        return [flag for item in value for flag in requires_grad(item)]
    return []


def difference(got: Any, want: "torch.Tensor") -> str | None:
    """Say how an answer differs from a wanted tensor, or None."""
    # a subclass could answer every comparison as it likes
    if type(got) not in (torch.Tensor, torch.nn.Parameter):
        return f"it returns {named_kind(got)}, want a tensor."
    if got.shape != want.shape:
        return (
            f"it returns shape {tuple(got.shape)}, want {tuple(want.shape)}."
        )
    if got.dtype != want.dtype:
        return f"it returns dtype {got.dtype}, want {want.dtype}."
    got, want = got.detach(), want.detach()
    if torch.equal(got, want):
        return None
    if not want.is_floating_point():
        off = got != want
        gap = off.double()
    else:
        tolerance = TOLERANCES.get(want.dtype, 1e-4)
        got, want = got.double(), want.double()
        finite = want[want.isfinite()]
        scale = finite.abs().max().item() if finite.numel() else 0.0
        same = (got == want) | (got.isnan() & want.isnan())
        gap = torch.where(same, 0.0, (got - want).abs())
        gap = gap.nan_to_num(nan=math.inf, posinf=math.inf)
        off = gap > tolerance * (scale or 1.0)
    if not off.any():
        return None
    if off.ndim == 0:
        return f"it returns {both_numbers(got.item(), want.item())}."
    at = np.unravel_index(int(gap.argmax()), tuple(gap.shape))
    where = tuple(int(i) for i in at)
    largest = f"{gap.max():.1e}" if gap.isfinite().all() else "not finite"
    return (
        f"{int(off.sum())} of {off.numel()} numbers are off; the largest "
        f"difference, {largest}, is at index {list(where)}: "
        f"got {both_numbers(got[where].item(), want[where].item())}."
    )
