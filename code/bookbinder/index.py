"""What the pages can refer to: labels, references, glued values."""

import re
from pathlib import Path

import nbformat
from pybtex.database import parse_file

from bookbinder.book import Book, Page
from bookbinder.plain import LABEL, MATH_LABEL, Links

HEADING = re.compile(r"^(#+)\s+(.*)$")
CELL_NAME = re.compile(r"^\s+name:\s*([\w-]+)\s*$")
EXERCISE_LABEL = re.compile(r"^:label:\s*([\w-]+)\s*$")


def labels_of(page: Page) -> dict[str, tuple[str, str]]:
    """Return label -> (address, title) for one page and its anchors."""
    address = f"{page.name}.html"
    labels, pending = {}, []
    for line in page.text.split("\n"):
        if found := LABEL.match(line):
            pending.append(found[1])
        elif found := HEADING.match(line):
            title = re.sub(r"[`$]", "", found[2])
            if page.name not in labels:
                labels[page.name] = (address, title)
            for label in pending:
                labels[label] = (f"{address}#{label}", title)
            pending.clear()
        elif found := CELL_NAME.match(line) or EXERCISE_LABEL.match(line):
            labels[found[1]] = (f"{address}#{found[1]}", found[1])
    for found in MATH_LABEL.finditer(page.text):
        where = f"{address}#equation-{found[1]}"
        labels[found[1]] = (where, "the equation")
    return labels


def all_labels(book: Book) -> dict[str, tuple[str, str]]:
    labels = {}
    for page in book.pages:
        for label, target in labels_of(page).items():
            if label in labels:
                raise ValueError(f"{page.source}: the label {label!r} twice")
            labels[label] = target
    return labels


def citations(path: Path) -> dict[str, str]:
    """Return key -> "Vaswani et al., 2017" for every entry of a .bib file."""
    names = {}
    for key, entry in parse_file(str(path)).entries.items():
        people = entry.persons.get("author") or entry.persons.get("editor")
        last = [" ".join(p.last_names) for p in people or ()]
        if len(last) > 2:
            who = f"{last[0]} et al."
        else:
            who = " and ".join(last) or entry.fields["title"]
        names[key] = f"{who.strip('{}')}, {entry.fields['year']}"
    return names


def glued(cells: list[nbformat.NotebookNode]) -> dict[str, str]:
    """Return name -> value of everything the cells' outputs glue."""
    values = {}
    for cell in cells:
        for output in cell.get("outputs", ()):
            scrap = output.get("metadata", {}).get("scrapbook")
            if scrap:
                mime = f"{scrap['mime_prefix']}text/plain"
                values[scrap["name"]] = output["data"][mime]
    return values


def links_for(
    book: Book,
    page: Page,
    labels: dict,
    cited: dict,
    cells: list[nbformat.NotebookNode],
) -> Links:
    return Links(
        book.root, page.source, book.site, labels, cited, glued(cells)
    )
