"""`Run this page`: cells that a reader can change and run, without a kernel.

On a page whose cells in sight need nothing but Python (`live_cells`) stands
one line that `run.js` makes a button of; on another whose exercises need no
more it stands above them. Python itself is pyodide, vendored
as the fonts are, served by the site and fetched by nobody who does not ask
for it; the package comes as one archive (`live_package`).
"""

import gzip
import html
import json
from functools import cache
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

from bookbinder import claims, live_package, vendor
from bookbinder.book import Book, Page
from bookbinder.live_cells import Cell, Plan, plan

FOLDER = "pyodide"
BAR = "hm-run-page"
SCRIPT = "run.js"
WORKER = "python_worker.mjs"
# a part of them comes with the first click, and is not counted while it does
UNCOUNTED = ("pyodide.mjs", "pyodide.asm.mjs", "package.json")
logger = logging.getLogger(__name__)


def cells_of(page: Page) -> list[Cell]:
    return [
        Cell(cell.source, claims.is_folded(cell))
        for cell in page.cells("code")
    ]


def plans(book: Book) -> dict[str, Plan]:
    """Return page -> what of it runs in a browser, where something does."""
    found = {page.name: plan(cells_of(page)) for page in book.pages}
    return {name: one for name, one in found.items() if one}


def is_ready(root: Path) -> bool:
    """Whether pyodide was vendored."""
    known = vendor.recorded(root)
    return any(name.startswith(f"{FOLDER}/") for name in known)


def archive(book: Book, found: dict[str, Plan]) -> bytes:
    """Return the archive of all pages' modules."""
    return live_package.archive(
        source
        for page in book.pages
        if page.name in found
        for source in found[page.name].running(cells_of(page))
    )


def sizes(folder: Path, content: bytes) -> tuple[int, int]:
    """Return bytes to fetch, compressed, and bytes as counted unpacked."""
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    packed = sum(len(gzip.compress(data, 6)) for data in files.values())
    counted = sum(
        len(data) for name, data in files.items() if name not in UNCOUNTED
    )
    return packed + len(content), counted + len(content)


class RunThisPage(SphinxPostTransform):
    """Put the line under the title, and number the cells that it is about.

    Before the folds, while each cell still is as the page wrote it.
    """

    default_priority = 185
    formats = ("html",)

    def run(self, **_) -> None:
        given = _made(self.app.confdir).get(self.env.docname)
        title = self.document.next_node(nodes.title)
        if given is None or title is None:
            return
        containers = [
            node
            for node in self.document.findall(nodes.container)
            if node.get("nb_element") == "cell_code"
        ]
        if len(containers) != len(given["needs"]):
            if not given["whole"]:
                return
            raise ValueError(
                f"{self.env.docname}: got {len(containers)} cells in the "
                f"page, want {len(given['needs'])}: a live page hides none"
            )
        for container, need in zip(containers, given["needs"], strict=True):
            if need is not None:
                container["classes"].append("hm-live")
        kept = [need for need in given["needs"] if need is not None]
        told = html.escape(json.dumps(given | {"needs": kept}))
        line = f'<div class="{BAR}" data-live="{told}"></div>\n'
        if not given["whole"]:
            title = _heading(self.document, "Exercises") or title
        at = title.parent.index(title) + 1
        title.parent.insert(at, nodes.raw("", line, format="html"))


def _heading(document: nodes.document, words: str) -> nodes.title | None:
    found = document.findall(nodes.title)
    return next((one for one in found if one.astext() == words), None)


@cache
def _made(root: str) -> dict[str, dict]:
    """Return page -> what its line says; {} where there is no pyodide."""
    if not is_ready(Path(root)):
        return {}
    book = Book(Path(root))
    found = plans(book)
    content = archive(book, found)
    folder = Path(root, "book", "vendor", FOLDER)
    packed, counted = sizes(folder, content)
    return {
        name: {
            "archive": live_package.name_of(content),
            "packed": packed,
            "counted": counted,
            "needs": one.needs,
            "whole": one.whole,
            "imports": one.imports,
        }
        for name, one in found.items()
    }


def add_script(app, pagename, templatename, context, doctree) -> None:
    """Load what runs a page where there is something to be run."""
    if f'class="{BAR}"' in context.get("body", ""):
        app.add_js_file(SCRIPT, loading_method="defer")


def write(app, error) -> None:
    """Write the archive beside pyodide."""
    if error or app.builder.name != "html" or not _made(app.confdir):
        return
    book = Book(Path(app.confdir))
    content = archive(book, plans(book))
    name = live_package.name_of(content)
    Path(app.outdir, "_static", name).write_bytes(content)


def setup(app: Sphinx) -> None:
    app.add_post_transform(RunThisPage)
    app.connect("builder-inited", lambda app: _made.cache_clear())
    app.connect("html-page-context", add_script)
    app.connect("build-finished", write)
