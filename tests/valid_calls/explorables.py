"""Right calls of the explorables on BERT's search and on T5's steps."""

import torch
from handmade.widgets.t5_steps import Run

from valid_calls import call
from valid_calls.t5 import t5


def cosines():
    g = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(2, 3, generator=g) * 2 - 1 for name in ("mean", "CLS")
    }


def run():
    return {
        "label": "a text",
        "read": ["a", "b", "c"],
        "written": ["x", "y"],
        "cross": torch.randn(2, 3, 2, 3).softmax(-1),
        "candidates": [[("x", 0.75), ("y", 0.25)], [("y", 1.0)]],
        "start": "<pad>",
    }


CALLS = {
    "widgets.bert_search.bert_search": lambda: call(
        lines=["to be", "or not", "to see"],
        queries=["be", "no"],
        cosines=cosines(),
        right=[0, 1],
        without_mask=cosines(),
        top=2,
        query=1,
    ),
    "widgets.t5_steps.Run": lambda: call(**run()),
    "widgets.t5_steps.t5_steps": lambda: call(
        runs=[Run(**run())], run=0, step=2, layer=1, head=3
    ),
    "widgets.t5_steps.follow": lambda: call(
        model=t5(),
        ids=torch.tensor([[4, 5, 6]]),
        written=torch.tensor([[7, 8]]),
        decode=str,
        label="a text",
        start_id=0,
        top=3,
    ),
}
