"""Explorable: the same width, cut into more heads.

C cuts (numbers of heads) · L layers · H heads · T tokens · D model width

The cell cuts the same queries and keys into 1, 2, … heads and computes each
one's weights; the drawing shows all heads of a cut with its shapes and
parameters (``head_count.js``).
"""

import base64
from collections.abc import Mapping, Sequence

import ipywidgets as ipw
import torch
import traitlets

from handmade import checks
from handmade.widgets.attention_patterns import to_levels
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


class HeadCount(Explorable):
    """The maps and numbers; ``count_heads`` adds the controls.

    A word in the text may set the number of heads (`cut`, its place among
    the cuts, from 0), the `layer`, the `head` shown large, and the cell that
    stays marked (`query`, whose favourites are counted, and `key`).
    """

    _esm, _css = assets("head_count")
    sets = ("cut", "layer", "head", "query", "key")
    tokens = traitlets.List().tag(sync=True)
    counts = traitlets.List().tag(sync=True)  # heads of each cut
    maps = traitlets.List().tag(sync=True)  # one base64 (L, H, T, T) a cut
    d_model = traitlets.Int().tag(sync=True)
    cut = traitlets.Int(0).tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    query = traitlets.Int(0).tag(sync=True)
    key = traitlets.Int(0).tag(sync=True)


def count_heads(
    tokens: Sequence[str],
    weights: Mapping[int, torch.Tensor],
    *,
    d_model: int,
    heads: int,
    layer: int = 0,
    query: int = 0,
) -> Explorer:
    """The explorable with its controls, joined in the front end.

    ``weights`` maps a number of heads H to weights (L, H, T, T); ``heads``
    is the cut shown first. Raises ValueError where shapes do not fit.
    """
    tokens = check_labels("tokens", tokens)
    n = len(tokens)
    checks.mapping("weights", weights, "a dict from heads to (L, H, T, T)")
    d_model = check_whole("d_model", d_model, 1, 2**20)
    heads = check_whole("heads", heads, 1, d_model)
    checks.need(heads in weights, "heads", heads, f"one of {[*weights]}")
    for H, w in weights.items():
        check_whole("weights", H, 1, d_model)
        check_tensor("weights", w, "L", "H", "T", "T")
        if w.ndim != 4 or w.shape[1:] != (H, n, n) or d_model % H:
            raise ValueError(
                f"weights: got shape {tuple(w.shape)} for {H} heads, want "
                f"(L, {H}, {n}, {n}) and a divisor of {d_model}"
            )
    layer = check_whole("layer", layer, 0, len(weights[heads]) - 1)
    query = check_whole("query", query, 0, n - 1)
    counts = sorted(weights)
    maps = [to_levels(weights[H]).numpy().tobytes() for H in counts]
    drawing = HeadCount(
        tokens=tokens,
        counts=counts,
        maps=[base64.b64encode(m).decode("ascii") for m in maps],
        d_model=d_model,
        cut=counts.index(heads),
        layer=layer,
        query=query,
        key=query,
    )
    last = len(weights[heads]) - 1
    names = [(f"{i}: {token}", i) for i, token in enumerate(tokens)]
    return explorer(
        drawing,
        cut=ipw.SelectionSlider(
            options=counts, value=heads, description="heads", **TRACK
        ),
        layer=ipw.IntSlider(layer, 0, last, description="layer", **TRACK),
        query=ipw.Dropdown(
            options=names, index=query, description="who looks", **TRACK
        ),
    )
