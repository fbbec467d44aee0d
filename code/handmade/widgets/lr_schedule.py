"""Explorable: a learning-rate schedule, its curve and the area under it.

The script computes each rate by the formulas of `handmade.training.schedule`
(``lr_schedule.js``); a test holds the two to each other over many settings.
`named_schedule` is that schedule in Python: a page asserts with it what a
reader is told to see.
"""

from collections.abc import Callable

import ipywidgets as ipw
import traitlets

from handmade import checks
from handmade.training.schedule import warmup_cosine, warmup_linear
from handmade.widgets.base import (
    TRACK,
    Explorable,
    Explorer,
    assets,
    check_whole,
    explorer,
)

SHAPES = ("cosine", "linear", "constant")
PEAKS = tuple(
    float(f"{digit}e-{power}") for power in (5, 4, 3, 2) for digit in "1236"
)
STEPS = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
LONGEST_WARMUP = 50  # percent of the steps
LONGEST_FLAT = 0.95


class LRSchedule(Explorable):
    """The curve and its numbers; ``lr_schedule`` adds the controls.

    A word in the text may set the places, from 0, of `shape`, `peak` and
    `steps` among their choices, `warmup` in percent of the steps, `flat`
    and `lowest` as shares, and the `step` whose rate is read.
    """

    _esm, _css = assets("lr_schedule")
    sets = ("shape", "peak", "steps", "warmup", "flat", "lowest", "step")
    shapes = traitlets.List([*SHAPES]).tag(sync=True)
    peaks = traitlets.List([*PEAKS]).tag(sync=True)
    lengths = traitlets.List([*STEPS]).tag(sync=True)
    shape = traitlets.Int(0).tag(sync=True)
    peak = traitlets.Int(0).tag(sync=True)
    steps = traitlets.Int(0).tag(sync=True)
    warmup = traitlets.Int(0).tag(sync=True)
    flat = traitlets.Float(0.0).tag(sync=True)
    lowest = traitlets.Float(0.0).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)


def named_schedule(
    shape: str,
    steps: int,
    *,
    warmup: int = 0,
    flat: float = 0.0,
    lowest: float = 0.0,
) -> Callable[[int], float]:
    """Return the factor that the drawing shows for these settings.

    `warmup` is in percent of the steps, rounded down; `flat` is read by
    "linear" alone, and "constant" never falls. Raises ValueError for what no
    control can be set to.
    """
    _check(shape, warmup, flat, lowest)
    checks.whole("steps", steps)
    rise = steps * warmup // 100
    if shape == "cosine":
        return warmup_cosine(steps, warmup=rise, lowest=lowest)
    if shape == "linear":
        return warmup_linear(steps, warmup=rise, flat=flat, lowest=lowest)
    return warmup_linear(steps, warmup=rise, lowest=1.0)


def lr_schedule(
    shape: str = "cosine",
    *,
    peak: float = 3e-4,
    steps: int = 10_000,
    warmup: int = 5,
    flat: float = 0.8,
    lowest: float = 0.1,
) -> Explorer:
    """The drawing with its controls, joined in the front end.

    Arguments are those of `named_schedule`, and the rate at its highest.
    Raises ValueError for what no control can be set to.
    """
    _check(shape, warmup, flat, lowest)
    checks.positive("peak", peak)
    checks.need(peak in PEAKS, "peak", peak, f"one of {PEAKS}")
    check_whole("steps", steps, 1, STEPS[-1])
    checks.need(steps in STEPS, "steps", steps, f"one of {STEPS}")
    drawing = LRSchedule(
        shape=SHAPES.index(shape),
        peak=PEAKS.index(peak),
        steps=STEPS.index(steps),
        warmup=warmup,
        flat=flat,
        lowest=lowest,
        step=steps // 2,
    )
    shapes = [(name, i) for i, name in enumerate(SHAPES)]
    peaks = [(f"{rate:.0e}".replace("e-0", "e-"), rate) for rate in PEAKS]
    lengths = [(f"{n:,}", n) for n in STEPS]
    share = {"step": 0.05, "readout_format": ".2f", **TRACK}
    return explorer(
        drawing,
        shape=ipw.Dropdown(
            options=shapes, index=drawing.shape, description="shape", **TRACK
        ),
        peak=ipw.SelectionSlider(
            options=peaks, value=peak, description="peak rate", **TRACK
        ),
        steps=ipw.SelectionSlider(
            options=lengths, value=steps, description="steps", **TRACK
        ),
        warmup=ipw.IntSlider(
            warmup, 0, LONGEST_WARMUP, description="warmup, %", **TRACK
        ),
        lowest=ipw.FloatSlider(
            lowest, min=0, max=1, description="lowest / peak", **share
        ),
        flat=ipw.FloatSlider(
            flat, min=0, max=LONGEST_FLAT, description="flat share", **share
        ),
    )


def _check(shape: str, warmup: int, flat: float, lowest: float) -> None:
    checks.text("shape", shape)
    checks.need(shape in SHAPES, "shape", repr(shape), f"one of {SHAPES}")
    check_whole("warmup", warmup, 0, LONGEST_WARMUP)
    checks.number("flat", flat, at_least=0)
    high = f"0 to {LONGEST_FLAT}"
    checks.need(flat <= LONGEST_FLAT, "flat", flat, high)
    checks.number("lowest", lowest, at_least=0)
    checks.need(lowest <= 1, "lowest", lowest, "0 to 1")
