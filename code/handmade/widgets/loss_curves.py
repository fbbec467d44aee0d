"""Explorable: the loss curves of many recipes, to switch on and off.

R recipes · N seeds · M points of a curve

The cell gives each recipe's curves, one a seed; all travel as they are, since
a stored result is thinned already. The drawing shows their mean and the band
from the lowest seed to the highest (``loss_curves.js``). Left out: smoothing,
which would hide what a run did.
"""

from collections.abc import Collection, Mapping, Sequence

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
    check_whole,
    explorer,
    pack_float32,
)

MOST = 16  # recipes: each has a colour and a dash of its own
SIDES = ("training", "validation")
SCALES = ("even", "logarithmic")


class LossCurves(Explorable):
    """Curves over steps, a switch a recipe; ``loss_curves`` adds controls.

    A word in the text may set `shown` (a sum of 2^i over the recipes that are
    drawn), the `side` (0: training, 1: validation), the `scale` of the steps
    (0: even, 1: logarithmic), and the `step` that is read.
    """

    _esm, _css = assets("loss_curves")
    sets = ("shown", "side", "scale", "step")
    labels = traitlets.List().tag(sync=True)
    seeds = traitlets.Int(1).tag(sync=True)
    steps = traitlets.List().tag(sync=True)  # a list a side
    data = traitlets.List().tag(sync=True)  # base64 float32 (R, N, M) a side
    level = traitlets.Float(0.0).tag(sync=True)  # a line across, 0: none
    named = traitlets.Unicode("").tag(sync=True)  # what the line is
    shown = traitlets.Int(1).tag(sync=True)
    side = traitlets.Int(1).tag(sync=True)
    scale = traitlets.Int(0).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)


def loss_curves(
    training: Mapping[str, torch.Tensor],
    validation: Mapping[str, torch.Tensor],
    steps: Sequence[Sequence[float]],
    *,
    shown: Collection[str] = (),
    level: float = 0.0,
    named: str = "",
) -> Explorer:
    """The explorable with its controls, joined in the front end.

    Both mappings go from a recipe to its losses (N, M), one row a seed, nan
    where a run had stopped; ``steps`` are those of the M training points and
    of the validation's. ``shown`` are the recipes drawn at first, all where
    none is named; ``level`` is a loss to compare with. Raises ValueError
    where shapes, steps or names do not fit, and for more than 16 recipes.
    """
    checks.mapping("training", training, "a dict from a recipe to (N, M)")
    checks.mapping("validation", validation, "a dict like training's")
    labels = check_labels("training", [*training])
    count = check_whole("number of recipes", len(labels), 1, MOST)
    others = [*validation]
    checks.need(others == labels, "validation", others, f"{labels}")
    at = _steps(steps)
    curves = (training, validation)
    packed = [
        _packed(name, each, len(points))
        for name, each, points in zip(SIDES, curves, at, strict=True)
    ]
    seeds = {len(x) for each in curves for x in each.values()}
    checks.need(len(seeds) == 1, "validation", sorted(seeds), "as many seeds")
    checks.number("level", level, at_least=0)
    checks.text("named", named)
    checks.kind("shown", shown, Collection, "names of recipes")
    chosen = [*shown] and check_labels("shown", shown)
    for name in chosen:
        checks.need(name in labels, "shown", repr(name), f"some of {labels}")
    bits = sum(2 ** labels.index(name) for name in {*chosen})
    last = int(max(points[-1] for points in at))
    drawing = LossCurves(
        labels=labels,
        seeds=seeds.pop(),
        steps=at,
        data=packed,
        level=float(level),
        named=named,
        shown=bits or 2**count - 1,
        step=last,
    )
    return explorer(
        drawing,
        side=ipw.Dropdown(
            options=[*SIDES], index=1, description="loss of", **TRACK
        ),
        scale=ipw.Dropdown(
            options=[*SCALES], index=0, description="steps", **TRACK
        ),
        step=ipw.IntSlider(
            last, 0, last, max(1, last // 60), description="read at", **TRACK
        ),
    )


def _steps(steps: Sequence[Sequence[float]]) -> list[list[float]]:
    want = "two lists of rising numbers from 0 on"
    checks.several("steps", steps, want)
    checks.need(len(steps) == 2, "steps", f"{len(steps)} lists", want)
    found = []
    for points in steps:
        checks.several("steps", points, want)
        listed = [checks.number("steps", x, at_least=0) for x in points]
        rising = listed == sorted(set(listed)) and bool(listed)
        checks.need(rising, "steps", listed[:8], want)
        found.append(listed)
    return found


def _packed(side: str, curves: Mapping[str, torch.Tensor], points: int) -> str:
    rows = []
    for losses in curves.values():
        checks.floats(side, losses)
        fits = losses.ndim == 2 and losses.shape[1] == points and len(losses)
        got, want = f"shape {tuple(losses.shape)}", f"(seeds, {points})"
        checks.need(bool(fits), side, got, want)
        bad = losses.isinf() | (losses < 0)
        got, want = f"{bad.sum()} infinite or below 0", "losses, or nan"
        checks.need(not bad.any(), side, got, want)
        rows.append(losses.detach().cpu().double().nan_to_num(-1.0))
    alike = {len(row) for row in rows}
    checks.need(len(alike) == 1, side, sorted(alike), "as many seeds of each")
    return pack_float32(torch.stack(rows))
