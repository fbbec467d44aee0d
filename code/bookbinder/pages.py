"""`python -m bookbinder pages`: what reading each page asks, and gives.

Minutes are words / 200, six seconds a visible line of code, thirty seconds a
figure. What is folded counts for none of them: solutions, dropdowns, claims
and preparation; its words are reported apart.
"""

import ast
import gzip
import json
import re
import textwrap
from dataclasses import asdict, dataclass, field, fields

import nbformat
from markdown_it.token import Token

from bookbinder import claims, directives, excerpts, idea, imports, myst, roles
from bookbinder.book import Book, Page
from bookbinder.ledger import rows_of
from bookbinder.links import Links

WORD = re.compile(r"\w+(?:[’'.,–-]\w+)*")
FOLDS = {"dropdown", "solution"}
# whose code the page does not show
REMOVED = {"remove-cell", "remove-input"}
VIEW = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Measures:
    """What one page holds. Lines are those of code that a reader sees."""

    page: str
    minutes: int
    words: int
    folded_words: int
    lines: int
    idea_lines: int
    claims: int
    parities: int
    figures: int
    diagrams: int
    explorables: int
    bytes: int | None  # of the built page, compressed; None: not built

    @property
    def idea_share(self) -> float:
        """Of the visible lines, how many carry an idea; 1 of none."""
        return self.idea_lines / self.lines if self.lines else 1.0


def is_visible(cell: nbformat.NotebookNode) -> bool:
    """True for a cell whose code the page shows unasked."""
    return not (claims.is_folded(cell) or claims.tags(cell) & REMOVED)


@dataclass
class Reading:
    """One page, read from top to bottom."""

    page: Page
    links: Links
    words: int = 0
    folded_words: int = 0
    lines: idea.Lines = field(default_factory=idea.Lines)
    figures: int = 0
    diagrams: int = 0
    in_solution: bool = False
    # visible cells outside solutions and exercises; the exercise they are in
    shown: list[nbformat.NotebookNode] = field(default_factory=list)
    in_exercise: bool = False

    def __post_init__(self) -> None:
        sources = [cell.source for cell in self.page.cells("code")]
        self.names = idea.Names.of(sources)
        for cell in self.page.all_cells:
            if cell.cell_type == "markdown":
                self._text(cell.source, folded=False)
            else:
                self._cell(cell)

    @property
    def minutes(self) -> int:
        drawings = self.figures + self.diagrams
        seconds = self.words * 60 / 200 + self.lines.all * 6 + drawings * 30
        return max(1, round(seconds / 60))

    def _cell(self, cell: nbformat.NotebookNode) -> None:
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if self._draws_a_diagram(cell.source):
            self.diagrams += 1
        elif figure:
            self.figures += 1
        if caption := figure.get("caption"):
            self._text(caption, folded=False)
        if is_visible(cell) and not self.in_solution:
            self.lines += idea.count(cell.source, self.names)
            if not self.in_exercise:
                self.shown.append(cell)

    def _draws_a_diagram(self, source: str) -> bool:
        return any(
            self.names.calls(node).startswith("handmade.diagrams.")
            for node in ast.walk(imports.parse(source))
            if isinstance(node, ast.Call)
        )

    def _text(self, text: str, folded: bool) -> None:
        for token in myst.parse(text, self.page.extensions):
            hidden = folded or self.in_solution
            if myst.directive(token):
                found = directives.read(token, self.page.source)
                self._directive(found, hidden)
            elif token.type in ("fence", "code_block") and not hidden:
                self._code(token.content)
            elif token.type == "inline":
                self._count(words_of(token), hidden)

    def _count(self, words: int, folded: bool) -> None:
        if folded:
            self.folded_words += words
        else:
            self.words += words

    def _code(self, text: str) -> None:
        """Count code that only stands there: all that is shown is idea."""
        filled = sum(bool(line.strip()) for line in text.split("\n"))
        self.lines += idea.Lines(filled, filled)

    def _directive(self, found: directives.Directive, hidden: bool) -> None:
        if found.name in ("solution-start", "solution-end"):
            self.in_solution = found.name == "solution-start"
        elif found.name in ("exercise-start", "exercise-end"):
            self.in_exercise = found.name == "exercise-start"
        elif found.name == "literalinclude" and not hidden:
            text = excerpts.read(found.argument, found.options, self.links)
            self.lines += idea.count(textwrap.dedent(text), self.names)
        elif found.name == "figure":
            self.figures += 1
        elif found.name == "model-map":
            self.diagrams += 1
        if found.name in FOLDS | {"exercise", "exercise-start", "admonition"}:
            self._text(found.argument, hidden)
        if directives.TABLE[found.name].nested:
            self._text(found.body, hidden or found.name in FOLDS)


