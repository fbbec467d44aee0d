"""Figures in one call: ``lines``, ``bars``, ``heatmap``.

Every figure is an SVG in the page's own colours, on nothing, with text that
reads on a phone. Series are labelled where they end instead of in a legend,
as far as there is room. A notebook shows a figure once, whether its cell ends
with the call or goes on. Left out: everything a page would have to fiddle
with.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from handmade.plot_axes import Array, Scale, limits, written
from handmade.plot_bars import draw_bars
from handmade.plot_bars import widest as widest_line
from handmade.plot_cells import draw_cells, draw_scale
from handmade.plot_checks import (
    as_numbers,
    as_rows,
    as_texts,
    check_bars,
    check_figure,
    check_heatmap,
    check_lines,
    check_shape,
)
from handmade.plot_frame import TICK, Frame, Series, leaning
from handmade.plot_svg import (
    LINE,
    WIDTH,
    Figure,
    colour,
    fitted,
    number,
    palette,
    show_once,
    text_width,
    wrapped,
)

INCH = 72


def lines(
    x: Sequence[float],
    series: Mapping[str, Any],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    log: str = "",
    level: float | None = None,
    height: float = 3.2,
) -> Figure:
    """Draw one line a series, each labelled at its right end.

    A series of shape (runs, len(x)) is drawn as its median with a band from
    its smallest to its largest. ``log`` is "", "x", "y" or "xy"; ``level``
    adds a thin horizontal line to compare with. A few whole numbers on a
    logarithmic x, such as 1, 2, 4, 8, are written as they are. ``height`` is
    in inches, of a figure 4.7 inches wide.
    """
    at = as_numbers("x", x)
    check_lines(at, series, log, level)
    check_figure(xlabel, ylabel, title, height)
    runs = {}
    for label, values in series.items():
        runs[label] = np.atleast_2d(as_numbers("series", values))
        check_shape("series", label, runs[label], len(at))
    drawn = [
        Series(str(label), palette(i), i, np.median(y, axis=0))
        for i, (label, y) in enumerate(runs.items())
    ]
    said = f"{ylabel} over {xlabel}: {', '.join(map(str, runs))}"
    frame = Frame(height * INCH, title, xlabel, ylabel)
    everything = [*runs.values(), np.array([] if level is None else [level])]
    low, high = limits(
        np.concatenate([y.ravel() for y in everything]), "y" in log
    )
    direct = frame.make_room(drawn)
    y_scale = Scale(low, high, frame.bottom, frame.top, "y" in log)
    y_ticks = frame.y_axis(y_scale)
    x_scale = _across(at, frame, "x" in log)
    frame.x_axis(x_scale, _named(at, x_scale))
    frame.grid(y_ticks)
    if level is not None:
        (place,) = y_scale(np.array([level]))
        frame.canvas.line(
            frame.left, place, frame.right, place, colour("ink"), 1.2
        )
    places = x_scale(at)
    for line, y in zip(drawn, runs.values(), strict=True):
        if len(y) > 1:
            band = _band(places, y_scale(y.min(0)), y_scale(y.max(0)))
            frame.canvas.area(band, colour(line.colour), 0.2)
    ends = []
    for line in drawn:
        heights = y_scale(line.values)
        frame.canvas.path(
            _path(places, heights), colour(line.colour), width=1.8,
            dash=line.dash,
        )  # fmt: skip
        finite = np.flatnonzero(np.isfinite(heights + places))
        if len(finite):
            ends.append((line, places[finite[-1]], heights[finite[-1]]))
    if direct:
        frame.label_ends(ends)
    return show_once(frame.figure(said))


def _across(at: Array, frame: Frame, log: bool) -> Scale:
    """Return the scale of x: from its first number to its last."""
    known = at[np.isfinite(at) & ((at > 0) | (not log))]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    if not low < high:
        low, high = limits(known, log)
    return Scale(low, high, frame.left, frame.right, log)


def _named(at: Array, scale: Scale) -> list[float]:
    """Return the ticks of x: the numbers themselves, if they have room."""
    whole = bool((at % 1 == 0).all())
    if scale.log and whole and 1 < len(at) <= 8:
        widest = max(text_width(written(value)) for value in at)
        if np.diff(scale(np.sort(at))).min() > widest / 2 + 10:
            return [float(value) for value in at]
    return scale.ticks(45, whole)


def _path(x: Array, y: Array) -> str:
    """Join the points; where one has no place, begin anew."""
    parts, pen, last = [], "M", ""
    for px, py in zip(x, y, strict=True):
        if not np.isfinite(px + py):
            pen = "M"
            continue
        point = f"{number(px)} {number(py)}"
        if pen == "M" or point != last:
            parts.append(f"{pen}{point}")
        pen, last = "L", point
    return "".join(parts)


def _band(x: Array, low: Array, high: Array) -> str:
    """Go along the smallest numbers and back along the largest."""
    known = np.isfinite(x + low + high)
    if not known.any():
        return ""
    there = _path(x[known], low[known])
    back = _path(x[known][::-1], high[known][::-1])
    return f"{there}L{back[1:]}z"


def bars(
    labels: Sequence[str],
    values: Any,
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    highlight: Sequence[int] = (),
    numbers: str = "",
    height: float = 3.2,
) -> Figure:
    """Draw one bar a label; or, from a dict, one bar a series and label.

    ``highlight`` lists bars to draw in the second colour (one series only);
    ``numbers`` is a format such as ".2f" for the values beside the bars.
    Bars lie down where their labels or numbers would not fit side by side.
    """
    series = values if isinstance(values, Mapping) else {"": values}
    labels = as_texts("labels", labels)
    check_bars(labels, series, highlight, numbers)
    check_figure(xlabel, ylabel, title, height)
    drawn = []
    for i, (name, heights) in enumerate(series.items()):
        heights = as_numbers("values", heights)
        check_shape("values", name, heights, len(labels), runs=False)
        drawn.append(Series(str(name), palette(i), i, heights))
    named = f" for {', '.join(map(str, series))}" if len(series) > 1 else ""
    said = f"{ylabel} by {xlabel}{named}: {', '.join(labels)}"
    slot = (WIDTH - 45) / len(labels)
    texts = [format(h, numbers) for line in drawn for h in line.values]
    widest = max(text_width(text) for text in texts) if numbers else 0
    counted = all(label.isdecimal() for label in labels)
    wide = widest_line(labels)
    down = widest > slot * 0.85 / len(drawn) + 3
    down |= wide > slot - 3 and not counted
    if down:
        rows = [wrapped(label, TICK) for label in labels]
        labels = ["\n".join(row) for row in rows]
        most = max(len(drawn), *map(len, rows))
        inside = max(20, 4 + LINE * most) * len(labels)
        # the value's name is at the bottom now, the labels' on top
        below = 0 if numbers else LINE
        frame = Frame(0, title, ylabel, xlabel, below=below)
        frame.make_room(drawn, legend=len(series) > 1)
        frame.grow(inside)
        frame.left = 6 + widest_line(labels)
    else:
        below = LINE * (1 + max(label.count("\n") for label in labels))
        frame = Frame(height * INCH, title, xlabel, ylabel, below=below)
        frame.make_room(drawn, legend=len(series) > 1)
    draw_bars(frame, labels, drawn, down, set(highlight), numbers)
    return show_once(frame.figure(said))


def heatmap(
    values: Any,
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    xticks: Sequence[str] = (),
    yticks: Sequence[str] = (),
    label: str = "",
    numbers: str = "",
    limit: float | None = None,
    height: float | None = None,
) -> Figure:
    """Draw a matrix (rows down, columns across) as coloured cells.

    Zero is the page's colour, negative numbers are orange and positive ones
    blue. ``limit`` is the value drawn in full colour, ``numbers`` a format
    such as ".2f" to write in the cells where they have room, ``label`` the
    name of the colour scale.
    """
    values = as_rows("values", values)
    check_heatmap(values, xticks, yticks, label, limit, numbers)
    check_figure(xlabel, ylabel, title, 1 if height is None else height)
    limit = limit or float(np.nanmax(np.abs(values), initial=1e-12))
    signed = bool((values < 0).any())
    rows, columns = values.shape
    across, along = (
        [fitted(name, TICK) for name in as_texts("ticks", ticks)]
        for ticks in (xticks, yticks)
    )
    said = f"{rows} by {columns} cells: {ylabel} down, {xlabel} across"
    left = 6 + max(map(text_width, along or ["000"]))
    texts = [format(v, numbers).replace("-", "−") for v in values.ravel()]
    widest = max(map(text_width, texts)) if numbers else 0.0
    write = bool(numbers) and widest <= (WIDTH - left - 4) / columns
    right = WIDTH - 4 if write else WIDTH - 54
    slot = (right - left) / columns
    turn = max(map(text_width, across or [""])) > slot - 4 and slot >= 13
    below = leaning(across) if turn else LINE
    inside = rows / columns * (right - left)
    frame = Frame(
        0, title, f"{xlabel} →", f"{ylabel} ↓", below=below,
        legend="" if write else label,
    )  # fmt: skip
    tall = 16 * rows if along or write else 0
    least, most = max(80, tall), max(260, tall)
    frame.grow(min(most, max(least, inside)))
    if height is not None:
        frame.resize(height * INCH)
    frame.left, frame.right = left, right
    box = frame.left, frame.top, frame.right, frame.bottom
    draw_cells(
        frame.canvas, box, values / limit, texts if write else [], numbers
    )
    if not write:
        draw_scale(frame.canvas, box, limit, signed)
    frame.name_cells(across, along, rows, columns, turn)
    return show_once(frame.figure(said))
