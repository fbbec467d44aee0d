"""Right calls of `handmade.widgets` and `handmade.exercises`."""

import torch
from handmade.exercises import check
from handmade.parity import ParityRow
from handmade.planted import BUGS, Round
from handmade.text.bpe import BPETokenizer
from handmade.widgets.attention_patterns import Panel

from valid_calls import call

TOKENS = ["a", "b", "c"]


def weights(*leading):
    return torch.ones(*leading, 3, 3).tril().softmax(-1)


def panel():
    return {
        "label": "a model",
        "tokens": {3: TOKENS},
        "weights": {3: weights(2, 2)},
        "causal": True,
    }


def played():
    rows = [
        ParityRow(name, name, pattern, torch.float32, 0.1, 1.0, (), (), ())
        for name, pattern in (
            ("blocks.0.attn", "blocks.{}.attn"),
            ("blocks.0", "blocks.{}"),
        )
    ]
    return Round(bug=BUGS[0], answers=("a", "b"), rows=(rows, rows), broken=1)


def saturated():
    return {
        "q_NK": torch.randn(2, 4),
        "k_SK": torch.randn(3, 4),
        "upstream_NS": torch.randn(2, 3),
        "width": 4,
    }


def bpe():
    return BPETokenizer({"a": 0, "b": 1, "ab": 2}, [("a", "b")])


CALLS = {
    "exercises.check": lambda: call(
        name="scaled-dot-product",
        fn=torch.nn.functional.scaled_dot_product_attention,
    ),
    "exercises.Check.show": lambda: call(
        check,
        name="scaled-dot-product",
        fn=torch.nn.functional.scaled_dot_product_attention,
    ),
    "exercises.lookup": lambda: call(name="scaled-dot-product"),
    "widgets.attention_patterns.Panel": lambda: call(**panel()),
    "widgets.attention_patterns.explore": lambda: call(
        panels=[Panel(**panel())]
    ),
    "widgets.broken_model.broken_model": lambda: call(rounds=[played()]),
    "widgets.broken_model.pack": lambda: call(played=played()),
    "widgets.head_count.count_heads": lambda: call(
        tokens=TOKENS,
        weights={1: weights(2, 1), 2: weights(2, 2)},
        d_model=4,
        heads=2,
    ),
    "widgets.mask_editor.edit_masks": lambda: call(
        tokens=TOKENS, scores_HTT=torch.randn(2, 3, 3)
    ),
    "widgets.merge_steps.merge_steps": lambda: call(
        tokenizer=bpe(), text="ab"
    ),
    "widgets.next_token.next_token": lambda: call(
        prompts=["a"], logits=torch.randn(1, 3), decode=str
    ),
    "widgets.rope_rotator.rope_rotator": lambda: call(
        query=torch.randn(4), key=torch.randn(4)
    ),
    "widgets.softmax_saturation.explore_saturation": lambda: call(
        **saturated()
    ),
    "widgets.softmax_saturation.saturation": lambda: call(
        **saturated(), power=0.5
    ),
}
