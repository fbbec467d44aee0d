"""The RoPE rotator: its controls are joined, its script computes RoPE.

The drawing's arithmetic is in JavaScript. Node runs the same functions, and
score(s, t) = <R(s) q, R(t) k> is held to the package's apply_rope.
"""

import ipywidgets as ipw
import pytest
import torch
from handmade.blocks.rope import apply_rope, rope_angles
from handmade.widgets.rope_rotator import rope_rotator
from script_helpers import run_script


def vectors(width: int = 8):
    generator = torch.Generator().manual_seed(width)
    q, k = torch.randn(2, width, generator=generator, dtype=torch.float64)
    return q, k


@pytest.mark.filterwarnings("ignore:Widget.widgets is deprecated")
def test_the_controls_are_joined_in_the_front_end():
    box = rope_rotator(*vectors(), query_at=5, key_at=3, pair=2, theta=100.0)
    drawing, *sliders = box.children
    values = [slider.value for slider in sliders]
    assert values == [5, 3, 0, pytest.approx(100.0)]
    assert drawing.pair == 2
    links = {
        (w.source[1], w.target[1])
        for w in ipw.Widget.widgets.values()
        if type(w).__name__ == "Link" and w.target[0] is drawing
    }
    traits = ("query_at", "key_at", "shift", "theta")
    assert links == {("value", trait) for trait in traits}
    assert repr(drawing) == "RopeRotator()"


@pytest.mark.parametrize(
    ("q", "k"),
    [((5,), (5,)), ((4,), (6,)), ((2, 4), (2, 4))],
)
def test_vectors_that_do_not_fit_are_an_error(q, k):
    with pytest.raises(ValueError, match=r"^query.*: got .*, want"):
        rope_rotator(torch.zeros(q), torch.zeros(k))


SCRIPT = """
const scores = [100, 10000].map((theta) =>
  at.map(([s, t]) => scoreAt(q, k, s, t, theta)));
return [scores, speeds(8, 100)];
"""


def test_the_script_computes_rope():
    q, k = vectors()
    places = [(0, 0), (5, 3), (205, 203), (3, 60)]
    scores, speeds = run_script(
        "rope_rotator", SCRIPT, q=q.tolist(), k=k.tolist(), at=places
    )
    want = [100.0 ** (-2 * i / 8) for i in range(4)]
    assert speeds == pytest.approx(want, rel=1e-12)
    for theta, row in zip((100.0, 10000.0), scores, strict=True):
        for (s, t), got in zip(places, row, strict=True):
            rope_s = rope_angles(torch.tensor([[s]]), 8, theta)
            rope_t = rope_angles(torch.tensor([[t]]), 8, theta)
            q_at = apply_rope(q[None, None, None], rope_s)
            k_at = apply_rope(k[None, None, None], rope_t)
            # the package's angles are float32
            assert got == pytest.approx((q_at * k_at).sum().item(), abs=1e-4)
        # the same distance, 200 tokens later, in float64
        assert row[1] == pytest.approx(row[2], abs=1e-10)
