"""How long a route takes to read, as a page tells it."""

from types import SimpleNamespace

import pytest
from bookbinder import pages as reading
from bookbinder.book import find_book
from bookbinder.minutes import role, told
from docutils import nodes


@pytest.mark.parametrize(
    ("total", "want"),
    [
        (1, "5 minutes"),
        (33, "35 minutes"),
        (60, "1 h"),
        (118, "2 h"),
        (130.1, "2 h 10 min"),
    ],
)
def test_a_time_is_told_to_five_minutes(total, want):
    assert told(total) == want


def inliner():
    root = find_book().root
    return SimpleNamespace(
        document=SimpleNamespace(
            settings=SimpleNamespace(
                env=SimpleNamespace(app=SimpleNamespace(confdir=root))
            )
        ),
        reporter=SimpleNamespace(error=lambda text, line: text),
        problematic=lambda raw, text, problem: problem,
    )


def test_a_route_is_the_sum_of_its_pages():
    book = find_book()
    pages = {page.name: page for page in book.pages}
    names = ("text/bpe", "models/llama")
    total = sum(
        reading.read(book, pages[f"book/{name}"]).minutes for name in names
    )
    (node,), problems = role("", "", " ".join(names), 1, inliner())
    assert isinstance(node, nodes.Text)
    assert (str(node), problems) == (told(total), [])


@pytest.mark.parametrize("text", ["text/no-such", ""])
def test_a_page_that_is_not_in_the_book_is_told(text):
    _, (problem,) = role("", "", text, 1, inliner())
    assert problem == f"minutes: got {text!r}, want pages of _toc.yml"
