"""What stands around the data: names, ticks, grid, labels of the lines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from handmade.plot_axes import Array, Scale, written
from handmade.plot_svg import (
    LINE,
    SIZE,
    WIDTH,
    Canvas,
    Figure,
    colour,
    fitted,
    number,
    text_width,
    wrapped,
)

DASHES = ("", "6 3", "6 3 1.5 3", "1.5 2.5", "10 3", "3 3")
LABEL = 108  # units beside a line, then its label wraps
TICK = 150  # units of a tick's name


@dataclass(frozen=True)
class Series:
    """One line, or the bars of one colour, and its name."""

    label: str
    colour: str
    index: int
    values: Array

    @property
    def dash(self) -> str:
        """Return its pattern: colour is not all that tells it apart."""
        return DASHES[self.index % len(DASHES)]

    def rows(self) -> list[str]:
        """Return its name, wrapped."""
        return wrapped(self.label, LABEL) or [""]


class Frame:
    """The part of a drawing that is left for the data, and its edges.

    The name of the vertical axis stands on top: turned by 90 degrees it
    would cost a phone width, and the reader a turned head. ``below`` is what
    the ticks' names take, ``legend`` the name of a colour scale.
    """

    def __init__(
        self,
        height: float,
        title: str,
        xlabel: str,
        ylabel: str,
        *,
        below: float = LINE,
        legend: str = "",
    ) -> None:
        self.canvas = Canvas()
        self.names, self.below = wrapped(xlabel, WIDTH), below
        self.left, self.right, self.top = 6.0, WIDTH - 8.0, 4.0
        # bold letters are wider
        bold, named = wrapped(title, WIDTH / 1.12), wrapped(ylabel, WIDTH)
        for i, row in enumerate([*bold, *named]):
            self.top += LINE
            self.canvas.text(0, self.top - 4, row, bold=i < len(bold))
        if legend := fitted(legend, WIDTH):
            used = text_width("".join(named[-1:]))
            if used + text_width(legend) > WIDTH - 20:
                self.top += LINE
            self.canvas.text(WIDTH, self.top - 4, legend, anchor="end")
        self.top += 5
        self.height = height
        self.bottom = height - self._foot()

    def _foot(self) -> float:
        return 10 + self.below + LINE * len(self.names)

    def grow(self, inside: float) -> None:
        """Make it as high as takes so much inside."""
        self.bottom = self.top + inside
        self.height = self.bottom + self._foot()

    def resize(self, height: float) -> None:
        """Make it so high in all, and the inside what is left."""
        self.height = max(height, self.top + 40 + self._foot())
        self.bottom = self.height - self._foot()

    def make_room(
        self, drawn: Sequence[Series], *, legend: bool | None = None
    ) -> bool:
        """Keep the right side for the labels of the lines, or say False.

        Where they are too many or too long, a legend goes on top.
        """
        rows = [row for series in drawn for row in series.rows()]
        direct = (
            legend is None
            and not any(row.endswith("…") for row in rows)
            and LINE * len(rows) <= self.bottom - self.top + LINE
        )
        if direct:
            widest = max(map(text_width, rows), default=0)
            self.right = WIDTH - (widest + 10 if widest else 8)
        elif legend is not False:
            self._legend(drawn, dashed=legend is None)
        return direct

    def _legend(self, drawn: Sequence[Series], *, dashed: bool) -> None:
        x = 0.0
        for series in drawn:
            label = fitted(series.label, WIDTH - 30)
            wide = 24 + text_width(label)
            if x and x + wide > WIDTH:
                x, self.top = 0.0, self.top + LINE
            middle = self.top + LINE / 2 - 4
            ink = colour(series.colour)
            sample = f"M{number(x)} {number(middle)}h18"
            dash = series.dash if dashed else ""
            self.canvas.path(sample, ink, width=3, dash=dash)
            self.canvas.lines(x + 22, middle, [label], fill=ink)
            x += wide + 10
        self.top += LINE + 4
        if self.height and self.bottom < self.top + 80:
            self.grow(80)

    def y_axis(self, scale: Scale, *, named: bool = True) -> list[float]:
        """Name the ticks at the left; return where they are."""
        ticks = scale.ticks(32) if named else []
        names = [written(tick) for tick in ticks]
        self.left = 6 + max(map(text_width, names), default=0)
        places = [float(place) for place in scale(np.array(ticks))]
        for place, name in zip(places, names, strict=True):
            self.tick_name(place, name)
        return places

    def grid(self, places: Sequence[float]) -> None:
        """Draw thin lines across."""
        for place in places:
            self.canvas.line(
                self.left, place, self.right, place, colour("grid"), 0.8
            )

    def x_axis(
        self, scale: Scale, ticks: Sequence[float], *, grid: bool = False
    ) -> None:
        """Name the ticks below; mark them, or draw lines up from them."""
        places = scale(np.array(ticks))
        ink = colour("grid" if grid else "ink")
        for tick, place in zip(ticks, places, strict=True):
            top = self.top if grid else self.bottom + 4
            self.canvas.line(place, top, place, self.bottom, ink, 0.8)
            self.tick_label(float(place), written(tick))
        if not grid:
            self.canvas.line(
                self.left, self.bottom, self.right, self.bottom, ink, 0.8
            )

    def tick_name(self, y: float, name: str) -> None:
        """Write a tick's name at the left."""
        rows = name.split("\n")
        self.canvas.lines(self.left - 6, y, rows, anchor="end")

    def tick_label(self, x: float, name: str) -> None:
        """Write a tick's name below, but not over the edge."""
        rows = name.split("\n")
        half = max(map(text_width, rows)) / 2
        x = min(max(x, half), WIDTH - half)
        for i, row in enumerate(rows):
            y = self.bottom + 4 + SIZE + LINE * i
            self.canvas.text(x, y, row, anchor="middle")

    def label_ends(self, ends: Sequence[tuple[Series, float, float]]) -> None:
        """Write the names right of the lines' ends, apart where close."""
        if all(not line.label for line, _, _ in ends):
            return
        order = sorted(ends, key=lambda end: end[2])
        sizes = [LINE * len(line.rows()) for line, _, _ in order]
        middles = apart(
            [y for _, _, y in order], sizes,
            self.top - LINE / 2, self.bottom + LINE / 2,
        )  # fmt: skip
        for (line, x, y), middle in zip(order, middles, strict=True):
            ink = colour(line.colour)
            at = self.right + 8
            if abs(middle - y) > 5 or x < self.right - 4:
                self.canvas.line(
                    x + 1, y, at - 2, middle, ink, 0.8, opacity=0.6
                )
            self.canvas.lines(at, middle, line.rows(), fill=ink)

    def name_cells(
        self,
        across: Sequence[str],
        along: Sequence[str],
        rows: int,
        columns: int,
        turn: bool,
    ) -> None:
        """Name the columns and rows of a heatmap, or number some."""
        slot = (self.right - self.left) / columns
        for j, name in _some(across, columns, slot, 13 if turn else 0):
            middle = self.left + (j + 0.5) * slot
            if turn:
                self.canvas.text(
                    middle + 4, self.bottom + 14, name, anchor="end",
                    turned=-60,
                )  # fmt: skip
            else:
                self.tick_label(middle, name)
        slot = (self.bottom - self.top) / rows
        for i, name in _some(along, rows, slot, 13 if along else 20):
            middle = self.top + (i + 0.5) * slot
            # not into the axis' own name, where rows are thin
            self.tick_name(max(middle, self.top + SIZE / 2), name)

    def figure(self, said: str) -> Figure:
        """Write the name of the horizontal axis, and end."""
        middle = (self.left + self.right) / 2
        for i, name in enumerate(reversed(self.names)):
            half = text_width(name) / 2
            x = min(max(middle, half), WIDTH - half)
            y = self.height - 5 - LINE * i
            self.canvas.text(x, y, name, anchor="middle")
        return self.canvas.figure(self.height, said)


def _some(
    names: Sequence[str], n: int, slot: float, size: float
) -> list[tuple[int, str]]:
    """Return the cells to name: all that have room, from the first."""
    named = names or [str(i) for i in range(n)]
    size = size or max(map(text_width, named)) + 6
    every = max(1, int(np.ceil(size / slot)))
    if not names and every > 1:  # 0, 10, 20 instead of 0, 7, 14
        every = next((k for k in (2, 5, 10, 20, 50, 100) if k >= every), every)
    return list(enumerate(named))[::every]


def apart(
    wanted: Sequence[float], sizes: Sequence[float], low: float, high: float
) -> list[float]:
    """Move what stands in order at ``wanted`` so that nothing overlaps."""
    placed: list[float] = []
    floor = low
    for middle, size in zip(wanted, sizes, strict=True):
        placed.append(max(middle, floor + size / 2))
        floor = placed[-1] + size / 2
    ceiling = high
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], ceiling - sizes[i] / 2)
        ceiling = placed[i] - sizes[i] / 2
    return placed


def leaning(names: Sequence[str]) -> float:
    """Return the height of names that lean by 60 degrees."""
    return 0.87 * max(map(text_width, names), default=0) + SIZE + 2
