"""`python -m bookbinder sync`: bring every twin up to its page.

Only what would compute something else is executed: see
`bookbinder.fingerprint`. Everything that only shows, prose above all,
rewrites the twin around the stored outputs.
"""

import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

from bookbinder import costs, facts, fingerprint, ledger, pictures, probe, twin
from bookbinder.book import Book, Page
from bookbinder.index import links_for

CELL_TIMEOUT = 600  # seconds


class PageError(Exception):
    """A page that cannot be bound: which, where and why."""


# run after a page's cells: processor seconds and peak memory of the kernel
USED = """\
import json, sys, time
try:
    import resource
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
except ImportError:  # Windows
    peak = 0
print(json.dumps([time.process_time(), peak]))"""


def execute(book: Book, page: Page) -> twin.Run:
    """Run the page's cells in a kernel of its own; return what it left.

    Raises PageError with the page, the failing cell and its traceback,
    ValueError where other versions are installed than the book pins.
    """
    wanted = fingerprint.versions(
        book, [cell.source for cell in page.cells("code")]
    )
    fingerprint.refuse_other_versions(book, wanted)
    nb = page.read()
    nb.cells.append(nbformat.v4.new_code_cell(USED))
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "opened")
        start = time.perf_counter()
        _execute(page, nb, told)
        _refuse_surrogates(page, nb)
        seconds = time.perf_counter() - start
        opened = told.read_text("utf-8", "surrogateescape").splitlines()
    *cells, last = twin.code_cells(nb)
    processor, peak = json.loads(last.outputs[0].text)
    kept = fingerprint.of_page(
        book, page.cells("code"), fingerprint.opened_files(book, opened)
    )
    # a busy machine makes a page wait, several threads make it hurry
    seconds = round(min(seconds, processor))
    cost = {"seconds": seconds, "gigabytes": round(peak / 1e9, 1)}
    widgets = nb.metadata.get("widgets", {})
    return twin.Run(cells, widgets, {**kept, "cost": cost})


def _execute(page: Page, nb: nbformat.NotebookNode, told: Path) -> None:
    client = NotebookClient(
        nb,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=[
            # a line about encryption, from every kernel on this machine
            "--log-level=40",
            "--IPKernelApp.exec_lines=import bookbinder.probe",
        ],
        resources={"metadata": {"path": str(page.source.parent)}},
    )
    try:
        client.execute(env={**os.environ, probe.TOLD: str(told)})
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
        told = probe.MARKED.sub(r"\\u\1", str(error))
        raise PageError(
            f"{page.source}: code cell {number} failed\n{told}"
        ) from None
    except (CellTimeoutError, RuntimeError) as error:
        raise PageError(f"{page.source}: {error}") from None


def _refuse_surrogates(page: Page, nb: nbformat.NotebookNode) -> None:
    """Raise PageError for outputs that no file can hold, all by number."""
    shown = [
        (f"code cell {number}: its output", cell.outputs)
        for number, cell in enumerate(twin.code_cells(nb), 1)
    ]
    faults = [
        f"{page.source}: {what}: got {found}, a lone surrogate, want text "
        "that UTF-8 can hold: show its repr()"
        for what, value in (*shown, ("a widget's state", nb.metadata))
        if (found := probe.first_surrogate(value))
    ]
    if faults:
        raise PageError("\n".join(faults))


def bind(book: Book, page: Page, run: bool) -> tuple[bool, float]:
    """Write one twin; return (whether it changed, seconds executed)."""
    if run:
        done, seconds = settled(page, execute(book, page))
    else:
        done, seconds = twin.stored_run(page.read_twin()), 0
    return twin.write(page, assemble(book, page, done)), seconds


def settled(page: Page, run: twin.Run) -> tuple[twin.Run, float]:
    """Return the run, its cost as stored if about the same; its seconds."""
    new = run.kept["cost"]
    try:
        old = page.read_twin().metadata["handmade"]["cost"]
    except (OSError, ValueError, KeyError):
        old = new
    cost = costs.settled(old, new)
    return replace(run, kept={**run.kept, "cost": cost}), new["seconds"]


def assemble(book: Book, page: Page, run: twin.Run) -> nbformat.NotebookNode:
    """Build a page's twin around the outputs of a run."""
    links = links_for(book, page, run.cells)
    made = twin.assemble(book, page, run, links)
    first = made.cells[1]
    if page != book.pages[0] and first.cell_type == "markdown":
        address, _ = links.labels.get(ledger.PAGE, (None, ""))
        line = facts.as_markdown(
            facts.of_page(book, page, run),
            address and links.address(address),
        )
        first.source = facts.under_title(first.source, line)
    return made


def stale(book: Book) -> dict[str, str]:
    """Return page -> why its twin, or the ledger, is not up to date."""
    reasons = {}
    for page in book.pages:
        if not page.has_cells:
            if page.twin.exists():
                reasons[page.name] = "it has a twin but no code cell"
        elif reason := stale_page(book, page):
            reasons[page.name] = reason
    if ledger.is_stale(book):
        reasons[ledger.PAGE] = "the twins' parity rows changed"
    return reasons


def stale_page(book: Book, page: Page) -> str | None:
    """Say why a page's twin is not up to date, or return None."""
    if not page.twin.exists():
        return "it has no twin"
    try:
        stored = page.read_twin()
    except ValueError as error:
        return str(error)
    if reason := twin.must_run(book, page, stored):
        return reason
    if assemble(book, page, twin.stored_run(stored)) != stored:
        return "what it shows changed"
    try:
        return pictures.fault(page)
    except ValueError as error:
        return str(error)


def _begin(jobs: int) -> None:
    """Share the cores among the workers, and let each end with its parent.

    Kernels with as many threads as there are cores wait for each other
    several times longer than they compute.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))

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
        page: "asked to" if force else twin.must_run(book, page)
        for page in pages
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
        initializer=_begin,
        initargs=(max(1, jobs),),
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
    pictures.update(book, pages)
    if ledger.write(book):
        print(f"rewritten  {ledger.PAGE}", flush=True)
    if not waiting:
        print("all twins are up to date", file=sys.stderr)
