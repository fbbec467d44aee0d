"""ALiBi against BLOOM and MPT, and its two equal forms.

-m (t - s) = m s - m t, and m t is one number a query: the softmax over s
does not see it. So the paper's bias and BLOOM's give the same weights.
"""

import math

import pytest
import torch
from handmade.blocks.alibi import alibi_bias, alibi_slopes
from handmade.blocks.attention import attention
from handmade.blocks.masks import causal_mask, padding_mask
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.weights.reference import random_reference
from torch.testing import assert_close


def test_slopes_by_hand():
    want = [1 / 2**h for h in range(1, 9)]
    assert alibi_slopes(8).tolist() == want
    assert alibi_slopes(1).tolist() == [1 / 256]
    want12 = [*want, *(2**-x for x in (0.5, 1.5, 2.5, 3.5))]
    assert_close(alibi_slopes(12), torch.tensor(want12))


@pytest.mark.parametrize("n_heads", [*range(1, 34), 40, 64, 96, 112, 128])
def test_slopes_equal_bloom_and_mpt(n_heads):
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    two = torch.ones(1, 2, dtype=torch.int64)
    bloom = build_alibi_tensor(two, n_heads, torch.float32)[:, 0, 1]
    mpt = -build_mpt_alibi_tensor(n_heads, 2)[:, 0, 0]
    assert_close(alibi_slopes(n_heads), bloom, rtol=1e-5, atol=0)
    assert_close(alibi_slopes(n_heads), mpt, rtol=1e-5, atol=0)


def test_bias_by_hand():
    want = [[-0.5, 0.0, 0.5], [-1.0, -0.5, 0.0]]
    assert alibi_bias(8, 2, 3)[0].tolist() == want
    assert alibi_bias(8, 2, 3).shape == (8, 2, 3)
    assert alibi_bias(2, 3, dtype=torch.float64).dtype == torch.float64


def test_a_new_token_gets_the_last_row():
    whole = alibi_bias(6, 9)
    assert_close(alibi_bias(6, 1, 9), whole[:, -1:])
    assert_close(alibi_bias(6, 4, 9), whole[:, -4:])


def hidden(bias, allowed):
    return bias.masked_fill(~allowed, -math.inf)


def test_distance_and_key_position_give_the_same_weights():
    H, T = 5, 11
    scores = torch.randn(H, T, T, dtype=torch.float64)
    row = alibi_slopes(H).double()[:, None, None] * torch.arange(T)
    relative = alibi_bias(H, T, dtype=torch.float64)
    for allowed in (causal_mask(T), torch.ones(T, T, dtype=torch.bool)):
        ours = hidden(scores + relative, allowed).softmax(-1)
        theirs = hidden(scores + row, allowed).softmax(-1)
        assert_close(ours, theirs, rtol=0, atol=1e-14)


def test_only_the_distance_counts():
    # the same tokens later in the text, hidden keys before them
    H, T, K, far = 3, 5, 4, 40
    q, k, v = torch.randn(3, 1, H, T, K, dtype=torch.float64)
    near = hidden(alibi_bias(H, T, dtype=torch.float64), causal_mask(T))
    late = alibi_bias(H, far + T, dtype=torch.float64)[:, far:, far:]
    late = hidden(late, causal_mask(T))
    near, late = attention(q, k, v, near[None]), attention(q, k, v, late[None])
    assert_close(near, late)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)]
)
def test_equals_bloom_attention_with_gradients(dtype, tolerance, monkeypatch):
    from transformers import BloomConfig
    from transformers.models.bloom import modeling_bloom

    def softmax(x, dim, dtype=None):
        return torch.softmax(x, dim)

    # BLOOM's softmax is float32 whatever the dtype
    monkeypatch.setattr(modeling_bloom.F, "softmax", softmax)
    B, T, H, K = 2, 7, 6, 4
    config = BloomConfig(vocab_size=11, hidden_size=H * K, n_head=H, n_layer=1)
    model = random_reference(modeling_bloom.BloomModel, config).to(dtype)
    theirs = model.h[0].self_attention
    ours = MultiHeadAttention(H * K, H, bias=True).to(dtype)
    with torch.no_grad():
        for name in ("weight", "bias"):
            fused = getattr(theirs.query_key_value, name)
            parts = fused.unflatten(0, (H, 3, K)).transpose(0, 1)
            for proj, part in zip("qkv", parts.flatten(1, 2), strict=True):
                getattr(getattr(ours, f"{proj}_proj"), name).copy_(part)
            getattr(ours.o_proj, name).copy_(getattr(theirs.dense, name))

    mask = torch.tensor([[1] * T, [0, 0, 0, 1, 1, 1, 1]])
    allowed = causal_mask(T) & padding_mask(mask)
    x = torch.randn(B, T, H * K, dtype=dtype)
    x_ours, x_theirs = (x.clone().requires_grad_() for _ in range(2))
    got = ours(x_ours, mask=hidden(alibi_bias(H, T, dtype=dtype), allowed))
    want = theirs(
        x_theirs,
        torch.zeros_like(x),
        modeling_bloom.build_alibi_tensor(mask, H, dtype),
        torch.zeros(allowed.shape, dtype=dtype).masked_fill(
            ~allowed, torch.finfo(dtype).min
        ),
    )[0]
    real = mask.bool()
    weight = torch.randn(B, T, H * K, dtype=dtype) * real[..., None]
    (got * weight).sum().backward()
    (want * weight).sum().backward()
    limits = {"rtol": 0, "atol": tolerance * want.abs().max().item()}
    assert_close(got[real], want[real], **limits)
    limits["atol"] = tolerance * x_theirs.grad.abs().max().item()
    assert_close(x_ours.grad, x_theirs.grad, **limits)


def test_the_ramp_loses_neighbours_in_bfloat16_and_distances_do_not():
    S = 2048
    exact = alibi_bias(8, 1, S, dtype=torch.float64)[0, 0].softmax(-1)
    ramp = (0.5 * torch.arange(S)).bfloat16().double().softmax(-1)
    ours = alibi_bias(8, 1, S, dtype=torch.bfloat16)[0, 0].double()
    assert (ramp - exact).abs().sum() / 2 > 0.2
    assert (ours.softmax(-1) - exact).abs().sum() / 2 < 0.02


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n_heads", [3, 8, 12])
def test_half_precision_is_rounded_once(dtype, n_heads):
    # rounded slopes times rounded distances would be off by more
    exact = alibi_bias(n_heads, 2, 3000, dtype=torch.float64)
    got = alibi_bias(n_heads, 2, 3000, dtype=dtype)
    assert torch.equal(got, exact.to(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_float32_bias_under_autocast(dtype):
    H, T = 3, 7
    attn, x = MultiHeadAttention(12, H), torch.randn(2, T, 12)
    bias = hidden(alibi_bias(H, T), causal_mask(T))[None]
    want = attn(x, mask=bias)
    with torch.autocast("cpu", dtype):
        got = attn(x, mask=bias)
    assert got.dtype == dtype
    assert_close(got.float(), want, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: alibi_slopes(0), "n_heads: got 0"),
        (lambda: alibi_bias(4, 5, 3), "T: got 5 queries"),
        (lambda: alibi_slopes(2.0), "n_heads: got 2.0"),
        (lambda: alibi_bias(4, 5, "7"), "S: got '7'"),
        (lambda: alibi_bias(4, 5, dtype=torch.int64), "dtype: got torch.int6"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
