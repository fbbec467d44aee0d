"""Refuse a wrong argument: ``name: got WHAT CAME, want WHAT IS WANTED``.

Everything here looks at types, shapes and dtypes, never at the numbers in a
tensor, so that a forward pass which calls it still compiles, exports and
runs on the meta device.
"""

import math
from collections.abc import Collection, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import TypeGuard, cast

import torch


def need(holds: bool, name: str, got: object, want: object) -> None:
    """Raise ValueError ``name: got ..., want ...`` unless it holds."""
    if not holds:
        raise ValueError(f"{name}: got {got}, want {want}")


def kind(
    name: str, value: object, kinds: type | tuple[type, ...], want: str
) -> None:
    """Want an object of one of these classes."""
    if not isinstance(value, kinds):
        raise ValueError(f"{name}: got {_kind(value)}, want {want}")


def flag(name: str, value: bool) -> None:
    """Want True or False, and nothing that only counts as one."""
    kind(name, value, bool, "True or False")


def text(name: str, value: str) -> None:
    """Want a str."""
    kind(name, value, str, "a str")


def path(name: str, value: str | Path) -> None:
    """Want a path, or a str that is one."""
    kind(name, value, (str, Path), "a path")


def function(name: str, value: object, want: str = "a function") -> None:
    """Want what can be called."""
    if not callable(value):
        raise ValueError(f"{name}: got {_kind(value)}, want {want}")


def module(name: str, value: torch.nn.Module) -> None:
    """Want a module of PyTorch, such as a model."""
    kind(name, value, torch.nn.Module, "a torch.nn.Module")


def mapping(name: str, value: object, want: str) -> None:
    """Want a dict, or what can be read like one."""
    kind(name, value, Mapping, want)


def several(name: str, value: object, want: str) -> None:
    """Want a list, a set or the like; a str is none."""
    if isinstance(value, str):
        raise ValueError(f"{name}: got the str {value!r}, want {want}")
    kind(name, value, Collection, want)


def generator(name: str, value: torch.Generator) -> None:
    """Want a source of random numbers."""
    kind(name, value, torch.Generator, "a torch.Generator")


def device(name: str, value: torch.device | str | None) -> None:
    """Want a device, its name, or None."""
    kind(name, value, (torch.device, str, type(None)), "a device or its name")
    if isinstance(value, str):
        try:
            torch.device(value)
        except RuntimeError:
            raise ValueError(
                f"{name}: got {value!r}, want a device's name, such as cpu"
            ) from None


def cache(name: str, value: object) -> None:
    """Want what `handmade.contracts.Cache` describes, or None.

    One look at its methods: its properties are not asked for.
    """
    lacks = isinstance(value, Mapping) or not hasattr(value, "update")
    if value is not None and lacks:
        raise ValueError(
            f"{name}: got {_kind(value)}, want what handmade.contracts.Cache "
            "describes, such as KVCache(), or None"
        )


def dtype(name: str, value: torch.dtype) -> None:
    """Want a dtype of floating numbers."""
    kind(name, value, torch.dtype, "a dtype, such as torch.float32")
    need(value.is_floating_point, name, value, "a floating dtype")


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
    if x is None:
        return "None"
    name = type(x).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
