"""No script reaches a reader: none in a page, none in a stored output.

Markup in outputs comes from helpers of ours, with every value escaped; what
runs in the page comes from `book/vendor` and the explorables' own files.
"""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from bookbinder import directives, ledger, myst, sync, twin
from bookbinder.book import Book, Page, find_book
from handmade import parity, plots
from handmade.strip import Step, Strip
from handmade.tables import table
from nbformat import v4
from test_sync import SECOND, cell, make_book
from torch import nn

BOOK = find_book(Path(__file__).parents[1])
each_page = pytest.mark.parametrize(
    "page", BOOK.pages, ids=[page.name for page in BOOK.pages]
)
# functions of `handmade` whose outputs are markup
HELPERS = frozenset({
    "lines", "bars", "heatmap",
    "table", "parity", "Strip", "follow",
    "check", "check.show",
    "flow", "head_split", "gqa_sharing", "rope_pairs", "masks", "packing",
    "strides", "autograd_graph", "moe_routing", "norm_placement",
    "score_tiles",
    "block_tables",
    "by_hand_graph",
})  # fmt: skip
MARKUP = {"text/html", "image/svg+xml", "text/markdown"}
DATA = {
    "text/plain",
    "image/png",
    "application/papermill.record/text/plain",
    "application/vnd.handmade.parity+json",
    "application/vnd.jupyter.widget-view+json",
}
TAGS = {"script", "iframe", "object", "embed", "base", "meta", "link", "form"}
ADDRESSES = {"href", "src", "xlink:href", "action", "formaction", "data"}
HOSTILE = (
    "<script>alert(1)</script>",
    "<SCRIPT src=x.js>",
    "a < script >",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<p\nONCLICK='a()'>",
    "<a href=' java\tscript:alert(1)'>x</a>",
    "<iframe srcdoc='x'></iframe>",
    "<svg><a xlink:href='javascript:a()'/></svg>",
    "<svg><set attributeName='onclick' to='a()'/></svg>",
    "<base href='https://example.org'>",
)
# to markdown, which shows them as they stand
NO_TAGS = {"a < script >", "<svg/onload=alert(1)>"}
NAMES = (
    *HOSTILE,
    "](javascript:alert(1))",
    "[x](javascript:alert(1))",
    "``` {raw} html",
    "a | b",
    "a\n\n<script>",
)


