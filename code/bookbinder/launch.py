"""Where a page can be run: Colab at each exercise, Binder where it fits.

Colab scrolls to the cell that an address names by the cell's `metadata.id`,
which every twin writes. (Its own pages say so; no test of ours asks Colab.)
"""

from pathlib import Path

import nbformat
from docutils import nodes
from sphinx_exercise.nodes import is_exercise_enumerable_node, is_exercise_node

from bookbinder import costs, directives, myst
from bookbinder.book import Book, Page

# the branch of the twins that install their own commit: see publish.yml
PUBLISHED = "published"
# of mybinder.org's 2 GB, less what Jupyter takes itself
BINDER_GIGABYTES = 1.8


def cell_id(page: Page, number: int) -> str:
    """Return the id of a page's cell in its twin."""
    return f"{page.source.stem}-{number:03d}"


def name_cells(twin: nbformat.NotebookNode) -> None:
    """Let Colab find each cell by its id."""
    for cell in twin.cells:
        cell.metadata["id"] = cell.id


def exercise_cells(page: Page) -> dict[str, str]:
    """Return label of an exercise -> id of the cell that begins it."""
    found = {}
    for number, cell in enumerate(page.all_cells):
        if cell.cell_type != "markdown":
            continue
        for token in myst.parse(cell.source, page.extensions):
            name = (myst.directive(token) or ("",))[0]
            if name in ("exercise", "exercise-start"):
                told = directives.read(token, page.source)
                if label := told.options.get("label"):
                    found[label] = cell_id(page, number)
    return found


def colab(app, page: Page) -> str:
    """Return the address of a page's published twin in Colab."""
    options = app.config.html_theme_options
    host = options["launch_buttons"]["colab_url"].rstrip("/")
    owner, name = options["repository_url"].rstrip("/").split("/")[-2:]
    return f"{host}/github/{owner}/{name}/blob/{PUBLISHED}/{page.name}.ipynb"


def offer_colab(app, doctree, docname) -> None:
    """End each exercise with a link to its cell in Colab."""
    page = _page(app, docname)
    if page is None:
        return
    cells = exercise_cells(page)
    for node in doctree.findall(
        lambda node: (
            is_exercise_node(node) or is_exercise_enumerable_node(node)
        )
    ):
        for section in node.findall(nodes.section):
            section["ids"] = []  # the same in each exercise
        if place := cells.get(node.get("label")):
            link = nodes.reference(
                "",
                "Try it in Colab",
                refuri=f"{colab(app, page)}#scrollTo={place}",
            )
            node += nodes.paragraph(
                "", "", link, classes=["in-colab", "nosearch"]
            )


def offer_binder(app, pagename, templatename, context, doctree) -> None:
    """Drop Binder's button where the page needs more than it has."""
    page = _page(app, pagename)
    for group in context.get("header_buttons", ()):
        if group.get("label") != "launch-buttons" or page is None:
            continue
        kept = page.read_twin().metadata.get("handmade", {})
        cost = costs.of_twin(kept) or {"gigabytes": 0}
        group["buttons"] = [
            # no pictures to wait for: a name says enough
            {key: value for key, value in button.items() if key != "icon"}
            for button in group["buttons"]
            if button["text"] != "Binder"
            or cost["gigabytes"] <= BINDER_GIGABYTES
        ]


def _page(app, name: str) -> Page | None:
    return next(
        (p for p in app.book.pages if p.name == name and p.has_cells), None
    )


def start(app) -> None:
    """Read the book once a build."""
    app.book = Book(Path(app.confdir))


def number_exercises(app, env) -> list[str]:
    """Number each page's exercises from 1: a new one elsewhere changes none.

    Sphinx numbers them through the book, just before.
    """
    for page in env.toc_fignumbers.values():
        given = page.get("exercise", {})
        ordered = sorted(given, key=given.get)
        page |= {"exercise": {x: (i,) for i, x in enumerate(ordered, 1)}}
    return []


def setup(app) -> None:
    """Number the exercises when all pages are read; link them when written."""
    app.connect("builder-inited", start)
    app.connect("env-get-updated", number_exercises, priority=900)
    app.connect("doctree-resolved", offer_colab, priority=400)
    app.connect("html-page-context", offer_binder, priority=502)
