"""Labels, references and glued values: found once, and right."""

from collections import Counter
from pathlib import Path

import pytest
from bookbinder import book as book_module
from bookbinder import excerpts, index, myst
from bookbinder.book import Book
from bookbinder.index import all_labels, citations, links_for
from bookbinder.plain import plain
from nbformat import NotebookNode, v4
from test_sync import cell, make_book

SECOND = "(second)=\n# Second\n"


def labels(root: Path, text: str) -> dict[str, tuple[str, str]]:
    """Return the labels of a page with this text, less the page's own."""
    book = make_book(root, first=f"# First\n\n{text}\n", second=SECOND)
    found = index.labels_of(book.pages[0])
    assert found.pop("book/first") == ("book/first.html", "First")
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("(a)=\n## Title", {"a": ("#a", "Title")}),
        ("(a)=\n(b)=\n## T", {"a": ("#a", "T"), "b": ("#b", "T")}),
        # written as Sphinx writes names and anchors
        ("(A_b v1.5)=\n## T", {"a_b v1.5": ("#a-b-v1-5", "T")}),
        ("(a)=\nno title", {"a": ("#a", "a")}),
        ("(a)=\n% note\n## T", {"a": ("#a", "T")}),
        (
            "(a)=\n## The `x_1` of $K$, *now* [CLS] \\*",
            {"a": ("#a", "The x_1 of K, now \\[CLS\\] \\*")},
        ),
        ("(a)=\n## `__init__`", {"a": ("#a", "\\_\\_init\\_\\_")}),
        ("- (a)=\n  b", {"a": ("#a", "a")}),
        ("```{note}\n(a)=\nb\n```", {"a": ("#a", "a")}),
        (
            "```{exercise-start} T *x*\n:label: Ex_a\n```",
            {"ex_a": ("#Ex_a", "T x")},
        ),
        (
            "```{solution-start} ex\n:label: sol\n```",
            {"sol": ("#sol", "sol")},
        ),
        ("```{note}\n:name: A b\nc\n```", {"a b": ("#a-b", "A b")}),
        (
            "```{figure} a.svg\n:name: fig-a\nA *rise*.\n\nMore.\n```",
            {"fig-a": ("#fig-a", "A rise.")},
        ),
        (
            cell(
                "---\nmystnb:\n  figure:\n    name: fig-a\n    caption: A\n---"
            ),
            {"fig-a": ("#fig-a", "A")},
        ),
        (
            cell("---\nmystnb:\n  figure:\n    name: fig-a\n---"),
            {"fig-a": ("#fig-a", "fig-a")},
        ),
    ],
)
def test_labels_of_blocks(text, wanted, tmp_path):
    assert labels(tmp_path, text) == {
        label: (f"book/first.html{anchor}", title)
        for label, (anchor, title) in wanted.items()
    }


def test_equations_are_numbered_as_on_the_page(tmp_path):
    text = (
        "$$\na\n$$ (eq-a.b)\n\n$$\nno number\n$$\n\n$$b$$ (eq-b)\n"
        + cell("1")
        + "\n\\begin{align}\nx\n\\end{align}\n\n"
        "\\begin{align*}\ny\n\\end{align*}\n\n"
        "````{note}\n```{math}\n:label: eq-d\nd\n```\n````\n\n"
        ":::{tip}\n$$\ne\n$$ (eq-e)\n:::\n\n```{math}\nno number\n```\n"
    )
    at = "book/first.html#equation-"
    assert labels(tmp_path, text) == {
        "eq-a.b": (f"{at}eq-a-b", "(1)"),
        "eq-b": (f"{at}eq-b", "(2)"),
        "eq-d": (f"{at}eq-d", "(4)"),  # align without a star is (3)
        "eq-e": (f"{at}eq-e", "(5)"),
    }


@pytest.mark.parametrize(
    "text",
    [
        "```\n(a)=\n# No\n```",
        "~~~\n(a)=\n~~~",
        cell("(a)=\n# a comment\nclass A:\n    name: str"),
        "    (a)=",
        "`$$x$$ (eq)`",
        "% (a)=",
    ],
)
def test_code_and_comments_hold_no_label(text, tmp_path):
    assert labels(tmp_path, text) == {}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("(a)=\n# First\n", "(a)=\n# Second\n"),
        ("# First\n\n(a)=\n## A\n\n(a)=\n## B\n", SECOND),
        ("# First\n\n(a)=\n## A\n\n$$\nx\n$$ (a)\n", SECOND),
        ("# First\n\n(Second)=\n## A\n", SECOND),
    ],
)
def test_a_label_stands_once_in_a_book(first, second, tmp_path):
    book = make_book(tmp_path, first=first, second=second)
    with pytest.raises(ValueError, match=r"\.md: the label '\w+' twice"):
        all_labels(book)


