"""Explorable: an encoder–decoder at work, one written token a step.

L decoder layers · H heads · T steps · S tokens read · V vocabulary

The cell runs the model; what travels is what each step looks at, a byte a
weight, and its best candidates. What a cache saves is counted in the page
(``t5_steps.js``).

    runs = [follow(model, ids, written, decode, label="a question")]
    t5_steps(runs)

where ``ids`` (1, S) were read and ``written`` (1, T) were generated, without
the start token. Who has no ``models.t5`` model makes a ``Run`` of plain lists
and a tensor.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import ipywidgets as ipw
import torch
import traitlets

from handmade import checks
from handmade.blocks.attention import attention
from handmade.blocks.multi_head import split_heads
from handmade.models.t5 import T5, shift_right
from handmade.record import recording
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

SLACK = 1e-3  # of what sums to 1, in half precision


@dataclass(frozen=True, kw_only=True)
class Run:
    """One text read and one written, T tokens in T steps.

    ``cross`` (L, H, T, S) are the decoder's weights on the S tokens of
    ``read``: those of step t were computed from the token before
    ``written[t]``, at first from ``start``. ``candidates`` has for each step
    pairs of a token and its probability, likeliest first.
    Raises ValueError where they do not fit.
    """

    label: str
    read: Sequence[str]
    written: Sequence[str]
    cross: torch.Tensor
    candidates: Sequence[Sequence[tuple[str, float]]]
    start: str = "<pad>"

    def __post_init__(self) -> None:
        check_labels("label", [self.label])
        check_labels("start", [self.start])
        S = len(check_labels("read", self.read))
        T = len(check_labels("written", self.written))
        cross = check_tensor("cross", self.cross, "L", "H", T, S)
        _check_weights(cross)
        _check_candidates(self.candidates, T)

    def packed(self) -> dict[str, Any]:
        """What the drawing needs, small: a byte a weight, base64."""
        layers, heads = self.cross.shape[:2]
        levels = to_levels(self.cross.detach().cpu()).numpy()
        return {
            "label": self.label,
            "read": [*self.read],
            "written": [*self.written],
            "start": self.start,
            "layers": layers,
            "heads": heads,
            "cross": base64.b64encode(levels.tobytes()).decode("ascii"),
            "candidates": [
                [[name, round(float(p), 5)] for name, p in step]
                for step in self.candidates
            ],
        }


class T5Steps(Explorable):
    """Both texts as chips, lines for the weights, and what is computed.

    A word in the text may set the text (`run`, from 0), the `step` (from 1),
    and whose weights are drawn: `layer` and `head` count from 1, and 0 is
    the mean over all.
    """

    _esm, _css = assets("t5_steps")
    sets = ("run", "step", "layer", "head")
    runs = traitlets.List().tag(sync=True)
    run = traitlets.Int(0).tag(sync=True)
    step = traitlets.Int(1).tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)


def t5_steps(
    runs: Sequence[Run],
    *,
    run: int = 0,
    step: int = 1,
    layer: int = 0,
    head: int = 0,
) -> Explorer:
    """Return the explorable with its controls, joined in the front end.

    ``runs`` are of one model; ``run`` and ``step`` say which is shown first,
    ``layer`` and ``head``, from 1, whose weights: 0 is the mean over all.
    Texts of up to 20 tokens fit a phone. Raises ValueError for a place that
    no run has, and where runs have other layers or heads.
    """
    want = "at least one Run, in a list"
    checks.several("runs", runs, want)
    checks.need(len(runs) > 0, "runs", "none", want)
    for each in runs:
        checks.kind("runs", each, Run, want)
    sizes = {tuple(each.cross.shape[:2]) for each in runs}
    checks.need(len(sizes) == 1, "runs", sorted(sizes), "one (L, H) for all")
    ((layers, heads),) = sizes
    run = check_whole("run", run, 0, len(runs) - 1)
    step = check_whole("step", step, 1, len(runs[run].written))
    layer = check_whole("layer", layer, 0, layers)
    head = check_whole("head", head, 0, heads)
    drawing = T5Steps(
        runs=[each.packed() for each in runs],
        run=run,
        step=step,
        layer=layer,
        head=head,
    )
    controls = {}
    if len(runs) > 1:
        controls["run"] = _menu("text", [each.label for each in runs], run)
    if layers > 1:
        controls["layer"] = _menu("layer", _places(layers), layer)
    if heads > 1:
        controls["head"] = _menu("head", _places(heads), head)
    return explorer(drawing, **controls)


@torch.no_grad()
def follow(
    model: T5,
    ids: torch.Tensor,
    written: torch.Tensor,
    decode: Callable[[int], str],
    *,
    label: str,
    start_id: int = 0,
    top: int = 5,
) -> Run:
    """Run a T5 over both texts once, and keep what each step looked at.

    ``ids`` (1, S) is what it reads, ``written`` (1, T) what it wrote after
    the start token, and ``decode`` names one token. A causal decoder's step
    t sees the same in one pass as in T of them. The ``top`` likeliest are
    kept, and the one written. Raises ValueError on other shapes.
    """
    _check_follow(model, ids, written, decode, start_id, top)
    blocks = list(model.decoder.blocks)
    names = [f"decoder.blocks.{i}.cross_norm" for i in range(len(blocks))]
    with recording(model, names) as seen:
        context = model.read(ids)
        before = shift_right(written, start_id)
        logits_TV = model.write(before, context)[0]
    weights = []
    for name, block, keys_values in zip(
        names, blocks, context.layers, strict=True
    ):
        attn = block.cross_attn
        q_1HTK = split_heads(attn.q_proj(seen[name]), attn.n_heads)
        # in float64: rounded to half precision, weights do not sum to 1
        qkv = (x.double() for x in (q_1HTK, *keys_values))
        _, weights_1HTS = attention(
            *qkv, return_weights=True, **attn.score_options
        )
        weights.append(weights_1HTS[0])
    return Run(
        label=label,
        read=[decode(i) for i in ids[0].tolist()],
        written=[decode(i) for i in written[0].tolist()],
        cross=torch.stack(weights).cpu(),
        candidates=[
            _best(row, token, decode, top)
            for row, token in zip(
                logits_TV.double().softmax(-1),
                written[0].tolist(),
                strict=True,
            )
        ],
        start=decode(start_id),
    )


def _best(
    row_V: torch.Tensor, token: int, decode: Callable[[int], str], top: int
) -> list[tuple[str, float]]:
    """Return the likeliest tokens, and the written one wherever it is."""
    best = row_V.topk(min(top, len(row_V))).indices.tolist()
    if token not in best:
        best = [*best[:-1], token]
    return [(decode(i), row_V[i].item()) for i in best]


def _menu(name: str, options: list[str], index: int) -> ipw.Dropdown:
    pairs = [(option, i) for i, option in enumerate(options)]
    return ipw.Dropdown(options=pairs, index=index, description=name, **TRACK)


def _places(count: int) -> list[str]:
    return [f"mean of all {count}", *(str(i + 1) for i in range(count))]


def _check_weights(cross: torch.Tensor) -> None:
    sums = cross.double().sum(-1)
    fine = bool((cross >= 0).all()) and bool(((sums - 1).abs() < SLACK).all())
    low, high = sums.min().item(), sums.max().item()
    got = f"rows that sum to {low:.3g} to {high:.3g}"
    checks.need(fine, "cross", got, "weights, 0 or more, that sum to 1")


def _check_candidates(candidates: object, T: int) -> None:
    want = f"{T} lists of pairs, a token and its probability"
    checks.several("candidates", candidates, want)
    steps: list[Any] = [*candidates]  # type: ignore[call-overload]
    checks.need(len(steps) == T, "candidates", len(steps), want)
    for step in steps:
        checks.several("candidates", step, want)
        checks.need(len(step) > 0, "candidates", "an empty list", want)
        for pair in step:
            checks.kind("candidates", pair, (tuple, list), want)
            checks.need(len(pair) == 2, "candidates", pair, want)
            check_labels("candidates", pair[:1])
            p = checks.number("candidates", pair[1], at_least=0)
            checks.need(p <= 1 + SLACK, "candidates", p, "0 to 1")
        falls = all(a[1] >= b[1] for a, b in pairwise(step))
        checks.need(falls, "candidates", step, "the likeliest first")


def _check_follow(
    model: T5,
    ids: torch.Tensor,
    written: torch.Tensor,
    decode: Callable[[int], str],
    start_id: int,
    top: int,
) -> None:
    checks.kind("model", model, T5, "a handmade.models.t5.T5")
    for name, x in (("ids", ids), ("written", written)):
        checks.ids(name, x, axes=2)
        one = x.ndim == 2 and len(x) == 1 and x.shape[1] > 0
        checks.need(one, name, tuple(x.shape), "one row, some tokens")
        low, high = x.min().item(), x.max().item()
        fits = low >= 0 and high < model.config.vocab_size
        want = f"ids from 0 to {model.config.vocab_size - 1}"
        checks.need(fits, name, f"{low} to {high}", want)
    checks.function("decode", decode, "a function from an id to its text")
    check_whole("start_id", start_id, 0, model.config.vocab_size - 1)
    checks.whole("top", top)
