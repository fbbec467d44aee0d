"""Few bits: scales stay finite, what is held is what is counted.

Against PyTorch's own fake quantization, bitsandbytes' int8 and the bytes of
a file. A weight's error is at most half a step, of the scale as stored:

    |w - scale * code - low| <= scale / 2  (+ what rounding low costs)
"""

import sys

import pytest
import torch
from handmade.inference.quantization import (
    Grid,
    QuantizedLinear,
    absmax,
    asymmetric,
    bits_per_weight,
    held_bytes,
    nearest,
    pack,
    quantize_linears,
    unpack,
)
from handmade.models.llama import Llama, LlamaConfig
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

SCHEMES = {"absmax": absmax, "asymmetric": asymmetric}


def weight(rows=7, width=64, seed=0, size=0.1):
    g = torch.Generator().manual_seed(seed)
    return size * torch.randn(rows, width, generator=g)


def scale_of(q):
    return q.scale_bits.view(torch.float16).float()


@pytest.mark.parametrize("group", [8, 32, 64, None])
@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_no_weight_is_further_than_half_a_step(scheme, bits, group):
    w = weight()
    q = SCHEMES[scheme](w, bits=bits, group=group)
    off = (q.dequantize() - w).view(len(q.scale_bits), -1).abs()
    largest = w.view(len(q.scale_bits), -1).abs().amax(-1, keepdim=True)
    # the largest lies a float16's rounding beyond the grid
    assert (off <= scale_of(q) / 2 + largest * 2**-10).all()
    assert int(q.codes().amax()) < 2**bits


def test_absmax_is_torchs_fake_quantization():
    w = weight(5, 48)
    for bits in range(2, 9):
        q = absmax(w, bits=bits, group=48)
        most = 2 ** (bits - 1) - 1
        want = torch.fake_quantize_per_channel_affine(
            w, scale_of(q)[:, 0], torch.zeros(5), 0, -most, most
        )
        assert_close(q.dequantize(), want, rtol=0, atol=1e-7)


@pytest.mark.skipif(sys.platform != "linux", reason="bitsandbytes: Linux")
@pytest.mark.filterwarnings("ignore")
def test_int8_rows_are_those_of_bitsandbytes():
    functional = pytest.importorskip("bitsandbytes.functional")
    w = weight(9, 96, size=3.0)
    theirs, largest, _ = functional.int8_vectorwise_quant(w.half())
    ours = absmax(w.half(), bits=8, group=96)
    codes = ours.codes().int() - 128
    off = (codes - theirs.int()).abs()
    # our scale is stored in 16 bits, theirs in 32: ties may fall elsewhere
    assert off.max() <= 1
    assert (off > 0).float().mean() < 0.03
    assert_close(scale_of(ours)[:, 0] * 127, largest, rtol=1e-3, atol=0)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("count", [1, 7, 8, 9, 120])
