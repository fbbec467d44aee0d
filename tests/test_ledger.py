"""The parity ledger says what executed cells measured, and nothing else."""

import pytest
import torch
from bookbinder import ledger, sync, twin
from bookbinder.book import Book, find_book
from handmade import parity
from nbformat import v4
from test_sync import SECOND, cell, make_book
from torch import nn

LEDGER_PAGE = "(parity-ledger)=\n# Parity ledger\n\nWhat it means.\n"
PAGE = "(first)=\n# First\n" + cell("parity(1)") + cell("parity(2)")


def report(dtype: torch.dtype, name: str) -> dict:
    """What `parity` itself publishes, for a model against its double."""
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5))
    ours = ours.to(dtype).eval()
    x = torch.randn(2, 3, dtype=dtype)
    made = parity.parity(ours, ours, x, layers={"{}": "{}", "": ""}, name=name)
    return made.ledger()


def bind(book: Book, reports: list[dict]) -> None:
    """Write the first page's twin, with these reports as its outputs."""
    page = book.pages[0]
    cells = page.cells("code")
    for found, data in zip(cells, reports, strict=False):
        data = {ledger.MIME: data}
        found.outputs = [v4.new_output("display_data", data)]
    made = sync.assemble(book, page, twin.Run(cells))
    twin.write(page, made)


@pytest.fixture
def book(tmp_path) -> Book:
    (tmp_path / "book" / "back").mkdir(parents=True)
    pages = {
        "first": PAGE,
        "second": SECOND,
        "back/parity-ledger": LEDGER_PAGE,
    }
    made = make_book(tmp_path, **pages)
    path = made.page(ledger.PAGE).source
    path.write_text(LEDGER_PAGE)  # no front matter: it has no cells
    return Book(tmp_path)


def test_what_parity_publishes_is_what_the_ledger_reads():
    assert parity.MIME == ledger.MIME


def test_every_comparison_adds_a_row(book):
    assert ledger.is_stale(book)
    assert ledger.write(book) is True
    text = book.page(ledger.PAGE).source.read_text()
    assert text.startswith(LEDGER_PAGE)
    assert "0 comparisons, 0 outputs compared." in text
    assert ledger.write(book) is False

    bind(book, [report(torch.float32, "tiny"), report(torch.float64, "tiny")])
    assert ledger.is_stale(book)
    assert ledger.write(book) is True
    text = book.page(ledger.PAGE).source.read_text()
    assert "2 comparisons, 8 outputs compared." in text
    rows = [line for line in text.split("\n") if line.startswith("| [first]")]
    assert len(rows) == 2
    for row, dtype, allowed in zip(
        rows, ("float32", "float64"), ("1.0e-04", "1.0e-10"), strict=True
    ):
        cells = [part.strip() for part in row.strip("|").split("|")]
        assert cells[:8] == [
            "[first](/book/first.md)",
            "tiny",
            dtype,
            "4",
            "0.0e+00",
            allowed,
            "torch.Sequential",
            "cpu",
        ]
        assert cells[8] == torch.__version__.split("+")[0]
    assert "| `{}` | 3 | 0.0e+00 |" in text
    assert text.startswith(LEDGER_PAGE)
    assert ledger.write(book) is False


def test_the_largest_difference_is_the_largest_number(book):
    made = report(torch.float32, "tiny")
    made["rows"] = [
        {"layer": "a", "compared": 1, "largest": "9.0e-08"},
        {"layer": "b", "compared": 2, "largest": "1.0e-06"},
        {"layer": "c", "compared": 1, "largest": "0.0e+00"},
    ]
    bind(book, [made])
    assert "| 4 | 1.0e-06 |" in ledger.render(book)


def test_a_checkpoint_stands_with_the_model(book):
    made = report(torch.float32, "a|b") | {"checkpoint": "hub@abc"}
    bind(book, [made])
    assert "| a&#124;b, hub@abc | float32 |" in ledger.render(book)


def test_a_page_edited_by_hand_below_the_mark_is_stale(book):
    ledger.write(book)
    path = book.page(ledger.PAGE).source
    path.write_text(path.read_text().replace("0 comparisons", "9 comparisons"))
    book = Book(book.root)
    assert sync.stale(book)[ledger.PAGE] == "the twins' parity rows changed"
    ledger.write(book)
    assert "0 comparisons" in path.read_text()


def test_a_book_without_the_page_has_no_ledger(tmp_path):
    book = make_book(tmp_path, first="# First\n", second=SECOND)
    assert ledger.is_stale(book) is False
    assert ledger.write(book) is False


def test_the_books_own_ledger_counts_every_call():
    book = find_book()
    calls = sum(
        line.startswith("parity(") or " = parity(" in line
        for page in book.pages
        if page.has_cells
        for found in page.cells("code")
        for line in found.source.split("\n")
    )
    rows = list(ledger.reports(book))
    assert len(rows) >= calls > 0
    for _, made in rows:
        worst = max(float(row["largest"]) for row in made["rows"])
        assert worst <= float(made["tolerance"])
