"""The block: what is added, to what, and where the norm stands."""

import pytest
import torch
from handmade.blocks.block import Block
from handmade.blocks.feedforward import FeedForward, SwiGLU
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import LayerNorm, RMSNorm
from torch import nn
from torch.nn import functional as F


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


def test_equals_transformers():
    from handmade.blocks.rope import rope_angles
    from handmade.weights import random_reference
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    config = LlamaConfig(
        hidden_size=12,
        intermediate_size=20,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=4,
        attn_implementation="eager",
    )
    theirs = random_reference(lambda c: LlamaDecoderLayer(c, 0), config)
    ours = Block(
        attn_norm=RMSNorm(12, config.rms_norm_eps),
        attn=MultiHeadAttention(12, 6, n_kv_heads=2, d_head=4),
        ffn_norm=RMSNorm(12, config.rms_norm_eps),
        ffn=SwiGLU(12, 20),
    )
    names = {
        "input_layernorm": "attn_norm",
        "self_attn": "attn",
        "post_attention_layernorm": "ffn_norm",
        "mlp": "ffn",
    }
    ours.load_state_dict(
        {
            ".".join([names[n.split(".")[0]], *n.split(".")[1:]]): x
            for n, x in theirs.state_dict().items()
        }
    )
    x, rope = torch.randn(3, 5, 12), rope_angles(torch.arange(5)[None], 4)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    added = torch.zeros(5, 5).masked_fill(~mask, -torch.inf)[None, None]
    want = theirs(x, attention_mask=added, position_embeddings=rope)
    torch.testing.assert_close(ours(x, mask=mask, rope=rope), want)


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
    xs = [x.clone().requires_grad_() for _ in range(2)]
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    got, want = ours(xs[0], mask=mask), theirs(xs[1], src_mask=~mask)
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(got, want, **close)
    got.pow(2).sum().backward()
    want.pow(2).sum().backward()
    torch.testing.assert_close(xs[0].grad, xs[1].grad, **close)
    for a, b in pairs.items():
        torch.testing.assert_close(a.weight.grad, b.weight.grad, **close)


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
