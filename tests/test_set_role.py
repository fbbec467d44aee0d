"""Words that set an explorable: what they say, what they set."""

import pytest
from bookbinder import roles
from bookbinder.index import glued, glued_sets
from nbformat import v4

VALUES = {"strongest": "layer 18, head 6", "share": "0.5"}
SETS = {"strongest": {"layer": 18, "head": 6}}
TRAITS = frozenset({"layer", "head", "theta", "text", "shown"})


def settings(content: str):
    return roles.settings(content, VALUES, SETS, TRAITS, "page.md")


@pytest.mark.parametrize(
    ("content", "words", "values"),
    [
        ("strongest", "layer 18, head 6", {"layer": 18, "head": 6}),
        ("far <theta=1e6 head=4>", "far", {"theta": 1e6, "head": 4}),
        ("all <shown=[0,8]>", "all", {"shown": [0, 8]}),
        ("it <text=cat>", "it", {"text": "cat"}),
        ("it <'text=a cat'>", "it", {"text": "a cat"}),
        ("two\nlines <head=1>", "two\nlines", {"head": 1}),
    ],
)
def test_words_and_what_they_set(content, words, values):
    assert settings(content) == (words, values)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("share", r"set: got 'share', want .* glued with sets=.*strongest"),
        ("gone", "set: got 'gone'"),
        ("it <haed=4>", r"set: got \['haed'\], want .*'head', 'layer'"),
        ("it <head>", "set: got 'head', want trait=value"),
        ("it <head=>", "set: got 'head=', want trait=value"),
        ("it < >", "set: got"),
    ],
)
def test_what_sets_nothing_is_refused(content, said):
    with pytest.raises(ValueError, match=rf"^page\.md: {said}"):
        settings(content)


def test_a_glued_value_says_what_it_sets():
    prefix = "application/papermill.record/"
    outputs = [
        v4.new_output(
            "display_data",
            {f"{prefix}text/plain": repr(value)},
            metadata={
                "scrapbook": {
                    "name": name, "mime_prefix": prefix,
                    **({"sets": SETS[name]} if name in SETS else {}),
                }
            },
        )
        for name, value in VALUES.items()
    ]  # fmt: skip
    cells = [v4.new_code_cell(outputs=outputs)]
    assert glued(cells) == VALUES
    assert glued_sets(cells) == SETS
