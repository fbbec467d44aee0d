"""Right calls of `handmade.diagrams` and `handmade.tables`."""

import torch
from handmade.models.llama import LlamaConfig
from handmade.text.data import pack

from valid_calls import call
from valid_calls.models import SIZES


def loss():
    w = torch.ones(3, requires_grad=True)
    return {"result": (w * w).sum(), "names": {"w": w}}


def memory():
    x = torch.arange(6).view(2, 3)
    return {"x": x, "views": {"x": x, "x.T": x.T}}


CALLS = {
    "diagrams.autograd.autograd_graph": lambda: call(**loss()),
    "diagrams.cells.masks": lambda: call(
        which={"causal": torch.ones(4, 4).bool().tril()}
    ),
    "diagrams.cells.packing": lambda: call(packed=pack([[1, 2], [3]], T=4)),
    "diagrams.dataflow.flow": lambda: call(
        table="x (B,T) -> double -> y (B,T)", shapes={"x": (2, 3)}
    ),
    "diagrams.heads.gqa_sharing": lambda: call(n_heads=4, n_kv_heads=2),
    "diagrams.heads.head_split": lambda: call(
        x=torch.randn(2, 3, 4), n_heads=2
    ),
    "diagrams.heads.rope_pairs": lambda: call(K=4, layout="neighbours"),
    "diagrams.llama.model": lambda: call(
        config=LlamaConfig(**SIZES), links={"rope": "#"}, lit="rope"
    ),
    "diagrams.memory.strides": lambda: call(**memory()),
    "diagrams.tiles.score_tiles": lambda: call(
        T=8, S=10, block_q=2, block_k=3, at=(1, 1)
    ),
    "diagrams.routing.moe_routing": lambda: call(
        weights=torch.rand(2, 3), tokens=["a", "b"]
    ),
    "tables.table": lambda: call(
        rows=[{"a": 1, "b": 2.0}],
        columns={"a": "", "b": ".2f"},
        caption="c",
        good=[0],
        bad=[(0, "a")],
        words=("right", "wrong"),
    ),
}
