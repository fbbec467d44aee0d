"""Attention: equal to PyTorch's, forward and backward.

One query against two keys, by hand, K = 4 and scale 1/2:

    q = (2, 0, 0, 0), k_1 = (ln 3, 0, 0, 0), k_2 = (0, 0, 0, 0)
    scores = (2 ln 3, 0) / 2 = (ln 3, 0)
    weights = (3, 1) / (3 + 1) = (0.75, 0.25)
    values (4, 8): out = 0.75 * 4 + 0.25 * 8 = 5
"""

import math

import pytest
import torch
from handmade.blocks.attention import attention, repeat_kv
from handmade.blocks.masks import causal_mask
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention as sdpa

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE)

# every size its own, so that a swapped axis cannot go unseen
B, H, G, T, S, K = 2, 6, 3, 5, 7, 4


def qkv(*, dtype=torch.float64, heads=H, kv_heads=H, T=T, S=S, V=K, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((heads, T, K), (kv_heads, S, K), (kv_heads, S, V))
    return [
        torch.randn(B, *shape, generator=generator, dtype=torch.float64)
        .to(dtype)
        .requires_grad_()
        for shape in shapes
    ]


GENERATOR = torch.Generator().manual_seed(7)
HIDDEN = torch.zeros(T, S).masked_fill(~causal_mask(T, S), -math.inf)
ROW = torch.zeros(T, S).masked_fill(torch.arange(T)[:, None] == 2, -math.inf)
MASKS = {
    "none": None,
    "causal": causal_mask(T, S),
    "per batch": torch.rand(B, 1, T, S, generator=GENERATOR).gt(0.4),
    "per head": torch.rand(B, H, T, S, generator=GENERATOR).gt(0.4),
    "keys only": torch.tensor([[1, 1, 0, 1, 0, 1, 1]]).bool(),
    "nothing allowed": torch.zeros(T, S, dtype=torch.bool),
    "one row empty": torch.arange(T)[:, None].ne(2).expand(T, S),
    "added": torch.randn(1, H, T, S, generator=GENERATOR),
    "added -inf": HIDDEN,
    "added, one row empty": ROW,
    "added, nothing allowed": torch.full((1, S), -math.inf),
    "added, a batch of them": ROW + torch.randn(B, 1, T, S),
}


@each_dtype
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize("kv_heads", [H, G, 1])
def test_equals_pytorch_forward_and_backward(dtype, mask, kv_heads):
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(dtype)
    inputs = qkv(dtype=dtype, kv_heads=kv_heads)
    ours = attention(*inputs, mask)
    theirs = sdpa(*inputs, attn_mask=mask, enable_gqa=True)
    assert ours.dtype == dtype
    atol = TOLERANCE[dtype]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)
    weight = torch.randn_like(ours)
    ours = torch.autograd.grad((ours * weight).sum(), inputs)
    theirs = torch.autograd.grad((theirs * weight).sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=10 * atol)


def test_the_example_by_hand():
    q = torch.tensor([[2.0, 0, 0, 0]], dtype=torch.float64)
    k = torch.tensor([[math.log(3), 0, 0, 0], [0, 0, 0, 0]]).double()
    v = torch.tensor([[4.0], [8.0]], dtype=torch.float64)
    out, weights = attention(q, k, v, return_weights=True)
    want = torch.tensor([[0.75, 0.25]], dtype=torch.float64)
    # log(3) above was rounded to float32 on its way
    torch.testing.assert_close(weights, want, rtol=0, atol=1e-7)
    assert out.item() == pytest.approx(5.0, abs=1e-6)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 2, 3), (1, 2, 2, 3)])
def test_any_leading_axes(lead):
    q = torch.randn(*lead, T, K, dtype=torch.float64)
    k = torch.randn(*lead, S, K, dtype=torch.float64)
    v = torch.randn(*lead, S, 3, dtype=torch.float64)
    out = attention(q, k, v)
    assert out.shape == (*lead, T, 3)
    torch.testing.assert_close(out, sdpa(q, k, v), rtol=0, atol=1e-12)


def test_weights_sum_to_one_or_to_nothing():
    q, k, v = qkv()
    _, weights = attention(
        q, k, v, MASKS["one row empty"], return_weights=True
    )
    sums = weights.sum(-1)
    want = torch.ones_like(sums)
    want[..., 2] = 0
    torch.testing.assert_close(sums, want, rtol=0, atol=1e-12)
    assert weights.ge(0).all()


