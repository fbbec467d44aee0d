"""One attention class for self, cross and grouped queries, each held."""

import pytest
import torch
from gradient_helpers import assert_equal_with_gradients, same_names
from handmade.blocks.masks import causal_mask, padding_mask
from handmade.blocks.multi_head import (
    MultiHeadAttention,
    merge_heads,
    split_heads,
)
from handmade.blocks.norms import LayerNorm, RMSNorm
from handmade.blocks.rope import rope_angles
from handmade.inference.cache import KVCache
from handmade.weights.reference import random_reference
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


# -- what later models ask for, each held to the class that has it

SIZES = {
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
}


def qwen2():
    """Bias for queries, keys and values, none for the output."""
    from transformers import Qwen2Config as Config
    from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention

    config = Config(**SIZES, head_dim=4, attn_implementation="sdpa")
    return Qwen2Attention, config, {"bias": True, "out_bias": False}, {}, 4


def qwen3():
    """Queries and keys are normalized, head by head."""
    from transformers import Qwen3Config as Config
    from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention

    config = Config(**SIZES, head_dim=4, attn_implementation="sdpa")
    norms = {
        name: RMSNorm(4, config.rms_norm_eps, precision=torch.float32)
        for name in ("q_norm", "k_norm")
    }
    return Qwen3Attention, config, norms, {}, 4


def gemma2():
    """A scale of its own, and scores bent below a cap."""
    from transformers import Gemma2Config as Config
    from transformers.models.gemma2.modeling_gemma2 import Gemma2Attention

    config = Config(
        **SIZES,
        head_dim=4,
        query_pre_attn_scalar=7,
        attn_logit_softcapping=1.5,
        attn_implementation="eager",
    )
    ours = {"scale": 7.0**-0.5, "soft_cap": 1.5}
    return Gemma2Attention, config, ours, {}, 4


def phi():
    """Only half of each head turns; norms with a bias."""
    from transformers import PhiConfig as Config
    from transformers.models.phi.modeling_phi import PhiAttention

    config = Config(
        **{**SIZES, "hidden_size": 48},
        qk_layernorm=True,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
        },
        attn_implementation="sdpa",
    )
    ours = {
        "bias": True,
        "q_norm": LayerNorm(8, config.layer_norm_eps),
        "k_norm": LayerNorm(8, config.layer_norm_eps),
    }
    names = {
        "o_proj": "dense",
        "q_norm": "q_layernorm",
        "k_norm": "k_layernorm",
    }
    return PhiAttention, config, ours, names, 4


@each_dtype
@pytest.mark.parametrize("model", [qwen2, qwen3, gemma2, phi])
def test_options_equal_the_models_that_have_them(dtype, model, monkeypatch):
    kind, config, options, names, d_rope = model()
    if model is gemma2:  # its softmax is float32 whatever the dtype
        plain = nn.functional.softmax
        monkeypatch.setattr(
            nn.functional, "softmax", lambda x, dim, **dtype: plain(x, dim)
        )
    theirs = random_reference(lambda c: kind(c, 0), config).to(dtype)
    D = config.hidden_size
    d_head = {"d_head": config.head_dim} if "head_dim" in config else {}
    ours = MultiHeadAttention(D, 6, n_kv_heads=2, **d_head, **options)
    pairs = {}
    for name, parameter in ours.to(dtype).named_parameters():
        module, leaf = name.split(".")
        pairs[name] = f"{names.get(module, module)}.{leaf}"
        parameter.data.copy_(theirs.get_parameter(pairs[name]))
    assert len(pairs) == len(list(theirs.parameters()))
    mask = causal_mask(5) & padding_mask(torch.ones(3, 5).long())
    added = torch.zeros(3, 1, 5, 5, dtype=dtype).masked_fill(~mask, -torch.inf)
    rope = rope_angles(torch.arange(5)[None], d_rope, 10000.0)
    assert_equal_with_gradients(
        lambda x: ours(x, mask=mask, rope=rope),
        lambda x: theirs(
            x,
            position_embeddings=tuple(a.to(dtype) for a in rope),
            attention_mask=added,
        )[0],
        [torch.randn(3, 5, D, dtype=dtype)],
        [
            (ours.get_parameter(a), theirs.get_parameter(b))
            for a, b in pairs.items()
            # a key's bias moves all scores of a row: no gradient
            if a != "k_proj.bias"
        ],
        TOLERANCE[dtype],
    )


def test_the_options_change_the_output():
    x = torch.randn(2, 5, 12)
    plain = MultiHeadAttention(12, 3)
    for options in ({"scale": 3.0}, {"soft_cap": 0.1}):
        other = MultiHeadAttention(12, 3, **options)
        other.load_state_dict(plain.state_dict())
        assert (other(x) - plain(x)).abs().max() > 1e-3


def test_the_bias_of_the_output_follows_the_others_unless_told():
    for bias, out_bias, want in (
        (False, None, False),
        (True, None, True),
        (True, False, False),
        (False, True, True),
    ):
        attn = MultiHeadAttention(8, 2, bias=bias, out_bias=out_bias)
        assert (attn.q_proj.bias is not None) == bias
        assert (attn.o_proj.bias is not None) == want


@pytest.mark.parametrize("norm", [RMSNorm, LayerNorm, nn.LayerNorm])
def test_under_autocast_with_norms_and_a_float_mask(norm):
    attn = MultiHeadAttention(12, 3, q_norm=norm(4), k_norm=norm(4))
    x, bias = torch.randn(2, 5, 12), torch.randn(1, 3, 5, 5)
    want = attn(x, mask=bias)
    with torch.autocast("cpu", torch.bfloat16):
        got = attn(x, mask=bias)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), want, rtol=0, atol=0.03)


def test_two_modules_without_a_layer_do_not_share_a_cache():
    cache = KVCache()
    with pytest.raises(ValueError, match=r"cache: got one.* layer=0, 1"):
        MultiHeadAttention(8, 2)(torch.zeros(1, 3, 8), cache=cache)
    assert cache.length == 0


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
