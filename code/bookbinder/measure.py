"""`python -m bookbinder costs`: run every page by itself and measure it.

Seconds, peak memory and the weights it takes from the cache are kept in
`book/costs.json`.
"""

import json
import time

import nbformat
from handmade.cache import write_whole

from bookbinder.book import Book, Page
from bookbinder.costs import costs_file, read, sentence, slug
from bookbinder.sync import execute

# what a page brings into the cache at first use, by the call that does it
DOWNLOADS = {
    "smollm2()": "SmolLM2",
    "minilm()": "MiniLM",
    "shakespeare()": "Shakespeare",
}

PEAK = """\
try:
    import resource, sys
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
except ImportError:  # Windows
    print(0)"""


def measure(page: Page) -> dict:
    """Run one page in a kernel of its own; return seconds and bytes."""
    probe = nbformat.v4.new_code_cell(PEAK)
    start = time.perf_counter()
    cells, _ = execute(page, extra=[probe])
    seconds = time.perf_counter() - start
    peak = int(cells[-1].outputs[0].text)
    return {
        "seconds": round(seconds),
        "gigabytes": round(peak / 1e9, 1),
        "weights": [n for call, n in DOWNLOADS.items() if call in page.text],
    }


def update(book: Book, names: list[str]) -> None:
    """Measure the named pages, or all, one after the other."""
    found = read(book)
    pages = [book.page(n) for n in names] or list(book.pages)
    for page in (p for p in pages if p.has_cells):
        found[slug(page)] = measure(page)
        print(f"{slug(page)}: {sentence(found[slug(page)])}", flush=True)
    kept = {slug(p) for p in book.pages if p.has_cells}
    found = {name: found[name] for name in sorted(found) if name in kept}
    text = json.dumps(found, indent=1) + "\n"
    write_whole(
        costs_file(book),
        lambda path: path.write_text(text, encoding="utf-8", newline="\n"),
    )
