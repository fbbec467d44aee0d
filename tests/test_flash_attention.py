"""Attention by tiles, held to the whole matrix and to PyTorch's own.

The running maximum in a line: let m and l be the maximum and the sum of
exp(x - m) over the keys read so far, and m' the maximum with the next ones.
Then sum exp(x - m') over the old keys is l exp(m - m'), and so is every sum
of values weighted by them.
"""

import math

import pytest
import torch
from gradient_helpers import assert_equal_with_gradients
from handmade.blocks import multi_head
from handmade.blocks.attention import attention
from handmade.blocks.masks import causal_mask, padding_mask
from handmade.inference.flash_attention import flash_attention, in_every_layer
from handmade.inference.flash_tiles import Tiles, online_softmax, spans
from handmade.models.llama import Llama, LlamaConfig
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

SIZES = [(4, 9), (1, 70), (5, 5), (7, 13), (48, 48), (50, 97)]
HEADS = [(4, 4), (6, 2), (3, 1)]
BLOCKS = {"block_q": 16, "block_k": 24}


def drawn(T, S, H, G, dtype=torch.float64, B=2, K=8, width=5):
    torch.manual_seed(T + S + H)
    shapes = (B, H, T, K), (B, G, S, K), (B, G, S, width)
    return [torch.randn(shape, dtype=dtype) for shape in shapes]


