"""Refusals: what holds passes, the rest says name, what came, what is wanted.

The second half walks over every public function of ``handmade.blocks``.
"""

import math
import re

import pytest
import torch
from handmade import checks
from handmade.blocks import (
    alibi,
    attention,
    block,
    feedforward,
    masks,
    mixture_of_experts,
    multi_head,
    norms,
    positions,
    rope,
)
from torch import nn

STYLE = re.compile(r"[A-Za-z_]+: got .+, want .+", re.DOTALL)


@pytest.mark.parametrize("value", [1, 7, 10**30, True, False, 0, -1, 1.0, "1"])
def test_whole(value):
    if type(value) is int and value >= 1:
        assert checks.whole("n", value) == value
        return
    with pytest.raises(ValueError, match=rf"n: got {value!r}, want a whole"):
        checks.whole("n", value)


@pytest.mark.parametrize("value", [1, 0.5, 1e-300, 10**30])
def test_positive(value):
    assert checks.positive("x", value) == value


@pytest.mark.parametrize(
    "value", [0, -1.5, math.nan, math.inf, True, None, "1", torch.ones(1), 1j]
)
def test_what_is_not_positive(value):
    with pytest.raises(
        ValueError, match=r"x: got .*, want a finite number ab"
    ):
        checks.positive("x", value)


def test_numbers_have_a_least():
    assert checks.number("x", -3) == -3
    assert checks.number("x", 0, at_least=0) == 0
    for value in (-0.1, math.nan, math.inf, False, None):
        with pytest.raises(ValueError, match=r"x: got .*, 0 or more"):
            checks.number("x", value, at_least=0)


def test_need_says_what_it_was_told():
    checks.need(True, "x", 1, 2)
    with pytest.raises(ValueError, match=r"^x: got 1, want 2$"):
        checks.need(False, "x", 1, 2)


# -- every public function of blocks: a good call, and what may go wrong in it

B, T, D, H = 2, 5, 12, 3
X = torch.randn(B, T, D)
Q = torch.randn(B, H, T, 4)
AT = torch.arange(T)[None]
ANGLES = rope.rope_angles(AT, 4)
LOGITS = torch.randn(B * T, 4)
EXPERTS = torch.zeros(B * T, 2).long()
ATTN = multi_head.MultiHeadAttention(D, H, layer=0)
PARTS = {
    "attn_norm": nn.Identity(),
    "attn": nn.Identity(),
    "ffn_norm": nn.Identity(),
    "ffn": nn.Identity(),
}

