"""The schedule explorable: its script has the rates of schedule.py."""

import itertools
import math

import ipywidgets as ipw
import pytest
from handmade.training.schedule import warmup_cosine, warmup_linear
from handmade.widgets.lr_schedule import (
    PEAKS,
    SHAPES,
    STEPS,
    LRSchedule,
    lr_schedule,
    named_schedule,
)
from script_helpers import run_script


def settings():
    """Every shape with every kind of warmup, plateau and end."""
    return [
        {
            "shape": shape, "steps": steps, "percent": percent,
            "warmup": steps * percent // 100, "flat": flat, "lowest": lowest,
        }
        for shape, steps, percent, flat, lowest in itertools.product(
            SHAPES, (1, 7, 100, 500), (0, 1, 13, 50), (0.0, 0.35, 0.95),
            (0.0, 0.1, 1.0),
        )
    ]  # fmt: skip


def in_python(case):
    return named_schedule(
        case["shape"],
        case["steps"],
        warmup=case["percent"],
        flat=case["flat"],
        lowest=case["lowest"],
    )


def test_the_script_has_the_rates_of_the_package():
    cases = settings()
    told = run_script(
        "lr_schedule",
        "return cases.map((c) => Array.from({ length: c.steps + 3 }, "
        "(_, step) => factorAt(c, step)));",
        cases=cases,
    )
    for case, got in zip(cases, told, strict=True):
        factor = in_python(case)
        want = [factor(step) for step in range(case["steps"] + 3)]
        assert got == pytest.approx(want, rel=1e-12, abs=1e-15), case


def test_the_area_is_the_sum_of_the_rates():
    cases = settings()
    told = run_script(
        "lr_schedule",
        "return cases.map((c) => [areaOf(c), areaOf(c, 5)]);",
        cases=cases,
    )
    for case, (whole, five) in zip(cases, told, strict=True):
        factor = in_python(case)
        want = math.fsum(factor(step) for step in range(case["steps"]))
        assert whole == pytest.approx(want, rel=1e-12), case
        want = math.fsum(factor(step) for step in range(5))
        assert five == pytest.approx(want, rel=1e-12), case


def test_a_percent_of_the_steps_is_rounded_down_on_both_sides():
    cases = [[n, p] for n in STEPS for p in range(51)]
    told = run_script(
        "lr_schedule",
        "return cases.map(([n, p]) => Math.floor(n * p / 100));",
        cases=cases,
    )
    assert told == [n * p // 100 for n, p in cases]


def test_what_is_drawn_has_every_corner_and_no_step_too_many():
    cases = [case for case in settings() if case["steps"] > 1]
    told = run_script(
        "lr_schedule",
        "return cases.map((c) => placesOf(c, 120));",
        cases=cases,
    )
    for case, places in zip(cases, told, strict=True):
        steps, warmup = case["steps"], case["warmup"]
        assert places == sorted(set(places))
        assert places[0] == 0
        assert places[-1] <= steps - 1
        assert warmup in places
        assert warmup == 0 or warmup - 1 in places
        if case["shape"] == "linear":
            corner = warmup + case["flat"] * (steps - warmup)
            near = min(places, key=lambda place: abs(place - corner))
            assert abs(near - corner) <= 1


def test_a_step_rises_stays_or_falls():
    case = {
        "shape": "linear", "steps": 100, "warmup": 10, "flat": 0.5,
        "lowest": 0,
    }  # fmt: skip
    script = "return [0, 9, 10, 54, 55, 99].map((step) => phaseOf(c, step));"
    told = run_script("lr_schedule", script, c=case)
    assert told == ["rising"] * 2 + ["flat"] * 2 + ["falling"] * 2
    told = run_script("lr_schedule", script, c={**case, "shape": "cosine"})
    assert told == ["rising"] * 2 + ["falling"] * 4
    told = run_script("lr_schedule", script, c={**case, "shape": "constant"})
    assert told == ["rising"] * 2 + ["flat"] * 4


def test_a_rate_is_written_as_in_code():
    script = "return [0, 3e-4, 0.05].map(rate);"
    assert run_script("lr_schedule", script) == ["0", "3.00e-4", "5.00e-2"]


def test_the_named_schedules_are_those_of_the_package():
    for name, want in (
        ("cosine", warmup_cosine(200, warmup=26, lowest=0.1)),
        ("linear", warmup_linear(200, warmup=26, flat=0.5, lowest=0.1)),
        ("constant", lambda step: min(1.0, (step + 1) / 26)),
    ):
        got = named_schedule(name, 200, warmup=13, flat=0.5, lowest=0.1)
        assert [got(s) for s in range(210)] == [want(s) for s in range(210)]


@pytest.mark.filterwarnings("ignore:Widget.widgets is deprecated")
def test_the_controls_are_joined_in_the_front_end():
    box = lr_schedule(
        "linear", peak=1e-3, steps=2000, warmup=7, flat=0.3, lowest=0.2
    )
    drawing, shape, peak, steps, warmup, lowest, flat = box.children
    assert SHAPES[shape.index] == "linear"
    assert (peak.value, steps.value) == (1e-3, 2000)
    assert (warmup.value, lowest.value, flat.value) == (7, 0.2, 0.3)
    assert PEAKS[drawing.peak] == 1e-3
    assert STEPS[drawing.steps] == 2000
    assert (drawing.shape, drawing.warmup, drawing.step) == (1, 7, 1000)
    links = {
        (w.source[1], w.target[1])
        for w in ipw.Widget.widgets.values()
        if type(w).__name__ == "Link" and w.target[0] is drawing
    }
    assert links == {
        *(("index", name) for name in ("shape", "peak", "steps")),
        *(("value", name) for name in ("warmup", "lowest", "flat")),
    }
    assert repr(LRSchedule()) == "LRSchedule()"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape": "square"}, "shape: got 'square', want one of"),
        ({"peak": 4e-4}, "peak: got 0.0004, want one of"),
        ({"steps": 300}, "steps: got 300, want one of"),
        ({"warmup": 51}, "warmup: got 51, want"),
        ({"flat": 1.0}, "flat: got 1.0, want"),
        ({"lowest": 1.5}, "lowest: got 1.5, want"),
    ],
)
def test_what_no_control_has_is_an_error(wrong, message):
    with pytest.raises(ValueError, match=message):
        lr_schedule(**wrong)
