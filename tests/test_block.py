"""The pre-norm block: what is added, and to what."""

import torch
from handmade.blocks.block import Block
from handmade.blocks.feedforward import SwiGLU
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import RMSNorm
from torch import nn


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