def test_the_order_of_the_keys_does_not_matter():
    q, k, v = qkv()
    order = torch.randperm(S)
    torch.testing.assert_close(
        attention(q, k[..., order, :], v[..., order, :]),
        attention(q, k, v),
        rtol=0,
        atol=1e-12,
    )


def test_adding_one_number_to_all_scores_changes_nothing():
    q, k, v = qkv()
    shift = torch.full((1, 1), 1000.0, dtype=torch.float64)
    torch.testing.assert_close(
        attention(q, k, v, shift), attention(q, k, v), rtol=0, atol=1e-11
    )


def test_large_scores_stay_finite():
    q, k, v = (1e4 * x.float() for x in qkv())
    assert attention(q, k, v).isfinite().all()


def test_gradient_is_right_and_finite_with_an_empty_row():
    inputs = qkv(kv_heads=G, T=3, S=4)
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[1] = False
    assert torch.autograd.gradcheck(lambda *x: attention(*x, mask), inputs)


def test_scale_replaces_the_root():
    q, k, v = qkv()
    torch.testing.assert_close(
        attention(q, k, v, scale=0.3),
        sdpa(q, k, v, scale=0.3),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half(dtype):
    out = attention(*qkv(dtype=dtype))
    assert out.dtype == dtype
    want = attention(*qkv(dtype=torch.float64))
    torch.testing.assert_close(out.double(), want, rtol=0, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [4, 40, 100])
@pytest.mark.parametrize("signs", [False, True], ids=["normal", "signs"])
def test_large_entries_in_half_precision_equal_pytorch(dtype, size, signs):
    # K products of 40 * 40 are more than float16 holds (65,504)
    q, k, v = torch.randn(3, B, H, 9, 64)
    q, k = (x.sign() if signs else x for x in (q, k))
    q, k, v = ((size * x).to(dtype) for x in (q, k, v))
    want = sdpa(q, k, v)
    assert want.isfinite().all()
    atol = torch.finfo(dtype).eps * want.abs().max().item()
    got, weights = attention(q, k, v, return_weights=True)
    torch.testing.assert_close(got, want, rtol=0, atol=atol)
    assert got.dtype == weights.dtype == dtype


def test_float16_under_autocast_does_not_overflow():
    q = 40 * torch.randn(2, 3, 9, 64).sign()
    with torch.autocast("cpu", torch.float16):
        got, want = attention(q, q, q), sdpa(q, q, q)
    torch.testing.assert_close(got.to(want.dtype), want)


def test_scores_that_overflow_are_not_taken_for_hidden_ones():
    # both scores are -inf in float32; no mask hides anything. nan says so,
    # where zeros would pass for a query that may attend to nothing
    q, k = torch.full((1, 1), 1e30), torch.full((2, 1), -1e30)
    v = torch.ones(2, 1)
    for mask in (None, torch.ones(1, 2).bool(), torch.zeros(1, 2)):
        assert attention(q, k, v, mask).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("given", [torch.float32, torch.float64])
def test_float_masks_are_cast_to_the_scores(dtype, given):
    inputs = qkv(dtype=dtype)
    mask = (ROW + torch.linspace(-2, 2, S)).to(given)
    want = sdpa(*inputs, attn_mask=mask.to(dtype))
    got = attention(*inputs, mask)
    assert got[..., 2, :].eq(0).all()
    torch.testing.assert_close(got, want, rtol=0, atol=0.02)


def test_the_least_float32_hides_whole_rows_when_cast():
    # transformers' masks are made of it; in bfloat16 it is -inf
    q, k, v = qkv()
    mask = ROW.clamp(min=torch.finfo(torch.float32).min)
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(q.float(), k.float(), v.float(), mask)
    assert out.isfinite().all()


def test_soft_cap_by_hand():
    # score ln 3 (see above), capped at 1: tanh(ln 3) = (9 - 1) / (9 + 1)
    q = torch.tensor([[2.0, 0, 0, 0]], dtype=torch.float64)
    k = torch.zeros(2, 4, dtype=torch.float64)
    k[0, 0] = math.log(3)
    v = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    want = math.exp(0.8) / (math.exp(0.8) + 1)
    assert attention(q, k, v, soft_cap=1.0).item() == pytest.approx(want)
    hidden = torch.tensor([[False, True]])  # the mask comes after the cap
    assert attention(q, k, v, hidden, soft_cap=1.0).item() == 0


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*(st.sampled_from([1, n]) for n in (B, H, T, S))),
    kind=st.sampled_from(["bool", "float"]),
    hidden=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
    flat=st.booleans(),
)
def test_any_mask_equals_pytorch(shape, kind, hidden, seed, flat):
    g = torch.Generator().manual_seed(seed)
    shape = shape[2:] if flat else shape
    allowed = torch.rand(shape, generator=g) >= hidden
    mask = allowed
    if kind == "float":
        mask = torch.randn(shape, generator=g, dtype=torch.float64)
        mask = mask.masked_fill(~allowed, -math.inf)
    q, k, v = qkv(kv_heads=G, seed=seed % 1000)
    want = sdpa(q, k, v, attn_mask=mask, enable_gqa=True)
    torch.testing.assert_close(
        attention(q, k, v, mask), want, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    "shape",
    [
        (B, H),  # of (B, S) with B = T, which would pass as (T, S)
        (B, T, S),
        (H, T, S),  # with B = H either could be meant
        (1, T, S),
        (S,),
        (),
        (1, 1, 1, T, S),
        (B, H, T, S + 1),
        (B, G, T, S),
        (B, 2, T, S),
        (3, H, T, S),
        (2, S),
    ],
)
def test_masks_are_read_by_rank(shape):
    mask = torch.ones(shape, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"mask: got shape .* want \(T, S\)"):
        attention(*qkv(), mask)


