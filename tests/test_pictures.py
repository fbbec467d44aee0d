"""Pictures of the explorables: drawn once, found when they are old."""

import re
import shutil
from xml.etree import ElementTree

import pytest
from bookbinder import browser, explorables, pictures
from bookbinder.book import Book, find_book
from host_pages import ROOT, states_of, twin_of
from nbformat import write
from test_host import probe
from test_sync import SECOND, make_book

from conftest import lack

BOOK = find_book()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A book of one page, whose explorable was drawn once."""
    root = tmp_path_factory.mktemp("drawn")
    book = make_book(root, front="# Front\n\nWords.\n", page=SECOND)
    shutil.copytree(ROOT / "book" / "style", root / "book" / "style")
    save(book, probe())
    pictures.update(book, book.pages)
    if not pictures.path(book.pages[1], found(book), "wide").exists():
        lack(browser.MISSING)
    return root


@pytest.fixture
def book(drawn, tmp_path) -> Book:
    shutil.copytree(drawn, tmp_path / "copy")
    return Book(tmp_path / "copy")


def save(book: Book, *boxes) -> None:
    states, root = states_of(boxes[0])
    twin = twin_of(states, *[root for _ in boxes])
    write(twin, book.pages[1].twin)


def found(book: Book) -> explorables.Explorable:
    page = book.pages[1]
    return explorables.of_twin(page.read_twin(), page.source)[0]


def pictured(book: Book) -> dict[str, str]:
    files = sorted((book.root / "book").glob("page.explorable-*.svg"))
    return {file.name: file.read_text(encoding="utf-8") for file in files}


def test_a_picture_shows_controls_and_drawing(book):
    files = pictured(book)
    assert set(files) == {
        "page.explorable-1.svg",
        "page.explorable-1.phone.svg",
    }
    for text in files.values():
        ElementTree.fromstring(text)
        words = "".join(re.findall(r"<text[^>]*>([^<]*)</text>", text))
        for name in ("whole", "log", "100", "2 – 6", "toggle", "says", "«"):
            assert (name in words) == (name != "«")
        assert "whole" in words
        # 6 sliders, one of them with two handles
        assert text.count("<circle") == 6
        assert "var(--hm-c1)" in text  # which is the accent, too
        assert not re.search(r"<(?!text|/)[^>]*\son\w+=|<script", text)
        # a colour of its own is the same on both papers: written once
        assert re.search(r"--p\d+:#010203;", text)
    assert pictures.fault(book.pages[1]) is None


def test_what_is_drawn_is_not_drawn_again(book, monkeypatch, capsys):
    def refused():
        raise AssertionError("a browser was started")

    monkeypatch.setattr(pictures.browser, "chromium", refused)
    before = pictured(book)
    pictures.update(book, book.pages)
    assert capsys.readouterr().out == ""
    assert pictured(book) == before


@pytest.mark.parametrize("what", ["state", "script", "style", "gone", "more"])
def test_an_old_picture_is_told_and_kept_without_a_browser(
    book, monkeypatch, capsys, what
):
    box = probe()
    page = book.pages[1]
    if what == "state":
        box.children[0].value = 5
        save(book, box)
    elif what == "script":
        box.children[-1]._esm = "export default { render() {} }"
        save(book, box)
    elif what == "style":
        style = book.root / "book" / "style" / "host.css"
        style.write_text(style.read_text() + "\n")
        pictures._drawn_by.cache_clear()
    elif what == "gone":
        pictures.path(page, found(book), "phone").unlink()
    else:
        more = page.source.with_name("page.explorable-7.svg")
        more.write_text("<svg/>")
        assert "explorable-7.svg is the picture of nothing" in pictures.fault(
            page
        )
        pictures.update(book, book.pages)
        assert not more.exists()
        assert pictures.fault(page) is None
        return
    assert pictures.fault(page) == (
        "the picture of explorable-1 is old or missing"
    )

    def missing():
        raise ValueError(browser.MISSING)

    before = pictured(book)
    monkeypatch.setattr(pictures.browser, "chromium", missing)
    pictures.update(book, book.pages)
    said = capsys.readouterr().out
    assert "pictures stay as they are (book/page explorable-1)" in said
    assert "apt-get install chromium" in said
    assert pictured(book) == before


def test_the_books_pictures_are_fresh_and_small():
    seen = 0
    for page in BOOK.pages:
        if page.has_cells:
            assert pictures.fault(page) is None
            for one in explorables.of_twin(page.read_twin(), page.source):
                text = pictures.inline(page, one)
                assert text.count("<svg xmlns") == len(pictures.WIDTHS)
                seen += 1
    assert seen
