"""The parity ledger: one row for every comparison the book's cells made.

`handmade.parity.parity` puts its result into the cell's outputs under a
media type of its own. The ledger gathers them from the twins, so it can only
say what an executed cell measured.
"""

from collections.abc import Iterator

import nbformat
from handmade.cache import write_whole

from bookbinder import twin
from bookbinder.book import Book, Page

PAGE = "book/back/parity-ledger"
MIME = "application/vnd.handmade.parity+json"
START = "<!-- generated from the twins: `make sync` -->"


def rows_of(page: Page) -> Iterator[dict]:
    """Yield the parity reports stored in the twin of a page, in order."""
    if not (page.has_cells and page.twin.exists()):
        return
    yield from rows_in(twin.page_cells(page.read_twin()))


def rows_in(cells: list[nbformat.NotebookNode]) -> Iterator[dict]:
    """Yield the parity reports among the outputs of cells, in order."""
    for cell in cells:
        for output in cell.outputs:
            if MIME in output.get("data", {}):
                yield output["data"][MIME]


def reports(book: Book) -> Iterator[tuple[Page, dict]]:
    for page in book.pages:
        for report in rows_of(page):
            yield page, report


def render(book: Book) -> str:
    """Return the generated part of the ledger page."""
    found = list(reports(book))
    places = sum(row["compared"] for _, rep in found for row in rep["rows"])
    lines = [
        START,
        "",
        f"{len(found)} comparisons, {places} outputs compared.",
        "",
        # the numbers first: what a narrow window cuts off is the rest
        "| page | model | dtype | outputs | largest difference | allowed | "
        "against | device | torch | transformers |",
        "|---|---|---|--:|--:|--:|---|---|---|---|",
    ]
    for page, report in found:
        rows = report["rows"]
        lines.append(
            f"| [{page.source.stem}](/{page.name}.md) | {_model(report)} | "
            f"{report['dtype']} | {sum(row['compared'] for row in rows)} | "
            f"{max((row['largest'] for row in rows), key=float)} | "
            f"{report['tolerance']} | {report['against']} | "
            f"{report['device']} | "
            f"{report['torch']} | {report['transformers']} |"
        )
    for page, report in found:
        lines += [
            "",
            f"```{{dropdown}} {report['model']}, {report['dtype']}, "
            f"from {page.source.stem}: layer by layer",
            "| layer | outputs | largest difference |",
            "|---|--:|--:|",
        ]
        lines += [
            f"| `{row['layer']}` | {row['compared']} | {row['largest']} |"
            for row in report["rows"]
        ]
        lines.append("```")
    return "\n".join(lines) + "\n"


def _model(report: dict) -> str:
    """Name the model, and the checkpoint where real weights were compared."""
    checkpoint = report["checkpoint"]
    return report["model"] + (f", {checkpoint}" if checkpoint else "")


def page_text(book: Book) -> str | None:
    """Return the whole page, or None where the book has no ledger."""
    try:
        page = book.page(PAGE)
    except ValueError:
        return None
    head = page.source.read_text(encoding="utf-8").split(START)[0]
    return head.rstrip() + "\n\n" + render(book)


def is_stale(book: Book) -> bool:
    wanted = page_text(book)
    if wanted is None:
        return False
    return book.page(PAGE).source.read_text(encoding="utf-8") != wanted


def write(book: Book) -> bool:
    """Bring the ledger page up to date; False if nothing changed."""
    if not is_stale(book):
        return False
    text = page_text(book)
    write_whole(
        book.page(PAGE).source,
        lambda path: path.write_text(text, encoding="utf-8", newline="\n"),
    )
    return True