def padded(B, S):
    """One row padded on the left, one on the right."""
    mask = torch.ones(B, S, dtype=torch.long)
    mask[0, : S // 2], mask[1, S - S // 3 :] = 0, 0
    return padding_mask(mask)


def masked(kind, B, H, T, S):
    """Return (what ours is given, the whole mask) of one kind."""
    past = causal_mask(T, S)
    if kind == "none":
        return {}, None
    if kind == "causal":
        return {"causal": True}, past
    if kind == "padding":
        mask = padded(B, S)
        return {"causal": True, "mask": mask}, mask & past
    shape = (T, S) if kind == "random" else (B, H, T, S)
    mask = torch.rand(shape) > 0.7
    return {"mask": mask}, mask


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "kind", ["none", "causal", "padding", "random", "by head"]
)
def test_equals_the_whole_matrix_with_gradients(kind, size, heads):
    given, whole = masked(kind, 2, heads[0], *size)
    inputs = drawn(*size, *heads)
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-4)):
        assert_equal_with_gradients(
            lambda q, k, v: flash_attention(q, k, v, **given, **BLOCKS),
            lambda q, k, v: attention(q, k, v, whole),
            [x.to(dtype) for x in inputs],
            rtol=tolerance,
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("causal", [False, True])
def test_equals_pytorchs_own_with_gradients(causal, dtype):
    inputs = drawn(45, 45, 6, 2, dtype, width=8)
    assert_equal_with_gradients(
        lambda q, k, v: flash_attention(
            q, k, v, causal=causal, scale=0.4, **BLOCKS
        ),
        lambda q, k, v: F.scaled_dot_product_attention(
            q, k, v, is_causal=causal, scale=0.4, enable_gqa=True
        ),
        inputs,
        rtol=1e-11 if dtype == torch.float64 else 1e-5,
    )


@pytest.mark.parametrize("block_q", [1, 3, 7, 64])
@pytest.mark.parametrize("block_k", [1, 2, 5, 64])
def test_no_block_size_changes_the_result(block_q, block_k):
    q, k, v = drawn(7, 9, 4, 2)
    out = flash_attention(
        q, k, v, causal=True, block_q=block_q, block_k=block_k
    )
    assert_close(out, attention(q, k, v, causal_mask(7, 9)))
    q, k, v = drawn(1, 1, 4, 2)
    one = flash_attention(q, k, v, block_q=block_q, block_k=block_k)
    assert_close(one, attention(q, k, v))


def test_half_precision_is_computed_in_float32():
    for dtype in (torch.bfloat16, torch.float16):
        q, k, v = drawn(33, 41, 4, 2, dtype)
        out, lse = flash_attention(
            q, k, v, causal=True, return_lse=True, **BLOCKS
        )
        assert (out.dtype, lse.dtype) == (dtype, torch.float32)
        assert_close(out, attention(q, k, v, causal_mask(33, 41)))


def test_the_log_sum_exp_and_the_gradients_through_it():
    q, k, v = (x.requires_grad_() for x in drawn(5, 7, 4, 2, K=3, width=2))

    def both(q, k, v):
        return flash_attention(
            q, k, v, causal=True, block_q=2, block_k=3, return_lse=True
        )

    scores = q @ k.repeat_interleave(2, 1).mT / math.sqrt(3)
    scores = scores.masked_fill(~causal_mask(5, 7), -math.inf)
    assert_close(both(q, k, v)[1], scores.logsumexp(-1))
    assert torch.autograd.gradcheck(both, (q, k, v))
    loss = both(q, k, v)[0].pow(2).sum()
    (grad,) = torch.autograd.grad(loss, q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_two_halves_of_the_keys_join_by_their_log_sum_exp():
    q, k, v = drawn(6, 20, 4, 2)
    parts = [
        flash_attention(q, k[:, :, at], v[:, :, at], return_lse=True)
        for at in (slice(0, 13), slice(13, 20))
    ]
    lse = torch.stack([lse for _, lse in parts])
    shares = lse.softmax(0)[..., None]
    joined = sum(w * out for w, (out, _) in zip(shares, parts, strict=True))
    assert_close(joined, attention(q, k, v))


def test_rows_that_see_nothing_are_zeros_and_send_nothing_back():
    """Also where a hidden key holds what would poison the sums."""
    q, k, v = drawn(9, 12, 4, 2)
    mask = torch.ones(9, 12, dtype=torch.bool)
    mask[2], mask[5, :8], mask[:, 3] = False, False, False
    k[:, :, 3] = 1e300
    inputs = [x.requires_grad_() for x in (q, k, v)]
    out, lse = flash_attention(
        *inputs, mask, block_q=4, block_k=4, return_lse=True
    )
    assert not out[:, :, 2].any()
    assert (lse[:, :, 2] == -math.inf).all()
    assert lse[:, :, [0, 1, 3, 4, 5, 6, 7, 8]].isfinite().all()
    out.pow(2).sum().backward()
    assert all(x.grad.isfinite().all() for x in inputs)
    assert not q.grad[:, :, 2].any()
    assert not k.grad[:, :, 3].any()
    assert not v.grad[:, :, 3].any()


def test_scores_in_the_thousands_neither_overflow_nor_vanish():
    q, k, v = drawn(8, 40, 2, 2)
    for size in (1e3, 1e5):
        found = flash_attention(size * q, k, v, block_q=3, block_k=5)
        assert_close(found, attention(size * q, k, v))
    # the maximum moves in every block, up and then never again
    rising = torch.arange(40.0).double()[None, None, :, None] * k.abs()
    for keys in (rising, rising.flip(2)):
        found = flash_attention(q.abs(), keys, v, block_q=3, block_k=5)
        assert_close(found, attention(q.abs(), keys, v))


def test_the_running_maximum_and_sum():
    """By hand: x = 1, 3, 2 and then 5, one at a time."""
    peak, total = online_softmax(torch.tensor([1.0, 3.0, 2.0]))
    by_hand = math.exp(-2) + 1 + math.exp(-1)
    assert (peak.item(), total.item()) == (3, pytest.approx(by_hand))
    peak, total = online_softmax(torch.tensor([1.0, 3.0, 2.0, 5.0]))
    assert peak.item() == 5
    assert total.item() == pytest.approx(by_hand * math.exp(-2) + 1)
    torch.manual_seed(0)
    scores = 30 * torch.randn(3, 4, 29, dtype=torch.float64)
    for block in (1, 4, 29, 100):
        peak, total = online_softmax(scores, block)
        assert_close((scores - peak).exp() / total, scores.softmax(-1))
    peak, total = online_softmax(torch.full((2, 5), -math.inf), 2)
    assert (peak == -math.inf).all()
    assert not total.any()


@pytest.mark.parametrize("size", [(12, 12), (5, 12), (7, 7), (1, 9)])
def test_what_a_causal_mask_hides_whole_is_never_visited(size):
    T, S = size
    tiles = Tiles(T, S, 3, 2, causal=True)
    visited = [
        (rows, keys) for rows in tiles.rows() for keys in tiles.keys(rows)
    ]
    past = causal_mask(T, S)
    seen = [
        (rows, keys)
        for rows in spans(T, 3)
        for keys in spans(S, 2)
        if past[rows, keys].any()
    ]
    assert visited == seen


@pytest.mark.parametrize("given", ["causal", "mask"])
def test_half_of_the_work_is_saved_and_counted_by_pytorch(given):
    n, block = 96, 8
    q, k, v = (x.requires_grad_() for x in drawn(n, n, 4, 2, B=1, width=8))
    blocks = {"block_q": block, "block_k": block}
    options = {"causal": True} if given == "causal" else {}
    mask = causal_mask(n) if given == "mask" else None

    def work(**options):
        with FlopCounterMode(display=False) as counter:
            flash_attention(q, k, v, **options, **blocks).sum().backward()
        return counter.get_total_flops()

    tiles = n // block
    part = tiles * (tiles + 1) // 2 / tiles**2
    assert work(mask=mask, **options) == work() * part


def test_a_llama_attends_by_tiles_in_every_layer():
    config = LlamaConfig(
        vocab_size=61, d_model=24, n_layers=2, n_heads=6, n_kv_heads=2,
        d_ff=40, max_seq_len=64,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Llama(config).double()
    ids = torch.randint(61, (3, 50))
    mask = torch.ones(3, 50, dtype=torch.long)
    mask[0, :7], mask[1, 41:] = 0, 0
    want = model(ids, mask)
    calls = []

    def counted(*args, **options):
        calls.append(args)
        return flash_attention(*args, **options)

    with in_every_layer():
        assert multi_head.attention is flash_attention
        assert_close(model(ids, mask), want, rtol=0, atol=1e-12)
        assert_close(model(ids), model(ids))
    assert multi_head.attention is attention
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multi_head, "attention", counted)
        model(ids)
    assert len(calls) == config.n_layers


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mask": torch.zeros(4, 6)}, "mask: got torch.float32, want torch.b"),
        ({"mask": torch.ones(2, 6).bool()}, r"mask: got shape \(2, 6\), want"),
        ({"mask": torch.ones(4).bool()}, r"mask: got shape \(4,\), want"),
        ({"block_q": 0}, "block_q: got 0, want a whole number"),
        ({"k": torch.randn(2, 3, 6, 8)}, "k: got 3 heads, want a divisor"),
        ({"k": torch.randn(2, 2, 6, 7)}, "k: got shape .* want q's"),
        ({"v": torch.randn(2, 2, 5, 8)}, "v: got shape .* want k's"),
        ({"v": torch.randn(2, 2, 6, 8).double()}, "v: got dtype .*float64"),
        ({"q": torch.randn(4, 8)}, r"q: got \(4, 8\), want 4 axes"),
        ({"q": torch.randn(2, 4, 7, 8), "causal": True}, "T: got 7 queries"),
    ],
)
def test_what_does_not_fit_is_named(change, says):
    q, k, v = torch.randn(2, 4, 4, 8), *torch.randn(2, 2, 2, 6, 8)
    with pytest.raises(ValueError, match=says):
        flash_attention(**{"q_BHTK": q, "k_BGSK": k, "v_BGSK": v} | {
            {"q": "q_BHTK", "k": "k_BGSK", "v": "v_BGSK"}.get(name, name): x
            for name, x in change.items()
        })  # fmt: skip
