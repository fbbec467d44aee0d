"""The book on paper: two pages printed, bound, numbered and linked."""

import sys
from types import SimpleNamespace

import pytest
from bookbinder import browser, pdf
from bookbinder.book import Book, find_book, toc_parts

from conftest import lack

NAMES = ["book/start/setup", "book/blocks/attention"]


def test_parts_hold_every_page_in_order():
    book = find_book()
    parts = toc_parts(book.root / "_toc.yml")
    assert [n for _, names in parts for n in names] == [
        page.name for page in book.pages
    ]
    assert parts[0] == (None, [book.pages[0].name])
    assert dict(parts)["Blocks"][0].startswith("book/blocks/")


def test_without_a_built_page_it_says_what_to_run(tmp_path):
    pytest.importorskip("pypdf")
    page = SimpleNamespace(name="book/first")
    book = SimpleNamespace(root=tmp_path, pages=[page])
    with pytest.raises(ValueError, match=r"book/first: got no built page"):
        pdf.write(book, [])


def test_without_chromium_it_says_what_to_install(monkeypatch, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api")
    nowhere = SimpleNamespace(executable_path=str(tmp_path / "none"))

    class Playwright:
        chromium = nowhere

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(browser.shutil, "which", lambda _: None)
    monkeypatch.setattr(sync_api, "sync_playwright", Playwright)
    with (
        pytest.raises(ValueError, match=r"Chromium: got none.*install"),
        browser.chromium(),
    ):
        raise AssertionError("it must not start")


def test_without_pypdf_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pypdf", None)
    with pytest.raises(ValueError, match=r"pypdf: got no such package"):
        pdf.write(find_book(), [])


@pytest.mark.slow
def test_two_pages_are_bound(site, tmp_path):
    pypdf = pytest.importorskip("pypdf")
    book = Book(find_book().root)
    output = tmp_path / "two.pdf"
    try:
        said = pdf.write(book, NAMES, output)
    except ValueError as error:
        if "Chromium" not in str(error):
            raise
        lack(str(error))
    reader = pypdf.PdfReader(output)
    assert f"{len(reader.pages)} sheets" in said
    assert reader.metadata.title == book.settings["title"]

    # part, then page, then section; each leads to a sheet, in order
    first, inner, second, other = reader.outline
    assert (first.title, second.title) == ("Start", "Blocks")
    assert inner[0].title == "Set-up"
    assert other[0].title == "Attention"
    sections = [entry.title for entry in other[1] if hasattr(entry, "title")]
    assert "Exercises" in sections
    numbers = [
        reader.get_destination_page_number(entry)
        for entry in (first, inner[0], second, other[0], *other[1])
        if hasattr(entry, "title")
    ]
    assert numbers == sorted(numbers)
    assert numbers[0] == 0 < numbers[2]

    # the sheets are numbered through, and no solution is open
    texts = [page.extract_text() for page in reader.pages]
    for number, text in enumerate(texts, 1):
        assert text.split()[-1] == str(number)
    whole = "\n".join(texts)
    assert "Solution to Exercise 1" in whole
    assert "Skip to main content" not in whole

    # no link leads to a file of the machine that printed it
    for link in pdf._links(reader.pages):
        assert "file:" not in str(link.get("/A", {}).get("/URI", ""))
