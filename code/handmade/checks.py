"""Refuse a wrong argument: ``name: got WHAT CAME, want WHAT IS WANTED``.

Everything here looks at types, shapes and dtypes, never at the numbers in a
tensor, so that a forward pass which calls it still compiles, exports and
runs on the meta device.
"""

import math
from numbers import Integral, Real
from typing import TypeGuard, cast

import torch


def need(holds: bool, name: str, got: object, want: object) -> None:
    """Raise ValueError ``name: got ..., want ...`` unless it holds."""
    if not holds:
        raise ValueError(f"{name}: got {got}, want {want}")


def whole(name: str, value: object, at_least: int = 1) -> int:
    """Want a whole number, not a bool, of ``at_least`` or more."""
    # a size may be symbolic while torch.export traces it
    if (
        not isinstance(value, int | torch.SymInt | Integral)
        or isinstance(value, bool)
        or value < at_least
    ):
        raise ValueError(
            f"{name}: got {value!r}, want a whole number, {at_least} or more"
        )
    return cast(int, value)


def number(name: str, value: object, at_least: float = -math.inf) -> float:
    """Want a finite number, not a bool, of ``at_least`` or more."""
    more = "" if at_least == -math.inf else f", {at_least} or more"
    if not _finite(value) or value < at_least:
        raise ValueError(f"{name}: got {value!r}, want a finite number{more}")
    return value


def positive(name: str, value: object) -> float:
    """Want a finite number above 0, not a bool."""
    if not _finite(value) or value <= 0:
        raise ValueError(
            f"{name}: got {value!r}, want a finite number above 0"
        )
    return value


def _finite(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return math.isfinite(value)


def floats(name: str, x: torch.Tensor, axes: int = 0) -> None:
    """Want a tensor of floating numbers with at least so many axes."""
    _tensor(name, x, "a tensor of floats")
    if not x.is_floating_point():
        raise ValueError(f"{name}: got dtype {x.dtype}, want floats")
    _axes(name, x, axes)


def ids(name: str, x: torch.Tensor, axes: int = 0) -> None:
    """Want a tensor of int64 or int32 with at least so many axes.

    bool and uint8 would be read as masks where they index.
    """
    _tensor(name, x, "a tensor of int64 or int32")
    if x.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"{name}: got dtype {x.dtype}, want int64 or int32")
    _axes(name, x, axes)


def numbers(name: str, x: torch.Tensor, axes: int = 0) -> None:
    """Want a tensor of whole or floating numbers, not of bool."""
    _tensor(name, x, "a tensor of numbers")
    if x.dtype == torch.bool or x.is_complex():
        raise ValueError(f"{name}: got dtype {x.dtype}, want numbers")
    _axes(name, x, axes)


def yes_or_no(name: str, x: torch.Tensor) -> None:
    """Want a tensor of bool, or of whole numbers that stand for it."""
    _tensor(name, x, "a tensor of int or bool")
    if x.is_floating_point() or x.is_complex():
        raise ValueError(f"{name}: got dtype {x.dtype}, want int or bool")


def width(name: str, x: torch.Tensor, want: int, axes: int = 1) -> None:
    """Want a last axis of this width, in a tensor of floats."""
    floats(name, x, axes)
    if x.shape[-1] != want:
        raise ValueError(f"{name}: got width {x.shape[-1]}, want {want}")


def _tensor(name: str, x: torch.Tensor, want: str) -> None:
    if not isinstance(x, torch.Tensor):
        raise ValueError(f"{name}: got {_kind(x)}, want {want}")


def _axes(name: str, x: torch.Tensor, axes: int) -> None:
    if x.ndim < axes:
        raise ValueError(
            f"{name}: got shape {tuple(x.shape)}, want {axes} or more axes"
        )


def _kind(x: object) -> str:
    """Say what came, without printing a list of thousands."""
    return "None" if x is None else f"a {type(x).__name__}"
