"""What each page costs to run, as its twin keeps it.

Every execution measures its page: seconds, peak memory, and what it brought
into the cache at first use. A page shows its own under its title, and the
directive {page-costs} all of them: no page carries a number that someone
typed.
"""

import re

from bookbinder.book import Book, Page

# what stands in the cache or on the hub, as readers call it
NAMES = {"smollm2": "SmolLM2", "minilm": "MiniLM"}


def slug(page: Page) -> str:
    return page.name.removeprefix("book/")


def read(book: Book) -> dict[str, dict]:
    """Return part/page -> cost of every page that was executed."""
    found = {}
    for page in book.pages:
        if page.has_cells and page.twin.exists():
            kept = page.read_twin().metadata.get("handmade", {})
            if cost := of_twin(kept):
                found[slug(page)] = cost
    return found


def of_twin(kept: dict) -> dict | None:
    """Return seconds, gigabytes and downloads from what a twin keeps."""
    if "cost" not in kept:
        return None
    return {**kept["cost"], "weights": downloads(kept.get("files", {}))}


def downloads(files: dict[str, str]) -> list[str]:
    """Name what stands in the cache, or on the hub, of the opened files."""
    found = []
    for name in files:
        kind, _, rest = name.partition("/")
        if kind == "cache":
            stem = re.split(r"-\d", rest)[0]  # without the version
            found.append(NAMES.get(stem, stem.capitalize()))
        elif kind == "hub":
            found.append(rest.partition("@")[0])
    return list(dict.fromkeys(found))


def settled(old: dict, new: dict) -> dict:
    """Return the old cost where the new one is about the same.

    No two runs take equally long: a twin should not change for that.
    """
    gap = abs(new["seconds"] - old["seconds"])
    seconds_same = gap <= max(5, 0.4 * max(new["seconds"], old["seconds"]))
    memory_same = abs(new["gigabytes"] - old["gigabytes"]) <= 0.35
    return old if seconds_same and memory_same else new


def sentence(cost: dict) -> str:
    """Return `12 s on two CPU cores, 0.9 GB of memory, X from the cache`."""
    brought = listed(cost["weights"])
    return (
        f"{max(cost['seconds'], 1)} s on two CPU cores, "
        f"{cost['gigabytes']:.1f} GB of memory, "
        + (f"{brought} from the cache" if brought else "nothing to download")
    )


def row(cost: dict) -> str:
    """Return seconds, gigabytes and downloads as cells of a table."""
    return (
        f"{max(cost['seconds'], 1)} s | {cost['gigabytes']:.1f} GB | "
        f"{listed(cost['weights']) or 'nothing'}"
    )


def listed(names: list[str]) -> str:
    """Return `A`, `A and B` or `A, B and C`."""
    *first, last = names or [""]
    return f"{', '.join(first)} and {last}" if first else last