def words_of(inline: Token) -> int:
    """Count the words of a block; code, a formula and a role are one each."""
    total = 0
    for token in inline.children or ():
        if token.type == "text":
            total += len(WORD.findall(token.content))
        elif token.type in ("code_inline", "math_inline"):
            total += 1
        elif token.type == "myst_role":
            text, _ = roles.split(token.content)
            total += len(WORD.findall(text)) if text else 1
    return total


def read(book: Book, page: Page) -> Reading:
    # what is cut out of files asks for no label and no value
    links = Links(book.root, page.source, "", {}, {}, {}, {}, ())
    return Reading(page, links)


def count_claims(page: Page) -> int:
    tagged = [claims.tags(cell) for cell in page.cells("code")]
    return sum(claims.CLAIM in tags for tags in tagged)


def measure(book: Book, page: Page) -> Measures:
    """Return what a page holds, as its source, twin and HTML say."""
    reading = read(book, page)
    cells = []
    if page.has_cells and page.twin.exists():
        cells = [c for c in page.read_twin().cells if c.cell_type == "code"]
    shown = [{*o.get("data", {})} for c in cells for o in c.outputs]
    built = book.root / "_build" / "html" / f"{page.name}.html"
    size = None
    if built.exists():
        size = len(gzip.compress(built.read_bytes(), mtime=0))
    return Measures(
        page=page.name.removeprefix("book/"),
        minutes=reading.minutes,
        words=reading.words,
        folded_words=reading.folded_words,
        lines=reading.lines.all,
        idea_lines=reading.lines.idea,
        claims=count_claims(page),
        parities=len(list(rows_of(page))),
        figures=reading.figures,
        diagrams=reading.diagrams,
        explorables=sum(VIEW in kinds for kinds in shown),
        bytes=size,
    )


HEADS = (
    "page", "minutes", "words", "folded", "lines", "idea", "claims",
    "parities", "figures", "diagrams", "explorables", "KB",
)  # fmt: skip


def row(found: Measures) -> list[str]:
    size = "" if found.bytes is None else f"{found.bytes / 1000:.0f}"
    return [
        found.page,
        str(found.minutes),
        str(found.words),
        str(found.folded_words),
        str(found.lines),
        f"{found.idea_share:.0%}",
        str(found.claims),
        str(found.parities),
        str(found.figures),
        str(found.diagrams),
        str(found.explorables),
        size,
    ]


def total(all_pages: list[Measures]) -> Measures:
    """Return the sum of all pages, as one more."""
    sums = {
        f.name: sum(getattr(found, f.name) or 0 for found in all_pages)
        for f in fields(Measures)
        if f.name != "page"
    }
    return Measures(page=f"{len(all_pages)} pages", **sums)


def table(found: list[Measures]) -> str:
    """Return a plain table, a line a page and one for all of them."""
    rows = [list(HEADS), *map(row, [*found, total(found)])]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, wide, strict=True))
        ).rstrip()
        for line in rows
    )


def as_json(found: list[Measures]) -> str:
    rows = [
        {
            **asdict(one),
            "idea_share": round(one.idea_share, 4),
        }
        for one in found
    ]
    return json.dumps(rows, indent=1)


def report(book: Book, in_json: bool = False) -> str:
    """Return what is printed."""
    found = [measure(book, page) for page in book.pages]
    return as_json(found) if in_json else table(found)