def test_bits_that_are_packed_come_back(bits, count):
    g = torch.Generator().manual_seed(count)
    codes = torch.randint(0, 2**bits, (count,), generator=g)
    packed = pack(codes, bits)
    assert packed.dtype == torch.uint8
    assert len(packed) == -(-count // 8) * bits
    assert unpack(packed, bits, count).tolist() == codes.tolist()


def test_the_first_code_lies_lowest():
    assert pack(torch.tensor([5, 12]), 4).tolist() == [5 + 16 * 12, 0, 0, 0]
    assert pack(torch.tensor([1, 2, 3]), 2).tolist() == [1 + 8 + 48, 0]
    # the third code of three bits lies across two bytes
    word = 1 + (2 << 3) + (7 << 6)
    assert pack(torch.tensor([1, 2, 7]), 3).tolist() == [
        word % 256,
        word // 256,
        0,
    ]


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize(
    "values",
    [
        [0.0] * 8,
        [0.25] * 8,
        [-0.25] * 8,
        [1000.3, 1000.35, 1000.4, 1000.31, 1000.3, 1000.3, 1000.4, 1000.4],
        [0.0] * 7 + [6.0],
        [0.0] * 7 + [-6.0],
        [1e-9, -1e-9] * 4,
        [1e-30] * 8,
        [65504.0, -65504.0] * 4,
        [3.0, 3.5, 4.0, 3.2, 3.9, 3.1, 3.3, 3.7],
    ],
    ids=lambda v: f"{v[0]:g} to {v[-1]:g}",
)
def test_hard_groups_stay_finite_and_close(scheme, bits, values):
    w = torch.tensor([values])
    back = SCHEMES[scheme](w, bits=bits, group=8).dequantize()
    assert back.isfinite().all()
    # zero is a level of every grid around it, and of others by chance
    if scheme == "absmax" or not w.any():
        assert (back[w == 0] == 0).all()
    reach = w.amax() - w.amin() if scheme == "asymmetric" else w.abs().amax()
    steps = 2**bits - 1 if scheme == "asymmetric" else 2 ** (bits - 1) - 1
    bound = 0.5 * reach / steps + w.abs().amax() * 2**-10 + 1e-7
    assert ((back - w).abs() <= bound).all()


def test_a_scale_that_underflows_gives_zeros_not_nan():
    x = torch.tensor([[1e-9, -2e-9, 0.0, 1e-9]])
    assert nearest(x, torch.zeros(1, 1)).tolist() == [[0, 0, 0, 0]]
    assert absmax(x, bits=4, group=4).dequantize().tolist() == [[0] * 4]


def test_the_codes_are_found_with_the_scale_as_stored():
    w = weight(40, 64, seed=3)
    q = absmax(w, bits=8, group=64)
    stored = (w.view(len(q.scale_bits), -1) / scale_of(q)).round()
    assert torch.equal(q.codes().int() - 128, stored.clamp(-127, 127).int())


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64]
)
def test_other_dtypes_are_read_as_their_values(dtype):
    w = weight().to(dtype)
    for scheme in (absmax, asymmetric):
        got, want = (
            scheme(w, bits=4, group=32),
            scheme(w.float(), group=32, bits=4),
        )
        assert torch.equal(got.packed, want.packed)
        assert got.dequantize(dtype).dtype == dtype


def test_a_piece_of_a_matrix_is_rounded_like_its_copy():
    piece = weight(6, 96)[1:4, 32:64]
    for scheme in (absmax, asymmetric):
        for turned in (piece, piece.T[:, :2]):
            got = scheme(turned, bits=4, group=2)
            want = scheme(turned.contiguous(), bits=4, group=2)
            assert torch.equal(got.dequantize(), want.dequantize())


def test_moving_to_another_dtype_rounds_no_scale():
    for scheme in (absmax, asymmetric):
        q = scheme(weight(), bits=4, group=32)
        want = q.dequantize()
        assert torch.equal(q.to(torch.bfloat16).dequantize(), want)
        assert torch.equal(q.half().double().dequantize(), want)


@pytest.mark.parametrize(
    ("bits", "group", "scheme", "want"),
    [(8, 64, absmax, 8.25), (4, 32, absmax, 4.5), (4, 32, asymmetric, 5.0),
     (4, 64, asymmetric, 4.5), (3, 32, asymmetric, 4.0)],
)  # fmt: skip
def test_the_bytes_held_are_those_of_the_formula(bits, group, scheme, want):
    w = weight(6, 64)
    q = scheme(w, bits=bits, group=group)
    assert bits_per_weight(q) == want
    stored = sum(x.untyped_storage().nbytes() for x in q.buffers())
    assert held_bytes(q) == stored == w.numel() * want / 8


def test_a_grid_is_saved_and_loaded():
    q = asymmetric(weight(), bits=3, group=16)
    other = asymmetric(weight(seed=1), bits=3, group=16)
    other.load_state_dict(q.state_dict())
    assert torch.equal(other.dequantize(), q.dequantize())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_layer_is_the_dequantized_product(dtype):
    w = weight(5, 32)
    q = absmax(w, bits=4, group=32)
    bias = nn.Parameter(torch.randn(5, dtype=dtype))
    layer = QuantizedLinear(q, bias)
    x = torch.randn(3, 2, 32, dtype=dtype, requires_grad=True)
    theirs = x.detach().clone().requires_grad_()
    y = layer(x)
    want = F.linear(theirs, q.dequantize(dtype), bias)
    assert_close(y, want, rtol=1e-6, atol=1e-6)
    y.pow(3).sum().backward()
    mine, bias.grad = bias.grad, None
    want.pow(3).sum().backward()
    assert_close(x.grad, theirs.grad, rtol=1e-5, atol=1e-5)
    assert_close(mine, bias.grad, rtol=1e-5, atol=1e-5)
    assert [*layer.parameters()] == [bias]