# a call -> the function or module, and good arguments
CALLS = {
    "attention": (attention.attention, {"q": Q, "k": Q, "v": Q}),
    "softmax_or_zero": (
        attention.softmax_or_zero,
        {"scores": Q, "mask": torch.ones(T, 4).bool()},
    ),
    "apply_mask": (
        attention.apply_mask,
        {"scores": Q, "mask": torch.ones(T, 4).bool()},
    ),
    "repeat_kv": (attention.repeat_kv, {"x": Q, "n_heads": 6}),
    "causal_mask": (masks.causal_mask, {"T": 2, "S": 3}),
    "prefix_mask": (masks.prefix_mask, {"T": 2, "prefix": 1, "S": 3}),
    "sliding_window_mask": (
        masks.sliding_window_mask,
        {"T": 2, "window": 1, "S": 3},
    ),
    "padding_mask": (
        masks.padding_mask,
        {"attention_mask": torch.ones(2, 3).long()},
    ),
    "alibi_slopes": (alibi.alibi_slopes, {"n_heads": 4}),
    "alibi_bias": (alibi.alibi_bias, {"n_heads": 4, "T": 2, "S": 3}),
    "LearnedPositions": (
        positions.LearnedPositions,
        {"max_seq_len": 8, "d_model": 4},
    ),
    "LearnedPositions()": (
        positions.LearnedPositions(8, 4),
        {"positions": AT},
    ),
    "sinusoidal_positions": (
        positions.sinusoidal_positions,
        {"positions": AT, "d_model": 4, "theta": 10.0},
    ),
    "rope_angles": (
        rope.rope_angles,
        {"positions": AT, "d_head": 4, "theta": 10.0},
    ),
    "rotate_half": (rope.rotate_half, {"x": Q}),
    "apply_rope": (rope.apply_rope, {"x": Q, "rope": ANGLES}),
    "token_positions": (
        rope.token_positions,
        {"attention_mask": torch.ones(2, 3).long()},
    ),
    "LayerNorm": (norms.LayerNorm, {"d_model": 4, "eps": 1e-5}),
    "RMSNorm": (norms.RMSNorm, {"d_model": 4, "eps": 1e-5}),
    "BatchNorm": (
        norms.BatchNorm,
        {"d_model": 4, "eps": 1e-5, "momentum": 0.1},
    ),
    "LayerNorm()": (norms.LayerNorm(D), {"x": X}),
    "RMSNorm()": (norms.RMSNorm(D), {"x": X}),
    "BatchNorm()": (norms.BatchNorm(D), {"x": X}),
    "MultiHeadAttention": (
        multi_head.MultiHeadAttention,
        {
            "d_model": D,
            "n_heads": 4,
            "n_kv_heads": 2,
            "d_head": 3,
            "scale": 0.5,
            "soft_cap": 2.0,
            "layer": 1,
        },
    ),
    "MultiHeadAttention()": (ATTN, {"x": X}),
    "MultiHeadAttention(context)": (ATTN, {"x": X, "context": X}),
    "split_heads": (multi_head.split_heads, {"x": X, "n_heads": 3}),
    "merge_heads": (multi_head.merge_heads, {"x": Q}),
    "Block": (block.Block, {**PARTS, "placement": "pre"}),
    "gelu": (feedforward.gelu, {"x": X}),
    "gelu_tanh": (feedforward.gelu_tanh, {"x": X}),
    "FeedForward": (
        feedforward.FeedForward,
        {"d_model": D, "d_ff": 8, "activation": torch.relu},
    ),
    "FeedForward()": (feedforward.FeedForward(D, 8, torch.relu), {"x": X}),
    "SwiGLU": (feedforward.SwiGLU, {"d_model": D, "d_ff": 8}),
    "SwiGLU()": (feedforward.SwiGLU(D, 8), {"x": X}),
    "route": (mixture_of_experts.route, {"logits": LOGITS, "top_k": 2}),
    "expert_load": (
        mixture_of_experts.expert_load,
        {"experts": EXPERTS, "n_experts": 4},
    ),
    "load_balancing_loss": (
        mixture_of_experts.load_balancing_loss,
        {"logits": LOGITS, "top_k": 2, "mask": torch.ones(B * T).long()},
    ),
    "MixtureOfExperts": (
        mixture_of_experts.MixtureOfExperts,
        {"d_model": D, "d_ff": 8, "n_experts": 4, "top_k": 2},
    ),
    "MixtureOfExperts()": (
        mixture_of_experts.MixtureOfExperts(D, 8, 4, 2),
        {"x": X},
    ),
}

# None is a good answer here: "the default", or "none of it"
OPTIONAL = {
    ("causal_mask", "S"),
    ("prefix_mask", "S"),
    ("sliding_window_mask", "S"),
    ("alibi_bias", "S"),
    ("softmax_or_zero", "mask"),
    ("load_balancing_loss", "mask"),
    ("MultiHeadAttention(context)", "context"),
    *(
        ("MultiHeadAttention", name)
        for name in ("n_kv_heads", "d_head", "scale", "soft_cap", "layer")
    ),
}


