"""`bookbinder pages`: what is counted, and what a reader's page must hold."""

import json

import pytest
from bookbinder import idea, pages
from bookbinder.__main__ import main
from bookbinder.idea import Lines, Names
from test_claims import LAST, tagged
from test_sync import cell, make_book

IMPORTS = """\
import torch
from handmade import plots
from handmade.exercises import check
from handmade.notebook import glue
from handmade.parity import parity
from handmade.widgets.mask_editor import edit_masks
from torch.testing import assert_close
"""


@pytest.mark.parametrize(
    ("source", "all_lines", "carry"),
    [
        (IMPORTS, 7, 0),
        ("_ = torch.manual_seed(0)\ng = Generator().manual_seed(0)", 2, 0),
        ("assert x\nassert_close(x,\n             y)", 3, 0),
        ("glue('a', 'b')\ncheck('a', f)\ncheck.show('a', f)", 3, 0),
        ("print(x,\n      y)\nplots.lines(x)\nfig = plots.bars(x)", 4, 0),
        ("report = parity(a, b)\nprint(report)", 2, 0),
        ("edit_masks(ids)\nx", 2, 0),
        ("y = softmax(x)  # why\n\n# because\ny @ v", 3, 3),
        ("def f(x):\n    print(x)\n    return x", 3, 2),
        ("for x in y:\n    print(x)", 2, 0),
        ("for x in y:\n    z = f(x)\n    print(z)", 3, 2),
        ("with no_grad():\n    if x:\n        print(x)\n    else:\n"
         "        assert x", 5, 0),
        ("try:\n    check('a', f)\nexcept E as e:\n    print(e)", 4, 0),
        ("class A:\n    '''Why.'''\n    def f(self): pass", 3, 3),
        ("shown = softmax(x)\nshown = print", 2, 2),
        ("x = = 1", 1, 1),
        ("", 0, 0),
    ],
)  # fmt: skip
def test_which_lines_carry_an_idea(source, all_lines, carry):
    names = Names.of([IMPORTS])
    assert idea.count(source, names) == Lines(all_lines, carry)


PAGE = (
    "(first)=\n# One two\n\nThree `four five` $six$, {ref}`seven eight "
    "<second>` and {glue:text}`x`.\n\n% not a word\n\n"
    "```{dropdown} A question\nSix folded words\nstand in here.\n```\n"
    "```{note}\nNoted down.\n```\n"
    + tagged("hide-input", "import torch\nx = 1\n")
    + cell("y = 2\nz = 3")
    + cell("print(y)")
    + tagged("claim", "# it is\nassert y")
    + tagged("remove-input", "w = 1")
    + "\n```{exercise-start} Do it\n:label: do\n```\nNow.\n"
    + cell("e = 1")
    + "\n```{exercise-end}\n```\n```{solution-start} do\n:class: dropdown\n"
    "```\nBecause.\n" + cell("s = 1") + "\n```{solution-end}\n```\n"
    "After.\n"
    + cell("---\nmystnb:\n  figure:\n    caption: Seen at once\n---\nq = 1")
    + "\n```python\nshown = 1\n```\n"
)


def test_what_a_page_asks_of_its_reader(tmp_path):
    page = PAGE.replace("{glue:text}`x`", "{ref}`first`")
    book = make_book(tmp_path, first=page, second=LAST)
    found = pages.measure(book, book.pages[0])
    # heading 2, sentence 7, question 2, note 2, exercise 2 + 1, after 1,
    # caption 3
    assert found.words == 20
    assert found.folded_words == 7
    # two, a print, the exercise's, the figure's, and what only stands there
    assert (found.lines, found.idea_lines) == (6, 5)
    assert (found.claims, found.figures, found.diagrams) == (1, 1, 0)
    assert (found.parities, found.explorables, found.bytes) == (0, 0, None)
    # 20 / 200 minutes, 6 * 6 and 30 seconds
    assert found.minutes == 1
    reading = pages.read(book, book.pages[0])
    assert [c.source for c in reading.shown] == [
        "y = 2\nz = 3", "print(y)", "q = 1",
    ]  # fmt: skip


def test_minutes_are_words_lines_and_figures(tmp_path):
    text = "# One\n\n" + "word " * 399 + cell("\n".join(["x = 1"] * 30))
    figure = cell("---\nmystnb:\n  figure:\n    caption: ''\n---\ny = 1\n")
    book = make_book(tmp_path, first=text + 4 * figure, second=LAST)
    # 2 minutes of words, 34 lines of 6 s, 4 figures of 30 s
    assert pages.measure(book, book.pages[0]).minutes == round(
        2 + 34 * 6 / 60 + 2
    )


def test_a_drawing_of_ours_is_a_diagram(tmp_path):
    text = (
        "# One\n"
        + tagged("hide-input", "from handmade.diagrams import flow")
        + cell("---\nmystnb:\n  figure:\n    caption: x\n---\nflow('a -> b')")
    )
    book = make_book(tmp_path, first=text, second=LAST)
    found = pages.measure(book, book.pages[0])
    assert (found.figures, found.diagrams) == (0, 1)


def test_the_table_has_a_line_a_page_and_their_sum(
    tmp_path, monkeypatch, capsys
):
    book = make_book(tmp_path, first="# One\n" + cell("x = 1"), second=LAST)
    built = tmp_path / "_build" / "html" / "book"
    built.mkdir(parents=True)
    (built / "first.html").write_text("x" * 100_000)
    heads, first, second, last = pages.report(book).split("\n")
    assert heads.split() == [*pages.HEADS]
    assert first.split()[:5] == ["first", "1", "1", "0", "1"]
    assert first.split()[-1] == "0"  # a hundred bytes, compressed
    assert second.split()[0] == "second"
    assert last.split()[:4] == ["2", "pages", "2", "3"]
    one, two = json.loads(pages.report(book, in_json=True))
    assert one["page"] == "first"
    assert one["idea_share"] == 1.0
    assert 0 < one["bytes"] < 1000
    assert two["bytes"] is None
    monkeypatch.chdir(tmp_path)
    assert main(["pages"]) == 0
    assert capsys.readouterr().out == pages.report(book) + "\n"
