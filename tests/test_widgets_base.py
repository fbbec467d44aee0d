"""Explorables: scripts that stand alone, data that travels unchanged."""

import base64
import importlib
import json
import re
import sys
import types
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import traitlets
from bookbinder.book import find_book
from handmade.models.architecture import EQUAL_WIDTH
from handmade.models.llama_config import LlamaConfig
from handmade.parity import ParityRow
from handmade.planted import BUGS, Round
from handmade.text.bpe import BPETokenizer
from handmade.text.pretokenize import byte_alphabet
from handmade.widgets import (
    architecture_map,
    attention_patterns,
    base,
    bert_search,
    broken_model,
    by_hand,
    cache_memory,
    head_count,
    lora_rank,
    loss_curves,
    lr_schedule,
    mask_editor,
    merge_steps,
    next_token,
    quantize_bits,
    rope_rotator,
    softmax_saturation,
    t5_steps,
    training_memory,
)
from IPython.core.formatters import DisplayFormatter
from nbclient import NotebookClient

SCRIPTS = sorted(p for p in base.HERE.glob("*.js") if p.name != "shared.js")
MODULES = sorted(
    p.stem
    for p in base.HERE.glob("*.py")
    if p.stem not in ("__init__", "base")
)


class Counter(base.Explorable):
    _esm = "export default { render({ model, el }) {} }"
    data = traitlets.Unicode("x" * 1000).tag(sync=True)


def test_an_explorable_prints_its_name_and_never_its_data():
    assert repr(Counter()) == repr(Counter(data="y")) == "Counter()"


def test_each_script_belongs_to_a_module_and_each_module_to_a_script():
    assert [p.stem for p in SCRIPTS] == MODULES


@pytest.mark.parametrize("name", MODULES)
def test_assets_hold_the_shared_part_and_the_widgets_own(name):
    script, style = base.assets(name)
    for part in ("shared.js", f"{name}.js"):
        assert (base.HERE / part).read_text(encoding="utf-8") in script
    assert (base.HERE / "shared.css").read_text(encoding="utf-8") in style
    assert script.count("export default") == 1


@pytest.mark.parametrize("name", MODULES)
def test_the_classes_carry_their_scripts(name):
    module = importlib.import_module(f"handmade.widgets.{name}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base.Explorable)
        if value is not base.Explorable
    ]
    assert classes
    for found in classes:
        assert "export default" in str(found._esm)
        assert "--hm-c1" in str(found._css)
        # a word of the text sets what travels, and nothing else
        assert found.sets
        assert set(found.sets) <= set(found.class_trait_names(sync=True))


@pytest.mark.parametrize("path", [*SCRIPTS, base.HERE / "shared.js"])
def test_a_script_imports_nothing_and_calls_nobody(path: Path):
    text = path.read_text(encoding="utf-8")
    text = text.replace("http://www.w3.org/2000/svg", "")  # a mere name
    assert not re.search(
        r"https?://|^import\b|\bimport\(|\bfetch\(", text, re.M
    )
    # text from the model or the cell must not become markup
    assert "innerHTML" not in text


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="got 'no_such'"):
        base.assets("no_such")


def test_bytes_come_back_within_half_a_level():
    values = np.random.default_rng(0).random((3, 4, 5))
    packed = np.frombuffer(base64.b64decode(base.pack_uint8(values)), np.uint8)
    assert packed.shape == (60,)
    np.testing.assert_allclose(
        packed.reshape(3, 4, 5) / 255, values, atol=0.5 / 255 + 1e-9
    )
    edges = base64.b64decode(base.pack_uint8(np.array([0.0, 1.0])))
    assert edges == b"\x00\xff"


@pytest.mark.parametrize("wrong", [-1e-6, 1.001, np.nan, np.inf])
def test_values_outside_zero_to_one_are_refused(wrong):
    with pytest.raises(ValueError, match=r"want \[0, 1\]"):
        base.pack_uint8(np.array([0.5, wrong]))


def test_floats_come_back_exactly_in_row_major_order():
    values = np.arange(6, dtype=np.float64).reshape(2, 3).T / 7
    packed = base64.b64decode(base.pack_float32(values))
    back = np.frombuffer(packed, "<f4").reshape(3, 2)
    assert np.array_equal(back, values.astype(np.float32))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e39])
def test_floats_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match=r"^values: got 1 of 3 .*, want fin"):
        base.pack_float32(np.array([0.5, wrong, 1.0]))


HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    '"><img src=x onerror=alert(1)>',
    "&lt;b&gt; & 'quotes' \\u0022",
    "{{ x }} ${y} `z` $a_b$",
    "\u202e\u2028\x00\t\n",
    "",
)


def game(question: str, first: str, second: str, says: str, *_) -> Round:
    """A round of the game whose texts are these."""
    bug = replace(BUGS[0], question=question, says=says, title=says)
    near, off = (
        ParityRow(
            "blocks.0.attn", "x", "blocks.{}", torch.float32, difference, 1.0,
            (), (), (),
        )
        for difference in (0.0, 0.5)
    )  # fmt: skip
    answers, rows = (first, second), ([near], [off])
    return Round(bug=bug, answers=answers, rows=rows, broken=1)


