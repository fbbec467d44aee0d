"""The explorable on loss curves tells the runs' numbers."""

import math

import ipywidgets as ipw
import pytest
import torch
from handmade.widgets.loss_curves import LossCurves, loss_curves
from script_helpers import run_script

STEPS = ([5, 15, 25], [0, 10, 20, 30])


def curves(points, *names, seeds=3):
    g = torch.Generator().manual_seed(points)
    return {n: 2 + torch.rand(seeds, points, generator=g) for n in names}


def given(**changes):
    names = ("plain", "odd", "long name")
    made = {
        "training": curves(3, *names),
        "validation": curves(4, *names),
        "steps": STEPS,
    }
    return made | changes


def told(drawing, side):
    script = "return curvesOf(floats(data), recipes, seeds)"
    return run_script(
        "loss_curves", script, data=drawing.data[side],
        recipes=len(drawing.labels), seeds=drawing.seeds,
    )  # fmt: skip


def test_the_script_tells_mean_and_range_of_the_seeds():
    made = given()
    drawing = loss_curves(**made).children[0]
    for side, name in enumerate(("training", "validation")):
        found = told(drawing, side)
        for losses, points in zip(made[name].values(), found, strict=True):
            for column, point in zip(losses.T, points, strict=True):
                assert point["mean"] == pytest.approx(column.mean().item())
                assert point["low"] == pytest.approx(column.min().item())
                assert point["high"] == pytest.approx(column.max().item())


def test_a_run_that_stopped_leaves_no_number():
    made = given()
    made["training"]["odd"][1, 2:] = math.nan
    found = told(loss_curves(**made).children[0], 0)
    assert [point is None for point in found[1]] == [False, False, True]
    assert all(point is not None for point in found[0])


def test_the_step_that_is_read_is_the_nearest():
    script = "return asked.map((step) => nearest(steps, step))"
    asked = [0, 4, 9, 10, 11, 20, 99]
    want = [0, 0, 0, 0, 1, 1, 2]
    told = run_script("loss_curves", script, steps=STEPS[0], asked=asked)
    assert told == want


def test_switches_are_bits():
    script = """return { on: [0, 1, 2].map((i) => isShown(5, i)),
      after: [0, 1, 2].map((i) => toggled(5, i)) }"""
    told = run_script("loss_curves", script)
    assert told == {"on": [True, False, True], "after": [4, 7, 1]}


def test_steps_lie_even_or_by_their_logarithm():
    script = """return [0, 3, 15].map((step) =>
      [along(step, 15, false), along(step, 15, true)])"""
    told = run_script("loss_curves", script)
    assert told == [[0, 0], [0.2, 0.5], [1, 1]]


@pytest.mark.filterwarnings("ignore:Widget.widgets is deprecated")
def test_the_controls_are_joined_in_the_front_end():
    box = loss_curves(**given(), shown=["long name", "plain"])
    drawing, side, scale, step = box.children
    assert (drawing.shown, drawing.side, drawing.step) == (5, 1, 30)
    assert (side.index, scale.index, step.value) == (1, 0, 30)
    assert loss_curves(**given()).children[0].shown == 7
    links = {
        (w.source[1], w.target[1])
        for w in ipw.Widget.widgets.values()
        if type(w).__name__ == "Link" and drawing in (w.source[0], w.target[0])
    }
    assert links == {("index", "side"), ("index", "scale"), ("value", "step")}
    assert repr(LossCurves()) == "LossCurves()"


def test_curves_that_do_not_fit_are_an_error():
    names = ("plain", "odd", "long name")
    for message, changes in (
        ("training: got shape", {"training": curves(4, *names)}),
        ("validation: got", {"validation": curves(4, "plain")}),
        ("validation: got", {"validation": curves(4, *names, seeds=2)}),
        ("shown: got 'other'", {"shown": ["other"]}),
        ("steps: got 1 lists", {"steps": (STEPS[0],)}),
        ("steps: got", {"steps": ([5, 5, 6], STEPS[1])}),
        ("number of recipes: got 17", {
            "training": curves(3, *map(str, range(17))),
        }),
        ("training: got 9 infinite or below 0", {
            "training": {n: -x for n, x in curves(3, *names).items()},
        }),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            loss_curves(**given(**changes))
