"""Code and output as lines that wrap, each under its own first letter.

On a narrow screen a line goes on below itself, indented a little further than
it began, with a thin rule beside what was carried over (custom.css). So each
line is an element, which knows how far it is indented.
"""

import re
from collections.abc import Iterable, Iterator

from pygments.formatters import HtmlFormatter

TAG = re.compile(r"<[^>]*>")


class LineFormatter(HtmlFormatter):
    """Pygments' HTML, with each line of code in a span of its own."""

    def wrap(self, source: Iterable) -> Iterator[tuple[int, str]]:
        return super().wrap(lines(source))


def lines(source: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Put each line in a span; the line's end stays outside.

    Outside it is copied once; inside, a browser would copy two.
    """
    for is_code, piece in source:
        if not is_code:
            yield is_code, piece
            continue
        text = piece.removesuffix("\n")
        end = piece[len(text) :]
        style = f' style="--i:{depth}"' if (depth := indent(text)) else ""
        yield 1, f'<span class="line"{style}>{text}</span>{end}'


def indent(line: str) -> int:
    """Return how many spaces a highlighted line begins with."""
    text = TAG.sub("", line)
    return len(text) - len(text.lstrip(" "))