def explorables() -> dict[str, base.Explorer]:
    """One of each, with hostile text wherever text goes."""
    names = list(HOSTILE)
    n = len(names)
    even = torch.full((2, 2, n, n), 1 / n)
    vocab = {char: i for i, char in enumerate(byte_alphabet().values())}
    return {
        "architecture_map": architecture_map.map_models(
            dict.fromkeys(names, EQUAL_WIDTH["Gemma 3"])
        ),
        "attention_patterns": attention_patterns.explore(
            [
                attention_patterns.Panel(
                    label=text, tokens={n: names}, weights={n: even},
                    causal=False,
                )
                for text in names
            ]
        ),
        "bert_search": bert_search.bert_search(
            names, names, dict.fromkeys(names, torch.eye(n)), [*range(n)]
        ),
        "broken_model": broken_model.broken_model([game(*names)]),
        "by_hand": by_hand.scrub([0], [0]),
        "cache_memory": cache_memory.cache_memory(
            dict.fromkeys(names, EQUAL_WIDTH["Llama"])
        ),
        "head_count": head_count.count_heads(
            names, {2: even}, d_model=4, heads=2
        ),
        "lora_rank": lora_rank.lora_rank(
            dict.fromkeys(names, LlamaConfig.from_name("smollm2-135m"))
        ),
        "loss_curves": loss_curves.loss_curves(
            dict.fromkeys(names, torch.ones(2, 3)),
            dict.fromkeys(names, torch.ones(2, 2)),
            [range(3), range(2)],
        ),
        "lr_schedule": lr_schedule.lr_schedule(),
        "mask_editor": mask_editor.edit_masks(names, torch.randn(2, n, n)),
        "merge_steps": merge_steps.merge_steps(
            BPETokenizer(vocab, []), "".join(names)
        ),
        "next_token": next_token.next_token(
            names, torch.randn(n, 40), lambda i: names[i % n]
        ),
        "quantize_bits": quantize_bits.explore_bits(
            dict.fromkeys(names, torch.randn(2, 128))
        ),
        "rope_rotator": rope_rotator.rope_rotator(
            torch.randn(4), torch.randn(4)
        ),
        "softmax_saturation": softmax_saturation.explore_saturation(
            torch.randn(3, 4), torch.randn(5, 4), torch.randn(3, 5), width=4
        ),
        "t5_steps": t5_steps.t5_steps(
            [
                t5_steps.Run(
                    label=text, read=names, written=names, cross=even,
                    candidates=[[(name, 1.0)] for name in names], start=text,
                )
                for text in names
            ]
        ),
        "training_memory": training_memory.training_memory(
            dict.fromkeys(names[:6], LlamaConfig.from_name("smollm2-135m"))
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_text_travels_as_text(name):
    """Unchanged, in traits alone; no description may hold HTML."""
    box = explorables()[name]
    drawing, *controls = box.children
    state = json.dumps(drawing.get_state(), default=lambda v: v.hex())
    without_text = "by_hand", "lr_schedule", "rope_rotator"
    if name not in (*without_text, "softmax_saturation"):
        assert json.dumps(HOSTILE[0])[1:-1] in state
    for control in controls:
        assert control.description_allow_html is False
        assert "<" not in control.description
    assert type(repr(box)) is str
    assert "<" not in repr(box)


@pytest.mark.parametrize("name", MODULES)
def test_reset_goes_back_to_what_controls_and_drawing_began_with(name):
    drawing, *controls = explorables()[name].children
    assert drawing.start == {n: getattr(drawing, n) for n in drawing.sets}
    for control in controls:
        assert control.style.description_width == "8em"
        assert control.layout.max_width == "640px"


@pytest.fixture
def shown(monkeypatch) -> list[tuple]:
    calls = []
    monkeypatch.setattr(
        base, "display", lambda data, **more: calls.append((data, more))
    )
    return calls


@pytest.mark.parametrize("name", MODULES)
def test_an_explorable_names_the_manager_that_colab_needs(
    name, shown, monkeypatch
):
    box = explorables()[name]
    assert DisplayFormatter().format(box) == ({}, {})  # it shows itself
    ((data, more),) = shown
    assert more["raw"] is True
    assert data[base.VIEW]["model_id"] == box.model_id
    assert data["text/plain"] == repr(box) == repr(box.children[0])
    manager = more["metadata"][base.VIEW]["colab"]["custom_widget_manager"]
    assert manager == {"url": base.COLAB_MANAGER}
    # a Colab that runs says where its own is
    output = types.ModuleType("google.colab.output")
    output._widgets = types.SimpleNamespace(_installed_url="https://its.own/")
    output.enable_custom_widget_manager = lambda: None
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    box._ipython_display_()
    manager = shown[1][1]["metadata"][base.VIEW]["colab"]
    assert manager == {"custom_widget_manager": {"url": "https://its.own/"}}


def test_a_cell_that_ends_in_an_explorable_stores_the_manager():
    """In a kernel, as `sync` runs a page: last expression and display."""
    code = "from handmade.widgets.rope_rotator import rope_rotator as make\n"
    code += "import torch\nfrom IPython.display import display\n"
    last = "make(torch.ones(4), torch.ones(4))"
    cells = [code + last, f"display({last})"]
    nb = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells]
    )
    NotebookClient(nb, timeout=120, kernel_name="python3").execute()
    for cell in nb.cells:
        (output,) = cell.outputs
        assert output.output_type == "display_data"
        assert output.data["text/plain"] == "RopeRotator()"
        assert_colab(output)
    (state,) = nb.metadata.widgets.values()
    view = nb.cells[0].outputs[0].data[base.VIEW]
    assert view["model_id"] in state["state"]


def assert_colab(output) -> None:
    colab = output.metadata[base.VIEW]["colab"]
    assert colab["custom_widget_manager"]["url"].startswith(
        "https://ssl.gstatic.com/colaboratory-static/"
    )


def test_stored_twins_show_their_explorables_in_colab():
    """Each stored view carries the metadata: a twin opens before it runs."""
    found = 0
    for page in find_book().pages:
        if not page.twin.exists():
            continue
        for cell in page.read_twin().cells:
            for output in cell.get("outputs", ()):
                if base.VIEW in output.get("data", {}):
                    assert_colab(output)
                    found += 1
    assert found >= len(MODULES)
