"""NF4 is bitsandbytes', code by code and scale by scale."""

import sys

import pytest
import torch
from handmade.inference.nf4 import LEVELS, NF4, nf4_linear, normal_levels
from handmade.inference.quantization import (
    bits_per_weight,
    held_bytes,
    quantize_linears,
)
from torch import nn
from torch.testing import assert_close

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="bitsandbytes: Linux"
)


def weight(rows=12, width=96, dtype=torch.float32, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (0.1 * torch.randn(rows, width, generator=g)).to(dtype)


def bitsandbytes():
    return pytest.importorskip("bitsandbytes.functional")


def test_the_levels_come_from_the_normal_distribution():
    assert normal_levels().tolist() == list(LEVELS)


@on_linux
@pytest.mark.filterwarnings("ignore")
def test_the_levels_are_the_published_ones():
    theirs = bitsandbytes().get_4bit_type("nf4", device="cpu")
    assert torch.equal(torch.tensor(LEVELS), theirs)


@on_linux
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16]
)
@pytest.mark.parametrize(
    ("shape", "block"),
    [((12, 96), 64), ((5, 50), 64), ((3, 7), 32), ((1, 1), 64), ((64, 256),
     128)],
)  # fmt: skip
def test_codes_and_scales_are_those_of_bitsandbytes(shape, block, dtype):
    w = weight(*shape, dtype=dtype)
    functional = bitsandbytes()
    packed, state = functional.quantize_4bit(
        w, blocksize=block, quant_type="nf4"
    )
    ours = NF4(w, block=block)
    assert torch.equal(ours.packed, packed.flatten())
    assert torch.equal(ours.absmax(), state.absmax)
    # as one row: their kernel for the CPU begins each row with a new scale,
    # where quantize_4bit does not, and misreads rows of 96 in blocks of 64
    flat, state = functional.quantize_4bit(
        w.view(1, -1), blocksize=block, quant_type="nf4"
    )
    assert torch.equal(flat, packed)
    theirs = functional.dequantize_4bit(flat, state).view(shape)
    assert torch.equal(ours.dequantize(dtype), theirs)


@on_linux
@pytest.mark.filterwarnings("ignore")
def test_a_block_of_zeros_beside_others_is_theirs_too():
    w = weight(4, 64)
    w[1] = 0
    w[2] = w[2].abs()
    w[3, 1:] = 0
    functional = bitsandbytes()
    packed, state = functional.quantize_4bit(w, quant_type="nf4")
    ours = NF4(w)
    assert torch.equal(ours.packed, packed.flatten())
    theirs = functional.dequantize_4bit(packed, state)
    assert torch.equal(ours.dequantize(), theirs)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize(
    "values",
    [[0.0] * 64, [0.3] * 64, [-0.3] * 64, [0.0] * 63 + [6.0], [1e-30] * 64],
    ids=["zeros", "one sign", "minus", "one outlier", "tiny"],
)
def test_hard_blocks_stay_finite(values, double):
    w = torch.tensor([values, [0.1, -0.2] * 32])
    back = NF4(w, double=double).dequantize()
    assert back.isfinite().all()
    assert (back[w == 0] == 0).all()
    tolerance = 0.02 if double else 1e-6
    at = w[0].abs().argmax()
    assert_close(back[0, at], w[0, at], rtol=tolerance, atol=tolerance)


def test_the_error_is_at_most_half_the_widest_gap():
    w = weight()
    back = NF4(w).dequantize()
    levels = torch.tensor(LEVELS)
    off = (back - w).view(-1, 64).abs()
    gap = levels.diff().max() / 2
    assert (off <= gap * w.view(-1, 64).abs().amax(-1, keepdim=True)).all()


def test_double_quantization_halves_what_scales_cost():
    w = weight(64, 256)
    once, twice = NF4(w), NF4(w, double=True)
    assert bits_per_weight(once) == 4.5
    # one byte a scale, two a group of 256 of them, four for their mean
    assert held_bytes(twice) == 64 * 256 // 2 + 256 + 2 + 4
    assert_close(twice.absmax(), once.absmax(), rtol=0.02, atol=0)
    off = (twice.dequantize() - w).norm() / w.norm()
    assert off < 1.02 * (once.dequantize() - w).norm() / w.norm()


def test_no_dtype_rounds_what_is_held():
    for double in (False, True):
        packed = NF4(weight(), double=double)
        want = packed.dequantize()
        assert torch.equal(packed.to(torch.bfloat16).dequantize(), want)


def test_the_frozen_layer_passes_the_gradient_to_its_input():
    linear = nn.Linear(32, 6).double()
    layer = nf4_linear(linear)
    layer.bias.requires_grad_(False)
    x = torch.randn(4, 32, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    want = x @ layer.weight.dequantize(torch.double).T + linear.bias
    assert_close(layer(x), want)
    assert layer.bias is linear.bias


def test_a_model_of_nf4_layers_runs():
    model = nn.Sequential(nn.Linear(10, 6), nn.GELU(), nn.Linear(6, 3))
    want = model(torch.ones(2, 10))
    assert quantize_linears(model, NF4) == ["0", "2"]
    assert_close(model(torch.ones(2, 10)), want, rtol=0.2, atol=0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"w": torch.ones(4)}, r"w: got shape \(4,\), want \(O, D\)"),
        ({"w": torch.full((1, 4), torch.nan)}, "w: got 4 weights that are"),
        ({"w": torch.ones(1, 4), "block": 0}, "block: got 0, want a whole"),
    ],
)
def test_what_cannot_be_packed_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        NF4(**given)
