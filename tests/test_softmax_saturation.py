"""The saturation explorable: its script goes back as autograd does.

w = softmax(q k^T / K^p). Node runs the script on what the widget sends, and
its weights, slopes and gradient norms are held to PyTorch's own derivatives
in float64, also where all but nothing of the gradient is left.
"""

import base64
import math

import ipywidgets as ipw
import numpy as np
import pytest
import torch
from handmade.widgets.softmax_saturation import (
    SoftmaxSaturation,
    explore_saturation,
    saturation,
)
from script_helpers import run_script

SCRIPT = """
const S = drawing.n_keys;
const [dots, keys, upstream] = ["dots", "turned_keys", "upstream"]
  .map((name) => floats(drawing[name]));
const N = upstream.length / S;
return places.map(([at, power]) => {
  const seen = measure({
    dots: dots.subarray(at * N * S, (at + 1) * N * S),
    keys: keys.subarray(at * S * S, (at + 1) * S * S), upstream, S,
  }, drawing.widths[at] ** power);
  return { ...seen, map: slopes(seen.weights[0]), all: summary(seen.atQuery) };
});
"""


def inputs(N=24, S=5, K=64):
    g = torch.Generator().manual_seed(N)
    sizes = ((N, K), (S, K), (N, S))
    return [torch.randn(size, generator=g) for size in sizes]


def autograd(q, k, upstream, width, power):
    """Weights, gradients at the scores and at the query, by PyTorch."""
    q = q[:, :width].double().requires_grad_()
    scores = q @ k[:, :width].double().T / width**power
    scores.retain_grad()
    weights = scores.softmax(-1)
    weights.backward(upstream.double())
    return weights.detach(), scores.grad, q.grad


def near(got, want, tolerance=1e-6):
    """Equal, up to a share of each and to autograd's own rounding."""
    got = torch.as_tensor(got, dtype=torch.float64)
    torch.testing.assert_close(got, want, rtol=tolerance, atol=1e-13)


def unpack(text: str) -> torch.Tensor:
    return torch.from_numpy(
        np.frombuffer(base64.b64decode(text), "<f4").copy()
    )


def test_the_script_goes_back_as_autograd_does():
    given = inputs()
    drawing, *_ = explore_saturation(*given, width=64).children
    names = ("dots", "turned_keys", "upstream", "n_keys", "widths")
    places = [(0, 0.5), (1, 1), (2, 0.5), (4, 0), (6, 0), (6, 0.35)]
    answer = run_script(
        "softmax_saturation",
        SCRIPT,
        drawing={name: getattr(drawing, name) for name in names},
        places=places,
    )
    dots = unpack(drawing.dots).view(len(drawing.widths), 24, 5).double()
    for (at, power), got in zip(places, answer, strict=True):
        width = drawing.widths[at]
        weights, at_scores, at_query = autograd(*given, width, power)
        # the dot products travel as float32
        near(got["weights"], weights, 1e-5)
        near(got["atScores"], at_scores.norm(dim=-1), 1e-5)
        near(got["atQuery"], at_query.norm(dim=-1), 1e-5)
        # of the dot products as they arrive, all digits
        scores = (dots[at] / width**power).requires_grad_()
        weights = scores.softmax(-1)
        weights.backward(given[2].double())
        near(got["weights"], weights.detach(), 1e-12)
        near(got["atScores"], scores.grad.norm(dim=-1), 1e-10)
        k = given[1][:, :width].double()
        near(got["atQuery"], (scores.grad @ k / width**power).norm(dim=-1))
        one = scores[0].detach()
        jacobian = torch.func.jacrev(lambda s: s.softmax(-1))(one)
        near(got["map"], jacobian, 1e-10)
    # saturated: next to nothing is left, and all of it is right
    assert min(answer[4]["atScores"]) < 1e-5 < max(answer[4]["atScores"])


def test_the_script_tells_who_is_typical_and_who_lucky():
    norms = torch.rand(24, generator=torch.Generator().manual_seed(0))
    norms = norms.double()
    answer = run_script(
        "softmax_saturation", "return summary(norms);", norms=norms.tolist()
    )
    assert answer["typical"] == int(norms.median(0).indices)
    assert answer["luckiest"] == int(norms.argmax())
    assert answer["order"] == norms.argsort().tolist()
    near(answer["mean"], norms.mean())
    near(answer["share"], norms.topk(2).values.sum() / norms.sum())


def test_the_script_keeps_what_rounding_would_hide():
    """One weight all but 1: the slope of its score is the others' weights."""
    lead = 60.0
    answer = run_script(
        "softmax_saturation",
        "const w = weigh([lead, 0], 1); return [w, backward(w, [3, 1])];",
        lead=lead,
    )
    small = math.exp(-lead)
    assert answer == [
        pytest.approx([1, small], rel=1e-12),
        pytest.approx([2 * small, -2 * small], rel=1e-12),
    ]


@pytest.mark.parametrize("power", [0, 0.5, 1])
@pytest.mark.parametrize("width", [1, 16, 64])
def test_the_twin_is_autograd(width, power):
    q, k, upstream = inputs()
    got = saturation(
        q.double(), k.double(), upstream.double(), width=width, power=power
    )
    weights, at_scores, at_query = autograd(q, k, upstream, width, power)
    near(got[0], weights, 1e-12)
    near(got[1], at_scores.norm(dim=-1), 1e-10)
    near(got[2], at_query.norm(dim=-1), 1e-10)


@pytest.mark.filterwarnings("ignore:Widget.widgets is deprecated")
def test_the_sliders_are_joined_in_the_front_end():
    box = explore_saturation(*inputs(), width=16, power=0.25, query=3)
    drawing, *sliders = box.children
    assert [s.value for s in sliders] == [16, 0.25, 3]
    assert sliders[0].options == (1, 2, 4, 8, 16, 32, 64)
    assert (sliders[2].min, sliders[2].max) == (0, 23)
    assert (drawing.width, drawing.power, drawing.query) == (4, 0.25, 3)
    links = {
        (w.source[1], w.target[1])
        for w in ipw.Widget.widgets.values()
        if type(w).__name__ == "Link" and w.target[0] is drawing
    }
    assert links == {
        ("index", "width"),
        ("value", "power"),
        ("value", "query"),
    }
    assert repr(SoftmaxSaturation()) == "SoftmaxSaturation()"


def test_what_the_page_sends_is_small():
    given = inputs(N=128, S=16, K=1024)
    drawing, *_ = explore_saturation(*given, width=1024).children
    sent = drawing.dots + drawing.turned_keys + drawing.upstream
    assert len(sent) < 150_000


@pytest.mark.parametrize(
    ("shapes", "width", "message"),
    [
        (((4, 8), (3, 8), (4, 2)), 8, r"want \(N, K\), \(S, K\) and \(N, S\)"),
        (((4, 8), (3, 4), (4, 3)), 8, r"want \(N, K\), \(S, K\) and \(N, S\)"),
        (((4, 8), (3, 8), (4, 3)), 6, r"width: got 6, want one of \[1, 2, 4"),
    ],
)
def test_what_does_not_fit_is_an_error(shapes, width, message):
    with pytest.raises(ValueError, match=message):
        explore_saturation(*map(torch.zeros, shapes), width=width)
