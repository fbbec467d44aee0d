"""Explorable: which token looks at which, head by head, in real models.

L layers · H heads · T query tokens · S key tokens

The cell computes the weights and packs them as bytes; the drawing and its
text summary are in ``attention_patterns.js``. A causal model's first n
tokens do not depend on the rest, so its shorter lengths are cut out of the
longest; a model that looks both ways is run, and packed, once a length.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as ipw
import torch
import traitlets

from handmade import checks
from handmade.widgets.base import (
    TRACK,
    Explorable,
    Explorer,
    assets,
    check_labels,
    check_tensor,
    check_whole,
    explorer,
)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One model on one sentence: weights (L, H, n, n) for each length n."""

    label: str
    tokens: Mapping[int, Sequence[str]]
    weights: Mapping[int, torch.Tensor]
    causal: bool

    def __post_init__(self) -> None:
        check_labels("label", [self.label])
        checks.mapping("tokens", self.tokens, "a dict from length to tokens")
        checks.mapping(
            "weights", self.weights, "a dict from length to (L, H, n, n)"
        )
        checks.flag("causal", self.causal)
        if not self.weights or self.weights.keys() != self.tokens.keys():
            raise ValueError(
                f"tokens, weights: got lengths {[*self.tokens]} and "
                f"{[*self.weights]}, want the same"
            )
        for n, weights in self.weights.items():
            check_whole("weights", n, 1, 1000)
            check_tensor("weights", weights, "L", "H", n, n)
            check_labels("tokens", self.tokens[n], n)
        if len({w.shape[:2] for w in self.weights.values()}) > 1:
            shapes = [tuple(w.shape) for w in self.weights.values()]
            raise ValueError(f"weights: got {shapes}, want one (L, H)")

    def packed(self) -> dict:
        """What the drawing needs, small: a byte a weight, base64."""
        lengths = sorted(self.weights)
        if self.causal:
            lengths = lengths[-1:]
        layers, heads = self.weights[lengths[0]].shape[:2]
        chunks = []
        for n in lengths:
            levels = to_levels(self.weights[n])
            if self.causal:
                row, column = torch.tril_indices(n, n)
                levels = levels[..., row, column]
            chunks.append(levels.flatten())
        data = torch.cat(chunks).numpy().tobytes()
        return {
            "label": self.label,
            "causal": self.causal,
            "layers": layers,
            "heads": heads,
            "lengths": lengths,
            "tokens": [list(self.tokens[n]) for n in lengths],
            "data": base64.b64encode(data).decode("ascii"),
        }


def to_levels(weights_TS: torch.Tensor) -> torch.Tensor:
    """Round weights to 255ths so that each row still sums to one exactly.

    Rounding each weight alone would let a row of 24 be off by several
    per cent. Each is rounded down instead, and what is missing from 255
    goes to the largest remainders. (..., T, S) -> uint8 (..., T, S)
    """
    exact = weights_TS.double() * 255
    levels = exact.floor()
    missing = (255 - levels.sum(-1, keepdim=True)).round()
    remainder = exact - levels
    rank = remainder.argsort(-1, descending=True).argsort(-1)
    return (levels + (rank < missing)).to(torch.uint8)


class AttentionPatterns(Explorable):
    """The maps of one layer's heads, one of them large.

    A word in the text may set the model and text (`panel`, from 0), `layer`,
    `head`, the number of tokens (`length`), and the cell that stays marked
    (`query`, -1 for the last, and `key`).
    """

    _esm, _css = assets("attention_patterns")
    sets = ("panel", "layer", "head", "length", "query", "key")
    panels = traitlets.List().tag(sync=True)
    panel = traitlets.Int(0).tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    length = traitlets.Int(12).tag(sync=True)
    query = traitlets.Int(-1).tag(sync=True)
    key = traitlets.Int(0).tag(sync=True)
    last_layer = traitlets.Int(0).tag(sync=True)


def explore(
    panels: Sequence[Panel],
    *,
    layer: int = 0,
    head: int = 0,
    length: int | None = None,
    query: int = -1,
    key: int = 0,
) -> Explorer:
    """The drawing with its controls, joined in the front end.

    The sliders move it where no kernel runs; where one runs, every trait
    of ``AttentionPatterns.sets`` can be read and set too. ``query`` and
    ``key`` say which cell is marked, of 12 tokens or as many as there are.
    Raises ValueError for a place that no panel has.
    """
    want = "at least one Panel, in a list"
    checks.several("panels", panels, want)
    checks.need(len(panels) > 0, "panels", "none", want)
    for panel in panels:
        checks.kind("panels", panel, Panel, want)
    packs = [panel.packed() for panel in panels]
    # a causal panel can be cut anywhere, so the others set the steps
    lengths = sorted({n for panel in panels for n in panel.weights})
    if len(lengths) == 1:
        lengths = [*range(min(2, lengths[0]), lengths[0] + 1)]
    if length is None:
        length = max(lengths[0], min(12, lengths[-1]))
    layer = check_whole("layer", layer, 0, packs[0]["layers"] - 1)
    head = check_whole("head", head, 0, packs[0]["heads"] - 1)
    length = check_whole("length", length, lengths[0], lengths[-1])
    query = check_whole("query", query, -1, length - 1)
    key = check_whole("key", key, 0, length - 1)
    last_layer = packs[0]["layers"] - 1
    drawing = AttentionPatterns(
        panels=packs,
        layer=layer,
        head=head,
        length=length,
        query=query,
        key=key,
        last_layer=last_layer,
    )
    layers = ipw.IntSlider(layer, 0, last_layer, description="layer", **TRACK)
    # models differ in size: the drawing sets the end of this slider
    ipw.jslink((drawing, "last_layer"), (layers, "max"))
    return explorer(
        drawing,
        panel=ipw.Dropdown(
            options=[(pack["label"], i) for i, pack in enumerate(packs)],
            description="model, text",
            **TRACK,
        ),
        layer=layers,
        length=ipw.IntSlider(
            length,
            lengths[0],
            lengths[-1],
            lengths[1] - lengths[0] if len(lengths) > 1 else 1,
            description="tokens",
            **TRACK,
        ),
    )
