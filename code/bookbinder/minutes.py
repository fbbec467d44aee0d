"""How long a page takes to read, from its source alone.

A minute for 200 words, six seconds for a line of code that is in sight, half
a minute for a figure. Solutions and folded cells are not counted: they are
opened, or not.
"""

import re
from pathlib import Path
from types import SimpleNamespace

from docutils import nodes

from bookbinder import directives, excerpts, myst
from bookbinder.book import Book, Page

WORDS_A_MINUTE = 200
CODE_LINE, FIGURE = 6 / 60, 30 / 60
FOLDED = {"claim", "hide-input", "hide-cell", "remove-input", "remove-cell"}
WORD = re.compile(r"\w[\w'’.-]*")
UNREAD = {"solution", "dropdown", "bibliography", "page-costs"}


def minutes(page: Page) -> float:
    """Return the minutes that a reader needs for one page."""
    words = lines = figures = 0
    solution = False
    for cell in page.all_cells:
        if cell.cell_type == "markdown":
            starts = cell.source.rfind("{solution-start}")
            ends = cell.source.rfind("{solution-end}")
            if starts != ends:
                solution = starts > ends
            counted = _prose(cell.source, page)
            words, lines = words + counted[0], lines + counted[1]
            figures += counted[2]
        elif not solution:
            tags = set(cell.metadata.get("tags", ()))
            if not tags & FOLDED:
                lines += _code(cell.source)
            figures += "figure" in cell.metadata.get("mystnb", {})
    return words / WORDS_A_MINUTE + lines * CODE_LINE + figures * FIGURE


def told(total: float) -> str:
    """Say a time to the next five minutes: `35 minutes`, `2 h 10 min`."""
    rounded = max(5, 5 * round(total / 5))
    hours, rest = divmod(rounded, 60)
    if not hours:
        return f"{rest} minutes"
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def role(name, rawtext, text, lineno, inliner, *_):
    """{minutes}`part/page part/page`: how long they take to read."""
    book = Book(Path(inliner.document.settings.env.app.confdir))
    pages = {page.name.removeprefix("book/"): page for page in book.pages}
    unknown = [slug for slug in text.split() if slug not in pages]
    if unknown or not text.split():
        problem = inliner.reporter.error(
            f"minutes: got {text!r}, want pages of _toc.yml", line=lineno
        )
        return [inliner.problematic(rawtext, rawtext, problem)], [problem]
    total = sum(minutes(pages[slug]) for slug in text.split())
    return [nodes.Text(told(total))], []


def _code(source: str) -> int:
    return sum(bool(line.strip()) for line in source.split("\n"))


def _prose(text: str, page: Page) -> tuple[int, int, int]:
    """Return the words, lines of code and figures of some markdown."""
    words = lines = figures = 0
    for token in myst.parse(text, page.extensions):
        if token.type == "inline":
            words += len(WORD.findall(token.content))
        elif myst.directive(token):
            found = directives.read(token, page.source)
            if found.name == "figure":
                figures += 1
            elif found.name == "literalinclude":
                where = SimpleNamespace(root=page.root, page=page.source)
                shown = excerpts.read(found.argument, found.options, where)
                lines += _code(shown)
            elif directives.TABLE[found.name].nested and (
                found.name not in UNREAD
            ):
                more = _prose(found.body, page)
                words, lines = words + more[0], lines + more[1]
                figures += more[2]
        elif token.type in ("fence", "code_block"):
            lines += _code(token.content)
    return words, lines, figures
