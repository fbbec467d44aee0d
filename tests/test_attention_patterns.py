"""What the explorable of attention patterns is given: small and exact.

A weight is shown as one of 255 levels. With levels l_s = floor(255 w_s) and
the missing 255 - sum l_s handed out, one each, to the largest remainders, a
row sums to 255 exactly and no weight is off by more than 1 / 255.
"""

import base64

import ipywidgets as ipw
import numpy as np
import pytest
import torch
from handmade.widgets.attention_patterns import Panel, explore, to_levels


def weights(*shape, causal=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(*shape, generator=generator)
    if causal:
        hidden = torch.ones(shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(hidden, -torch.inf)
    return scores.softmax(-1)


@pytest.mark.parametrize("causal", [True, False])
def test_levels_sum_to_one_and_stay_close(causal):
    exact = weights(3, 2, 24, 24, causal=causal)
    levels = to_levels(exact)
    assert levels.dtype == torch.uint8
    assert levels.sum(-1, dtype=torch.int64).eq(255).all()
    assert (levels.double() / 255 - exact).abs().max() <= 1 / 255
    if causal:
        assert levels.triu(1).eq(0).all()


def panel(causal=True, layers=4, heads=3, lengths=(6, 9)):
    return Panel(
        label="model",
        causal=causal,
        tokens={n: [f"t{i}" for i in range(n)] for n in lengths},
        weights={
            n: weights(layers, heads, n, n, causal=causal) for n in lengths
        },
    )


def test_a_causal_panel_keeps_the_longest_and_its_triangle():
    packed = panel().packed()
    assert packed["lengths"] == [9]
    assert (packed["layers"], packed["heads"]) == (4, 3)
    data = np.frombuffer(base64.b64decode(packed["data"]), np.uint8)
    triangle = data.reshape(4, 3, 45)
    want = to_levels(panel().weights[9])
    # row t starts at t (t + 1) / 2
    assert triangle[2, 1, 10:15].tolist() == want[2, 1, 4, :5].tolist()


def test_the_other_kind_keeps_every_length():
    packed = panel(causal=False).packed()
    assert packed["lengths"] == [6, 9]
    data = base64.b64decode(packed["data"])
    assert len(data) == 4 * 3 * (36 + 81)
    last = np.frombuffer(data, np.uint8)[-81:].reshape(9, 9)
    want = to_levels(panel(causal=False).weights[9])[-1, -1]
    assert last.tolist() == want.tolist()


@pytest.mark.filterwarnings("ignore:Widget.widgets is deprecated")
def test_the_controls_are_joined_in_the_front_end():
    packs = [panel(lengths=(9,)), panel(causal=False, layers=2, heads=5)]
    box = explore(packs, layer=3, head=1, length=9, query=4, key=2)
    drawing, which, layers, tokens = box.children
    assert [label for label, _ in which.options] == ["model", "model"]
    assert (layers.value, layers.max) == (3, 3)
    assert (tokens.min, tokens.max, tokens.step) == (6, 9, 3)
    assert (drawing.query, drawing.key) == (4, 2)
    links = {
        (w.source[1], w.target[1])
        for w in ipw.Widget.widgets.values()
        if type(w).__name__ == "Link" and drawing in (w.source[0], w.target[0])
    }
    assert links == {
        ("index", "panel"),
        ("value", "layer"),
        ("value", "length"),
        ("last_layer", "max"),
    }
    assert repr(drawing) == "AttentionPatterns()"


def test_a_causal_panel_alone_can_be_cut_anywhere():
    tokens = explore([panel(lengths=(9,))]).children[3]
    assert (tokens.min, tokens.max, tokens.step) == (2, 9, 1)


def test_no_panels_is_an_error():
    with pytest.raises(ValueError, match="panels"):
        explore([])
