"""Explorable: click a cell of the mask and see the weights change.

H heads · T tokens

The cell gives the raw scores of one layer, before any mask; the drawing
masks them and takes the softmax itself (``mask_editor.js``), so every click
shows what a model with that mask would attend to. Padding stands in front of
the words, as pads whose query and key are zeros. A test runs the script's
masks and weights against ``handmade.blocks``.
"""

from collections.abc import Sequence

import ipywidgets as ipw
import torch
import traitlets

from handmade.widgets.base import (
    TRACK,
    Explorable,
    Explorer,
    assets,
    check_labels,
    check_tensor,
    check_whole,
    explorer,
    pack_float32,
)

PRESETS = ("causal", "padding", "prefix", "sliding window", "no mask")


class MaskEditor(Explorable):
    """The table of cells; ``edit_masks`` adds the controls.

    A word in the text may set the mask (`preset`, a number into PRESETS),
    its `size` in tokens where it has one, the `head`, the cell pointed at
    (`query`, `key`: words, pads are below 0), and which cells the reader
    has opened or closed (`clicks`, [[query, key], …]).
    """

    _esm, _css = assets("mask_editor")
    sets = ("preset", "size", "head", "query", "key", "clicks")
    tokens = traitlets.List().tag(sync=True)
    scores = traitlets.Unicode().tag(sync=True)  # float32 (H, T, T)
    head = traitlets.Int(0).tag(sync=True)
    preset = traitlets.Int(0).tag(sync=True)  # into PRESETS
    size = traitlets.Int(3).tag(sync=True)  # of padding, prefix, window
    query = traitlets.Int(0).tag(sync=True)
    key = traitlets.Int(0).tag(sync=True)
    clicks = traitlets.List().tag(sync=True)
    # what the drawing tells the control of the size
    sizeless = traitlets.Bool(True).tag(sync=True)
    last_size = traitlets.Int(1).tag(sync=True)


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
        size=min(3, n),
        head=head,
        query=query,
        key=key,
        last_size=n,
    )
    size = ipw.IntSlider(
        drawing.size,
        1,
        n,
        description="size in tokens",
        disabled=True,
        **TRACK,
    )
    # not all masks have a size, and no text has more pads than three here
    ipw.jslink((drawing, "last_size"), (size, "max"))
    ipw.jslink((drawing, "sizeless"), (size, "disabled"))
    last = len(scores_HTT) - 1
    return explorer(
        drawing,
        preset=ipw.Dropdown(options=PRESETS, description="mask", **TRACK),
        size=size,
        head=ipw.IntSlider(head, 0, last, description="head", **TRACK),
    )
