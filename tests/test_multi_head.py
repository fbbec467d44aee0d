"""One attention class for self, cross and grouped queries, each held."""

import pytest
import torch
from handmade.blocks.multi_head import (
    MultiHeadAttention,
    merge_heads,
    split_heads,
)
from handmade.inference.cache import KVCache
from torch import nn


def reference(attn: MultiHeadAttention, d_model: int) -> nn.MultiheadAttention:
    """Build PyTorch's module with the same, random, weights."""
    theirs = nn.MultiheadAttention(d_model, attn.n_heads, batch_first=True)
    with torch.no_grad():
        for parameter in attn.parameters():
            parameter.normal_(std=0.4)
        rows = (attn.q_proj, attn.k_proj, attn.v_proj)
        theirs.in_proj_weight.copy_(torch.cat([r.weight for r in rows]))
        theirs.in_proj_bias.copy_(torch.cat([r.bias for r in rows]))
        theirs.out_proj.load_state_dict(attn.o_proj.state_dict())
    return theirs.eval()


@pytest.mark.parametrize("cross", [False, True])
def test_equals_pytorch(cross):
    attn = MultiHeadAttention(12, 3, bias=True)
    theirs = reference(attn, 12)
    x, y = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    y = y if cross else x
    got = attn(x, y) if cross else attn(x)
    torch.testing.assert_close(got, theirs(x, y, y)[0])


def test_equals_pytorch_with_a_padded_context():
    attn = MultiHeadAttention(12, 3, bias=True)
    theirs = reference(attn, 12)
    x, y = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    real = torch.tensor([[1] * 7, [1] * 4 + [0] * 3]).bool()
    want = theirs(x, y, y, key_padding_mask=~real)[0]
    got = attn(x, y, mask=real[:, None, None, :])
    torch.testing.assert_close(got, want)
    changed = y.masked_fill(~real[..., None], 1e3)
    again = attn(x, changed, mask=real[:, None, None, :])
    torch.testing.assert_close(again, got)


def test_grouped_heads_are_shared_in_neighbourhoods():
    # a grouped layer equals a full one whose key/value rows are repeated
    grouped = MultiHeadAttention(10, 6, n_kv_heads=2, d_head=4)
    full = MultiHeadAttention(10, 6, d_head=4)
    weights = grouped.state_dict()
    for name in ("k_proj.weight", "v_proj.weight"):
        heads = weights[name].unflatten(0, (2, 4))
        weights[name] = heads.repeat_interleave(3, dim=0).flatten(0, 1)
    full.load_state_dict(weights)
    x = torch.randn(3, 5, 10)
    torch.testing.assert_close(grouped(x), full(x))


def test_parameter_count():
    count = sum(
        p.numel()
        for p in MultiHeadAttention(10, 6, n_kv_heads=2, d_head=4).parameters()
    )
    assert count == 2 * 10 * 24 + 2 * 10 * 8


def test_split_and_merge_are_inverse():
    x = torch.randn(2, 5, 12)
    assert split_heads(x, 3).shape == (2, 3, 5, 4)
    torch.testing.assert_close(merge_heads(split_heads(x, 3)), x)
    assert split_heads(x, 3)[1, 2, 4].equal(x[1, 4, 8:])


def test_each_module_uses_its_own_layer_of_the_cache():
    cache = KVCache()
    for layer in range(3):
        attn = MultiHeadAttention(8, 2, layer=layer)
        attn(torch.randn(1, 4, 8), cache=cache)
    assert [k.shape for k, _ in cache.layers] == [(1, 2, 4, 4)] * 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: MultiHeadAttention(10, 4), "n_heads: got 4"),
        (lambda: MultiHeadAttention(8, 4, n_kv_heads=3), "n_kv_heads: got 3"),
        (lambda: MultiHeadAttention(8, 4, n_kv_heads=0), "n_kv_heads: got 0"),
        (lambda: MultiHeadAttention(8, 4, d_head=0), "d_head: got 0"),
        (
            lambda: MultiHeadAttention(8, 2)(
                torch.zeros(1, 3, 8), torch.zeros(1, 4, 8), cache=KVCache()
            ),
            "context: got one together with",
        ),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
