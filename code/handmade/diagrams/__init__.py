"""Drawings of what flows where, and of what memory, masks and heads hold.

`flow` draws a short table of names, shapes and operations; every other
function is called by its idea, and draws real tensors where there are any.
Each comes when it is asked for. A page that names the module of the one it
uses, as `handmade.diagrams.dataflow`, depends on no other.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handmade.diagrams.autograd import autograd_graph as autograd_graph
    from handmade.diagrams.block import norm_placement as norm_placement
    from handmade.diagrams.cells import masks as masks
    from handmade.diagrams.cells import packing as packing
    from handmade.diagrams.dataflow import flow as flow
    from handmade.diagrams.heads import gqa_sharing as gqa_sharing
    from handmade.diagrams.heads import head_split as head_split
    from handmade.diagrams.heads import rope_pairs as rope_pairs
    from handmade.diagrams.llama import model as model
    from handmade.diagrams.memory import strides as strides
    from handmade.diagrams.routing import moe_routing as moe_routing

MODULES = {
    "autograd_graph": "autograd",
    "norm_placement": "block",
    "masks": "cells",
    "packing": "cells",
    "flow": "dataflow",
    "gqa_sharing": "heads",
    "head_split": "heads",
    "rope_pairs": "heads",
    "model": "llama",
    "moe_routing": "routing",
    "strides": "memory",
}
__all__ = sorted(MODULES)


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *MODULES})
