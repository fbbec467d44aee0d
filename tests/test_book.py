"""Settings, contents and pages: read whole, or refused by name."""

import pickle

import pytest
from bookbinder.book import Book, Page, toc_pages
from bookbinder.index import links_for
from test_sync import HEAD, make_book

FIRST = "(first)=\n# First\n"


@pytest.fixture
def book(tmp_path) -> Book:
    return make_book(tmp_path, first=FIRST, second="# Second\n")


def refused(book: Book, path: str, what: str) -> None:
    """Hold that reading the whole book names the file and what is wrong."""
    with pytest.raises(ValueError, match=path.replace(".", r"\.")) as error:
        read_all(Book(book.root))
    assert what in str(error.value)


def read_all(book: Book) -> None:
    for page in book.pages:
        links_for(book, page, page.cells("code"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "empty page"),
        (b"\n  \n", "empty page"),
        (b"---\na: b\n---\n\n", "empty page"),
        (b"# caf\xe9\n", "UTF-8"),
        (b"---\na: [\n---\n# First\n", "metadata"),
        (b"---\na: b: c\n---\n# First\n", "metadata"),
        (b"---\njust text\n---\n# First\n", "metadata"),
        (b"---\n- a\n---\n# First\n", "metadata"),
        (b"---\n---\n# First\n", "metadata"),
        (b"# First\n```{code-cell}\n:tags: [\n1\n```\n", "cell 1"),
        (b"# First\n\n+++ {a\n\nb\n", "cell"),
    ],
)
def test_a_page_that_cannot_be_read_is_named(book, text, what):
    (book.root / "book" / "first.md").write_bytes(text)
    refused(book, "first.md", what)


def test_a_page_that_is_a_folder_is_named(book):
    (book.root / "book" / "first.md").unlink()
    (book.root / "book" / "first.md").mkdir()
    refused(book, "first.md", "want a page")


def test_a_page_that_is_not_there_is_named(book):
    book.page("second").source.unlink()
    refused(book, "second.md", "_toc.yml names book/second")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "mapping"),
        (b"- a\n", "mapping"),
        (b"root: [\n", "line"),
        (b"root: caf\xe9\n", "utf-8"),
        (b"format: jb-book\n", "'root' key not found"),
        (b"format: jb-book\nroot: book/first\nchaptres: []\n", "chaptres"),
        (b"format: paper\nroot: book/first\n", "not recognised"),
        (
            b"format: jb-book\nroot: book/first\nchapters:\n- glob: book/*\n",
            "glob: got ['book/*']",
        ),
        (
            b"format: jb-book\nroot: book/first\nchapters:\n"
            b"- file: book/second\n- file: book/second\n",
            "multiple times",
        ),
    ],
)
def test_contents_that_cannot_be_read_are_named(book, text, what):
    (book.root / "_toc.yml").write_bytes(text)
    refused(book, "_toc.yml", what)


def test_contents_are_read_in_their_order(tmp_path):
    path = tmp_path / "_toc.yml"
    path.write_text(
        """
format: jb-book
root: book/intro
parts:
  - caption: Blocks
    chapters:
      - file: book/blocks/attention
        sections:
          - file: book/blocks/masks.md
      - url: https://example.org
      - file: book/blocks/rope
  - chapters:
      - file: book/last
"""
    )
    assert toc_pages(path) == [
        "book/intro",
        "book/blocks/attention",
        "book/blocks/masks",
        "book/blocks/rope",
        "book/last",
    ]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("parse:", "parse: [", "line"),
        ("parse:\n", "parse:\n  myst_heading_anchors: 3\n", "heading_anchors"),
        ("  config:\n", "  config:\n    myst_sub: 1\n", "myst_sub"),
        ("[amsmath,", "[amsmath, attrs_inline,", "'attrs_inline'"),
        ("softmax}", "softmax}#1", None),
        ('softmax}", 0', 'softmax}", 1', "'softmax'"),
    ],
)
def test_settings_that_are_not_read_are_named(book, old, new, what):
    path = book.root / "_config.yml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    if what is None:  # a text like any other
        links = links_for(Book(book.root), book.pages[0], [])
        assert links.macros["softmax"].endswith("#1")
    else:
        refused(book, "_config.yml", what)


def test_settings_that_are_none_are_named(book):
    for text in (b"", b"just text\n", b"a: \xe9\n"):
        (book.root / "_config.yml").write_bytes(text)
        refused(book, "_config.yml", "_config.yml")


def test_a_page_is_cut_as_the_sites_build_cuts_it(tmp_path):
    text = (
        ":::{note}\n```{code-cell}\n1\n```\n:::\n\n"
        "```{code-cell}\n2\n```\n\n$$\n```{code-cell}\n3\n```\n$$\n"
    )
    book = make_book(tmp_path, first=HEAD + FIRST + text, second=FIRST)
    assert [c.source for c in book.pages[0].cells("code")] == ["2"]
    # without the extensions that `_config.yml` names: not this book's page
    bare = Page(book.root, "book/first").cells("code")
    assert [c.source for c in bare] == ["1", "2", "3"]


def test_what_is_made_of_a_book_is_made_once_and_travels(book):
    made = []

    def make(given: Book) -> int:
        made.append(given)
        return len(made)

    assert [book.once(make), book.once(make)] == [1, 1]
    assert made == [book]
    assert Book(book.root).once(make) == 2
    # to the processes that execute pages
    links = links_for(book, book.pages[0], [])
    other = Book(book.root)
    links_for(other, other.pages[0], [])
    sent = pickle.loads(pickle.dumps(other))
    assert sent == book
    assert links_for(sent, sent.pages[0], []) == links
