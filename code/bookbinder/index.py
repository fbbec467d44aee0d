"""What the pages can refer to: labels, references, glued values."""

import ast
import re
from pathlib import Path

import nbformat
from pybtex.database import parse_file
from pybtex.richtext import Text

from bookbinder.book import Book, Page
from bookbinder.plain import LABEL, MATH_LABEL, Links

HEADING = re.compile(r"^(#+)\s+(.*)$")
DIRECTIVE_LABEL = re.compile(r"^:label:\s*([\w-]+)\s*$")


def labels_of(page: Page) -> dict[str, tuple[str, str]]:
    """Return label -> (address, title) for one page and its anchors."""
    address = f"{page.name}.html"
    labels, pending = {}, []
    prose = "\n\n".join(cell.source for cell in page.cells("markdown"))
    for line in prose.split("\n"):
        if found := LABEL.match(line):
            pending.append(found[1])
        elif found := HEADING.match(line):
            title = re.sub(r"[`$]", "", found[2])
            if page.name not in labels:
                labels[page.name] = (address, title)
            for label in pending:
                labels[label] = (f"{address}#{label}", title)
            pending.clear()
        elif found := DIRECTIVE_LABEL.match(line):
            labels[found[1]] = (f"{address}#{found[1]}", found[1])
    for cell in page.cells("code"):
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if name := figure.get("name"):
            labels[name] = (f"{address}#{name}", name)
    for found in MATH_LABEL.finditer(prose):
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
        last = [
            str(Text.from_latex(" ".join(p.prelast_names + p.last_names)))
            for p in people or ()
        ]
        if len(last) > 2:
            who = f"{last[0]} et al."
        else:
            who = " and ".join(last) or str(
                Text.from_latex(entry.fields["title"])
            )
        names[key] = f"{who}, {entry.fields['year']}"
    return names


def glued(cells: list[nbformat.NotebookNode]) -> dict[str, str]:
    """Return name -> value of everything the cells' outputs glue."""
    values = {}
    for cell in cells:
        for output in cell.get("outputs", ()):
            scrap = output.get("metadata", {}).get("scrapbook")
            if scrap:
                mime = f"{scrap['mime_prefix']}text/plain"
                values[scrap["name"]] = ast.literal_eval(output["data"][mime])
    return values


def links_for(
    book: Book, page: Page, cells: list[nbformat.NotebookNode]
) -> Links:
    """Gather what the markdown of `page` may refer to."""
    return Links(
        root=book.root,
        page=page.source,
        site=book.site,
        labels=all_labels(book),
        citations=citations(book.root / "book" / "references.bib"),
        values=glued(cells),
        costs={},
    )
