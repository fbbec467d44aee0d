"""Refuse a wrong argument in plain Python: ``name: got …, want …``.

The same refusals as in `checks`, for lists and floats: nothing but Python's
own library is imported, so that `scalar` runs where there is no PyTorch.
"""

import math
import re
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")
Sizes = dict[str, int]
Kind = str | Mapping[str, str]

LISTS = re.compile(r"([A-Z]+)( bool)?")
IDS = re.compile(r"([A-Z])<([A-Z])")
PART = re.compile(r"([A-Z])\|([A-Z])")
NUMBERS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "number": ("a finite number", lambda x: True),
    "positive": ("a number above 0", lambda x: x > 0),
    "not negative": ("a number, 0 or more", lambda x: x >= 0),
    "share": ("a number, 0 or more and below 1", lambda x: 0 <= x < 1),
}
WHOLE = {"count": 1, "whole": 0}  # the least that is taken


def takes(
    **kinds: Kind,
) -> Callable[[Callable[Given, Result]], Callable[Given, Result]]:
    """Say what a function takes, and look at its arguments at each call.

    Capital letters are the axes of lists of numbers: "TD" is T rows of D
    numbers, "TS bool" T rows of S times True or False. A letter has one size
    in one call. "T<V" is T whole numbers below V, "H|D" a whole number that
    divides D; V and D are letters of earlier arguments. A dict of such kinds
    is a dict of such values. The rest are numbers: see NUMBERS and WHOLE.
    """

    def checked(fn: Callable[Given, Result]) -> Callable[Given, Result]:
        parameters = signature(fn).parameters
        order = [*parameters]
        defaults = {n: p.default for n, p in parameters.items()}

        @wraps(fn)
        def call(*args: Given.args, **kwargs: Given.kwargs) -> Result:
            given = defaults | dict(zip(order, args, strict=False)) | kwargs
            sizes: Sizes = {}
            for name, kind in kinds.items():
                # one that was left out is left to Python to name
                if given[name] is not parameters[name].default:
                    _check(name, given[name], kind, sizes)
            return fn(*args, **kwargs)

        return call

    return checked


def _check(name: str, value: Any, kind: Kind, sizes: Sizes) -> None:
    if not isinstance(kind, str):
        _check_mapping(name, value, kind, sizes)
    elif kind in NUMBERS:
        want, fits = NUMBERS[kind]
        good = type(value) in (int, float) and math.isfinite(value)
        if not (good and fits(value)):
            raise ValueError(f"{name}: got {_said(value)}, want {want}")
    elif kind in WHOLE:
        _check_whole(name, value, WHOLE[kind])
    elif found := IDS.fullmatch(kind):
        _check_ids(name, value, found[1], found[2], sizes)
    elif found := PART.fullmatch(kind):
        part, whole = found.groups()
        _check_whole(name, value, 1)
        if sizes[whole] % value:
            raise ValueError(
                f"{name}: got {value}, want a divisor of the width "
                f"{sizes[whole]}"
            )
        sizes[part] = value
    elif found := LISTS.fullmatch(kind):
        letters, flags = found.groups()
        wanted: set[type] = {bool} if flags else {int, float}
        _check_lists(name, value, letters, wanted, sizes)


def _check_mapping(
    name: str, value: Any, kinds: Mapping[str, str], sizes: Sizes
) -> None:
    want = f"a dict of {', '.join(kinds)}"
    if not isinstance(value, dict):
        raise ValueError(f"{name}: got {_said(value)}, want {want}")
    for key in [*kinds, *value]:
        if key not in value or key not in kinds:
            how = "with" if key in value else "without"
            raise ValueError(f"{name}: got one {how} {key!r}, want {want}")
    for key, kind in kinds.items():
        _check(f"{name}: {key}", value[key], kind, sizes)


def _check_whole(name: str, value: Any, least: int) -> None:
    if type(value) is not int or value < least:
        raise ValueError(
            f"{name}: got {_said(value)}, want a whole number, {least} or more"
        )


def _check_ids(
    name: str, value: Any, count: str, below: str, sizes: Sizes
) -> None:
    _check_lists(name, value, count, {int}, sizes)
    for each in value:
        if not 0 <= each < sizes[below]:
            raise ValueError(
                f"{name}: got {each}, want 0 to {sizes[below] - 1}"
            )


def _check_lists(
    name: str, value: Any, letters: str, kinds: set[type], sizes: Sizes
) -> None:
    """Want lists in lists, as deep as there are letters, of equal length."""
    letter, rest = letters[0], letters[1:]
    what = "True or False" if kinds == {bool} else "numbers"
    want = " of lists".join(["a list"] + [""] * len(rest)) + f" of {what}"
    if type(value) is not list or not value:
        got = "an empty list" if value == [] else _said(value)
        raise ValueError(f"{name}: got {got}, want {want}")
    size = sizes.setdefault(letter, len(value))
    if len(value) != size:
        raise ValueError(f"{name}: got {len(value)} for {letter}, want {size}")
    if rest:
        for part in value:
            _check_lists(name, part, rest, kinds, sizes)
    elif other := set(map(type, value)) - kinds:
        kind = min(each.__name__ for each in other)
        raise ValueError(f"{name}: got a {kind} in it, want {want}")


def _said(value: Any) -> str:
    """Say what came, without printing a list of thousands."""
    if value is None or type(value) in (int, float, bool, str):
        return repr(value)[:60]
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
