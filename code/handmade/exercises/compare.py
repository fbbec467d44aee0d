"""Compare an answer with what was wanted, and say the difference in words.

Left out: any judgement of how much a difference matters beyond the dtype's
own rounding.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from handmade.exercises import tensors
from handmade.exercises.words import both_numbers, named_kind


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
    if tensors.is_tensor(output):
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
    if tensors.is_tensor(want):
        return tensors.difference(got, want)
    if isinstance(want, float) and isinstance(got, float):
        same = math.isclose(got, want, rel_tol=1e-6, abs_tol=1e-9)
        same = same or (math.isnan(got) and math.isnan(want))
        return None if same else f"it returns {both_numbers(got, want, 6)}."
    if isinstance(want, Raised):
        return f"it returns a result, want a {want.error.__name__}."
    # what torch.topk returns is a tuple with names
    if type(got) is not type(want) and not (
        type(want) is tuple and isinstance(got, tuple)
    ):
        return f"it returns {named_kind(got)}, want {named_kind(want)}."
    if isinstance(want, dict):
        if got.keys() != want.keys():
            return f"it returns keys {list(got)}, want {list(want)}."
        got, want = [got[key] for key in want], list(want.values())
    if isinstance(want, tuple | list):
        if len(got) != len(want):
            items = "1 item" if len(got) == 1 else f"{len(got)} items"
            return f"it returns {items}, want {len(want)}."
        for i, pair in enumerate(zip(got, want, strict=True)):
            if (problem := difference(*pair)) is not None:
                return f"item {i} is off: {problem}"
        return None
    return None if got == want else f"it returns {got!r}, want {want!r}."
