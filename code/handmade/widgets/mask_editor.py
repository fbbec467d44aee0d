"""Explorable: click a cell of the mask and see the weights change.

H heads · T tokens

The cell gives the raw scores of one layer, before any mask; the drawing
masks them and takes the softmax itself (``mask_editor.js``), so every click
shows what a model with that mask would attend to. A test runs the script's
masks and weights against ``handmade.blocks``.
"""

from collections.abc import Sequence

import ipywidgets as ipw
import torch
import traitlets

from handmade.widgets.base import (
    Explorable,
    Explorer,
    assets,
    check_labels,
    check_tensor,
    check_whole,
    pack_float32,
)

PRESETS = ("causal", "padding", "prefix", "sliding window", "no mask")


class MaskEditor(Explorable):
    """The table of cells; ``edit_masks`` adds the controls."""

    _esm, _css = assets("mask_editor")
    tokens = traitlets.List().tag(sync=True)
    scores = traitlets.Unicode().tag(sync=True)  # float32 (H, T, T)
    head = traitlets.Int(0).tag(sync=True)
    preset = traitlets.Int(0).tag(sync=True)  # into PRESETS
    size = traitlets.Int(3).tag(sync=True)  # of padding, prefix, window
    query = traitlets.Int(0).tag(sync=True)  # the cell pointed at first
    key = traitlets.Int(0).tag(sync=True)


def edit_masks(
    tokens: Sequence[str],
    scores_HTT: torch.Tensor,
    *,
    head: int = 0,
    query: int = 0,
    key: int = 0,
) -> Explorer:
    """The editor with its controls, joined in the front end.

    ``scores_HTT`` are scaled and not yet masked. Raises ValueError where
    they do not fit the tokens.
    """
    tokens = check_labels("tokens", tokens)
    n = len(tokens)
    scores_HTT = check_tensor("scores", scores_HTT, "H", n, n)
    head = check_whole("head", head, 0, len(scores_HTT) - 1)
    query = check_whole("query", query, 0, n - 1)
    key = check_whole("key", key, 0, n - 1)
    drawing = MaskEditor(
        tokens=tokens,
        scores=pack_float32(scores_HTT.float().numpy()),
        head=head,
        query=query,
        key=key,
    )
    wide = {
        "style": {"description_width": "10em"},
        "layout": {"width": "auto", "max_width": "34em"},
    }
    presets = ipw.Dropdown(options=PRESETS, description="mask", **wide)
    size = ipw.IntSlider(
        drawing.size, 1, n, description="its size in tokens", **wide
    )
    heads = ipw.IntSlider(
        head, 0, len(scores_HTT) - 1, description="head", **wide
    )
    ipw.jslink((presets, "index"), (drawing, "preset"))
    ipw.jslink((size, "value"), (drawing, "size"))
    ipw.jslink((heads, "value"), (drawing, "head"))
    return Explorer([presets, size, heads, drawing])