def test_a_broken_bibliography_is_named(tmp_path):
    path = tmp_path / "references.bib"
    for text in (b"@book{a,", b"@book{a, title={\xe9}}"):
        path.write_bytes(text)
        with pytest.raises(ValueError, match=r"references\.bib: "):
            citations(path)
    path.unlink()
    with pytest.raises(ValueError, match=r"references\.bib: "):
        citations(path)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ("author={Lovelace, Ada}", "Lovelace, 2001"),
        ("author={Ada Lovelace and von Neumann, John}", None),
        ("author={A B and C D and E F}", "B et al., 2001"),
        ('author={G{\\"o}del, Kurt}', "Gödel, 2001"),
        ("editor={Knuth, Don}", "Knuth, 2001"),
        ("author={Knuth, Don}, editor={Eve, A}", "Knuth, 2001"),
        ("note={no people}", "The Title, 2001"),
    ],
)
def test_references_are_cited_by_people_and_year(fields, wanted, tmp_path):
    path = tmp_path / "references.bib"
    entry = f"@book{{a, title={{The {{T}}itle}}, year=2001, {fields}}}"
    path.write_text(entry, encoding="utf-8")
    assert citations(path) == {"a": wanted or "Lovelace and von Neumann, 2001"}


def test_glued_values_are_the_outputs_that_say_so():
    def output(name: str | None, text: str) -> NotebookNode:
        mime = "application/papermill.record/"
        scrap = {"name": name, "mime_prefix": mime}
        return v4.new_output(
            "display_data",
            {f"{mime if name else ''}text/plain": text},
            metadata={"scrapbook": scrap} if name else {},
        )

    said = v4.new_output("stream", name="stdout", text="1\n")
    cells = [
        v4.new_code_cell(outputs=[said, output("a", "'0.5'")]),
        v4.new_markdown_cell("b"),
        v4.new_code_cell(outputs=[output(None, "2"), output("c", "'x|y'")]),
    ]
    assert index.glued(cells) == {"a": "0.5", "c": "x|y"}


def page_text(i: int, n: int) -> str:
    return (
        f"(p-{i})=\n# Page {i} of {n}\n\nSee {{ref}}`p-{(i + 1) % n}`, "
        f"{{cite:t}}`a2001`, {{eq}}`eq-{i}`.\n\n"
        f"$$\nx_{{{i}}}\n$$ (eq-{i})\n"
        + cell(f"print({i}, {n})")
        + f"\n````{{note}}\nA note, {i} of {n}.\n````\n\n"
        "```{literalinclude} ../code/module.py\n:pyobject: f\n```\n"
    )


def work(root: Path, n: int, monkeypatch) -> Counter:
    """Count what is read and parsed to rewrite a book of n pages."""
    make_book(root, **{f"p{i}": page_text(i, n) for i in range(n)})
    (root / "code").mkdir()
    (root / "code" / "module.py").write_text(f"def f():\n    return {n}\n")
    counts: Counter = Counter()

    def counted(place, name: str) -> None:
        real = getattr(place, name)

        def call(*args, **kwargs):
            counts[name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(place, name, call)

    with monkeypatch.context() as monkeypatch:
        counted(Path, "read_text")
        counted(index, "parse_file")
        counted(book_module, "read_myst_markdown_notebook")
        counted(myst.parser(Book(root).extensions), "parse")
        counted(excerpts.ModuleAnalyzer, "find_tags")
        book = Book(root)
        for page in book.pages:
            links = links_for(book, page, [])
            for found in page.cells("markdown"):
                shown = plain(found.source, links)
                assert "{" not in shown.replace("_{", "").replace("tag{", "")
    return counts


def test_the_work_grows_with_the_pages_and_not_their_square(
    tmp_path, monkeypatch
):
    small = work(tmp_path / "a", 3, monkeypatch)
    large = work(tmp_path / "b", 12, monkeypatch)
    for counts, n in ((small, 3), (large, 12)):
        assert counts["read_myst_markdown_notebook"] == n
        # two cells and a note's content, each parsed once for all purposes
        assert counts["parse"] == 3 * n
        for once in ("parse_file", "find_tags"):
            assert counts[once] == 1, once
    # the pages, and the files of the book: settings, contents
    assert large["read_text"] - small["read_text"] == 12 - 3
