"""`bookbinder new`: a page that binds at once, named in the contents."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from bookbinder import new_page, pages, sync
from bookbinder.book import Book
from bookbinder.idea import Names
from shown import problems
from test_sync import ROOT, SECOND, cli, make_book

TOC = (ROOT / "_toc.yml").read_text(encoding="utf-8")


def chapters(toc: str, caption: str) -> list[str]:
    (part,) = (
        p for p in yaml.safe_load(toc)["parts"] if p["caption"] == caption
    )
    return [entry["file"] for entry in part["chapters"]]


def test_a_page_is_the_last_of_its_part():
    toc = new_page.with_page(TOC, "models", "gpt2")
    assert chapters(toc, "Models") == [
        *chapters(TOC, "Models"),
        "book/models/gpt2",
    ]
    assert chapters(toc, "Back") == chapters(TOC, "Back")


def test_a_new_part_stands_before_the_back():
    toc = new_page.with_page(TOC, "images", "flow-matching")
    captions = [part["caption"] for part in yaml.safe_load(toc)["parts"]]
    assert captions[-2:] == ["Images", "Back"]
    assert chapters(toc, "Images") == ["book/images/flow-matching"]


def test_a_skeleton_is_bound_and_shows_no_note_of_ours(tmp_path):
    make_book(tmp_path, first=SECOND)
    shutil.copy(ROOT / "_toc.yml", tmp_path)
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/first\nparts:\n"
        "  - caption: Back\n    chapters:\n      - file: book/first2\n"
    )
    text = SECOND.replace("second", "first2")
    shutil.copy(tmp_path / "book/first.md", tmp_path / "book/first2.md")
    head = (tmp_path / "book/first2.md").read_text()
    (tmp_path / "book/first2.md").write_text(head.replace(SECOND, text))
    said = new_page.write(Book(tmp_path), "models/key-value")
    assert "book/models/key-value.md" in said
    assert "handmade/exercises/models/key_value.py" in said
    done = cli(tmp_path, "models/key-value")
    assert done.returncode == 0, done.stderr
    book = Book(tmp_path)
    page = book.page("models/key-value")
    assert sync.stale_page(book, page) is None
    shown = "\n".join(c.source for c in page.read_twin().cells)
    assert "# Key value" in shown
    assert "key-value" in page.read_twin().cells[0].id
    for ours in ("%\n", "SLUG", "PART", "TITLE", "MODULE"):
        assert ours not in shown
    # the object before its parts, what is held in one line
    heads = re.findall(r"^## (.*)$", shown, re.MULTILINE)
    assert heads[:3] == ["The whole of it", "By hand", "The parts"]
    assert "✓ each row of a softmax adds up to one" in shown
    assert re.search(r"^\*1 minute to read .* 1 claim checked\*$", shown, re.M)
    assert not [
        problem
        for cell in pages.read(book, page).shown
        for problem in problems(cell.source, Names())
    ]


def test_contents_without_parts_are_left_alone(tmp_path):
    first = "(first)=\n# First\n"
    book = make_book(tmp_path, first=first, second=SECOND)
    before = (tmp_path / "_toc.yml").read_text()
    with pytest.raises(ValueError, match=r"_toc\.yml: got no parts"):
        new_page.write(book, "a/b")
    assert (tmp_path / "_toc.yml").read_text() == before
    assert not (tmp_path / "book" / "a").exists()


@pytest.mark.parametrize(
    "name", ["gpt2", "a/b/c", "Models/x", "a/b_c", "../x"]
)
def test_a_name_must_be_part_and_page(tmp_path, name):
    book = make_book(tmp_path, first=SECOND)
    with pytest.raises(ValueError, match="want part/page"):
        new_page.write(book, name)


def test_a_page_is_never_overwritten(tmp_path):
    book = make_book(tmp_path, first=SECOND)
    (tmp_path / "book" / "a").mkdir()
    path = Path(tmp_path, "book", "a", "b.md")
    path.write_text("mine")
    with pytest.raises(ValueError, match="not there yet"):
        new_page.write(book, "a/b")
    assert path.read_text() == "mine"
