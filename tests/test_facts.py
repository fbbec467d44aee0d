"""The line under a title: data about the page, not words of it."""

import shutil

import pytest
from bookbinder import facts, fingerprint, ledger, pages, sync, twin
from bookbinder.book import Book
from nbformat import v4
from test_claims import LAST, Folds, article, tagged
from test_extension import build
from test_sync import ROOT, cell, make_book

TEXT = (
    "(second)=\n# Second\n\nSeen by nobody else.\n"
    + cell("x = 1")
    + tagged("claim", "# it is\nassert x")
    + tagged("claim", "# it stays\nassert x")
)
WORDS = ("1 minute to read", "runs in 1 s, 0.7 GB", "2 claims checked")
LEDGER = f"# The ledger\n\n{ledger.START}\n"
KEPT = {"cost": {"seconds": 0, "gigabytes": 0.7}}


def bound(root) -> Book:
    """Bind a page of two claims, one of them a parity."""
    front = "(first)=\n# First\n" + cell("1")
    book = make_book(root, first=front, second=TEXT)
    (root / "book" / "back").mkdir()
    (root / f"{ledger.PAGE}.md").write_text(LEDGER)
    toc = root / "_toc.yml"
    toc.write_text(toc.read_text() + f"  - file: {ledger.PAGE}\n")
    book = Book(root)
    row = {"compared": 1, "largest": "0", "layer": "x"}
    names = (
        "model", "dtype", "tolerance", "against", "device", "torch",
        "transformers", "checkpoint",
    )  # fmt: skip
    report = dict.fromkeys(names, "x") | {"rows": [row]}
    for page in book.pages[:2]:
        cells = page.cells("code")
        given = v4.new_output("display_data", {ledger.MIME: report})
        if page.name == "book/second":
            cells[1].outputs = [given]
        kept = fingerprint.of_page(book, cells, {}) | KEPT
        made = sync.assemble(book, page, twin.Run(cells, kept=kept))
        twin.write(page, made)
    return Book(root)


def test_a_twin_carries_it_under_its_title(tmp_path):
    book = bound(tmp_path)
    first, second = (page.read_twin() for page in book.pages[:2])
    address = f"{book.site}{ledger.PAGE}.html"
    line = f"*{' · '.join(WORDS)} · [1 parity]({address})*"
    assert f"\n# Second\n\n{line}\n\nSeen by" in second.cells[1].source
    # who stands before the house has chosen no page yet
    assert "to read" not in first.cells[1].source


def test_facts_move_with_the_page_and_run_nothing(tmp_path):
    book = bound(tmp_path)
    page = book.page("second")
    page.source.write_text(page.source.read_text() + "word " * 420)
    book = Book(book.root)
    page = book.page("second")
    assert sync.stale_page(book, page) == "what it shows changed"
    run = twin.stored_run(page.read_twin())
    assert facts.of_page(book, page, run).words[0] == "2 minutes to read"


def test_what_is_not_there_is_not_counted(tmp_path):
    book = make_book(tmp_path, first="# One\n" + cell("1"), second=LAST)
    found = facts.of_page(book, book.pages[0], twin.Run([]))
    assert found == facts.Facts(("1 minute to read",))
    assert facts.as_markdown(found, None) == "*1 minute to read*"


@pytest.mark.parametrize("text", ["no title", "## Section"])
def test_a_cell_without_a_title_is_left_alone(text):
    assert facts.under_title(text, "*x*") == text


def test_the_page_shows_it_and_the_search_does_not(tmp_path):
    book = bound(tmp_path)
    for name in ("style", "figures"):
        shutil.copytree(ROOT / "book" / name, tmp_path / "book" / name)
    assert ledger.write(book)
    done = build(Book(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    html = tmp_path / "_build" / "html"
    built = (html / "book" / "second.html").read_text(encoding="utf-8")
    shown = article(built)
    title, line = shown.index("<h1"), shown.index('class="page-facts"')
    assert title < line < shown.index("Seen by nobody")
    for word in WORDS:
        assert f'<span data-fact="{word}"></span>' in shown
    assert (
        '<a href="back/parity-ledger.html" aria-label="1 parity" '
        'data-fact="1 parity"></a>' in shown
    )
    assert [f["class"] for f in Folds(shown).found] == ["claim", "claim"]
    index = (html / "searchindex.js").read_text(encoding="utf-8")
    assert '"nobodi"' in index
    for word in ("minut", "gb", "check"):
        assert f'"{word}"' not in index
    front = (html / "book" / "first.html").read_text(encoding="utf-8")
    assert "page-facts" not in front
    # the numbers are those of the table of pages
    measured = pages.measure(book, book.page("second"))
    assert (measured.claims, measured.parities) == (2, 1)