def test_the_layers_gradient_is_the_difference_quotient():
    layer = QuantizedLinear(absmax(weight(4, 8), bits=3, group=8))
    x = torch.randn(3, 8, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)


def test_the_way_back_keeps_no_float_weight():
    layer = QuantizedLinear(absmax(weight(64, 64), bits=4, group=64))
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: saved.append(x) or x, lambda x: x
    ):
        layer(torch.randn(2, 64, requires_grad=True))
    assert saved == []


def llama(**more):
    sizes = {"vocab_size": 23, "d_model": 24, "n_layers": 2, "n_heads": 3,
             "n_kv_heads": 1, "d_ff": 40, "max_seq_len": 16}  # fmt: skip
    torch.manual_seed(0)
    return Llama(LlamaConfig(**sizes, **more)).eval()


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_of_packed_weights_is_that_of_their_values(tied):
    model, plain = llama(tie_embeddings=tied), llama(tie_embeddings=tied)
    before = held_bytes(model)
    names = quantize_linears(model, lambda w: asymmetric(w, group=8))
    assert len(names) == 14 + (not tied)
    assert held_bytes(model) < before
    for name in names:
        linear = plain.get_submodule(name)
        packed = model.get_submodule(name).weight
        linear.weight.data = packed.dequantize()
    ids = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    assert_close(model(ids), plain(ids), rtol=1e-5, atol=1e-5)


def test_what_is_skipped_stays():
    model = llama(tie_embeddings=False)
    kept = model.lm_head
    names = quantize_linears(
        model, lambda w: absmax(w, bits=8), skip=["lm_head"]
    )
    assert "lm_head" not in names
    assert model.lm_head is kept


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w": torch.ones(3, 50)}, r"group: got 32, want a divisor of 50"),
        ({"w": torch.ones(64)}, r"w: got shape \(64,\), want \(O, D\)"),
        ({"w": torch.full((2, 32), float("nan"))}, "w: got 64 weights that"),
        ({"w": torch.full((2, 32), float("inf"))}, "w: got 64 weights that"),
        ({"w": torch.full((2, 32), 7e4)}, "w: got a weight of size 7e"),
        ({"bits": 1}, "bits: got 1, want a whole number from 2 to 8"),
        ({"bits": 9}, "bits: got 9, want a whole number from 2 to 8"),
        ({"group": 0}, "group: got 0, want a whole number"),
    ],
)
def test_what_cannot_be_rounded_is_named(change, message):
    for scheme in (absmax, asymmetric):
        given = {"w": weight(), "bits": 4, "group": 32} | change
        with pytest.raises(ValueError, match=message):
            scheme(**given)


def test_what_cannot_be_packed_is_named():
    with pytest.raises(ValueError, match="codes: got -1 to 3, want them from"):
        pack(torch.tensor([-1, 3]), 4)
    with pytest.raises(ValueError, match="codes: got 0 to 8, want them from"):
        pack(torch.tensor([0, 8]), 3)
    with pytest.raises(ValueError, match=r"packed: got shape \(3,\)"):
        unpack(torch.zeros(3, dtype=torch.uint8), 4, 8)
    with pytest.raises(ValueError, match="scale: got inf, want finite"):
        Grid(
            torch.zeros(2, 4).byte(),
            torch.full((2, 1), torch.inf).half(),
            bits=4,
        )
    with pytest.raises(ValueError, match="skip: got 'nowhere', want names"):
        quantize_linears(llama(), absmax, skip=["nowhere"])
    tied = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
    tied["a"].weight = tied["b"].weight
    with pytest.raises(ValueError, match="model: got no linear layer"):
        quantize_linears(tied, absmax)
