"""Bars that stand, or lie where their names would not fit side by side."""

from collections.abc import Sequence

import numpy as np

from handmade.plot_axes import Scale, limits
from handmade.plot_frame import Frame, Series
from handmade.plot_svg import (
    WIDTH,
    colour,
    number,
    palette,
    text_width,
)


def draw_bars(
    frame: Frame,
    labels: list[str],
    drawn: list[Series],
    down: bool,
    highlight: set[int],
    numbers: str,
) -> None:
    """Draw the bars, standing or lying, from zero to their numbers."""
    everything = np.concatenate([line.values for line in drawn])
    low, high = limits(everything, log=False, zero=True)
    texts = [format(h, numbers) for h in everything] if numbers else [""]
    room = 4 + max(map(text_width, texts)) if down else 10 if numbers else 0
    less, more = room * (low < 0), room * (high > 0)
    if down:
        frame.right = WIDTH - 6
        start, end = frame.left + less, frame.right - more
    else:
        start, end = frame.bottom - less, frame.top + more
    scale = Scale(low, high, start, end)
    if down:
        frame.x_axis(scale, [] if numbers else scale.ticks(55), grid=True)
    else:
        ticks = frame.y_axis(scale, named=not numbers)
        frame.grid([] if numbers else ticks)
    first, last = (
        (frame.top, frame.bottom) if down else (frame.left, frame.right)
    )
    slot = (last - first) / len(labels)
    every = 1 if down else 1 + int(widest(labels) / slot)
    zero = float(scale(0.0))
    thick = 0.82 * slot / len(drawn)
    for j, label in enumerate(labels):
        middle = first + (j + 0.5) * slot
        if down:
            frame.tick_name(middle, label)
        elif j % every == 0:
            frame.tick_label(middle, label)
        for i, line in enumerate(drawn):
            value = line.values[j]
            side = middle + (i - len(drawn) / 2) * thick
            tip = float(scale(value)) if np.isfinite(value) else zero
            box = (zero, side, tip, side + thick * 0.92)
            name = palette(1) if j in highlight else line.colour
            frame.canvas.area(_box(*box, turn=not down), colour(name))
            if numbers:
                text = format(value, numbers).replace("-", "−")
                sign = -1 if value < 0 else 1
                across = side + thick * 0.46
                if down:
                    frame.canvas.lines(
                        tip + 4 * sign, across, [text],
                        anchor="end" if sign < 0 else "start",
                    )  # fmt: skip
                else:
                    frame.canvas.text(
                        across, tip - 4 if sign > 0 else tip + 13, text,
                        anchor="middle",
                    )  # fmt: skip
    if down:
        frame.canvas.line(zero, frame.top, zero, frame.bottom, colour("ink"))
    else:
        frame.canvas.line(frame.left, zero, frame.right, zero, colour("ink"))


def widest(labels: Sequence[str]) -> float:
    """Return how wide the widest line of all labels is."""
    return max(text_width(row) for name in labels for row in name.split("\n"))


def _box(x1: float, y1: float, x2: float, y2: float, *, turn: bool) -> str:
    """Return the path of a rectangle; turned, x and y change places."""
    if turn:
        x1, y1, x2, y2 = y1, x1, y2, x2
    return (
        f"M{number(x1)} {number(y1)}H{number(x2)}V{number(y2)}H{number(x1)}z"
    )
