"""How a judgement is shown: a coloured box, or the same words as text.

Its colours are the book's, with fallbacks for Jupyter; where a preview takes
the styles away, GitHub's for one, the mark and the words still say it all.
"""

import re
import sys
import textwrap
from dataclasses import dataclass
from html import escape

WIDTH = 74  # letters that fit a page


@dataclass(frozen=True)
class Callout:
    """A title and lines of text, right or not; shows itself in a notebook."""

    good: bool
    title: str
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        below = [f"  {line}" for line in self.lines]
        return wrap("\n".join([f"{self._mark} {self.title}", *below]))

    __repr__ = __str__

    @property
    def _mark(self) -> str:
        return "✓" if self.good else "✗"

    def _repr_html_(self) -> str:
        name, ink, tint = (
            ("good", "#1a7f37", "#e9f6ec")
            if self.good
            else ("bad", "#c62828", "#fdecea")
        )
        colour = f"var(--hm-{name}, {ink})"
        box = (
            f"border-left: 4px solid {colour}; "
            f"background: var(--hm-{name}-tint, {tint}); "
            "color: var(--hm-ink, #24292f); border-radius: 4px; "
            "padding: 0.5em 0.9em; line-height: 1.5; overflow-wrap: anywhere"
        )
        lines = [
            f'<div style="margin-top: 0.25em">{_marked_up(line)}</div>'
            for line in self.lines
        ]
        return (
            f'<div style="{box}"><div><strong style="color: {colour}">'
            f"{self._mark} {escape(self.title)}</strong></div>"
            f"{''.join(lines)}</div>"
        )

    def show(self) -> None:
        """Display it in a notebook; print it anywhere else."""
        if "IPython" in sys.modules:
            shell = sys.modules["IPython"].get_ipython()
            if shell is not None:
                from IPython.display import display

                display(self)
                return
        print(self)


def _marked_up(line: str) -> str:
    """Escape a line; what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(line))


def wrap(text: str) -> str:
    """Break lines to fit a page's width, keeping their indentation."""
    return "\n".join(
        textwrap.fill(
            line,
            width=WIDTH,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in text.splitlines()
    )
