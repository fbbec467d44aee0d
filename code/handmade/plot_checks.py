"""What the figures refuse: checks apart from the drawing, which pages show."""

from collections.abc import Collection, Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np


def check_figure(xlabel: str, ylabel: str, title: str, height: float) -> None:
    """Raise ValueError for a figure without names or height."""
    check_text("xlabel", xlabel)
    check_text("ylabel", ylabel)
    check_text("title", title)
    if not (xlabel and ylabel):
        raise ValueError(
            f"xlabel, ylabel: got {xlabel!r} and {ylabel!r}, want both"
        )
    check_number("height", height)
    if not 0 < height < 100:
        raise ValueError(f"height: got {height!r}, want inches > 0")


def check_lines(x: np.ndarray, series: Any, log: str, level: Any) -> None:
    """Raise ValueError for what ``plots.lines`` cannot draw."""
    if x.ndim != 1 or not len(x):
        raise ValueError(f"x: got shape {x.shape}, want (points,)")
    if not isinstance(series, Mapping) or not series:
        raise ValueError(f"series: got {series!r:.60}, want a dict of some")
    if log not in ("", "x", "y", "xy"):
        raise ValueError(f'log: got {log!r}, want "", "x", "y" or "xy"')
    if level is not None:
        check_number("level", level)


def check_shape(
    name: str, label: str, y: np.ndarray, n: int, *, runs: bool = True
) -> None:
    """Raise ValueError where a series has not n values a run."""
    if y.ndim != 1 + runs or y.shape[-1] != n:
        want = f"({n},) or (runs, {n}), one for each x"
        raise ValueError(
            f"{name}: got shape {y.shape} for {label!r}, want "
            f"{want if runs else f'({n},), one for each label'}"
        )


def check_bars(
    labels: list[str],
    series: Mapping[str, Any],
    highlight: Any,
    numbers: str,
) -> None:
    """Raise ValueError for what ``plots.bars`` cannot draw."""
    if not labels or not series:
        raise ValueError(
            f"labels, values: got {len(labels)} and {len(series)}, want some"
        )
    n = len(labels)
    known = isinstance(highlight, Collection) and {*range(n)}
    if not known or not known.issuperset(highlight):
        raise ValueError(
            f"highlight: got {highlight!r}, want numbers below {n}"
        )
    check_format("numbers", numbers)


def check_heatmap(
    values: np.ndarray,
    xticks: Any,
    yticks: Any,
    label: str,
    limit: Any,
    numbers: str,
) -> None:
    """Raise ValueError for what ``plots.heatmap`` cannot draw."""
    check_text("label", label)
    if values.ndim != 2 or not values.size or np.isinf(values).any():
        raise ValueError(
            f"values: got shape {values.shape}, {np.isinf(values).sum()} "
            "infinite, want finite (rows, columns)"
        )
    for name, ticks, n in (
        ("xticks", as_texts("xticks", xticks), values.shape[1]),
        ("yticks", as_texts("yticks", yticks), values.shape[0]),
    ):
        if len(ticks) not in (0, n):
            raise ValueError(f"{name}: got {len(ticks)}, want {n} or none")
    if limit is not None:
        check_number("limit", limit)
        if not 0 < limit < np.inf:
            raise ValueError(f"limit: got {limit!r}, want a number > 0")
    check_format("numbers", numbers)


def check_text(name: str, value: Any) -> None:
    """Raise ValueError for what is no str."""
    if not isinstance(value, str):
        raise ValueError(f"{name}: got {value!r:.60}, want a str")


def check_number(name: str, value: Any) -> None:
    """Raise ValueError for what is not one number, or is a bool."""
    one = not getattr(value, "ndim", not isinstance(value, Real))
    if isinstance(value, bool) or not one:
        raise ValueError(f"{name}: got {value!r:.60}, want a number")


def as_numbers(name: str, values: Any) -> np.ndarray:
    """Tensors, lists and arrays alike, as float64."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    try:
        if values is None:  # numpy would make it nan
            raise TypeError("it is nothing")
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: got {values!r:.60}, want numbers ({error})"
        ) from error


def as_rows(name: str, values: Any) -> np.ndarray:
    """Numbers as a matrix; a vector is its one row."""
    found = as_numbers(name, values)
    if not found.ndim:
        raise ValueError(f"{name}: got {values!r:.60}, want several numbers")
    return np.atleast_2d(found)


def as_texts(name: str, labels: Any) -> list[str]:
    """What can be written beside a tick; of a str, its letters."""
    if not isinstance(labels, Iterable):
        raise ValueError(f"{name}: got {labels!r:.60}, want several labels")
    return [str(label) for label in labels]


def check_format(name: str, code: str) -> None:
    """Raise ValueError for what is no format of a number."""
    try:
        format(1.5, code)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'{name}: got {code!r}, want a format such as ".2f"'
        ) from error
