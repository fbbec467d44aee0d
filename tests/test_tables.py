"""Tables: what is in them, in HTML and in columns, and what they refuse."""

from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from handmade.tables import table

ROWS = [{"K": 4, "scores": 0.951, "of": "a"}, {"K": 1024, "scores": -0.06,
        "of": None}]  # fmt: skip
VOID = {"br", "hr", "img", "input", "meta", "link"}


class Tree(HTMLParser):
    """The elements in order, and whether each is closed as it should be."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.found, self.cells = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag not in VOID | {"script", "style"}
        assert not any(name.startswith("on") for name, _ in attrs)
        assert len(dict(attrs)) == len(attrs)
        self.found.append((tag, dict(attrs)))
        self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data

    def tags(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def test_a_table_is_html_and_columns():
    made = table(ROWS, {"K": "", "scores": ".2f", "of": ""}, caption="Says it")
    bundle = made._repr_mimebundle_(include=None, exclude=None)
    assert bundle == {"text/html": made.html(), "text/plain": repr(made)}
    tree = Tree(made.html())
    assert tree.cells == [
        "K", "scores", "of", "4", "0.95", "a", "1,024", "−0.06", "–",
    ]  # fmt: skip
    assert len(tree.tags("figcaption")) == 1
    assert [a["scope"] for a in tree.tags("th")] == ["col"] * 3 + ["row"] * 2
    right = ["right" in a["style"] for a in tree.tags("td")]
    assert right == [True, False] * 2
    assert str(made).splitlines() == [
        "Says it",
        "    K  scores  of",
        "    4    0.95  a",
        "1,024   −0.06  –",
    ]


def test_rows_are_dicts_or_sequences_of_anything():
    same = [[4, 0.951, "a"], (1024, -0.06, None)]
    assert repr(table(same, ["K", "scores", "of"])) == repr(table(ROWS))
    mixed = [torch.tensor(2), np.float64(1 / 3), True, [1, 2]]
    made = table([mixed], ["a", "b", "c", "d"])
    assert str(made).splitlines()[1].split(maxsplit=3) == [
        "2", "0.3333", "yes", "[1, 2]",
    ]  # fmt: skip
    assert "caption" not in made.html()


def test_marks_have_signs_and_words_not_colour_alone():
    made = table(ROWS, good=[(0, "scores")], bad=[1], words=("ok", "FAILS"))
    tree = Tree(made.html())
    assert tree.cells[3:8] == ["", "4", "✓ 0.951", "a", ""]
    assert tree.cells[-1] == "✗ FAILS"
    good, bad = (
        attrs["style"]
        for attrs in tree.tags("td")
        if "color:" in attrs.get("style", "")
    )
    assert "var(--hm-good,#" in good
    assert "var(--hm-bad,#" in bad
    assert "var(--hm-bad-tint,transparent)" in tree.tags("tr")[2]["style"]
    assert str(made).splitlines()[1:] == [
        "    4  ✓ 0.951  a",
        "1,024    −0.06  –   FAILS",
    ]


def test_what_is_written_is_text():
    hostile = '<img src=x onerror="alert(1)">&\n"'
    made = table([[hostile, f"`{hostile}`"]], ["<b>", "c"], caption=hostile)
    tree = Tree(made.html())
    assert not tree.tags("img")
    assert tree.cells[0] == "<b>"
    assert tree.cells[2] == tree.cells[3] == " ".join(hostile.split())
    assert len(tree.tags("code")) == 1
    assert len(str(made).splitlines()) == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": []}, "rows: got none"),
        ({"rows": "ab"}, "rows: got 'ab'"),
        ({"rows": None}, "rows: got None"),
        ({"rows": [[1], [1, 2]]}, "got 1 values in row 0, want 2"),
        ({"rows": [3]}, "rows: row 0: got 3"),
        ({"rows": [{"a": 1}]}, "got row 0 without 'b'"),
        ({"rows": [[1, 2]], "columns": None}, "columns: got none"),
        ({"columns": []}, "columns: got none"),
        ({"columns": {"a": "zz", "b": ""}}, "columns: got 'zz' for 'a'"),
        ({"good": [2]}, "good: got 2, want a row below 1"),
        ({"bad": [(0, "c")]}, r"bad: got \(0, 'c'\)"),
        ({"bad": ["a"]}, "bad: got 'a'"),
        ({"columns": ["a", 2]}, "columns: got 2, want a str"),
        ({"words": ("a", "b", "c")}, "words: got 3, want 2"),
        ({"words": ("a", None)}, "words: got None, want a str"),
    ],
)
def test_what_a_table_refuses(wrong, message):
    right = {"rows": [[1, 2]], "columns": ["a", "b"]}
    table(**right)
    with pytest.raises(ValueError, match=message):
        table(**right | wrong)
