"""Explorable: a model's next-token distribution under the sampling filters.

All 49,152 probabilities follow every slider, in the page, so all must travel
with it; as float32 six prompts would be 1.6 MB. What is shown needs less:
the TOP likeliest tokens carry exact float32 logits, the others only enter
sums, and go as a histogram of their logits with bins 1/1024 wide (one byte a
bin, about 40 KB a prompt). Replacing a logit by its bin's middle changes
that token's probability by less than 0.05 % / temperature of itself, either
way, and the changes cancel in the sums: a test holds that percentages and
bits are right to the digits shown, and counts beyond TOP to three digits.
Tokens further than SPREAD below the top share one place: together they are
less than a percent's fifth digit. Those that no temperature lets happen,
-inf among them, are only counted.

A draw may fall anywhere in the tail, and shows a string: NAMED of its tokens
carry theirs, denser where they are likelier, and each stands for those
nearest to it in rank.
"""

import base64
import math
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import numpy as np
import traitlets
from torch import Tensor

from handmade import checks
from handmade.widgets.base import (
    TRACK,
    Explorable,
    Explorer,
    assets,
    check_labels,
    explorer,
    pack_float32,
)

TOP = 256
NAMED = 512  # strings of the tail
STEP = 1 / 1024
SPREAD = 64.0  # of the histogram: at most 65,536 bins, however far a tail
HOTTEST = 3.0
NEVER = HOTTEST * 746  # exp(-746) is 0 in float64


class NextToken(Explorable):
    """Bars for the likeliest tokens, what is kept, and a hundred draws.

    A word in the text may set the prompt (`index`, from 0), `temperature`,
    `top_k` (0: off), `top_p` (1: off), `min_p` (0: off), and which hundred
    random numbers are drawn (`draws`).
    """

    _esm, _css = assets("next_token")
    sets = ("index", "temperature", "top_k", "top_p", "min_p", "draws")
    prompts = traitlets.List().tag(sync=True)
    data = traitlets.List().tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    top_k = traitlets.Int(0).tag(sync=True)  # 0: off
    top_p = traitlets.Float(1.0).tag(sync=True)  # 1: off
    min_p = traitlets.Float(0.0).tag(sync=True)  # 0: off
    draws = traitlets.Int(1).tag(sync=True)


def next_token(
    prompts: Sequence[str], logits: Tensor, decode: Callable[[int], str]
) -> Explorer:
    """Return the explorable with its sliders, linked in the page itself.

    logits (prompts, V) are those after each prompt; decode names one token.
    Raises ValueError for logits that are no distribution: nan, +inf, or all
    of a row -inf.
    """
    prompts = check_labels("prompts", prompts)
    checks.function("decode", decode, "a function from an id to its text")
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        got = getattr(logits, "dtype", type(logits).__name__)
        raise ValueError(f"logits: got {got}, want a tensor of numbers")
    if logits.dim() != 2 or len(logits) != len(prompts) or not logits.numel():
        raise ValueError(
            f"logits: got shape {tuple(logits.shape)}, want "
            f"({len(prompts)}, V), one row a prompt"
        )
    data = [pack(row, decode) for row in logits]
    slide = ipywidgets.FloatSlider
    return explorer(
        NextToken(prompts=prompts, data=data),
        index=ipywidgets.Dropdown(
            options=[(prompt, i) for i, prompt in enumerate(prompts)],
            description="prompt",
            **TRACK,
        ),
        temperature=slide(
            1, min=0.1, max=HOTTEST, step=0.05, description="temperature T",
            **TRACK,
        ),
        top_k=ipywidgets.IntSlider(
            0, min=0, max=200, description="top-k, 0: off", **TRACK
        ),
        top_p=slide(
            1, min=0.01, max=1, step=0.01, description="top-p, 1: off",
            **TRACK,
        ),
        min_p=slide(
            0, min=0, max=0.5, step=0.01, description="min-p, 0: off",
            **TRACK,
        ),
    )  # fmt: skip


def pack(logits: Tensor, decode: Callable[[int], str]) -> dict[str, Any]:
    """Pack one row of logits (V,): exact at the top, a histogram below."""
    ordered, ids = logits.detach().float().cpu().sort(descending=True)
    best = float(ordered[0])  # nan sorts above all, as the largest
    if not math.isfinite(best):
        raise ValueError(f"logits: got {best} among them, want a distribution")
    alive = ordered[ordered > best - NEVER]
    top, rest = alive[:TOP], alive[TOP:].double().numpy()
    high = float(top[-1])
    near, faint = rest[high - rest < SPREAD], rest[high - rest >= SPREAD]
    bins = np.floor((high - near) / STEP).astype(np.int64)
    counts = np.bincount(bins) if len(bins) else np.zeros(0, np.int64)
    if counts.max(initial=0) > 255:
        raise ValueError(
            f"logits: got {counts.max()} tokens within {STEP} of each other, "
            "want at most the 255 that a byte can count: are they constant?"
        )
    ranks = [*range(len(top))]
    if len(rest):
        spread = np.geomspace(TOP, len(alive) - 1, NAMED).round()
        ranks += sorted({int(rank) for rank in spread})
    names = check_labels("decode", [decode(i) for i in ids[ranks].tolist()])
    return {
        "top": pack_float32(top.numpy()),
        "tokens": names[: len(top)],
        "names": [*zip(ranks, names, strict=True)][len(top) :],
        "high": high,
        "step": STEP,
        "tail": base64.b64encode(counts.astype(np.uint8)).decode("ascii"),
        "faint": len(faint),
        "faint_at": float(faint.mean()) if len(faint) else high - SPREAD,
        "never": len(ordered) - len(alive),
    }
