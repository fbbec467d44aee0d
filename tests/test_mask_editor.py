"""The mask editor computes what the package computes, click for click.

The script's masks must be those of ``handmade.blocks.masks`` and its weights
those of ``handmade.blocks.attention``, a row with nothing to see included.
"""

import ipywidgets as ipw
import pytest
import torch
from handmade.blocks.attention import softmax_or_zero
from handmade.blocks.masks import (
    causal_mask,
    padding_mask,
    prefix_mask,
    sliding_window_mask,
)
from handmade.widgets.mask_editor import PRESETS, MaskEditor, edit_masks
from script_helpers import run_script

SCRIPT = """
const masks = Object.fromEntries(NAMES.map((name) => [name,
  sizes.map((size) => Array.from(presetMask(name, n, size)))]));
return {
  names: NAMES, masks,
  weights: Array.from(maskedSoftmax(scores, clicked, n)),
  padded: withPads(scores, n, 2),
  findings: findings(clicked, n),
  about: NAMES.map((name) => ABOUT[name](3)),
};
"""


def test_the_script_equals_the_package():
    n, sizes = 6, [1, 3, 6]
    g = torch.Generator().manual_seed(0)
    scores = 4 * torch.randn(n, n, generator=g, dtype=torch.float64)
    clicked = torch.rand(n, n, generator=g) < 0.5
    clicked[2] = False
    answer = run_script(
        "mask_editor",
        SCRIPT,
        n=n,
        sizes=sizes,
        scores=scores.flatten().tolist(),
        clicked=clicked.flatten().int().tolist(),
    )
    assert answer["names"] == list(PRESETS)
    for i, size in enumerate(sizes):
        real = torch.arange(n)[None] >= size
        want = {
            "causal": causal_mask(n),
            "padding": (causal_mask(n) & padding_mask(real))[0, 0],
            "prefix": prefix_mask(n, size),
            "sliding window": sliding_window_mask(n, size),
            "no mask": torch.ones(n, n).bool(),
        }
        for name, mask in want.items():
            got = torch.tensor(answer["masks"][name][i]).reshape(n, n)
            assert torch.equal(got.bool(), mask), (name, size)
    got = torch.tensor(answer["weights"], dtype=torch.float64).reshape(n, n)
    want = softmax_or_zero(scores, clicked)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    padded = torch.tensor(answer["padded"], dtype=torch.float64)
    want = torch.nn.functional.pad(scores, (2, 0, 2, 0))
    assert torch.equal(padded.reshape(n + 2, n + 2), want)
    assert answer["findings"] == {
        "open": int(clicked.sum()),
        "future": int(clicked.triu(1).sum()),
        "empty": int((~clicked).all(1).sum()),
    }
    assert all(answer["about"])


@pytest.mark.filterwarnings("ignore:Widget.widgets is deprecated")
def test_the_controls_are_joined_in_the_front_end():
    box = edit_masks(["a", "b", "c", "d"], torch.randn(3, 4, 4), head=2)
    drawing, presets, size, heads = box.children
    assert presets.options == PRESETS
    assert (size.min, size.max, size.value) == (1, 4, 3)
    assert (heads.max, heads.value, drawing.head) == (2, 2, 2)
    links = {
        (w.source[1], w.target[1])
        for w in ipw.Widget.widgets.values()
        if type(w).__name__ == "Link" and drawing in (w.source[0], w.target[0])
    }
    assert links == {
        ("index", "preset"),
        ("value", "size"),
        ("value", "head"),
        ("last_size", "max"),
        ("sizeless", "disabled"),
    }
    assert size.disabled  # the causal mask has no size
    assert repr(MaskEditor()) == "MaskEditor()"


def test_scores_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match=r"scores: .* \(H, 2, 2\)$"):
        edit_masks(["a", "b"], torch.randn(1, 3, 3))
