"""Right calls of `handmade.blocks`, of `contracts` and of `devices`."""

import torch
from handmade.blocks import (
    feedforward,
    mixture_of_experts,
    multi_head,
    norms,
    positions,
    rope,
    why_attention,
)
from handmade.blocks.block import Block
from torch import nn

from valid_calls import call

B, T, D, H, K = 2, 5, 12, 3, 4


def x():
    return torch.randn(B, T, D)


def q():
    return torch.randn(B, H, T, K)


def at():
    return torch.arange(T)[None].expand(B, T).clone()


def mask():
    return torch.ones(B, T).long()


def block():
    return Block(
        attn_norm=norms.RMSNorm(D),
        attn=multi_head.MultiHeadAttention(D, H),
        ffn_norm=norms.RMSNorm(D),
        ffn=feedforward.SwiGLU(D, 8),
    )


def moe():
    """A layer of transformers, of the kind that ours is read from."""
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import (
        MixtralSparseMoeBlock,
    )

    config = MixtralConfig(
        hidden_size=D, intermediate_size=8, num_local_experts=4
    )
    layer = MixtralSparseMoeBlock(config)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def recalled():
    pairs = why_attention.recall_batch(3, 2, torch.Generator())
    return dict(zip(("keys", "values", "asked"), pairs, strict=False))


def product():
    w = torch.randn(D, D, requires_grad=True)
    return x() @ w


LLAMA3 = {
    "kind": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_seq_len": 64,
}

CALLS = {
    "blocks.alibi.alibi_slopes": lambda: call(n_heads=4),
    "blocks.alibi.alibi_bias": lambda: call(
        n_heads=4, T=2, S=3, device="cpu", dtype=torch.float32
    ),
    "blocks.attention.attention": lambda: call(
        q_BHTK=q(),
        k_BGSK=q(),
        v_BGSK=q(),
        mask=torch.ones(T, T).bool(),
        scale=0.5,
        soft_cap=2.0,
    ),
    "blocks.attention.softmax_or_zero": lambda: call(
        scores_BHTS=q(), mask=torch.ones(T, K).bool()
    ),
    "blocks.attention.apply_mask": lambda: call(
        scores_BHTS=q(), mask=torch.ones(T, K).bool()
    ),
    "blocks.attention.repeat_kv": lambda: call(x_BGSK=q(), n_heads=6),
    "blocks.block.Block": lambda: call(
        attn_norm=nn.Identity(),
        attn=nn.Identity(),
        ffn_norm=nn.Identity(),
        ffn=nn.Identity(),
    ),
    "blocks.block.Block.forward": lambda: call(block(), x=x()),
    "blocks.feedforward.gelu": lambda: call(x=x()),
    "blocks.feedforward.gelu_tanh": lambda: call(x=x()),
    "blocks.feedforward.FeedForward": lambda: call(
        d_model=D, d_ff=8, activation=torch.relu
    ),
    "blocks.feedforward.FeedForward.forward": lambda: call(
        feedforward.FeedForward(D, 8, torch.relu), x=x()
    ),
    "blocks.feedforward.GatedFeedForward": lambda: call(
        d_model=D, d_ff=8, activation=torch.relu
    ),
    "blocks.feedforward.GatedFeedForward.forward": lambda: call(
        feedforward.GatedFeedForward(D, 8, torch.relu), x=x()
    ),
    "blocks.feedforward.SwiGLU": lambda: call(d_model=D, d_ff=8),
    "blocks.masks.causal_mask": lambda: call(T=2, S=3),
    "blocks.masks.prefix_mask": lambda: call(T=2, prefix=1, S=3),
    "blocks.masks.sliding_window_mask": lambda: call(T=2, window=1, S=3),
    "blocks.masks.padding_mask": lambda: call(attention_mask_BS=mask()),
    "blocks.mixture_of_experts.route": lambda: call(
        logits_NE=torch.randn(6, 4), top_k=2
    ),
    "blocks.mixture_of_experts.expert_load": lambda: call(
        experts=torch.zeros(6, 2).long(), n_experts=4
    ),
    "blocks.mixture_of_experts.load_balancing_loss": lambda: call(
        logits_NE=torch.randn(6, 4), top_k=2, mask=torch.ones(6).long()
    ),
    "blocks.mixture_of_experts.MixtureOfExperts": lambda: call(
        d_model=D, d_ff=8, n_experts=4, top_k=2
    ),
    "blocks.mixture_of_experts.MixtureOfExperts.forward": lambda: call(
        mixture_of_experts.MixtureOfExperts(D, 8, 4, 2), x=x()
    ),
    "blocks.mixture_of_experts.MixtureOfExperts.from_hf": lambda: call(
        hf_block=moe()
    ),
    "blocks.multi_head.MultiHeadAttention": lambda: call(
        d_model=D,
        n_heads=4,
        n_kv_heads=2,
        d_head=3,
        scale=0.5,
        soft_cap=2.0,
        layer=1,
    ),
    "blocks.multi_head.MultiHeadAttention.forward": lambda: call(
        multi_head.MultiHeadAttention(D, H, layer=0), x=x()
    ),
    "blocks.multi_head.split_heads": lambda: call(x=x(), n_heads=H),
    "blocks.multi_head.merge_heads": lambda: call(x_BHTK=q()),
    "blocks.norms.LayerNorm": lambda: call(d_model=D),
    "blocks.norms.RMSNorm": lambda: call(d_model=D),
    "blocks.norms.BatchNorm": lambda: call(d_model=D),
    "blocks.norms.LayerNorm.forward": lambda: call(norms.LayerNorm(D), x=x()),
    "blocks.norms.RMSNorm.forward": lambda: call(norms.RMSNorm(D), x=x()),
    "blocks.norms.BatchNorm.forward": lambda: call(norms.BatchNorm(D), x=x()),
    "blocks.positions.LearnedPositions": lambda: call(
        max_seq_len=8, d_model=4
    ),
    "blocks.positions.LearnedPositions.forward": lambda: call(
        positions.LearnedPositions(8, 4), positions=at()
    ),
    "blocks.positions.sinusoidal_positions": lambda: call(
        positions=at(), d_model=4
    ),
    "blocks.rope.RopeScaling": lambda: call(**LLAMA3),
    "blocks.rope.RopeScaling.slow": lambda: call(
        rope.RopeScaling(**LLAMA3), frequency=torch.rand(4)
    ),
    "blocks.rope.rope_angles": lambda: call(positions=at(), d_head=K),
    "blocks.rope.rotate_half": lambda: call(x=q()),
    "blocks.rope.apply_rope": lambda: call(
        x_BHTK=q(), rope=rope.rope_angles(at(), K)
    ),
    "blocks.rope.token_positions": lambda: call(attention_mask_BS=mask()),
    "blocks.why_attention.recall_batch": lambda: call(
        T=3, size=2, generator=torch.Generator()
    ),
    "blocks.why_attention.Recall": lambda: call(d_model=D),
    "blocks.why_attention.RecurrentRecall": lambda: call(d_model=D),
    "blocks.why_attention.AttentionRecall": lambda: call(d_model=D),
    "blocks.why_attention.RecurrentRecall.forward": lambda: call(
        why_attention.RecurrentRecall(D), **recalled()
    ),
    "blocks.why_attention.AttentionRecall.forward": lambda: call(
        why_attention.AttentionRecall(D), **recalled()
    ),
    "blocks.why_attention.matrix_products": lambda: call(y=product()),
}
