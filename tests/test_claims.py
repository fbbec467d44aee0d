"""Claims and preparation: one line each, in the page and in its twin."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from bookbinder import claims, extension, fingerprint, sync, twin
from bookbinder.book import Book
from nbformat import v4
from sphinx.errors import ExtensionError
from test_extension import app, build
from test_sync import ROOT, SECOND, cell, make_book
from test_twin import bound

HELD = "# the root makes `q @ k.mT` harmless,\n# at any width\nassert x > 0"
LAST = "(second)=\n# Second\n\nText.\n"
SEEDED = "import torch\n\n_ = torch.manual_seed(0)"


def tagged(tag: str, source: str) -> str:
    return cell(f":tags: [{tag}]\n{source}")


PAGE = (
    "(first)=\n# First\n"
    + tagged("hide-input", SEEDED)
    + cell("x = 1")
    + tagged("claim", HELD)
    + tagged("hide-input", "# what the wheel needs\nprint('spun')")
    + "\n```{exercise-start} One\n:label: one\n```\nDo.\n"
    "```{exercise-end}\n```\n"
    "\n```{solution-start} one\n:class: dropdown\n```\n"
    + tagged("claim", "# it is right\nassert x")
    + tagged("hide-input", "import math")
    + "\n```{solution-end}\n```\n"
)


class Folds(HTMLParser):
    """The folds of a page: their class, line, and what stands in them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[dict] = []
        self.found: list[dict] = []
        self.in_line = False
        self.hidden = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        given = dict(attrs)
        if tag == "details":
            fold = {"class": given.get("class"), "line": "", "text": ""}
            self.found.append(fold)
            self.open.append(fold)
        elif tag == "summary":
            self.in_line = True
        self.hidden = given.get("aria-hidden") == "true"

    def handle_endtag(self, tag: str) -> None:
        if tag == "details":
            self.open.pop()
        elif tag == "summary":
            self.in_line = False
        self.hidden = False

    def handle_data(self, data: str) -> None:
        if self.open and not self.hidden:
            self.open[-1]["line" if self.in_line else "text"] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Build a page whose one claim glues, and whose preparation prints."""
    root = tmp_path_factory.mktemp("claims")
    text = PAGE + "\nIt is {glue:text}`x`.\n"
    book = make_book(root, first=text, second=LAST)
    for name in ("style", "figures"):
        shutil.copytree(ROOT / "book" / name, root / "book" / name)
    page = book.page("first")
    cells = page.cells("code")
    scrap = {"name": "x", "mime_prefix": "application/papermill.record/"}
    glued = v4.new_output(
        "display_data",
        {"application/papermill.record/text/plain": "'0.5'"},
        metadata={"scrapbook": scrap},
    )
    spun = v4.new_output("stream", name="stdout", text="spun\n")
    cells[2].outputs = [glued]
    cells[3].outputs = [spun]
    kept = fingerprint.of_page(book, cells, {})
    made = sync.assemble(book, page, twin.Run(cells, kept=kept))
    twin.write(page, made)
    done = build(book)
    assert done.returncode == 0, done.stdout + done.stderr
    return root / "_build" / "html"


@pytest.fixture(scope="module")
def built(site) -> str:
    return (site / "book" / "first.html").read_text(encoding="utf-8")


def article(built: str) -> str:
    return built.split("<article")[1].split("</article>")[0]


def test_a_claim_is_one_line_that_opens(built):
    folds = Folds(article(built)).found
    (claim,) = (f for f in folds if f["class"] == "claim")
    said = " ".join(claim["line"].split())
    assert said == (
        "claim checked: the root makes q @ k.mT harmless, at any width"
    )
    assert "assert" in claim["text"]
    # the sentence is not said twice
    assert "harmless" not in claim["text"]
    assert re.search(r"<code[^>]*>.*?k\.mT.*?</code>", built)
    assert '<span class="tick" aria-hidden="true">✓</span>' in built


def test_a_value_glued_in_a_claim_is_in_the_prose(built):
    assert "It is 0.5." in built


def test_preparation_is_a_thin_line_and_its_output_stands(built):
    folds = Folds(article(built)).found
    prepared = [f for f in folds if f["class"] == "preparation"]
    assert [" ".join(f["line"].split()) for f in prepared] == [
        "imports and seed",
        "what the wheel needs",
    ]
    assert not any("spun" in f["text"].split() for f in prepared)
    assert re.search(r">spun\s*<", article(built))
    # not in myst-nb's own way
    assert "Show code cell source" not in built


def test_what_all_pages_call_it_is_found_on_none(site):
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    # a claim's words are the page's own
    assert '"harmless"' in index
    assert '"seed"' not in index


def test_in_a_solution_nothing_is_folded_twice(built):
    solution = article(built).split("Solution to")[1]
    assert "<details" not in solution
    assert "it is right" in re.sub("<[^>]*>", "", solution)
    assert "assert" in re.sub("<[^>]*>", "", solution)


def test_the_style_is_the_books(site):
    (style,) = site.rglob("site.css")
    assert "details.claim" in style.read_text(encoding="utf-8")


def test_a_twin_says_the_claim_and_folds_its_code(tmp_path):
    _, made = bound(tmp_path, PAGE)
    names = [found.id for found in made.cells]
    said = {found.id: found.source for found in made.cells}
    (at,) = (i for i, c in enumerate(made.cells) if c.source == HELD)
    above, code = made.cells[at - 1 : at + 1]
    assert above.source == (
        "✓ the root makes `q @ k.mT` harmless, at any width"
    )
    assert above.id == f"{code.id}-claim"
    assert len(set(names)) == len(said)
    folded = {
        found.source: found.metadata.get("jupyter") == {"source_hidden": True}
        and found.metadata.get("cellView") == "form"
        for found in twin.page_cells(made)
    }
    assert folded.pop("x = 1") is False
    assert set(folded.values()) == {True}


def test_what_markdown_would_read_as_markup_is_shown(tmp_path):
    text = tagged("claim", "# a_b, *c* and `d_e` cost 1$ to 2$\nassert 1")
    _, made = bound(tmp_path, f"# First\n{text}")
    (said,) = (c.source for c in made.cells if c.source.startswith("✓"))
    assert said == r"✓ a_b, \*c\* and `d_e` cost 1\$ to 2\$"


def test_folding_a_cell_makes_no_page_stale(tmp_path):
    unfolded = PAGE.replace("[claim]", "[]").replace("[hide-input]", "[]")
    assert unfolded != PAGE
    book = make_book(tmp_path, first=PAGE, second=unfolded)
    one, other = (fingerprint.cells_hash(p.cells("code")) for p in book.pages)
    assert one == other


@pytest.mark.parametrize(
    ("source", "got"),
    [("assert 1", "got 'assert 1'"), ("# only words", "a comment alone")],
)
def test_a_claim_without_words_or_proof_is_refused(tmp_path, source, got):
    text = "# First\n" + cell("0") + tagged("claim", source)
    with pytest.raises(ValueError, match=got) as error:
        bound(tmp_path, text)
    assert "first.md: code cell 2: claim" in str(error.value)
    book = Book(tmp_path)
    make_book(tmp_path, first=text, second=SECOND)
    with pytest.raises(ExtensionError, match=r"first\.md: code cell 2"):
        extension.seed(app(book, tmp_path))


@pytest.mark.parametrize(
    ("source", "said", "left"),
    [
        ("# the wheel\nspin()", "the wheel", "spin()"),
        ("# the\n# wheel\n\nspin()  # on", "the wheel", "spin()  # on"),
        ("\n# a\n\n# b\nspin()", "a", "# b\nspin()"),
        ("## a\nspin()", "a", "spin()"),
        ("spin()\n# a", "", "spin()\n# a"),
        ("#", "", ""),
    ],
)
def test_a_cell_says_what_its_first_comment_does(source, said, left):
    assert claims.comment(source) == said
    assert claims.without_comment(source) == left


@pytest.mark.parametrize(
    ("source", "draws", "said"),
    [
        (SEEDED, False, "imports and seed"),
        ("import math\nfrom a import b", False, "imports"),
        ("plots.lines(x)", True, "code of the figure"),
        ("x = 1", False, "code"),
        ("%matplotlib inline", False, "code"),
    ],
)
def test_preparation_is_named(source, draws, said):
    assert claims.name(source, draws) == said


def test_a_claims_words_are_no_markup(tmp_path):
    hostile = "# <b>bold</b> & `<i>`\nassert 1"
    _, made = bound(tmp_path, "# First\n" + tagged("claim", hostile))
    (said,) = (c.source for c in made.cells if c.source.startswith("✓"))
    assert said == r"✓ \<b>bold\</b> & `<i>`"