class Finder(HTMLParser):
    """Collects what would run, or call another host's page, in some HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.faults: list[str] = []
        # also where no tag is closed, or a space stands in it
        if re.search(r"<\s*/?\s*script", text, re.IGNORECASE):
            self.faults.append("script")
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag in TAGS:
            self.faults.append(tag)
        for name, value in attrs:
            value = re.sub(r"[\s\0]", "", value or "").lower()
            runs = name.startswith("on") or name == "srcdoc"
            if name == "attributename":
                runs = value.startswith("on") or value.endswith("href")
            if name in ADDRESSES:
                runs = re.match(r"(javascript|vbscript|data:text)", value)
            if runs:
                self.faults.append(f"{tag} {name}={value}")


def raw_html(text: str, page: Page) -> Iterator[str]:
    """Yield the HTML in a text of a page, in its directives as well."""
    for token in myst.parse(text, page.extensions):
        for part in (token, *(token.children or ())):
            if part.type in ("html_block", "html_inline"):
                yield part.content
            elif part.type in ("link_open", "image"):
                address = part.attrs.get("href", part.attrs.get("src", ""))
                yield f'<a href="{address}">'
        if myst.directive(token):
            found = directives.read(token, page.source)
            yield from raw_html(found.argument, page)
            if directives.TABLE[found.name].nested:
                yield from raw_html(found.body, page)


def faults(html: Iterator[str]) -> list[str]:
    return [fault for text in html for fault in Finder(text).faults]


@each_page
def test_no_script_in_a_page(page: Page):
    for found in page.all_cells:
        figure = found.metadata.get("mystnb", {}).get("figure", {})
        texts = [figure.get("caption", "")]
        if found.cell_type == "markdown":
            texts.append(found.source)
        for text in texts:
            assert not faults(raw_html(text, page)), text[:200]


def of_output(output) -> list[str]:
    """Return what is wrong with the markup of one stored output."""
    data = output.get("data", {})
    found = [kind for kind in data if kind not in MARKUP | DATA]
    for kind in MARKUP & {*data}:
        found += Finder("".join(data[kind])).faults
    return found


@each_page
def test_no_script_in_a_twin(page: Page):
    if not page.has_cells:
        return
    for found in page.read_twin().cells:
        if found.cell_type == "markdown":
            assert not faults(raw_html(found.source, page)), found.id
        for output in found.get("outputs", ()):
            assert not of_output(output), found.id
            if MARKUP & {*output.get("data", {})}:
                ours = any(f"{name}(" in found.source for name in HELPERS)
                assert ours, f"{found.id}: markup that no helper made"


@pytest.mark.parametrize("text", HOSTILE)
def test_the_search_for_scripts_finds_them(text):
    assert Finder(text).faults
    page = BOOK.pages[0]
    for inside in (f"a {text}\n", f"```{{note}}\n{text}\n```\n"):
        assert faults(raw_html(inside, page)) or text in NO_TAGS
    for kind in MARKUP:
        assert of_output(v4.new_output("display_data", {kind: text}))
    assert of_output(
        v4.new_output("display_data", {"application/javascript": "a()"})
    )


@pytest.mark.parametrize(
    "text",
    [
        "<p class='a'>on = 1</p>",
        "a &lt;script&gt;",
        "<a href='https://example.org/javascript:'>",
        "<svg><path d='M0 0'/></svg>",
        "if a < b: on=1",
    ],
)
def test_the_search_for_scripts_finds_nothing_else(text):
    assert not Finder(text).faults


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_text_in_what_cells_show(name):
    ours = nn.Sequential(nn.Linear(2, 3)).eval()
    x, xy = torch.randn(2, 2), {"xlabel": name, "ylabel": name}
    for shown in (
        plots.lines([1, 2], {name: [1, 2]}, title=name, **xy),
        plots.bars([name], [1], **xy),
        plots.heatmap([[1]], xticks=[name], label=name, **xy),
        table([[name]], [name], caption=name),
        Strip([Step(name, x, name)]),
        parity.parity(
            ours, ours, x, layers={"{}": "{}"}, name=name, against=name
        ),
    ):
        bundle = shown._repr_mimebundle_()
        assert MARKUP & {*bundle}
        assert not of_output(v4.new_output("display_data", bundle))


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_text_in_the_ledger(tmp_path, name):
    """A model, a checkpoint or a layer may be called anything."""
    ours = nn.Sequential(nn.Linear(2, 3)).eval()
    x = torch.randn(2, 2)
    made = parity.parity(ours, ours, x, layers={"{}": "{}"}, name=name)
    made = v4.new_output("display_data", {ledger.MIME: made.ledger()})
    first = "(first)=\n# First\n" + cell("parity(1)")
    page_text = "(parity-ledger)=\n# Parity ledger\n"
    (tmp_path / "book" / "back").mkdir(parents=True)
    book = make_book(
        tmp_path, first=first, second=SECOND, **{"back/parity-ledger": ""}
    )
    book.page(ledger.PAGE).source.write_text(page_text)
    (one,) = (cells := book.pages[0].cells("code"))
    one.outputs = [made]
    run = twin.Run(cells)
    twin.write(book.pages[0], sync.assemble(book, book.pages[0], run))
    ledger.write(book)
    written = Book(tmp_path).page(ledger.PAGE)
    (text,) = (found.source for found in written.cells("markdown"))
    plain = re.sub(r"<!--.*?-->", "", text)
    assert not faults(raw_html(plain, written))
    assert "<" not in plain
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in tables[:3]}) == 1
