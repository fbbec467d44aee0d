"""Folded cells: what is proven, and what only prepares, in one line each.

A cell tagged `claim` begins with a comment, one sentence in words; the page
shows that line with a tick, and the code behind it. A cell tagged
`hide-input` shows its output, and its code behind a thin line. In a twin the
source of both is collapsed, and a claim's sentence stands above it.
"""

import html
import re
from collections.abc import Iterator

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.transforms.post_transforms import SphinxPostTransform

from bookbinder import imports
from bookbinder.book import Page
from bookbinder.folds import Fold
from bookbinder.idea import is_import, is_seed
from bookbinder.index import MARKUP

CLAIM = "claim"
PREPARATION = "hide-input"
COMMENT = re.compile(r"#+(?!\|)(.*)")
# a code span, or what stands between two of them
SPAN = re.compile(r"`([^`]+)`|([^`]+|`)")


def tags(cell: nbformat.NotebookNode) -> set[str]:
    return {*cell.metadata.get("tags", ())}


def is_folded(cell: nbformat.NotebookNode) -> bool:
    """True for a cell whose code no page and no notebook shows unasked."""
    return bool(tags(cell) & {CLAIM, PREPARATION})


def comment(source: str) -> str:
    """Return the comment that code begins with, its lines joined, or ""."""
    return " ".join(_comment_lines(source))


def _comment_lines(source: str) -> list[str]:
    said = []
    for line in source.strip().split("\n"):
        found = COMMENT.fullmatch(line)
        if not found:
            break
        said.append(found[1].strip())
    return said


def without_comment(source: str) -> str:
    """Return the code below the comment that it begins with."""
    lines = source.strip().split("\n")
    return "\n".join(lines[len(_comment_lines(source)) :]).strip("\n")


def spans(sentence: str) -> Iterator[tuple[bool, str]]:
    """Yield (whether it is code, text) for the parts of a sentence."""
    for code, text in SPAN.findall(sentence):
        yield bool(code), code or text


def markdown(sentence: str) -> str:
    """Return a sentence as markdown that shows just this, but for code."""
    return "".join(
        f"`{text}`" if is_code else MARKUP.sub(r"\\\g<0>", text)
        for is_code, text in spans(sentence)
    )


def check(page: Page) -> None:
    """Raise ValueError for a claim that does not say what is held."""
    for number, cell in enumerate(page.cells("code"), 1):
        if CLAIM not in tags(cell):
            continue
        if not comment(cell.source):
            first = cell.source.strip().split("\n")[0]
            raise ValueError(
                f"{page.source}: code cell {number}: claim: got {first!r}, "
                "want a comment of one sentence in the first line"
            )
        if not without_comment(cell.source):
            raise ValueError(
                f"{page.source}: code cell {number}: claim: got a comment "
                "alone, want code that holds it"
            )


def name(source: str, draws: bool) -> str:
    """Return what preparation is called that does not say it itself."""
    body = imports.parse(source).body
    if body and all(is_import(s) or is_seed(s) for s in body):
        seeded = any(map(is_seed, body))
        return "imports and seed" if seeded else "imports"
    return "code of the figure" if draws else "code"


class Line(nodes.container):
    """What a fold shows while it is closed."""


def visit_line(translator, node: Line) -> None:
    # where the code stands open already, nothing is there to be clicked
    tag = "summary" if isinstance(node.parent, Fold) else "div"
    translator.body.append(f'<{tag} class="{" ".join(node["classes"])}">')
    if "claim-line" in node["classes"]:
        translator.body.append(
            '<span class="spoken">claim checked: </span>'
            '<span class="tick" aria-hidden="true">✓</span> '
        )
    translator.body.append(html.escape(node.get("called", "")))


def depart_line(translator, node: Line) -> None:
    tag = "summary" if isinstance(node.parent, Fold) else "div"
    translator.body.append(f"</{tag}>\n")


class FoldCells(SphinxPostTransform):
    """Put claims, and the code of preparations, behind their lines.

    After myst-nb has chosen what an output shows as, and before it folds
    cells in a way of its own.
    """

    default_priority = 190
    formats = ("html",)

    def run(self, **_) -> None:
        cells = [
            node
            for node in self.document.findall(nodes.container)
            if node.get("nb_element") == "cell_code"
        ]
        for cell in cells:
            _drop_empty_outputs(cell)
            given = cell["cell_metadata"].get("tags", ())
            if CLAIM in given:
                fold_claim(cell)
            elif cell.get("hide_mode") == "input":
                fold_input(cell)


def _drop_empty_outputs(cell: nodes.container) -> None:
    """A glued value is for the prose: it leaves nothing to be shown."""
    for part in list(cell.children):
        shows_nothing = not part.children
        if part.get("nb_element") == "cell_code_output" and shows_nothing:
            cell.remove(part)


def fold_claim(cell: nodes.container) -> None:
    code = _source(cell)
    assert code is not None  # `check` has seen that it holds some
    line = _line(comment(code.astext()), "claim-line")
    _cut_comment(code)
    cell.attributes.pop("hide_mode", None)
    _put(cell, line, list(cell.children), CLAIM)


def fold_input(cell: nodes.container) -> None:
    del cell["hide_mode"]
    code = _source(cell)
    if code is None:
        return
    source = code.astext()
    draws = "figure" in cell["cell_metadata"].get("mystnb", {})
    if said := comment(source):
        line = _line(said, "preparation-line")
    else:
        # no text of the page: a search would find it on each of them
        called = name(source, draws)
        line = Line("", classes=["preparation-line"], called=called)
    if without_comment(source):
        _cut_comment(code)
    _put(cell, line, [cell.children[0]], "preparation")


def _put(
    cell: nodes.container,
    line: Line,
    folded: list[nodes.Node],
    kind: str,
) -> None:
    """Fold these children of a cell; in a solution they stand open.

    Nobody opens a fold to find a fold.
    """
    at = cell.index(folded[0])
    if _is_inside_a_fold(cell):
        if kind == CLAIM:
            cell.insert(at, line)
        return
    for part in folded:
        cell.remove(part)
    cell.insert(at, Fold("", line, *folded, classes=[kind]))


def _is_inside_a_fold(node: nodes.Node) -> bool:
    while node.parent is not None:
        node = node.parent
        if {"dropdown", "toggle"} & {*node.get("classes", ())}:
            return True
    return False


def _source(cell: nodes.container) -> nodes.literal_block | None:
    first = cell.children[0]
    if first.get("nb_element") != "cell_code_source":
        return None
    return next(first.findall(nodes.literal_block))


def _line(sentence: str, kind: str) -> Line:
    words = [
        nodes.literal(text, text) if is_code else nodes.Text(text)
        for is_code, text in spans(sentence)
    ]
    return Line("", *words, classes=[kind])


def _cut_comment(code: nodes.literal_block) -> None:
    """Show the code without the sentence that stands above it."""
    code.rawsource = without_comment(code.astext())
    code.children = []
    code += nodes.Text(code.rawsource)


def add_style(app: Sphinx, config: Config) -> None:
    config.html_css_files.append("claims.css")


def setup(app: Sphinx) -> None:
    # after bookbinder.extension has named the book's own files
    app.connect("config-inited", add_style, priority=450)
    app.add_node(Line, html=(visit_line, depart_line))
    app.add_post_transform(FoldCells)
