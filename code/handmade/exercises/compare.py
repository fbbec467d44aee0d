"""Compare an answer with what was wanted, and say the difference in words.

Left out: any judgement of how much a difference matters beyond the dtype's
own rounding.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from handmade.tolerances import TOLERANCES


@dataclass(frozen=True)
class Raised:
    """In place of an output: the function raised."""

    error: type
    text: str
    line: str = field(default="", compare=False)  # of the function's source


def broken(output: Any) -> bool:
    """True for an output that raised or holds nan."""
    if isinstance(output, tuple | list):
        return any(broken(item) for item in output)
    if isinstance(output, torch.Tensor):
        return output.is_floating_point() and bool(output.isnan().any())
    if isinstance(output, float):
        return math.isnan(output)
    return isinstance(output, Raised)


def difference(got: Any, want: Any) -> str | None:
    """Say how two outputs differ ("it …"), or None where they agree.

    Tensors: type, shape, dtype, then values, to ``TOLERANCES`` relative to
    the largest number wanted; infinities and nan must sit in the same
    places. Lists, tuples and dicts: item by item. Everything else: ==.
    """
    if isinstance(got, Raised):
        same = isinstance(want, Raised) and got.error is want.error
        return None if same else f"it raises {got.text}{got.line}."
    if got is None and want is not None:
        return "it returns None: is a `return` missing?"
    if isinstance(want, torch.Tensor):
        return _tensor_difference(got, want)
    if isinstance(want, float) and isinstance(got, float):
        same = math.isclose(got, want, rel_tol=1e-6, abs_tol=1e-9)
        same = same or (math.isnan(got) and math.isnan(want))
        return None if same else f"it returns {_both(got, want, 6)}."
    if isinstance(want, Raised):
        return f"it returns a result, want a {want.error.__name__}."
    # what torch.topk returns is a tuple with names
    if type(got) is not type(want) and not (
        type(want) is tuple and isinstance(got, tuple)
    ):
        return f"it returns {_a(got)}, want {_a(want)}."
    if isinstance(want, dict):
        if got.keys() != want.keys():
            return f"it returns keys {list(got)}, want {list(want)}."
        got, want = [got[key] for key in want], list(want.values())
    if isinstance(want, tuple | list):
        if len(got) != len(want):
            items = "1 item" if len(got) == 1 else f"{len(got)} items"
            return f"it returns {items}, want {len(want)}."
        for i, (a, b) in enumerate(zip(got, want, strict=True)):
            if (problem := difference(a, b)) is not None:
                return f"item {i} is off: {problem}"
        return None
    return None if got == want else f"it returns {got!r}, want {want!r}."


def _tensor_difference(got: Any, want: torch.Tensor) -> str | None:
    # a subclass could answer every comparison as it likes
    if type(got) not in (torch.Tensor, torch.nn.Parameter):
        return f"it returns {_a(got)}, want a tensor."
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
        return f"it returns {_both(got.item(), want.item())}."
    at = np.unravel_index(int(gap.argmax()), tuple(gap.shape))
    where = tuple(int(i) for i in at)
    largest = f"{gap.max():.1e}" if gap.isfinite().all() else "not finite"
    return (
        f"{int(off.sum())} of {off.numel()} numbers are off; the largest "
        f"difference, {largest}, is at index {list(where)}: "
        f"got {_both(got[where].item(), want[where].item())}."
    )


def _a(value: Any) -> str:
    """The type of a value with its article, such as "an int"."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _both(got: float, want: float, digits: int = 3) -> str:
    """Both numbers, in as many digits as it takes to tell them apart."""
    shown = [f"{x:.{digits}g}" for x in (got, want)]
    if shown[0] == shown[1] and digits < 17:
        return _both(got, want, digits + 1)
    return f"{shown[0]}, want {shown[1]}"
