"""What each page costs to run, as `bookbinder.measure` found it.

Pages show it with the role {cost}`part/page`, so no page carries a number
that someone typed.
"""

import json
from pathlib import Path

from bookbinder.book import Book, Page


def costs_file(book: Book) -> Path:
    return book.root / "book" / "costs.json"


def read(book: Book) -> dict[str, dict]:
    path = costs_file(book)
    if not path.exists():
        return {}
    return json.loads(path.read_text(encoding="utf-8"))


def slug(page: Page) -> str:
    return page.name.removeprefix("book/")


def sentence(cost: dict) -> str:
    """Return `12 s on two CPU cores, 0.9 GB of memory, weights of X`."""
    brought = " and ".join(cost["weights"])
    return (
        f"{max(cost['seconds'], 1)} s on two CPU cores, "
        f"{cost['gigabytes']:.1f} GB of memory, "
        + (f"{brought} from the cache" if brought else "nothing to download")
    )
