"""A drawing as SVG that takes the colours of the page it stands in.

Every colour is a variable of the page's style sheet, with a fallback that
reads on white and on near-black: Jupyter and GitHub have no such variables.
Text stays text, in the page's font. A drawing is 340 units wide, a phone
less its margins, and its text 12 units: it can grow, not shrink.

Left out: ids and style sheets, which would have to be unique in a page, as
far as a drawing can do without.
"""

import sys
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

WIDTH = 340
SHOWN = 460  # pixels wide where there is room
SIZE = 12
LINE = 15  # from one line of text to the next
PAPER = "#eef4f8"
FALLBACKS = {
    "ink": "#7a7a7a",  # 4.3 : 1 against white, 4.4 : 1 against #121212
    "muted": "#7a7a7a",
    "grid": "rgba(122,122,122,.3)",
    "c1": "#0072b2",
    "c2": "#d55e00",
    "c3": "#009e73",
    "c4": "#b8629a",
    "c5": "#85851a",
    "c6": "#7a7a7a",
    "good": "#2f8f4a",
    "bad": "#d8423c",
}
FONT = (
    "var(--pst-font-family-base,system-ui,-apple-system,'Segoe UI',"
    "Helvetica,Arial,sans-serif)"
)
# the width of a letter as a share of its size, as wide fonts have it
_NARROW, _WIDE = set("ijl.,:;'|! ftr()[]/I·"), set("mwMW%@→≤…−—")


def colour(name: str, fallback: str = "") -> str:
    """Return the page's colour of this name, as CSS."""
    return f"var(--hm-{name},{fallback or FALLBACKS[name]})"


def palette(i: int) -> str:
    """Return the name of the i-th colour of the palette."""
    return f"c{i % 6 + 1}"


def text_width(text: str, size: float = SIZE) -> float:
    """Return how wide a text may get, in any of the usual fonts."""
    ems = 0.0
    for letter in text:
        if letter in _NARROW:
            ems += 0.38
        elif letter in _WIDE:
            ems += 0.95
        else:
            ems += 0.72 if letter.isupper() else 0.64
    return ems * size


def wrapped(text: str, width: float) -> list[str]:
    """Break a text into lines no wider than this, between words."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(fitted(word, width))
    return lines


def fitted(text: str, width: float) -> str:
    """Return as much of a text as has room."""
    if text_width(text) <= width:
        return text
    while text and text_width(text) > width - SIZE:
        text = text[:-1]
    return text + "…"


def number(value: float) -> str:
    """Write a coordinate: a tenth of a unit is less than a pixel."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def escaped(text: str) -> str:
    """Write a text so that it is one, without what XML cannot hold."""
    spaced = "".join(" " if c.isspace() else c for c in text)
    return escape("".join(c if c.isprintable() else "\ufffd" for c in spaced))


class Canvas:
    """Marks on a drawing, in the order they are painted."""

    def __init__(self) -> None:
        self.marks: list[str] = []

    def path(
        self,
        d: str,
        stroke: str,
        *,
        width: float = 1.0,
        dash: str = "",
        opacity: float = 1.0,
    ) -> None:
        """Draw along a path."""
        more = f' stroke-dasharray="{dash}"' if dash else ""
        more += f' stroke-opacity="{opacity:g}"' if opacity < 1 else ""
        self.marks.append(
            f'<path d="{d}" style="fill:none;stroke:{stroke}" '
            f'stroke-width="{width:g}" stroke-linejoin="round"{more}/>'
        )

    def line(
        self, x1: float, y1: float, x2: float, y2: float, stroke: str,
        width: float = 1.0, opacity: float = 1.0,
    ) -> None:  # fmt: skip
        """Draw a straight line."""
        d = f"M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}"
        self.path(d, stroke, width=width, opacity=opacity)

    def area(
        self, d: str, fill: str, opacity: float = 1.0, crisp: bool = False
    ) -> None:
        """Fill a path; crisp where areas touch without a seam."""
        more = f' fill-opacity="{opacity:.2g}"' if opacity < 1 else ""
        more += ' shape-rendering="crispEdges"' if crisp else ""
        self.marks.append(f'<path d="{d}" style="fill:{fill}"{more}/>')

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        fill: str = "",
        anchor: str = "",
        turned: float = 0,
        bold: bool = False,
    ) -> None:
        """Write one line, its base line at y."""
        more = f' style="fill:{fill}"' if fill else ""
        more += f' text-anchor="{anchor}"' if anchor else ""
        more += ' font-weight="600"' if bold else ""
        at = f'x="{number(x)}" y="{number(y)}"'
        if turned:
            at += f' transform="rotate({turned:g} {number(x)} {number(y)})"'
        self.marks.append(f"<text {at}{more}>{escaped(text)}</text>")

    def lines(
        self,
        x: float,
        middle: float,
        lines: Sequence[str],
        *,
        fill: str = "",
        anchor: str = "",
    ) -> None:
        """Write lines one below the other around a height."""
        top = middle - LINE * (len(lines) - 1) / 2 + 0.36 * SIZE
        for i, line in enumerate(lines):
            self.text(x, top + LINE * i, line, fill=fill, anchor=anchor)

    def figure(self, height: float, said: str) -> "Figure":
        """Return what was drawn; ``said`` is for those who do not see it."""
        size = f'width="{SHOWN}" height="{SHOWN * height / WIDTH:.0f}"'
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
            f'viewBox="0 0 {WIDTH} {number(height)}" role="img" '
            'style="max-width:100%;height:auto;'
            f'font-family:{FONT}" font-size="{SIZE}">'
            f"<desc>{escaped(said)}</desc>"
            f'<g style="fill:{colour("ink")}">{"".join(self.marks)}</g></svg>'
        )
        return Figure(svg, said)


class Figure:
    """A drawing that a notebook shows by itself, once.

    ``svg`` is its text; printed, it says in words what is drawn.
    """

    def __init__(self, svg: str, said: str) -> None:
        self.svg, self.said = svg, said

    def __repr__(self) -> str:
        return self.said

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        if self in _waiting:
            _waiting.remove(self)
        return {"image/svg+xml": self.svg, "text/plain": self.said}


# drawn by the cell that is running, not shown yet
_waiting: list[Figure] = []


def show_once(figure: Figure) -> Figure:
    """See that a notebook shows it, at the latest when its cell ends.

    So it is the same whether a cell ends with the call or goes on after it.
    """
    if shell := _shell():
        _waiting.append(figure)
        if _show_waiting not in shell.events.callbacks["post_execute"]:
            shell.events.register("post_execute", _show_waiting)
    return figure


def _shell() -> Any:
    """Return the notebook that is running us, if one is."""
    if "IPython" not in sys.modules:
        return None
    get: Callable[[], Any] = sys.modules["IPython"].get_ipython
    return get()


def _show_waiting() -> None:
    from IPython.display import display

    for figure in list(_waiting):
        display(figure)
