"""{minutes}`part/page part/page`: how long a route takes to read."""

from pathlib import Path

from docutils import nodes

from bookbinder import pages
from bookbinder.book import Book


def told(total: float) -> str:
    """Say a time to the next five minutes: `35 minutes`, `2 h 10 min`."""
    rounded = max(5, 5 * round(total / 5))
    hours, rest = divmod(rounded, 60)
    if not hours:
        return f"{rest} minutes"
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def role(name, rawtext, text, lineno, inliner, *_):
    """The sum of what `bookbinder pages` says of these pages."""
    book = Book(Path(inliner.document.settings.env.app.confdir))
    found = {page.name.removeprefix("book/"): page for page in book.pages}
    unknown = [slug for slug in text.split() if slug not in found]
    if unknown or not text.split():
        problem = inliner.reporter.error(
            f"minutes: got {text!r}, want pages of _toc.yml", line=lineno
        )
        return [inliner.problematic(rawtext, rawtext, problem)], [problem]
    total = sum(pages.read(book, found[s]).minutes for s in text.split())
    return [nodes.Text(told(total))], []
