"""The drawing language of the book's diagrams: few signs, one style.

An operation is a filled, rounded box; a tensor is its name, its shape in
small letters under it; an arrow is what flows. Everything is drawn as
wide as a phone is, so that its letters, 12 pixels or more, stay so there.
Colours are the page's variables, with fallbacks for a notebook, where the
drawing lies on a sheet of its own.

Left out: ids, styles and markers, so that a drawing can stand in any page.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import Any

from handmade.diagrams.writing import SIZE, number

WIDTH = 356  # where a phone of 390 pixels leaves 358

INK = "var(--hm-ink, #24292f)"
PAPER = "var(--hm-paper, #ffffff)"
MUTED = "var(--hm-muted, #6a737d)"
GRID = "var(--hm-grid, #d9dde2)"
ACCENT = "var(--hm-accent, #0067a3)"
PALETTE = (
    "var(--hm-c1, #0067a3)",
    "var(--hm-c2, #b84e00)",
    "var(--hm-c3, #007a57)",
    "var(--hm-c4, #a04c86)",
    "var(--hm-c5, #6a6a00)",
    "var(--hm-c6, #6a737d)",
)
TINT = 0.13  # of a box: its colour on the paper
SANS = "system-ui, -apple-system, 'Segoe UI', sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"


@dataclass(frozen=True)
class Drawing:
    """A drawing that shows itself in a notebook, and says what it shows."""

    svg: str
    alt: str

    def _repr_mimebundle_(self, **_: Any) -> Mapping[str, str]:
        return {"image/svg+xml": self.svg, "text/plain": self.alt}

    def __str__(self) -> str:
        return self.alt


@dataclass
class Canvas:
    """What is drawn so far. Coordinates are pixels, y goes down."""

    width: float = WIDTH
    parts: list[str] = field(default_factory=list)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = SIZE,
        colour: str = INK,
        anchor: str = "middle",
        mono: bool = False,
        bold: bool = False,
        up: bool = False,
    ) -> None:
        """Write words with their middle at height y; ``up``: turned."""
        more = ' class="hm-mono"' if mono else ""
        if mono:
            more += f' font-family="{MONO}"'
        if bold:
            more += ' font-weight="600"'
        if anchor != "start":
            more += f' text-anchor="{anchor}"'
        below = y + 0.35 * size
        if up:
            # turned about the words' middle
            more += f' transform="rotate(-90 {number(x)} {number(y)})"'
        self.parts.append(
            f'<text x="{number(x)}" y="{number(below)}" '
            f'font-size="{number(size)}" fill="{colour}"{more}>'
            f"{escape(words, quote=False)}</text>"
        )

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        colour: str = ACCENT,
        tint: float = TINT,
        line: str | None = None,
        corner: float = 6,
        dashed: bool = False,
        thick: float = 1.25,
    ) -> None:
        """Draw a box with its corner at (x, y), outlined unless line=""."""
        line = colour if line is None else line
        more = f' stroke="{line}" stroke-width="{thick:g}"' if line else ""
        if dashed:
            more += ' stroke-dasharray="4 3"'
        if corner:
            more += f' rx="{number(corner)}"'
        fill = f'fill="{colour}" fill-opacity="{number(tint)}"'
        if tint == 0:
            fill = 'fill="none"'
        elif tint == 1:
            fill = f'fill="{colour}"'
        self.parts.append(
            f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" '
            f'height="{number(height)}" {fill}{more}/>'
        )

    def circle(
        self,
        x: float,
        y: float,
        radius: float,
        *,
        colour: str = ACCENT,
        tint: float = TINT,
    ) -> None:
        """Draw a circle around (x, y)."""
        self.parts.append(
            f'<circle cx="{number(x)}" cy="{number(y)}" '
            f'r="{number(radius)}" fill="{colour}" '
            f'fill-opacity="{number(tint)}" stroke="{colour}" '
            'stroke-width="1.25"/>'
        )

    def path(
        self,
        d: str,
        *,
        colour: str = MUTED,
        thick: float = 1.5,
        filled: bool = False,
        opacity: float = 1,
        title: str = "",
    ) -> None:
        """Draw a path: a line, or what it encloses; a mouse reads titles."""
        paint = (
            f'fill="{colour}"'
            if filled
            else f'fill="none" stroke="{colour}" stroke-width="{thick:g}"'
        )
        if opacity != 1:
            paint += f' opacity="{number(opacity)}"'
        end = "/>"
        if title:
            end = f"><title>{escape(title, quote=False)}</title></path>"
        self.parts.append(f'<path d="{d}" {paint}{end}')

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        label: str,
        *,
        colour: str = ACCENT,
        lit: bool = False,
        dashed: bool = False,
    ) -> None:
        """Draw an operation, its name in it; (x, y) is its middle."""
        left, top = x - width / 2, y - height / 2
        self.rect(
            left,
            top,
            width,
            height,
            colour=colour,
            tint=1 if lit else TINT,
            dashed=dashed,
        )
        self.text(x, y, label, colour=PAPER if lit else INK)

    def head(
        self,
        x: float,
        y: float,
        toward: str = "down",
        *,
        colour: str = MUTED,
        scale: float = 1,
    ) -> None:
        """Draw the head of an arrow whose point is at (x, y)."""
        dx, dy = {
            "down": (0, -1),
            "up": (0, 1),
            "right": (-1, 0),
            "left": (1, 0),
        }[toward]
        long, half = 7 * scale, 3.5 * scale
        back = [
            (long * dx + half * s * dy, long * dy + half * s * dx)
            for s in (1, -1)
        ]
        corners = " ".join(
            f"L{number(x + bx)} {number(y + by)}" for bx, by in back
        )
        self.path(
            f"M{number(x)} {number(y)} {corners}Z", colour=colour, filled=True
        )

    def arrow(
        self,
        x: float,
        y: float,
        to_x: float,
        to_y: float,
        *,
        colour: str = MUTED,
        thick: float = 1.5,
    ) -> None:
        """Draw a straight arrow, upright or level."""
        if x == to_x:
            toward = "down" if to_y > y else "up"
            ends = (to_x, to_y - 5 if to_y > y else to_y + 5)
        else:
            toward = "right" if to_x > x else "left"
            ends = (to_x - 5 if to_x > x else to_x + 5, to_y)
        self.path(
            f"M{number(x)} {number(y)}L{number(ends[0])} {number(ends[1])}",
            colour=colour,
            thick=thick,
        )
        self.head(to_x, to_y, toward, colour=colour)

    def flow_line(
        self,
        points: Sequence[tuple[float, float]],
        side: tuple[float, float] | None = None,
    ) -> None:
        """Draw an arrow down through rows: straight in them, smooth between.

        It ends at its last point, or at a ``side``, which it enters level.
        """
        (x, y), *others = points
        end_x, end_y = side or points[-1]
        if side is None:
            others[-1] = (end_x, end_y - 5)
        else:
            others = others[:-2]
        d = f"M{number(x)} {number(y)}"
        for to_x, to_y in others:
            if to_x == x:
                d += f"V{number(to_y)}"
            else:
                half = number((y + to_y) / 2)
                d += (
                    f"C{number(x)} {half} {number(to_x)} {half} "
                    f"{number(to_x)} {number(to_y)}"
                )
            x, y = to_x, to_y
        toward = "down"
        if side is not None:
            away = 5 if x > end_x else -5
            toward = "left" if away > 0 else "right"
            d += f"V{number(end_y - 10)}Q{number(x)} {number(end_y)} "
            d += f"{number(x - 2 * away)} {number(end_y)}"
            d += f"H{number(end_x + away)}"
        self.path(d)
        self.head(end_x, end_y, toward)

    @contextmanager
    def link(
        self, target: str | None, *, here: bool = False
    ) -> Iterator[None]:
        """Let what is drawn in the block lead to an address."""
        if target is None:
            yield
            return
        now = ' aria-current="true"' if here else ""
        self.parts.append(f'<a href="{escape(target)}"{now}>')
        yield
        self.parts.append("</a>")

    def drawing(self, height: float, alt: str) -> Drawing:
        """Return the drawing, ``alt`` saying what it shows."""
        alt = " ".join(alt.split())
        w, h = number(self.width), number(height)
        return Drawing(
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" '
            f'height="{h}" viewBox="0 0 {w} {h}" font-family="{SANS}" '
            f'role="img"><desc>{escape(alt, quote=False)}</desc>'
            f'<rect class="hm-paper" width="{w}" height="{h}" '
            f'fill="{PAPER}"/>' + "".join(self.parts) + "</svg>",
            alt,
        )
