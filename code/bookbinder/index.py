"""What the pages can refer to: labels, references, glued values."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat
from docutils.nodes import fully_normalize_name, make_id
from pybtex.database import parse_file
from pybtex.exceptions import PybtexError
from pybtex.richtext import Text

from bookbinder import directives, macros, myst
from bookbinder.book import Book, Page
from bookbinder.links import Links

# what markdown would read as markup in the text of a link
MARKUP = re.compile(r"[\\`*\[\]<$]|(?<![^\W_])_|_(?![^\W_])")


class Labels:
    """The labels of one page: label -> (address, title)."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.address = f"{page.name}.html"
        self.found: dict[str, tuple[str, str]] = {}
        self.pending: list[str] = []  # labels of the block that follows
        self.equations = 0
        for cell in page.all_cells:
            if cell.cell_type == "markdown":
                self._read(cell.source)
            else:
                figure = cell.metadata.get("mystnb", {}).get("figure", {})
                self._named(figure.get("name"), figure.get("caption", ""))
        self._settle(None)

    def _add(self, label: str, anchor: str, title: str) -> None:
        name = fully_normalize_name(label)
        if name in self.found:
            raise ValueError(f"{self.page.source}: the label {label!r} twice")
        self.found[name] = (f"{self.address}{anchor}", title)

    def _named(
        self, label: str | None, title: str, anchor: str | None = None
    ) -> None:
        if label:
            text = self._title(title.strip().split("\n\n")[0])
            self._add(label, f"#{anchor or make_id(label)}", text or label)

    def _title(self, text: str) -> str:
        """Return a heading, or a caption, as the text of a link."""
        parser = myst.parser(self.page.extensions)
        return MARKUP.sub(
            r"\\\g<0>", myst.plain_text(parser.parseInline(text)[0])
        )

    def _settle(self, title: str | None) -> None:
        """Let the labels that wait point at the block that comes now."""
        for label in self.pending:
            self._add(label, f"#{make_id(label)}", title or label)
        self.pending.clear()

    def _equation(self, label: str | None) -> None:
        """Number an equation as Sphinx does: those with a label, in order."""
        self.equations += 1
        if label:
            anchor = make_id(f"equation-{label}")
            self._add(label, f"#{anchor}", f"({self.equations})")

    def _read(self, text: str, top: bool = True) -> None:
        tokens = myst.parse(text, self.page.extensions)
        for i, token in enumerate(tokens):
            if token.type == "heading_open" and top:
                self._heading(self._title(tokens[i + 1].content))
            elif token.type == "myst_target":
                self.pending.append(token.content)
            elif token.type != "myst_line_comment" and token.nesting >= 0:
                self._settle(None)
            if token.type == "math_block_label":
                self._equation(token.info)
            elif token.type == "amsmath" and token.meta["numbered"] != "*":
                self._equation(None)
            elif myst.directive(token):
                self._directive(directives.read(token, self.page.source))

    def _heading(self, title: str) -> None:
        if self.page.name not in self.found:
            self._add(self.page.name, "", title)
        self._settle(title)

    def _directive(self, directive: directives.Directive) -> None:
        name, options = directive.name, directive.options
        label = options.get("label") or options.get("name")
        if name == "math":
            if label:
                self._equation(label)
        else:
            titles = {"figure": directive.body, "exercise": directive.argument}
            kind = name.removesuffix("-start")
            # there the anchor is the label as it was written
            raw = label if kind in ("exercise", "solution") else None
            self._named(label, titles.get(kind, ""), raw)
        if directives.TABLE[name].nested:
            self._read(directive.body, top=False)


def labels_of(page: Page) -> dict[str, tuple[str, str]]:
    """Return label -> (address, title) for one page and its anchors."""
    return Labels(page).found


def all_labels(book: Book) -> dict[str, tuple[str, str]]:
    """Return the labels of all pages. Raises ValueError for one twice."""
    labels: dict[str, tuple[str, str]] = {}
    for page in book.pages:
        for label, target in labels_of(page).items():
            if label in labels:
                raise ValueError(f"{page.source}: the label {label!r} twice")
            labels[label] = target
    return labels


def citations(path: Path) -> dict[str, str]:
    """Return key -> "Vaswani et al., 2017" for every entry of a .bib file."""
    names = {}
    try:
        entries = parse_file(str(path), encoding="utf-8").entries
    except (PybtexError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    for key, entry in entries.items():
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


def _scraps(
    cells: list[nbformat.NotebookNode],
) -> Iterator[tuple[Mapping, Mapping]]:
    """Yield (what was glued, its data) of the cells' outputs."""
    for cell in cells:
        for output in cell.get("outputs", ()):
            if scrap := output.get("metadata", {}).get("scrapbook"):
                yield scrap, output["data"]


def glued(cells: list[nbformat.NotebookNode]) -> dict[str, str]:
    """Return name -> value of everything the cells' outputs glue."""
    return {
        scrap["name"]: ast.literal_eval(
            data[f"{scrap['mime_prefix']}text/plain"]
        )
        for scrap, data in _scraps(cells)
    }


def glued_sets(cells: list[nbformat.NotebookNode]) -> dict[str, dict]:
    """Return name -> what a glued value sets, of those that set something."""
    return {
        scrap["name"]: dict(scrap["sets"])
        for scrap, _ in _scraps(cells)
        if scrap.get("sets")
    }


def _citations(book: Book) -> dict[str, str]:
    return citations(book.root / "book" / "references.bib")


def _macros(book: Book) -> dict[str, str]:
    config = book.settings.get("sphinx", {}).get("config") or {}
    return macros.read(config.get("mathjax3_config") or {})


def links_for(
    book: Book, page: Page, cells: list[nbformat.NotebookNode]
) -> Links:
    """Gather what the markdown of `page` may refer to."""
    return Links(
        root=book.root,
        page=page.source,
        site=book.site,
        labels=book.once(all_labels),
        citations=book.once(_citations),
        values=glued(cells),
        macros=book.once(_macros),
        extensions=book.extensions,
    )
