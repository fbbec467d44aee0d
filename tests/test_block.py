"""The block: what is added, to what, and where the norm stands."""

import pytest
import torch
from gradient_helpers import assert_equal_with_gradients
from handmade.blocks.block import Block
from handmade.blocks.feedforward import FeedForward, SwiGLU
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import LayerNorm, RMSNorm
from torch import nn
from torch.nn import functional as F

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


class Times(nn.Module):
    """Stand in for attention or feed-forward: a known multiple."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x, **seen):
        self.seen = seen
        return self.factor * x


def test_the_stream_is_added_to_not_replaced():
    # x + 2 (3 x) = 7 x, then 7 x + 5 (4 * 7 x) = 147 x
    block = Block(
        attn_norm=Times(3), attn=Times(2), ffn_norm=Times(4), ffn=Times(5)
    )
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(block(x), 147 * x)


def test_only_attention_sees_mask_rope_and_cache():
    parts = {n: Times(1) for n in ("attn_norm", "attn", "ffn_norm", "ffn")}
    Block(**parts)(torch.ones(1, 2, 3), mask="m", rope="r", cache="c")
    assert parts["attn"].seen == {"mask": "m", "rope": "r", "cache": "c"}
    assert parts["ffn"].seen == parts["attn_norm"].seen == {}


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_equals_transformers(dtype):
    from handmade.blocks.rope import rope_angles
    from handmade.weights.reference import random_reference
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    config = LlamaConfig(
        hidden_size=12,
        intermediate_size=20,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=4,
        attn_implementation="sdpa",  # eager takes its softmax in float32
    )
    theirs = random_reference(lambda c: LlamaDecoderLayer(c, 0), config)
    theirs.to(dtype)
    ours = Block(
        attn_norm=RMSNorm(12, config.rms_norm_eps, precision=torch.float32),
        attn=MultiHeadAttention(12, 6, n_kv_heads=2, d_head=4),
        ffn_norm=RMSNorm(12, config.rms_norm_eps, precision=torch.float32),
        ffn=SwiGLU(12, 20),
    ).to(dtype)
    names = {
        "input_layernorm": "attn_norm",
        "self_attn": "attn",
        "post_attention_layernorm": "ffn_norm",
        "mlp": "ffn",
    }

    def named(name):
        first, rest = name.split(".", 1)
        return f"{names[first]}.{rest}"

    ours.load_state_dict({named(n): x for n, x in theirs.state_dict().items()})
    x = torch.randn(3, 5, 12, dtype=dtype)
    rope = [a.to(dtype) for a in rope_angles(torch.arange(5)[None], 4)]
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    added = torch.zeros(5, 5, dtype=dtype).masked_fill(~mask, -torch.inf)
    added = added[None, None]
    assert_equal_with_gradients(
        lambda x: ours(x, mask=mask, rope=rope),
        lambda x: theirs(x, attention_mask=added, position_embeddings=rope),
        [x],
        [
            (ours.get_parameter(named(n)), p)
            for n, p in theirs.named_parameters()
        ],
        rtol=TOLERANCE[dtype],
    )


# -- placement

D = 12


def make_block(placement, activation=torch.relu, norm=LayerNorm):
    return Block(
        attn_norm=norm(D),
        attn=MultiHeadAttention(D, 3, bias=True),
        ffn_norm=norm(D),
        ffn=FeedForward(D, 20, activation),
        placement=placement,
    )


def test_post_normalizes_the_sum():
    # 3 (x + 2 x) = 9 x, then 4 (9 x + 5 * 9 x) = 216 x
    block = Block(
        attn_norm=Times(3),
        attn=Times(2),
        ffn_norm=Times(4),
        ffn=Times(5),
        placement="post",
    )
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(block(x), 216 * x)


def test_another_placement():
    with pytest.raises(ValueError, match="placement: got 'both'"):
        make_block("both")


@pytest.mark.parametrize("placement", ["pre", "post"])
@pytest.mark.parametrize("activation", [F.relu, F.gelu])
def test_equals_pytorchs_encoder_layer(placement, activation):
    theirs = nn.TransformerEncoderLayer(
        D,
        3,
        20,
        dropout=0.0,
        activation=activation,
        batch_first=True,
        norm_first=placement == "pre",
        dtype=torch.float64,
    )
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = make_block(placement, activation).double()
    attn = theirs.self_attn
    pairs = {
        ours.attn.o_proj: attn.out_proj,
        ours.attn_norm: theirs.norm1,
        ours.ffn_norm: theirs.norm2,
        ours.ffn.up_proj: theirs.linear1,
        ours.ffn.down_proj: theirs.linear2,
    }
    for a, b in pairs.items():
        a.load_state_dict(b.state_dict())
    projections = (ours.attn.q_proj, ours.attn.k_proj, ours.attn.v_proj)
    weights, biases = attn.in_proj_weight.chunk(3), attn.in_proj_bias.chunk(3)
    for a, weight, bias in zip(projections, weights, biases, strict=True):
        a.load_state_dict({"weight": weight, "bias": bias})

    x = torch.randn(2, 5, D, dtype=torch.float64)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    found = [(a.weight, b.weight) for a, b in pairs.items()]
    found += [(a.bias, b.bias) for a, b in pairs.items()]

    def in_proj(name):
        return getattr(attn, f"in_proj_{name}")

    for i, a in enumerate(projections):
        found.append(
            (a.weight, lambda i=i: in_proj("weight").grad.chunk(3)[i])
        )
        if a is not ours.attn.k_proj:  # its bias moves all scores of a row
            found.append(
                (a.bias, lambda i=i: in_proj("bias").grad.chunk(3)[i])
            )
    assert_equal_with_gradients(
        lambda x: ours(x, mask=mask),
        lambda x: theirs(x, src_mask=~mask),
        [x],
        found,
    )


def silence(block):
    for module in (block.attn.o_proj, block.ffn.down_proj):
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
    return block


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
def test_silent_layers_leave_the_stream_alone(norm):
    x = torch.randn(2, 5, D) * 7 + 3
    y = x
    for _ in range(6):
        y = silence(make_block("pre", norm=norm))(y)
    assert torch.equal(x, y)
    assert not torch.allclose(silence(make_block("post"))(x), x)


def test_a_silent_block_can_learn():
    block = silence(make_block("pre"))
    block(torch.randn(2, 5, D)).pow(2).sum().backward()
    for module in (block.attn.o_proj, block.ffn.down_proj):
        assert module.weight.grad.abs().max() > 0
    assert block.ffn.up_proj.weight.grad.abs().max() == 0  # only later
