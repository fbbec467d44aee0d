"""The explorable of the whole computation has the numbers of the package."""

import itertools
import math

import ipywidgets as ipw
import pytest
from handmade import scalar
from handmade.widgets.by_hand import BACKWARD, STEPS, ByHand, scrub
from script_helpers import run_script

CASES = [
    (1, scalar.IDS, scalar.TARGETS),
    (7, [4, 4], [0, 4]),
    (2**31 - 2, [3], [3]),
]


def flat(x):
    return (
        [y for part in x for y in flat(part)] if isinstance(x, list) else [x]
    )


def numbers(seed, ids, targets):
    """All that is computed, by the names of the script."""
    w = scalar.initial_weights(seed)
    a = scalar.forward(w, ids)
    grad = scalar.cross_entropy_backward(a["logits"], targets)
    g = scalar.backward(w, ids, a, grad)
    loss = scalar.cross_entropy(a["logits"], targets)
    return {**w, **a, "loss": loss, **{f"∂{n}": x for n, x in g.items()}}


@pytest.mark.parametrize("case", range(len(CASES)))
def test_the_script_computes_what_the_package_computes(case):
    seed, ids, targets = CASES[case]
    script = "return compute(initial_weights(seed), ids, targets)"
    told = run_script("by_hand", script, seed=seed, ids=ids, targets=targets)
    want = numbers(seed, ids, targets)
    assert told.keys() == want.keys()
    for name, x in want.items():
        # JSON has no infinity
        ours = [None if math.isinf(y) else y for y in flat(x)]
        theirs = flat(told[name])
        assert len(ours) == len(theirs), name
        for one, other in zip(ours, theirs, strict=True):
            assert (one is None) == (other is None), name
            assert one is None or abs(one - other) < 1e-12, name


@pytest.mark.parametrize("case", range(len(CASES)))
def test_each_number_follows_from_what_is_shown_as_its_source(case):
    seed, ids, targets = CASES[case]
    script = """
    const values = compute(initial_weights(seed), ids, targets);
    return ORDER.map((name) => {
      const { rows, columns, index, cell } = layout(values[name]);
      let worst = 0;
      const read = new Set();
      for (let t = 0; t < rows; t++) {
        for (let c = 0; c < columns; c++) {
          const reader = new Reader(values, ids, targets);
          const at = index(t, c);
          const said = RULES[name][2](reader, at);
          const is = at.reduce((x, i) => x[i], values[name]);
          worst = Math.max(worst, said === is ? 0 : Math.abs(said - is));
          if (cell && String(cell(at)) !== String([t, c])) worst = Infinity;
          for (const [source, where] of reader.read) read.add(source);
          if (explain(name, at, is, reader).includes("undefined")) worst = NaN;
        }
      }
      return { name, worst, read: [...read] };
    });
    """
    told = run_script("by_hand", script, seed=seed, ids=ids, targets=targets)
    assert [each["name"] for each in told] == list(STEPS)
    seen = {*scalar.SHAPES}
    for each in told:
        assert each["worst"] is not None, each
        assert each["worst"] < 1e-12, each
        # nothing is read before it was computed
        assert set(each["read"]) <= seen, each
        seen.add(each["name"])


def test_the_steps_are_those_of_the_package():
    want = numbers(*CASES[0])
    assert sorted(f"∂{n}" for n in BACKWARD) == sorted(
        n for n in want if n.startswith("∂")
    )


def test_the_error_function_is_pythons():
    points = [x / 7 for x in range(-50, 51)] + [2.999, 3.0, 3.001, 5.9, 6.1]
    told = run_script("by_hand", "return points.map(erf)", points=points)
    for x, y in zip(points, told, strict=True):
        assert abs(math.erf(x) - y) < 2e-15, x


def test_maps_never_lie_on_each_other_nor_outside():
    script = """
    const values = compute(initial_weights(1), ids, targets);
    return [300, 340, 640].map((width) => ORDER.map((name) => {
      const all = new Reader(values, ids, targets);
      const target = layout(values[name]);
      for (let t = 0; t < target.rows; t++) {
        for (let c = 0; c < target.columns; c++) {
          RULES[name][2](all, target.index(t, c));
        }
      }
      const names = [name, ...new Set(all.read.map(([source]) => source))];
      const maps = names.map((n) =>
        ({ ...layout(values[n]), title: 8 * n.length }));
      const { size, places } = pack(maps, width, width < 500 ? 330 : 300);
      return { name, width, size, boxes: maps.map((map, i) => [...places[i],
        map.columns * size, map.rows * size]) };
    })).flat();
    """
    ids, targets = scalar.IDS, scalar.TARGETS
    for each in run_script("by_hand", script, ids=ids, targets=targets):
        height = 330 if each["width"] < 500 else 300
        assert each["size"] >= 4.5, each
        for x, y, w, h in each["boxes"]:
            assert 0 <= x <= x + w <= each["width"], each
            assert 18 <= y <= y + h <= height, each
        for one, other in itertools.combinations(each["boxes"], 2):
            apart = (
                one[0] + one[2] <= other[0]
                or other[0] + other[2] <= one[0]
                or one[1] + one[3] + 18 <= other[1]
                or other[1] + other[3] + 18 <= one[1]
            )
            assert apart, each


@pytest.mark.filterwarnings("ignore:Widget.widgets is deprecated")
def test_the_controls_are_joined_in_the_front_end():
    box = scrub(scalar.IDS, scalar.TARGETS, step="∂scores", weight="norm.bias")
    drawing, steps, weight = box.children
    assert steps.index == drawing.step == STEPS.index("∂scores")
    biases = scalar.initial_weights(1)["norm.bias"]
    assert weight.value == drawing.value == biases[0]
    links = {
        (w.source[1], w.target[1])
        for w in ipw.Widget.widgets.values()
        if type(w).__name__ == "Link" and drawing in (w.source[0], w.target[0])
    }
    assert links == {("index", "step"), ("value", "value")}
    assert repr(ByHand()) == "ByHand()"
    # the slider reaches every weight that may be drawn
    numbers = [x for w in scalar.initial_weights(5).values() for x in flat(w)]
    assert weight.min <= min(numbers) <= max(numbers) <= weight.max


def test_what_does_not_fit_is_an_error():
    right = scalar.IDS, scalar.TARGETS
    with pytest.raises(ValueError, match="targets: got 2, want 5"):
        scrub(scalar.IDS, [0, 1])
    with pytest.raises(ValueError, match="ids: got 6, want 1 to 5"):
        scrub([0] * 6, [0] * 6)
    with pytest.raises(ValueError, match="ids: got 5, want a whole number"):
        scrub([5], [0])
    with pytest.raises(ValueError, match="step: got 'z'"):
        scrub(*right, step="z")
    with pytest.raises(ValueError, match="weight: got 'z'"):
        scrub(*right, weight="z")
    with pytest.raises(ValueError, match=r"at: got 16, want .* 0 to 15"):
        scrub(*right, weight="norm.bias", at=16)
