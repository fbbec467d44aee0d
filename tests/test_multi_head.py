"""One attention class for self, cross and grouped queries, each held."""

import pytest
import torch
from gradient_helpers import assert_equal_with_gradients, same_names
from handmade.blocks.masks import causal_mask
from handmade.blocks.multi_head import (
    MultiHeadAttention,
    merge_heads,
    split_heads,
)
from handmade.blocks.rope import rope_angles
from handmade.inference.cache import KVCache
from handmade.weights import random_reference
from torch import nn

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE)


def with_reference(dtype, d_model=12, n_heads=3):
    """Our module and PyTorch's with the same, random, weights; the pairs."""
    attn = MultiHeadAttention(d_model, n_heads, bias=True).to(dtype)
    theirs = nn.MultiheadAttention(d_model, n_heads, batch_first=True)
    theirs.to(dtype)
    rows = (attn.q_proj, attn.k_proj, attn.v_proj)
    with torch.no_grad():
        for parameter in attn.parameters():
            parameter.normal_(std=0.4)
        theirs.in_proj_weight.copy_(torch.cat([r.weight for r in rows]))
        theirs.in_proj_bias.copy_(torch.cat([r.bias for r in rows]))
        theirs.out_proj.load_state_dict(attn.o_proj.state_dict())
    pairs = [
        (attn.o_proj.weight, theirs.out_proj.weight),
        (attn.o_proj.bias, theirs.out_proj.bias),
    ]
    weight, bias = theirs.in_proj_weight, theirs.in_proj_bias
    for i, row in enumerate(rows):
        pairs.append((row.weight, lambda i=i: weight.grad.chunk(3)[i]))
        if i != 1:  # a key's bias moves all scores of a row: no gradient
            pairs.append((row.bias, lambda i=i: bias.grad.chunk(3)[i]))
    return attn, theirs, pairs


@each_dtype
def test_self_attention_equals_pytorch_with_gradients(dtype):
    attn, theirs, pairs = with_reference(dtype)
    x, mask = torch.randn(2, 5, 12, dtype=dtype), causal_mask(5)
    assert_equal_with_gradients(
        lambda x: attn(x, mask=mask),
        lambda x: theirs(x, x, x, attn_mask=~mask)[0],
        [x],
        pairs,
        TOLERANCE[dtype],
    )
    assert attn.k_proj.bias.grad.abs().max() < 100 * TOLERANCE[dtype]


@each_dtype
def test_cross_attention_equals_pytorch_with_gradients(dtype):
    attn, theirs, pairs = with_reference(dtype)
    x, y = (torch.randn(2, n, 12, dtype=dtype) for n in (5, 7))
    real = torch.tensor([[1] * 7, [1] * 4 + [0] * 3]).bool()
    assert_equal_with_gradients(
        lambda x, y: attn(x, y, mask=real[:, None, None, :]),
        lambda x, y: theirs(x, y, y, key_padding_mask=~real)[0],
        [x, y],
        pairs,
        TOLERANCE[dtype],
    )


@each_dtype
@pytest.mark.parametrize("n_kv_heads", [6, 2, 1])
def test_grouped_attention_equals_llamas_with_gradients(dtype, n_kv_heads):
    attn, theirs, rope = with_llamas(dtype, n_kv_heads)
    mask = torch.zeros(1, 1, 5, 5, dtype=dtype)
    mask = mask.masked_fill(~causal_mask(5), -torch.inf)
    assert_equal_with_gradients(
        lambda x: attn(x, mask=causal_mask(5), rope=rope),
        lambda x: theirs(x, rope, mask)[0],
        [torch.randn(3, 5, 12, dtype=dtype)],
        same_names(attn, theirs),
        TOLERANCE[dtype],
    )


def with_llamas(dtype, n_kv_heads):
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaAttention

    config = LlamaConfig(
        hidden_size=12,
        num_attention_heads=6,
        num_key_value_heads=n_kv_heads,
        head_dim=4,
        attention_bias=True,
        attn_implementation="sdpa",  # eager takes its softmax in float32
    )
    theirs = random_reference(lambda c: LlamaAttention(c, 0), config)
    attn = MultiHeadAttention(
        12, 6, n_kv_heads=n_kv_heads, d_head=4, bias=True, layer=0
    )
    attn.load_state_dict(theirs.state_dict())
    rope = [a.to(dtype) for a in rope_angles(torch.arange(5)[None], 4)]
    return attn.to(dtype), theirs.to(dtype), tuple(rope)


@each_dtype
@pytest.mark.parametrize("steps", [(5,), (3, 2), (1, 1, 1, 1, 1), (2, 3)])
def test_in_steps_with_a_cache_equals_llama_at_once(dtype, steps):
    attn, theirs, rope = with_llamas(dtype, 2)
    x = torch.randn(3, 5, 12, dtype=dtype)
    mask = torch.zeros(1, 1, 5, 5, dtype=dtype)
    mask = mask.masked_fill(~causal_mask(5), -torch.inf)
    want, cache, out, end = theirs(x, rope, mask)[0], KVCache(), [], 0
    for step in steps:
        start, end = end, end + step
        angles = tuple(angle[:, start:end] for angle in rope)
        seen = causal_mask(step, end)
        new = x[:, start:end]
        out.append(attn(new, mask=seen, rope=angles, cache=cache))
    atol = TOLERANCE[dtype] * want.abs().max().item()
    torch.testing.assert_close(torch.cat(out, 1), want, rtol=0, atol=atol)


def test_what_padding_holds_never_leaks():
    attn = MultiHeadAttention(12, 3, bias=True)
    x, y = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    real = torch.tensor([[1] * 7, [1] * 4 + [0] * 3]).bool()
    got = attn(x, y, mask=real[:, None, None, :])
    changed = y.masked_fill(~real[..., None], 1e3)
    again = attn(x, changed, mask=real[:, None, None, :])
    assert torch.equal(again, got)


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
