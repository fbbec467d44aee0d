"""How long a page takes to read: words, code in sight, figures."""

from types import SimpleNamespace

import pytest
from bookbinder.book import Page, find_book
from bookbinder.minutes import minutes, role, told
from docutils import nodes

HEAD = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  name: python3
  display_name: Python 3
---

"""
WORDS = "word " * 200


def page(tmp_path, text: str) -> Page:
    path = tmp_path / "book" / "a.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text(HEAD + text, encoding="utf-8")
    return Page(tmp_path, "book/a", ("colon_fence", "dollarmath"))


def cell(tags: str = "", figure: bool = False) -> str:
    data = f"tags: [{tags}]\n"
    if figure:
        data += "mystnb:\n  figure:\n    caption: a\n"
    code = "\n".join(f"x = {i}\n" for i in range(10))
    return f"```{{code-cell}} ipython3\n---\n{data}---\n{code}```\n\n"


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (WORDS, 1),
        (WORDS + "\n\n```{note}\n" + WORDS + "\n```", 2),
        (WORDS + "\n\n```{dropdown} Hint\n" + WORDS + "\n```", 1),
        (WORDS + "\n\n" + cell(), 2),
        (WORDS + "\n\n" + cell("claim") + cell("hide-input"), 1),
        (WORDS + "\n\n" + cell("hide-input", figure=True), 1.5),
        (WORDS + "\n\n```python\nx\n\ny\n```", 1.2),
        (
            WORDS + "\n\n```{solution-start} a\n```\n\n" + cell() + "\n"
            "```{solution-end}\n```\n\n" + cell(),
            2,
        ),
    ],
)  # fmt: skip
def test_what_is_read_counts_and_what_is_folded_does_not(tmp_path, text, want):
    assert minutes(page(tmp_path, text)) == pytest.approx(want)


def test_included_source_is_read_too():
    pages = {page.name: page for page in find_book().pages}
    shown = pages["book/start/intro"]
    bare = SimpleNamespace(
        root=shown.root, source=shown.source, extensions=shown.extensions,
        all_cells=[
            SimpleNamespace(cell_type=c.cell_type, metadata=c.metadata,
                            source=c.source.replace("{literalinclude}", ""))
            for c in shown.all_cells
        ],
    )  # fmt: skip
    assert minutes(shown) > minutes(bare) + 1


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
    pages = {page.name: page for page in find_book().pages}
    names = ("text/bpe", "models/llama")
    total = sum(minutes(pages[f"book/{name}"]) for name in names)
    (node,), problems = role("", "", " ".join(names), 1, inliner())
    assert isinstance(node, nodes.Text)
    assert (str(node), problems) == (told(total), [])


@pytest.mark.parametrize("text", ["text/no-such", ""])
def test_a_page_that_is_not_in_the_book_is_told(text):
    _, (problem,) = role("", "", text, 1, inliner())
    assert problem == f"minutes: got {text!r}, want pages of _toc.yml"
