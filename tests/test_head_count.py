"""The explorable on the number of heads tells the package's numbers."""

import base64

import ipywidgets as ipw
import numpy as np
import pytest
import torch
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.widgets.attention_patterns import to_levels
from handmade.widgets.head_count import HeadCount, count_heads
from script_helpers import run_script
from torch.utils.flop_counter import FlopCounterMode

SCRIPT = """
return counts.map((H, i) => ({
  numbers: cutNumbers(D, H, T),
  favourites: favourites(bytes(maps[i]), { layer: 1, H, T, query: 3 }),
}));
"""


def weights(H, T=5, layers=2):
    g = torch.Generator().manual_seed(H)
    return torch.randn(layers, H, T, T, generator=g).mul(3).softmax(-1)


def explorable(**more):
    cuts = {H: weights(H) for H in (1, 2, 6)}
    tokens = ["the", "cat", "sat", "on", "it"]
    return cuts, count_heads(tokens, cuts, d_model=12, heads=2, **more)


def test_the_maps_are_packed_as_levels():
    cuts, box = explorable()
    drawing = box.children[0]
    assert drawing.counts == [1, 2, 6]
    data = np.frombuffer(base64.b64decode(drawing.maps[2]), np.uint8)
    want = to_levels(cuts[6]).numpy()
    assert data.reshape(want.shape).tolist() == want.tolist()


def test_the_script_tells_the_packages_numbers():
    cuts, box = explorable()
    drawing = box.children[0]
    D, T = 12, 5
    given = {"counts": drawing.counts, "maps": drawing.maps}
    answers = run_script("head_count", SCRIPT, D=D, T=T, **given)
    for H, answer in zip(drawing.counts, answers, strict=True):
        layer = MultiHeadAttention(D, H, bias=True)
        count = sum(p.numel() for p in layer.parameters())
        with FlopCounterMode(display=False) as counter:
            layer(torch.randn(1, T, D))
        numbers = answer["numbers"]
        assert numbers["parameters"] == count
        assert numbers["K"] == layer.d_head
        assert numbers["q"] == [1, H, T, D // H]
        assert numbers["scores"] == [1, H, T, T]
        assert numbers["weights"] == H * T * T
        # PyTorch counts a multiplication and an addition as two
        projections = 4 * T * D * D
        total = 2 * (projections + numbers["products"])
        assert counter.get_total_flops() == total
        want = cuts[H][1, :, 3].argmax(-1).tolist()
        assert answer["favourites"] == want


@pytest.mark.filterwarnings("ignore:Widget.widgets is deprecated")
def test_the_controls_are_joined_in_the_front_end():
    _, box = explorable(layer=1, query=4)
    drawing, cuts, layers, queries = box.children
    assert (drawing.cut, drawing.layer, drawing.query) == (1, 1, 4)
    assert (cuts.index, layers.max, queries.index) == (1, 1, 4)
    links = {
        (w.source[1], w.target[1])
        for w in ipw.Widget.widgets.values()
        if type(w).__name__ == "Link" and drawing in (w.source[0], w.target[0])
    }
    assert links == {("index", "cut"), ("value", "layer"), ("index", "query")}
    assert repr(HeadCount()) == "HeadCount()"


def test_weights_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match=r"weights: .* for 3 heads"):
        count_heads(["a"] * 5, {3: weights(2)}, d_model=12, heads=3)
    with pytest.raises(ValueError, match=r"heads: got 2, want one of \[3\]"):
        count_heads(["a"] * 5, {3: weights(3)}, d_model=12, heads=2)
    with pytest.raises(ValueError, match="divisor of 12"):
        count_heads(["a"] * 5, {5: weights(5)}, d_model=12, heads=5)
