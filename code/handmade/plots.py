"""Figures in one call: ``lines``, ``bars``, ``heatmap``.

Every figure has a transparent background, mid-grey text that can be read on
white and on near-black, and colours that survive colour blindness (Okabe and
Ito's). Series are labelled where they end instead of in a legend. A call
draws and returns None, so a cell that ends with it shows the picture alone.
Left out: everything a page would have to fiddle with.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from handmade.plot_checks import (
    as_numbers,
    as_texts,
    check_bars,
    check_figure,
    check_heatmap,
    check_lines,
    check_shape,
)

GREY = "#7a7a7a"  # 4.3 : 1 against white, 4.4 : 1 against #121212
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#b8629a", GREY)
STYLES = ("-", "--", "-.", ":", "-")
_BLUE, _ORANGE = (0, 0.447, 0.698), (0.835, 0.369, 0)
# from nothing to a colour: the page's own background is the zero
_POSITIVE = LinearSegmentedColormap.from_list(
    "positive", [(*_BLUE, 0.0), (*_BLUE, 1.0)]
)
_SIGNED = LinearSegmentedColormap.from_list(
    "signed",
    [
        (0.0, (*_ORANGE, 1.0)),
        (0.5, (*_ORANGE, 0.0)),
        (0.5, (*_BLUE, 0.0)),
        (1.0, (*_BLUE, 1.0)),
    ],
)
# under written numbers the cells are opaque, or no ink suits both schemes
_PAPER = "#eef4f8"
STYLE = {
    "figure.dpi": 150,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.titlecolor": GREY,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "font.size": 10,
    "text.color": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.8,
    "path.simplify": True,
}


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
) -> None:
    """Draw one line a series, each labelled at its right end.

    A series of shape (runs, len(x)) is drawn as its median with a band from
    its smallest to its largest. ``log`` is "", "x", "y" or "xy"; ``level``
    adds a thin horizontal line to compare with. A few whole numbers on a
    logarithmic x, such as 1, 2, 4, 8, are written as they are.
    """
    at = as_numbers("x", x)
    check_lines(at, series, log)
    with _figure(xlabel, ylabel, title, height) as ax:
        ends = []
        for i, (label, values) in enumerate(series.items()):
            y = np.atleast_2d(as_numbers("series", values))
            check_shape("series", label, y, len(at))
            colour = PALETTE[i % len(PALETTE)]
            middle = np.median(y, axis=0)
            style = STYLES[i % len(STYLES)]
            ax.plot(at, middle, style, color=colour)
            if len(y) > 1:
                low, high = y.min(0), y.max(0)
                ax.fill_between(at, low, high, color=colour, alpha=0.2, lw=0)
            finite = np.flatnonzero(np.isfinite(middle))
            if len(finite):
                last = finite[-1]
                ends.append((at[last], middle[last], label, colour))
        if "x" in log:
            ax.set_xscale("log")
            if len(at) <= 8 and (at % 1 == 0).all() and _far_apart(at):
                ax.set_xticks(at, [f"{value:,.0f}" for value in at])
                ax.set_xticks([], minor=True)
        if "y" in log:
            ax.set_yscale("log")
        if level is not None:
            ax.axhline(level, color=GREY, lw=0.8)
        ax.grid(True)
        _label_ends(ax, ends)


def _far_apart(x: np.ndarray) -> bool:
    """True where labels at x do not touch on a logarithmic axis."""
    return len(x) > 1 and bool((x[1:] >= 1.8 * x[:-1]).all())


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
) -> None:
    """Draw one bar a label; or, from a dict, one bar a series and label.

    ``highlight`` lists bars to draw in the second colour (one series only);
    ``numbers`` is a format such as ".2f" for the values above the bars.
    """
    series = values if isinstance(values, Mapping) else {"": values}
    labels = as_texts("labels", labels)
    at = np.arange(len(labels))
    check_bars(labels, series, highlight, numbers)
    width = 0.8 / len(series)
    with _figure(xlabel, ylabel, title, height) as ax:
        for i, (name, heights) in enumerate(series.items()):
            heights = as_numbers("values", heights)
            check_shape("values", name, heights, len(at), runs=False)
            offset = (i - (len(series) - 1) / 2) * width
            colours = [
                PALETTE[1 if j in highlight else i % len(PALETTE)] for j in at
            ]
            drawn = ax.bar(at + offset, heights, width * 0.9, color=colours)
            if numbers:
                texts = [format(h, numbers) for h in heights]
                ax.bar_label(drawn, texts, color=GREY, fontsize=9, padding=2)
            if name:
                # an empty bar carries the name: drawn bars may differ
                ax.bar([0], [0], color=PALETTE[i % len(PALETTE)], label=name)
        if len(series) > 1:
            ax.legend(frameon=False, labelcolor=GREY)
        ax.set_xticks(at, labels)
        ax.grid(True, axis="y")


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
) -> None:
    """Draw a matrix (rows down, columns across) as coloured cells.

    Zero is transparent, negative numbers are orange and positive ones blue.
    ``limit`` is the value drawn in full colour, ``numbers`` a format such as
    ".2f" to write in the cells, ``label`` the name of the colour scale.
    """
    values = np.atleast_2d(as_numbers("values", values))
    check_heatmap(values, xticks, yticks, limit, numbers)
    limit = limit or float(np.nanmax(np.abs(values), initial=1e-12))
    signed = bool((values < 0).any())
    rows, columns = values.shape
    height = height or min(4.5, max(1.6, 0.9 + 4.6 * rows / columns))
    with _figure(xlabel, ylabel, title, height) as ax:
        if numbers:
            ax.patch.set_facecolor(_PAPER)
        image = ax.imshow(
            values,
            cmap=_SIGNED if signed else _POSITIVE,
            vmin=-limit if signed else 0,
            vmax=limit,
            aspect="auto",
            interpolation="nearest",
        )
        if not numbers:
            bar = ax.figure.colorbar(image, ax=ax, pad=0.02)
            bar.set_label(label)
            bar.outline.set_visible(False)
        if len(xticks):
            turned = 60 if max(map(len, map(str, xticks))) > 3 else 0
            ax.set_xticks(
                range(columns), list(map(str, xticks)), rotation=turned
            )
        if len(yticks):
            ax.set_yticks(range(rows), list(map(str, yticks)))
        if numbers:
            for (i, j), value in np.ndenumerate(values):
                dark = abs(value) > 0.85 * limit
                colour = "white" if dark else "#1a1a1a"
                text = format(value, numbers)
                ax.text(j, i, text, color=colour, ha="center", va="center")


@contextlib.contextmanager
def _figure(
    xlabel: str, ylabel: str, title: str, height: float
) -> Iterator[Axes]:
    check_figure(xlabel, ylabel, height)
    with mpl.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(5.6, height), layout="tight")
        try:
            yield ax
        except Exception:
            plt.close(figure)  # a half-drawn figure must not be shown
            raise
        ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
        interactive = mpl.is_interactive()
    # a notebook's backend turns interactive mode on as its first figure is
    # made; undone with the style, no later figure would be shown
    mpl.interactive(interactive)


def _label_ends(ax: Axes, ends: list[tuple]) -> None:
    """Write the labels right of the lines' ends, moved apart where close."""
    if [label for *_, label, _ in ends] in ([], [""]):
        return
    ax.figure.canvas.draw()  # fixes the scales, so pixels can be asked for
    axes = ax.transAxes.inverted()
    heights = []
    for x, y, _, _ in ends:
        pixels = ax.transData.transform((x, y))
        heights.append(float(axes.transform(pixels)[1]))
    gap = 0.075 * 3.2 / ax.figure.get_figheight()
    order = np.argsort(heights)
    placed = dict.fromkeys(range(len(ends)), 0.0)
    floor = -np.inf
    for i in order:
        placed[i] = floor = max(heights[i], floor + gap)
    for i, (_, _, label, colour) in enumerate(ends):
        ax.text(
            1.02,
            placed[i],
            label,
            color=colour,
            transform=ax.transAxes,
            va="center",
        )
