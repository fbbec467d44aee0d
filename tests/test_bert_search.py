"""The explorable on BERT's search ranks as the package's search does."""

import ipywidgets as ipw
import pytest
import torch
from handmade.models.sentences import search
from handmade.widgets.bert_search import (
    FEW,
    FREQUENT,
    PLAIN,
    SHARED,
    BertSearch,
    bert_search,
    frequent_words,
    marked_words,
)
from script_helpers import run_script
from torch.nn import functional as F

Q, N, D, TOP = 4, 60, 8, 5
LINES = [f"line number {i}" for i in range(N)]
QUERIES = [f"query {q}" for q in range(Q)]

SCRIPT = """
return [0, 1].flatMap((state) => [0, 1].map((pooling) => ({
  shown: found.map((each) => ranking(each, { state, pooling, top })),
  firsts: firsts(found, { state, pooling, top }),
})));
"""


def vectors(seed, count):
    g = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, D, generator=g), dim=-1)


def pairs():
    """Queries and lines as two poolings see them, masked and not."""
    return [(vectors(10 + i, Q), vectors(20 + i, N)) for i in range(4)]


def right():
    """Lines that the first ranking has at the ends of what is shown."""
    best = search(*pairs()[0], k=N)
    ranks = 1, TOP, TOP + 1, TOP + 2
    return [int(best.places[i, rank - 1]) for i, rank in enumerate(ranks)]


def cosines(some):
    return {
        name: q @ t.mT
        for name, (q, t) in zip(("mean", "CLS"), some, strict=True)
    }


def explorable(**more):
    masked, bare = pairs()[:2], pairs()[2:]
    return bert_search(
        LINES,
        QUERIES,
        cosines(masked),
        right(),
        without_mask=cosines(bare),
        top=TOP,
        **more,
    )


def test_the_script_ranks_as_search_does():
    drawing = explorable().children[0]
    answers = run_script(
        "bert_search", SCRIPT, found=drawing.found, top=drawing.top
    )
    for answer, (q, t) in zip(answers, pairs(), strict=True):
        best = search(q, t, k=N)
        ranks = [
            best.places[i].tolist().index(place) + 1
            for i, place in enumerate(right())
        ]
        assert answer["firsts"] == {
            "first": sum(rank == 1 for rank in ranks),
            "among": sum(rank <= TOP for rank in ranks),
        }
        for i, shown in enumerate(answer["shown"]):
            places = best.places[i, : TOP + 1].tolist()
            if ranks[i] > TOP + 1:
                places[TOP] = right()[i]
            lines = drawing.found[i]["lines"]
            texts = [
                "".join(text for text, _ in lines[row["line"]])
                for row in shown
            ]
            assert texts == [LINES[place] for place in places]
            want = [best.places[i].tolist().index(p) + 1 for p in places]
            assert [row["rank"] for row in shown] == want
            found = torch.tensor([row["cosine"] for row in shown])
            there = (F.normalize(q[i], dim=-1) @ t.mT)[places]
            torch.testing.assert_close(found, there, atol=6e-5, rtol=0)


def test_only_what_may_be_shown_travels():
    for found in explorable().children[0].found:
        # of each of four rankings its best, and the right line
        assert TOP + 1 <= len(found["lines"]) <= 4 * (TOP + 1) + 1
        assert 0 <= found["right"] < len(found["lines"])


def test_equal_cosines_rank_in_the_order_of_the_lines():
    even = {"mean": torch.full((1, N), 0.5)}
    drawing = bert_search(LINES, ["q"], even, [41], top=3).children[0]
    (found,) = drawing.found
    (ranks,) = found["ranks"][0]
    assert ranks == [1, 2, 3, 4, 42]
    assert found["right"] == 4


def test_another_pooling_or_the_mask_is_what_a_row_is_compared_with():
    body = """
    const poolings = ["mean", "CLS", "max"];
    return [[0, 0], [0, 1], [0, 2], [1, 2]].map(([state, pooling]) =>
      rival({ state, pooling, poolings })).concat(
      rival({ state: 0, pooling: 0, poolings: ["mean"] }));
    """
    assert run_script("bert_search", body) == [
        {"state": 0, "pooling": 1, "name": "by CLS"},
        {"state": 0, "pooling": 0, "name": "by mean"},
        {"state": 0, "pooling": 0, "name": "by mean"},
        {"state": 0, "pooling": 2, "name": "with a mask"},
        None,
    ]


