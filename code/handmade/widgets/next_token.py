"""Explorable: a model's next-token distribution under the sampling filters.

All 49,152 probabilities follow every slider, in the page, so all must travel
with it; as float32 six prompts would be 1.6 MB. What is shown needs less:
the TOP likeliest tokens carry exact float32 logits, the others only enter
sums, and go as a histogram of their logits with bins 1/1024 wide (one byte a
bin, about 40 KB a prompt). Replacing a logit by its bin's middle changes
that token's probability by less than 0.05 % / temperature of itself, either
way, and the changes cancel in the sums: a test holds that percentages and
bits are right to the digits shown, and counts beyond TOP to three digits.
"""

import base64
from collections.abc import Callable, Sequence

import ipywidgets
import numpy as np
import traitlets
from torch import Tensor

from handmade.widgets.base import Explorable, assets, pack_float32

TOP = 256
STEP = 1 / 1024


class NextToken(Explorable):
    """Bars for the likeliest tokens, what is kept, and draws on a button."""

    _esm, _css = assets("next_token")
    prompts = traitlets.List().tag(sync=True)
    data = traitlets.List().tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    top_k = traitlets.Int(0).tag(sync=True)  # 0: off
    top_p = traitlets.Float(1.0).tag(sync=True)  # 1: off
    min_p = traitlets.Float(0.0).tag(sync=True)  # 0: off


def next_token(
    prompts: Sequence[str], logits: Tensor, decode: Callable[[int], str]
) -> ipywidgets.VBox:
    """Return the explorable with its sliders, linked in the page itself.

    logits (prompts, V) are those after each prompt; decode names one token.
    """
    if logits.dim() != 2 or len(logits) != len(prompts):
        raise ValueError(
            f"logits must be ({len(prompts)}, V), one row a prompt, "
            f"got {tuple(logits.shape)}"
        )
    data = [pack(row, decode) for row in logits]
    view = NextToken(prompts=list(prompts), data=data)
    style = {"description_width": "6.5em"}
    wide = {"style": style, "layout": {"width": "min(100%, 30em)"}}
    slide = ipywidgets.FloatSlider
    controls = {
        "index": ipywidgets.Dropdown(
            options=list(prompts), description="prompt", **wide
        ),
        "temperature": slide(
            1, min=0.1, max=3, step=0.05, description="temperature", **wide
        ),
        "top_k": ipywidgets.IntSlider(
            0, min=0, max=200, description="top-k (0: off)", **wide
        ),
        "top_p": slide(
            1, min=0.01, max=1, step=0.01, description="top-p (1: off)", **wide
        ),
        "min_p": slide(
            0, min=0, max=0.5, step=0.01, description="min-p (0: off)", **wide
        ),
    }
    for name, control in controls.items():
        trait = "index" if name == "index" else "value"
        ipywidgets.jslink((control, trait), (view, name))
    return ipywidgets.VBox([*controls.values(), view])


def pack(logits: Tensor, decode: Callable[[int], str]) -> dict:
    """Pack one row of logits (V,): exact at the top, a histogram below."""
    ordered, ids = logits.float().cpu().sort(descending=True)
    rest = ordered[TOP:].double().numpy()
    high = float(ordered[min(TOP, len(ordered)) - 1])
    bins = np.floor((high - rest) / STEP).astype(np.int64)
    counts = np.bincount(bins) if len(bins) else np.zeros(0, np.int64)
    if counts.max(initial=0) > 255:
        raise ValueError(
            f"logits: got {counts.max()} tokens within {STEP} of each other, "
            "more than a byte can count: are they constant?"
        )
    return {
        "top": pack_float32(ordered[:TOP].numpy()),
        "tokens": [decode(i) for i in ids[:TOP].tolist()],
        "high": high,
        "step": STEP,
        "tail": base64.b64encode(counts.astype(np.uint8)).decode("ascii"),
    }