def wrong_values(value):
    """Everything but the kind of thing that is wanted here."""
    yield "None", None
    yield "a word", "three"
    yield "a list", [1, 2, 3]
    yield "a dict", {}
    if isinstance(value, torch.Tensor):
        yield "NumPy", value.numpy()
        yield "complex", value.to(torch.complex64)
        if value.is_floating_point():
            yield "whole numbers", value.long()
        else:
            yield "floats", value.float()
    elif not callable(value) and not isinstance(value, tuple):
        yield "a tensor", torch.ones(2, 3)
        yield "nan", math.nan
        yield "infinity", math.inf
        yield "less than nothing", -1
        yield "a bool", True
        if isinstance(value, int):
            yield "a half", 1.5


# what takes whole numbers as gladly as floats, or the other way round
TAKES = {
    ("repeat_kv", "x", "whole numbers"),
    ("split_heads", "x", "whole numbers"),
    ("merge_heads", "x", "whole numbers"),
    ("rotate_half", "x", "whole numbers"),
    ("rope_angles", "positions", "floats"),
    ("sinusoidal_positions", "positions", "floats"),
    ("softmax_or_zero", "mask", "floats"),
    ("apply_mask", "mask", "floats"),
}


def walk():
    for name, (fn, good) in CALLS.items():
        for argument, value in good.items():
            for what, wrong in wrong_values(value):
                if what == "None" and (name, argument) in OPTIONAL:
                    continue
                if (name, argument, what) not in TAKES:
                    label = f"{name}-{argument}-{what}"
                    yield pytest.param(fn, good, argument, wrong, id=label)


def call(fn, good, **other):
    """By place where tensors are: their names here carry no shapes."""
    arguments = {**good, **other}
    if any(isinstance(x, torch.Tensor) for x in good.values()):
        return fn(*arguments.values())
    return fn(**arguments)


@pytest.mark.parametrize(("fn", "good"), CALLS.values(), ids=CALLS.keys())
def test_the_good_call_is_good(fn, good):
    call(fn, good)


@pytest.mark.parametrize(("fn", "good", "argument", "wrong"), [*walk()])
def test_a_wrong_argument_is_named(fn, good, argument, wrong):
    with pytest.raises(ValueError, match=STYLE) as error:
        call(fn, good, **{argument: wrong})
    assert str(error.value).startswith(f"{argument}: got ")


# helpers of the other modules, and what has tests of its own
ELSEWHERE = {"RopeScaling", "ScoreOptions"}
MODULES = (
    alibi,
    attention,
    block,
    feedforward,
    masks,
    mixture_of_experts,
    multi_head,
    norms,
    positions,
    rope,
)


def test_every_public_name_is_walked():
    walked = {name.split("(")[0] for name in CALLS} | ELSEWHERE
    public = {
        name
        for module in MODULES
        for name, value in vars(module).items()
        if not name.startswith(("_", "check_"))
        and getattr(value, "__module__", None) == module.__name__
    }
    assert public == walked


NARROW = {name: call for name, call in CALLS.items() if name.endswith(")")}
del NARROW["LearnedPositions()"]  # looks up, multiplies nothing


@pytest.mark.parametrize(("fn", "good"), NARROW.values(), ids=NARROW.keys())
def test_another_width_is_named(fn, good):
    last = [*good][-1]
    narrow = good[last][..., :-1]
    with pytest.raises(ValueError, match=rf"^{last}: got width 11, want 12"):
        call(fn, good, **{last: narrow})
    with pytest.raises(ValueError, match=rf"^{last}: got shape \(\), want"):
        call(fn, good, **{last: torch.tensor(1.0)})


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("shape", [(0, T, D), (B, 0, D)])
def test_nothing_in_nothing_out(name, shape):
    fn, good = CALLS[name]
    empty = dict.fromkeys(good, torch.zeros(shape))
    if name == "BatchNorm()":  # there is no mean of nothing
        with pytest.raises(ValueError, match="x: got no vector"):
            call(fn, empty)
    else:
        assert call(fn, empty).shape == shape
