"""What `glue` says is what the binder and myst-nb read."""

import pytest
from bookbinder import index
from handmade import notebook
from myst_nb.ext.glue import extract_glue_data_cell
from nbformat import v4


@pytest.fixture
def shown(monkeypatch) -> list[tuple]:
    calls = []

    def display(data, **options) -> None:
        calls.append((data, options))

    monkeypatch.setattr(notebook, "display", display)
    return calls


def test_glue_is_read_back_by_the_binder_and_by_myst_nb(shown):
    assert notebook.glue("a-share", "0.5") is None
    ((data, options),) = shown
    assert options["raw"] is True
    output = v4.new_output("display_data", data, metadata=options["metadata"])
    cell = v4.new_code_cell("glue(...)", outputs=[output])
    assert index.glued([cell]) == {"a-share": "0.5"}
    ((name, theirs),) = extract_glue_data_cell(cell)
    assert (name, theirs["data"]) == ("a-share", {"text/plain": "'0.5'"})
    # a reader of a plain notebook sees no output: the type is nobody's
    assert not any(mime.startswith(("text/", "image/")) for mime in data)


@pytest.mark.parametrize("value", [0.5, 3, None, b"0.5"])
def test_a_value_that_is_not_yet_text_is_refused(value, shown):
    with pytest.raises(ValueError, match=rf"got {type(value).__name__}"):
        notebook.glue("a-share", value)
    assert shown == []


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_value_needs_a_name(name, shown):
    with pytest.raises(ValueError, match=f"name: got {name!r}"):
        notebook.glue(name, "1")
    assert shown == []


def test_what_a_value_sets_is_kept_beside_it(shown):
    sets = {"layer": 18, "theta": 1e4, "head": "6", "causal": True}
    notebook.glue("strongest", "layer 18", sets=sets)
    notebook.glue("plain", "none")
    (data, options), (_, bare) = shown
    assert options["metadata"]["scrapbook"]["sets"] == sets
    assert "sets" not in bare["metadata"]["scrapbook"]
    output = v4.new_output("display_data", data, metadata=options["metadata"])
    cell = v4.new_code_cell("glue(...)", outputs=[output])
    assert index.glued([cell]) == {"strongest": "layer 18"}


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        ({}, r"sets: got \{\}"),
        (["layer"], r"sets: got \['layer'\]"),
        ({3: 1}, "sets: got 3, want the name of a trait"),
        ({"a b": 1}, "sets: got 'a b'"),
        ({"layer": None}, "sets: layer: got NoneType, want a number"),
        ({"layer": [1]}, "sets: layer: got list"),
        ({"theta": float("nan")}, "sets: theta: got nan, want it finite"),
    ],
)
def test_what_no_explorable_can_be_set_to_is_refused(sets, says, shown):
    with pytest.raises(ValueError, match=says):
        notebook.glue("strongest", "layer 18", sets=sets)
    assert shown == []
