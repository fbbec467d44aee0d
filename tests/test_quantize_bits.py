"""The explorable on bits rounds as the package does, bit for bit."""

import base64

import ipywidgets as ipw
import numpy as np
import pytest
import torch
from handmade.inference.quantization import held_bytes
from handmade.widgets.quantize_bits import (
    SCHEMES,
    QuantizeBits,
    explore_bits,
    rounded,
)
from script_helpers import run_script

SCRIPT = """
const w = floats(weights);
return places.map(([scheme, bits, group]) => {
  const { values, bytes, places } =
    roundWeights(w, { scheme, bits, group, levels });
  return { values: Array.from(values), bytes, groups: places.length,
    ...measure(w, values) };
});
"""


def weights(rows=4, width=192):
    g = torch.Generator().manual_seed(0)
    w = 0.05 * torch.randn(rows, width, generator=g)
    w[0, :16] = 0
    w[1, :16] = w[1, :16].abs() + 0.3
    w[2, 5] = 6.25
    w[3, :16] *= 1e-7
    w[3, 16:32] = 0.1
    return w


def test_the_script_rounds_as_the_package_does():
    w = weights()
    drawing = explore_bits({"some": w}).children[0]
    places = [
        (scheme, bits, group)
        for scheme in range(3)
        for bits in ((4,) if scheme == 2 else range(2, 9))
        for group in drawing.groups
    ]
    answers = run_script(
        "quantize_bits",
        SCRIPT,
        weights=drawing.weights[0],
        levels=drawing.levels,
        places=places,
    )
    for (scheme, bits, group), got in zip(places, answers, strict=True):
        ours = rounded(w, scheme=SCHEMES[scheme], bits=bits, group=group)
        back = ours.dequantize()
        values = torch.tensor(got["values"]).view(w.shape)
        assert torch.equal(values, back), (scheme, bits, group)
        assert got["bytes"] == held_bytes(ours)
        error = ((back - w).double().norm() / w.double().norm()).item()
        assert got["error"] == pytest.approx(error, rel=1e-6)
        assert got["zeros"] == (back == 0).double().mean().item()
        assert got["groups"] == w.numel() // group


def test_the_script_rounds_to_float16_and_to_even():
    x = torch.randn(300, generator=torch.Generator().manual_seed(1))
    x = x * 10.0 ** torch.arange(-8, 4).repeat(25)
    got = run_script("quantize_bits", "return x.map(half);", x=x.tolist())
    assert got == x.half().double().tolist()
    ties = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49, -0.51]
    got = run_script("quantize_bits", "return x.map(even);", x=ties)
    assert got == torch.tensor(ties).round().tolist()


@pytest.mark.filterwarnings("ignore:Widget.widgets is deprecated")
def test_the_controls_are_joined_in_the_front_end():
    box = explore_bits(
        {"a": weights(), "b": weights()}, scheme="NF4", bits=3, group=192
    )
    drawing, piece, scheme, bits, group = box.children
    assert drawing.groups == [16, 32, 64, 192, 768]
    assert (drawing.scheme, drawing.bits, drawing.group) == (2, 3, 3)
    assert (piece.index, scheme.index, bits.value) == (0, 2, 3)
    assert group.options == ("16", "32", "64", "a row", "all")
    assert group.index == 3
    links = {
        (w.source[1], w.target[1])
        for w in ipw.Widget.widgets.values()
        if type(w).__name__ == "Link" and drawing in (w.source[0], w.target[0])
    }
    assert links == {
        ("index", "piece"),
        ("index", "scheme"),
        ("value", "bits"),
        ("index", "group"),
    }
    assert repr(QuantizeBits()) == "QuantizeBits()"
    data = np.frombuffer(base64.b64decode(drawing.weights[1]), "<f4")
    assert data.tolist() == weights().flatten().tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": {"a": torch.ones(4, 9)}}, r"weights: got shapes \[\(4, "),
        ({"weights": {"a": torch.ones(1, 16)}}, "weights: got shapes"),
        ({"weights": {"a": torch.ones(200, 192)}}, "at most 16,384 weights"),
        ({"group": 48}, r"group: got 48, want one of \[16, 32, 64, 192, 768"),
        ({"scheme": "fp4"}, "scheme: got 'fp4', want of"),
        ({"bits": 1}, "bits: got 1, want a whole number from 2 to 8"),
    ],
)
def test_what_does_not_fit_is_an_error(change, message):
    with pytest.raises(ValueError, match=message):
        explore_bits(**{"weights": {"a": weights()}} | change)
