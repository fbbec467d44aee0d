"""What a person may get wrong, told so that they can act on it.

Every function of the tools (weights, cache, explorables, figures, glue) that
a page calls or a reader imports, called with what comes by mistake: a
ValueError names the argument, what came and what is wanted.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from handmade import cache, notebook, plots
from handmade.text.bpe import BPETokenizer
from handmade.text.pretokenize import byte_alphabet
from handmade.weights import gguf_convert, gguf_file
from handmade.weights.hub import hub
from handmade.weights.pretrained import Pretrained
from handmade.weights.reference import random_reference
from handmade.weights.shakespeare import clean
from handmade.widgets import base
from handmade.widgets.attention_patterns import Panel, explore
from handmade.widgets.head_count import count_heads
from handmade.widgets.mask_editor import edit_masks
from handmade.widgets.merge_steps import merge_steps
from handmade.widgets.next_token import next_token
from handmade.widgets.rope_rotator import rope_rotator
from handmade.widgets.softmax_saturation import explore_saturation

NAN = float("nan")
INF = float("inf")
X = torch.randn
EVEN = torch.full((2, 2, 3, 3), 1 / 3)
XY = {"xlabel": "x", "ylabel": "y"}
LLAMA = transformers.LlamaForCausalLM
CONFIG = transformers.LlamaConfig(
    vocab_size=7, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
    num_attention_heads=2,
)  # fmt: skip
BPE = BPETokenizer({c: i for i, c in enumerate(byte_alphabet().values())}, [])
HERE = Pretrained("x", Path("/nowhere"), "AutoModel", "here")


def good_panel(**more) -> Panel:
    given = {
        "label": "a model",
        "tokens": {3: ["a", "b", "c"]},
        "weights": {3: EVEN},
        "causal": True,
    }
    return Panel(**given | more)


# function -> (arguments that are right, argument -> values that are wrong)
CALLS = {
    plots.lines: (
        {"x": [1, 2], "series": {"a": [1.0, 2.0]}, **XY},
        {
            "x": [None, "ab", [], [[1, 2]], {"a": 1}, ["a", "b"]],
            "series": [
                None, {}, [1, 2], {"a": [1]}, {"a": "no"}, {"a": None},
                {"a": X(2, 2, 2)},
            ],
            "log": [None, "z", True],
            "height": [0, -1, None, "3"],
            "xlabel": ["", None],
            "ylabel": [""],
        },
    ),
    plots.bars: (
        {"labels": ["a", "b"], "values": [1, 2], **XY},
        {
            "labels": [None, [], 3],
            "values": [None, [1], [[1, 2]], {}, {"s": [1]}, ["a", "b"]],
            "highlight": [None, [2], [-1], 1],
            "numbers": ["zz", 3, None],
        },
    ),
    plots.heatmap: (
        {"values": X(2, 3), **XY},
        {
            "values": [None, "ab", X(2, 2, 2), [], [[]], [[INF]], ["a"]],
            "xticks": [["a"], None, 3],
            "yticks": [["a"], None],
            "limit": [0, -1.0, NAN, INF],
            "numbers": ["zz", None],
        },
    ),
    notebook.glue: (
        {"name": "a", "value": "1"},
        {"name": [None, "", 3], "value": [None, 3, 0.5, b"x", ["x"]]},
    ),
    next_token: (
        {"prompts": ["a", "b"], "logits": X(2, 9), "decode": str},
        {
            "prompts": [
                None, "ab", [], ["a"], ["a", None], 3, ["a", "\ud800"],
            ],
            "logits": [
                None, [[1.0, 2.0]] * 2, X(9), X(3, 9), X(2, 0),
                torch.ones(2, 9, dtype=torch.long),
                torch.full((2, 9), NAN), torch.full((2, 9), -INF),
                torch.full((2, 9), INF), torch.zeros(2, 1000),
                np.zeros((2, 9)),
            ],
            "decode": [lambda i: i, lambda i: None],
        },
    ),
    rope_rotator: (
        {"query": X(4), "key": X(4)},
        {
            "query": [None, [1.0] * 4, X(3), X(2, 4), X(0), X(6), X(4) / 0.0],
            "key": [None, torch.ones(4, dtype=torch.long), X(4) * NAN],
            "pair": [2, -1, 0.5, None, True],
            "query_at": [-1, 65, "1"],
            "key_at": [1e9],
            "theta": [0, NAN, INF, "1e4", None],
            "farthest": [0, 1e6, None],
        },
    ),
    explore_saturation: (
        {"q_NK": X(3, 4), "k_SK": X(5, 4), "upstream_NS": X(3, 5), "width": 4},
        {
            "q_NK": [None, [[1.0]], X(4), X(0, 4), X(3, 4) * NAN, X(3, 5)],
            "k_SK": [None, X(5, 3), X(5, 4).long()],
            "upstream_NS": [None, X(5, 3), X(3, 5) / 0.0],
            "width": [3, 8, 0, None, "4"],
            "power": [NAN, -1, 2, "0.5", None],
            "query": [3, -1, 0.0],
        },
    ),
    edit_masks: (
        {"tokens": ["a", "b", "c"], "scores_HTT": X(2, 3, 3)},
        {
            "tokens": [None, "abc", [], ["a"], [1, 2, 3]],
            "scores_HTT": [
                None, [[[1.0]]], X(3, 3), X(2, 3, 4), X(0, 3, 3),
                X(2, 3, 3).long(), torch.full((2, 3, 3), -INF),
            ],
            "head": [2, -1, None],
            "query": [3],
            "key": [-1, 1.0],
        },
    ),
    count_heads: (
        {"tokens": ["a", "b", "c"], "weights": {2: EVEN}, "d_model": 4,
         "heads": 2},
        {
            "tokens": [None, "abc", ["a"], [1, 2, 3]],
            "weights": [
                None, {}, [EVEN], {3: EVEN}, {2: None}, {2: X(3)},
                {2: EVEN * NAN},
            ],
            "d_model": [0, None, 3, 4.0],
            "heads": [1, None, "2"],
            "layer": [2, -1],
            "query": [3, None],
        },
    ),
    explore: (
        {"panels": [good_panel()]},
        {
            "panels": [None, [], [None], "ab", [EVEN]],
            "layer": [2, -1, None],
            "head": [2, 0.5],
            "length": [1, 4, "3"],
            "query": [3, -2],
            "key": [3, -1],
        },
    ),
    good_panel: (
        {},
        {
            "label": [None, 3],
            "tokens": [{}, {3: "abc"}, {3: ["a"]}, {2: ["a", "b"]}, {3: None}],
            "weights": [
                {}, {3: None}, {3: X(2, 2, 3, 2)}, {3: EVEN * NAN}, {2: EVEN},
                {3: EVEN[0]},
            ],
        },
    ),
    merge_steps: (
        {"tokenizer": BPE, "text": "abc"},
        {"tokenizer": [None, {}, "bpe"], "text": [None, 3, "\udc00", ["a"]]},
    ),
    base.assets: ({"name": "next_token"}, {"name": ["", "nothing", "../x"]}),
    base.pack_uint8: (
        {"values": [0.0, 1.0]},
        {"values": [[2.0], [NAN], [-1]]},
    ),
    base.pack_float32: ({"values": [0.0]}, {"values": [[NAN], [INF], [1e39]]}),
    random_reference: (
        {"hf_class": LLAMA, "config": CONFIG},
        {
            "hf_class": [None, "LlamaForCausalLM", LLAMA(CONFIG), dict],
            "config": [None, {}, transformers.BertConfig()],
            "seed": [None, 1.5, "0", True],
        },
    ),
    hub: ({}, {"name": [None, "", "gpt3", 7, ["gpt2"], "gpt2"]}),
    HERE.hf_model: (
        {},
        {"dtype": [None, "float32", 32], "attn": [None, "flash", True]},
    ),
    clean: ({"text": "x"}, {"text": [None, b"x", ["x"], 3]}),
    cache.cached_folder: (
        {"name": "thing", "build": lambda folder: None},
        {"name": [None, "", "a/b", ".."], "build": [None, "build", 3]},
    ),
    cache.mended: (
        {"name": "thing", "build": lambda folder: None},
        {"name": [None, "a/b"], "build": [None]},
    ),
    cache.check_sha256: (
        {"path": Path(__file__), "expected": "0" * 64, "mend": "Mend it."},
        {
            "path": [Path("/nowhere"), Path("/")],
            "expected": [None, "", "0" * 63, 7, "z" * 64],
        },
    ),
    gguf_file.read_gguf: (
        {"path": Path("x")},
        {"path": [Path("/nowhere"), Path("/"), __file__, None]},
    ),
    gguf_convert.llama_to_hf_folder: (
        {"source": Path("x"), "folder": Path("y")},
        {"source": [Path("/nowhere"), Path("/"), __file__, None]},
    ),
    gguf_convert.hf_name: ({}, {"name": ["", "x", "blk.0.x.weight"]}),
}  # fmt: skip
CASES = [
    pytest.param(call, right, name, wrong, id=f"{call.__name__}-{name}-{i}")
    for call, (right, table) in CALLS.items()
    for name, values in table.items()
    for i, wrong in enumerate(values)
]
# whose argument another name stands for in what the caller reads
SAID = {
    "q_NK": "q", "k_SK": "k", "upstream_NS": "upstream",
    "scores_HTT": "scores",
}  # fmt: skip
FILES = {"path", "source"}  # of these, the file itself is named


@pytest.fixture(autouse=True)
def _apart(tmp_path, monkeypatch):
    # deep down: a name that led out would meet nobody's files
    monkeypatch.setenv("HANDMADE_CACHE", str(tmp_path / "a" / "b" / "cache"))
    monkeypatch.delenv("HANDMADE_HUB", raising=False)


@pytest.mark.parametrize(("call", "right", "name", "wrong"), CASES)
def test_a_wrong_argument_is_named_with_what_came_and_what_is_wanted(
    call, right, name, wrong
):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - read below
        call(**right | {name: wrong})
    assert type(caught.value) is ValueError
    text = str(caught.value)
    if name in FILES:
        assert str(wrong) in text
        return
    if call is hub and wrong == "gpt2":
        assert "HANDMADE_HUB=1" in text
        return
    said = SAID.get(name, name)
    told = re.search(r"^(.{0,200}?): got (.+), want ", text, re.DOTALL)
    assert told, text
    # the argument itself, or the one it has to fit
    others = {SAID.get(other, other) for other in right}
    assert {said, *others} & set(re.findall(r"\w+", told[1])), text
    assert len(text) < 600


def test_what_is_right_is_taken():
    """So that in each case above only the wrong argument is at fault."""
    for call in (
        plots.lines, plots.bars, plots.heatmap, next_token, rope_rotator,
        explore_saturation, edit_masks, count_heads, explore, good_panel,
        merge_steps, base.assets, base.pack_uint8, base.pack_float32,
        random_reference, clean,
    ):  # fmt: skip
        call(**CALLS[call][0])
