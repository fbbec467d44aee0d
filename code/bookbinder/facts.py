"""The line of data under a page's title: minutes, cost, claims, parities.

It is data, not text: on the page its words stand in attributes that the
style sheet shows, so that no search matches them.
"""

import html
from dataclasses import dataclass
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from bookbinder import costs, ledger, pages, twin
from bookbinder.book import Book, Page


@dataclass(frozen=True)
class Facts:
    """What a reader may want to know before the first word."""

    words: tuple[str, ...]
    parities: str = ""  # "6 parities", which the ledger lists; "": none


def of_page(book: Book, page: Page, run: twin.Run) -> Facts:
    """Return the facts of a page, as its source and its run say."""
    minutes = pages.read(book, page).minutes
    words = [f"{_counted(minutes, 'minute')} to read"]
    if cost := costs.of_twin(run.kept):
        seconds = max(cost["seconds"], 1)
        words.append(f"runs in {seconds} s, {cost['gigabytes']:.1f} GB")
    if claims := pages.count_claims(page):
        words.append(f"{_counted(claims, 'claim')} checked")
    parities = len(list(ledger.rows_in(run.cells)))
    return Facts(
        tuple(words),
        _counted(parities, "parity", "parities") if parities else "",
    )


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def as_markdown(facts: Facts, address: str | None) -> str:
    """Return the line as a notebook shows it."""
    words = [*facts.words]
    if facts.parities:
        link = f"[{facts.parities}]({address})"
        words.append(link if address else facts.parities)
    return f"*{' · '.join(words)}*"


def under_title(text: str, line: str) -> str:
    """Return the markdown of a page's first cell, the line in its place."""
    lines = text.split("\n")
    at = next((i for i, x in enumerate(lines) if x.startswith("# ")), None)
    if at is None:
        return text
    return "\n".join([*lines[: at + 1], "", line, *lines[at + 1 :]])


class FactsLine(nodes.Element):
    """The facts of a page; it holds no text that an index would read."""


def visit_facts(translator, node: FactsLine) -> None:
    facts = node["facts"]
    parts = [
        f'<span data-fact="{html.escape(word)}"></span>'
        for word in facts.words
    ]
    if facts.parities:
        said = html.escape(facts.parities)
        if node["ledger"]:
            address = html.escape(node["ledger"])
            parts.append(
                f'<a href="{address}" aria-label="{said}" '
                f'data-fact="{said}"></a>'
            )
        else:
            parts.append(f'<span data-fact="{said}"></span>')
    translator.body.append(f'<p class="page-facts">{"".join(parts)}</p>\n')
    raise nodes.SkipNode


class AddFacts(SphinxPostTransform):
    """Put the line under the title of each page that has cells.

    Not on the front page: who arrives there has chosen no page yet.
    """

    default_priority = 210
    formats = ("html",)

    def run(self, **_) -> None:
        book = Book(Path(self.app.confdir))
        page = next(
            (p for p in book.pages[1:] if p.name == self.env.docname), None
        )
        title = self.document.next_node(nodes.title)
        if page is None or title is None or not page.has_cells:
            return
        run = twin.stored_run(page.read_twin())
        line = FactsLine("", facts=of_page(book, page, run), ledger="")
        if any(p.name == ledger.PAGE for p in book.pages):
            uri = self.app.builder.get_relative_uri(page.name, ledger.PAGE)
            line["ledger"] = uri
        title.parent.insert(title.parent.index(title) + 1, line)


def setup(app: Sphinx) -> None:
    app.add_node(FactsLine, html=(visit_facts, None))
    app.add_post_transform(AddFacts)