def test_words_are_shared_whatever_their_case_and_apostrophe():
    line = "Love’s not LOVE: 'tis lovely -- and the rest."
    cut = [
        *marked_words(
            line, "the love's rest, or love and 'tis", {"and", "the"}
        )
    ]
    assert "".join(text for text, _ in cut) == line
    assert [text for text, kind in cut if kind == SHARED] == [
        "Love’s", "LOVE", "tis", "rest",
    ]  # fmt: skip
    assert [text for text, kind in cut if kind == FREQUENT] == ["and", "the"]
    assert ("lovely", SHARED) not in cut
    # nothing is cut where nothing is shared
    assert [*marked_words("no word", "of it", set())] == [("no word", PLAIN)]
    assert [*marked_words("", "of it", set())] == []


def test_a_word_in_more_than_one_line_of_a_hundred_is_frequent():
    lines = ["the rare"] + ["The the"] * FEW + ["other"] * 40
    assert frequent_words(lines, ["the rare others"]) == {"the"}
    assert frequent_words(lines[1:], ["the"]) == set()  # in few lines
    many = ["word"] * 5 + ["x"] * 495
    assert frequent_words(many, ["word"]) == set()  # exactly one of 100
    assert frequent_words([*many, "word"], ["word"]) == {"word"}


@pytest.mark.filterwarnings("ignore:Widget.widgets is deprecated")
def test_the_controls_are_joined_in_the_front_end():
    drawing, query, switch = explorable(query=2).children
    assert (drawing.query, query.index, switch.value) == (2, 2, False)
    assert (drawing.count, drawing.poolings) == (N, ["mean", "CLS"])
    links = {
        (w.source[1], w.target[1])
        for w in ipw.Widget.widgets.values()
        if type(w).__name__ == "Link" and drawing in (w.source[0], w.target[0])
    }
    assert links == {("index", "query"), ("value", "unmasked")}
    assert repr(BertSearch()) == "BertSearch()"


def test_there_is_no_switch_without_what_it_shows():
    box = bert_search(LINES, QUERIES, cosines(pairs()[:2]), right())
    assert len(box.children) == 2
    assert {len(found["ranks"]) for found in box.children[0].found} == {1}


def call(**changes):
    given = {
        "lines": ["a", "b", "c"],
        "queries": ["q"],
        "cosines": {"mean": torch.zeros(1, 3)},
        "right": [2],
    }
    return bert_search(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cosines": {}}, r"cosines: got 0, want some strings"),
        ({"cosines": {"m": torch.zeros(1, 2)}}, r"cosines: .*\(1, 3\)"),
        ({"cosines": {"m": torch.zeros(3)}}, r"cosines: .*\(1, 3\)"),
        ({"cosines": {"m": torch.zeros(1, 3).long()}}, "cosines: got torch.i"),
        ({"cosines": {"m": torch.full((1, 3), torch.nan)}}, "cosines: got 3"),
        ({"cosines": {"m": torch.full((1, 3), 1.5)}}, "cosines: got 1.5 to"),
        ({"cosines": {3: torch.zeros(1, 3)}}, "cosines: got 3 among them"),
        (
            {"without_mask": {"CLS": torch.zeros(1, 3)}},
            r"without_mask: got \['CLS'\], want the names of cosines",
        ),
        (
            {"without_mask": {"mean": torch.zeros(3, 1)}},
            r"without_mask: .*\(1, 3\)",
        ),
        ({"right": [3]}, "right: got 3, want a whole number from 0 to 2"),
        ({"right": [-1]}, "right: got -1, want a whole number"),
        ({"right": [0, 1]}, "right: got 2, want 1 places"),
        ({"right": [True]}, "right: got True, want a whole"),
        ({"top": 13}, "top: got 13, want a whole number from 1 to 12"),
        ({"query": 1}, "query: got 1, want a whole number from 0 to 0"),
        ({"lines": []}, "lines: got 0, want some strings"),
        ({"lines": ["a", "b"]}, r"cosines: .*\(1, 2\)"),
    ],
)
def test_what_does_not_fit_is_an_error(changes, said):
    call()
    with pytest.raises(ValueError, match=f"^{said}"):
        call(**changes)


def test_a_cosine_may_be_rounded_beyond_one():
    drawing = call(cosines={"m": torch.full((1, 3), 1.0005)}).children[0]
    assert drawing.found[0]["cosines"] == [[[1.0, 1.0, 1.0]]]
