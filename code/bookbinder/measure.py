"""`python -m bookbinder costs`: run every page by itself and measure it.

`sync` measures too, but several pages at once and on one thread each. Here
one page has the machine; its twin takes the new cost and keeps its outputs.
"""

from dataclasses import replace

from bookbinder import twin
from bookbinder.book import Book
from bookbinder.costs import of_twin, sentence, slug
from bookbinder.sync import PageError, assemble, execute


def update(book: Book, names: list[str]) -> None:
    """Measure the named pages, or all, one after the other."""
    pages = [book.page(n) for n in names] or list(book.pages)
    for page in (p for p in pages if p.has_cells):
        if why := twin.must_run(book, page):
            raise PageError(f"{page.name}: {why}: run `make sync` first")
        new = execute(book, page).kept
        stored = twin.stored_run(page.read_twin())
        kept = {**stored.kept, "cost": new["cost"]}
        twin.write(page, assemble(book, page, replace(stored, kept=kept)))
        print(f"{slug(page)}: {sentence(of_twin(kept))}", flush=True)