def test_a_batch_as_large_as_the_heads_is_no_excuse():
    q, k, v = torch.randn(3, H, H, T, K)
    with pytest.raises(ValueError, match=r"mask\[:, None\]"):
        attention(q, k, v, torch.ones(H, T, T).bool())


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.int32])
def test_a_tokenizers_mask_is_sent_to_padding_mask(dtype):
    with pytest.raises(ValueError, match=r"mask: got dtype .*padding_mask"):
        attention(*qkv(), torch.ones(T, S, dtype=dtype))


def test_query_heads_share_key_value_heads_with_their_neighbours():
    x = torch.arange(G)[None, :, None, None].expand(B, G, S, K)
    heads = repeat_kv(x, H)
    assert heads.shape == (B, H, S, K)
    assert heads[0, :, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert repeat_kv(heads, H) is heads
    with pytest.raises(ValueError, match="n_heads: got 7"):
        repeat_kv(x, 7)


def test_no_keys_gives_zeros():
    q, k, v = (torch.randn(2, n, K) for n in (3, 0, 0))
    assert attention(q, k, v).equal(torch.zeros(2, 3, K))


def swapped(**new):
    """Good arguments with some of them replaced."""
    q, k, v = (x.detach() for x in qkv())
    return {"q_BHTK": q, "k_BGSK": k, "v_BGSK": v, **new}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (swapped(k_BGSK=torch.randn(B, H, S, 3).double()), "k: got width 3"),
        (swapped(v_BGSK=torch.randn(B, H, 6, K).double()), "v: got shape"),
        (swapped(k_BGSK=torch.randn(1, H, S, K).double()), "k: .*batch axes"),
        (swapped(k_BGSK=torch.randn(H, S, K).double()), "k: got 3 axes"),
        (swapped(q_BHTK=torch.randn(K).double()), "q: got 1 axes"),
        (swapped(v_BGSK=torch.randn(B, H, S, K)), "v: got dtype"),
        (swapped(q_BHTK=torch.ones(B, H, T, K).long()), "q: got dtype"),
        (
            swapped(
                k_BGSK=torch.randn(B, 4, S, K).double(),
                v_BGSK=torch.randn(B, 4, S, K).double(),
            ),
            "n_heads: got 6",
        ),
        (swapped(mask=torch.ones(T, S + 1).bool()), "mask: got shape"),
        (swapped(scale=0.0), "scale: got 0.0"),
        (swapped(scale=-1.0), "scale: got -1.0"),
        (swapped(scale=math.nan), "scale: got nan"),
        (swapped(soft_cap=math.inf), "soft_cap: got inf"),
        (swapped(soft_cap=True), "soft_cap: got True"),
        (swapped(mask=torch.ones(3, 1, 1, T, S).bool()), "mask: got shape"),
        (swapped(mask=torch.ones(T, S).long()), "mask: got dtype torch.int64"),
    ],
)
def test_wrong_arguments_are_named(arguments, says):
    with pytest.raises(ValueError, match=says):
        attention(**arguments)
