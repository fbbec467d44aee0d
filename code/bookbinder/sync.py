"""`python -m bookbinder sync`: bring every twin up to its page.

Only what changed is executed: a page whose code cells, or whose imported
modules of the package, are no longer those its twin was made from. A change
of prose alone rewrites the twin around the stored outputs.
"""

import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

from bookbinder import ledger, twin
from bookbinder.book import Book, Page
from bookbinder.index import links_for

CELL_TIMEOUT = 600  # seconds


class PageError(Exception):
    """A page that cannot be bound: which, where and why."""


def execute(
    page: Page, extra: list[nbformat.NotebookNode] = ()
) -> tuple[list[nbformat.NotebookNode], dict]:
    """Run the page's cells; return them with outputs, and widget states.

    `extra` cells run after them and come back too.

    Raises PageError with the page, the failing cell and its traceback.
    """
    nb = page.read()
    nb.cells.extend(extra)
    client = NotebookClient(
        nb,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        # a line about encryption, from every kernel on this machine
        extra_arguments=["--log-level=40"],
        resources={"metadata": {"path": str(page.source.parent)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        cells = twin.code_cells(nb)
        failed = next(
            (
                cell
                for cell in cells
                if any(o.output_type == "error" for o in cell.outputs)
                and "raises-exception" not in cell.metadata.get("tags", ())
            ),
            cells[-1],
        )
        number = cells.index(failed) + 1
        raise PageError(
            f"{page.source}: code cell {number} failed\n{error}"
        ) from None
    except (CellTimeoutError, RuntimeError) as error:
        raise PageError(f"{page.source}: {error}") from None
    return twin.code_cells(nb), nb.metadata.get("widgets", {})


def bind(book: Book, page: Page, run: bool) -> tuple[bool, float]:
    """Write one twin; return (whether it changed, seconds executed)."""
    seconds = 0.0
    if run:
        start = time.perf_counter()
        cells, widgets = execute(page)
        seconds = time.perf_counter() - start
    else:
        stored = page.read_twin()
        cells = twin.page_cells(stored)
        widgets = stored.metadata.get("widgets", {})
    made = _assemble(book, page, cells, widgets)
    return twin.write(page, made), seconds


def _assemble(book: Book, page: Page, cells: list, widgets: dict):
    links = links_for(book, page, cells)
    return twin.assemble(book, page, cells, widgets, links)


def stale(book: Book) -> dict[str, str]:
    """Return page -> why its twin, or the ledger, is not up to date."""
    reasons = {}
    for page in book.pages:
        if not page.has_cells:
            if page.twin.exists():
                reasons[page.name] = "it has a twin but no code cell"
            continue
        reason = twin.must_run(page)
        if reason is None:
            stored = page.read_twin()
            made = _assemble(
                book,
                page,
                twin.page_cells(stored),
                stored.metadata.get("widgets", {}),
            )
            if nbformat.writes(made) != nbformat.writes(stored):
                reason = "its text changed"
        if reason:
            reasons[page.name] = reason
    if ledger.is_stale(book):
        reasons[ledger.PAGE] = "the twins' parity rows changed"
    return reasons


def _end_with_parent() -> None:
    """Let a worker end when `sync` is killed, and its kernel with it."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def sync(
    book: Book, names: list[str] = (), jobs: int = 1, force: bool = False
) -> None:
    """Bind the named pages, or all. Raises PageError after trying all."""
    pages = [book.page(name) for name in names] or list(book.pages)
    for page in pages:
        if not page.has_cells and page.twin.exists():
            page.twin.unlink()
            print(f"removed    {page.name}.ipynb: no code cell", flush=True)
    pages = [page for page in pages if page.has_cells]
    to_run = {
        page: "asked to" if force else twin.must_run(page) for page in pages
    }
    errors = []
    for page in (page for page, why in to_run.items() if why is None):
        try:
            if bind(book, page, run=False)[0]:
                print(f"rewritten  {page.name}", flush=True)
        except ValueError as error:
            errors.append(str(error))
            print(f"failed     {page.name}", flush=True)
    waiting = {page: why for page, why in to_run.items() if why}
    with ProcessPoolExecutor(
        max_workers=max(1, jobs),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_end_with_parent,
    ) as pool:
        futures = {}
        for page, why in waiting.items():
            print(f"executing  {page.name} ({why})", flush=True)
            futures[pool.submit(bind, book, page, True)] = page
        for future in as_completed(futures):
            page = futures[future]
            try:
                _, seconds = future.result()
                print(f"executed   {page.name} {seconds:.1f} s", flush=True)
            except (PageError, ValueError) as error:
                errors.append(str(error))
                print(f"failed     {page.name}", flush=True)
    if errors:
        raise PageError("\n\n".join(errors))
    if ledger.write(book):
        print(f"rewritten  {ledger.PAGE}", flush=True)
    if not waiting:
        print("all twins are up to date", file=sys.stderr)
