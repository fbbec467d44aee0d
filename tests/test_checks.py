"""Refusals: what holds passes, the rest says name, what came, what is wanted.

Where they are called from is walked by `test_every_argument`.
"""

import math

import pytest
import torch
from handmade import checks
from handmade.blocks import (
    feedforward,
    mixture_of_experts,
    multi_head,
    norms,
)


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


# -- a width that does not fit, and nothing at all: every module of blocks

B, T, D = 2, 5, 12
MODULES = {
    "LayerNorm": norms.LayerNorm(D),
    "RMSNorm": norms.RMSNorm(D),
    "BatchNorm": norms.BatchNorm(D),
    "MultiHeadAttention": multi_head.MultiHeadAttention(D, 3),
    "FeedForward": feedforward.FeedForward(D, 8, torch.relu),
    "SwiGLU": feedforward.SwiGLU(D, 8),
    "MixtureOfExperts": mixture_of_experts.MixtureOfExperts(D, 8, 4, 2),
}


@pytest.mark.parametrize("name", MODULES)
def test_another_width_is_named(name):
    module = MODULES[name]
    with pytest.raises(ValueError, match=r"^x: got width 11, want 12"):
        module(torch.ones(B, T, D - 1))
    with pytest.raises(ValueError, match=r"^x: got shape \(\), want"):
        module(torch.tensor(1.0))


def test_another_width_of_the_context_is_named():
    attn, x = MODULES["MultiHeadAttention"], torch.ones(B, T, D)
    with pytest.raises(ValueError, match=r"^context: got width 11, want 12"):
        attn(x, torch.ones(B, T, D - 1))


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("shape", [(0, T, D), (B, 0, D)])
def test_nothing_in_nothing_out(name, shape):
    if name == "BatchNorm":  # there is no mean of nothing
        with pytest.raises(ValueError, match="x: got no vector"):
            MODULES[name](torch.zeros(shape))
    else:
        assert MODULES[name](torch.zeros(shape)).shape == shape
