"""Blocks look at shapes and dtypes only, never at numbers.

So their forward passes compile whole, export, and run on the meta device,
where there are no numbers to look at.
"""

import pytest
import torch
from handmade.blocks.alibi import alibi_bias
from handmade.blocks.attention import attention
from handmade.blocks.block import Block
from handmade.blocks.feedforward import FeedForward, SwiGLU, gelu
from handmade.blocks.masks import (
    causal_mask,
    padding_mask,
    prefix_mask,
    sliding_window_mask,
)
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import BatchNorm, LayerNorm, RMSNorm
from handmade.blocks.positions import LearnedPositions, sinusoidal_positions
from handmade.blocks.rope import (
    RopeScaling,
    apply_rope,
    rope_angles,
    token_positions,
)
from torch import nn

B, T, D, H = 2, 5, 12, 3
LLAMA3 = RopeScaling(
    kind="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_seq_len=64,
)


class Call(nn.Module):
    """A function as a module, with the modules it uses."""

    def __init__(self, fn, *parts):
        super().__init__()
        self.fn, self.parts = fn, nn.ModuleList(parts)

    def forward(self, *inputs):
        return self.fn(*self.parts, *inputs)


def in_block(block, x, real):
    """What a decoder does: positions, masks and angles from its inputs."""
    T = x.shape[1]
    rope = rope_angles(token_positions(real), D // H - 2, 100.0, LLAMA3)
    mask = causal_mask(T, device=x.device) & padding_mask(real)
    return block(x, mask=mask, rope=rope)


def with_alibi(attn, x):
    T = x.shape[1]
    allowed = sliding_window_mask(T, 3, device=x.device)
    bias = alibi_bias(H, T, device=x.device)
    return attn(x, mask=bias.masked_fill(~allowed, -torch.inf)[None])


def block_of(norm, ffn):
    attn = MultiHeadAttention(
        D, H, n_kv_heads=1, q_norm=RMSNorm(4), k_norm=RMSNorm(4), soft_cap=5.0
    )
    return Block(attn_norm=norm(D), attn=attn, ffn_norm=norm(D), ffn=ffn)


def heads():
    return torch.randn(B, H, T, D)


def tokens():
    return torch.randn(B, T, D)


def real():
    return torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])


CASES = {
    "attention": (
        Call(lambda q, k, v: attention(q, k, v, prefix_mask(T, 2))),
        (heads(), heads(), heads()),
    ),
    "attention, float mask": (
        Call(attention),
        (heads(), heads(), heads(), torch.randn(1, H, T, T)),
    ),
    "self-attention": (MultiHeadAttention(D, H, scale=0.3), (tokens(),)),
    "cross-attention": (MultiHeadAttention(D, H), (tokens(), tokens())),
    "Llama's block": (
        Call(in_block, block_of(RMSNorm, SwiGLU(D, 20))),
        (tokens(), real()),
    ),
    "BERT's block": (
        Call(in_block, block_of(LayerNorm, FeedForward(D, 20, gelu))),
        (tokens(), real()),
    ),
    "ALiBi": (Call(with_alibi, MultiHeadAttention(D, H)), (tokens(),)),
    "RMSNorm": (RMSNorm(D), (tokens(),)),
    "LayerNorm": (LayerNorm(D), (tokens(),)),
    "BatchNorm": (BatchNorm(D).eval(), (tokens(),)),
    "SwiGLU": (SwiGLU(D, 20), (tokens(),)),
    "RoPE": (
        Call(lambda x, at: apply_rope(x, rope_angles(at, D))),
        (heads(), torch.arange(T)[None]),
    ),
    "learned positions": (LearnedPositions(9, D), (torch.arange(T)[None],)),
    "sinusoidal positions": (
        Call(lambda at: sinusoidal_positions(at, D)),
        (torch.arange(T)[None],),
    ),
}
each_case = pytest.mark.parametrize(
    ("module", "inputs"), CASES.values(), ids=CASES.keys()
)


@each_case
def test_compiles_whole(module, inputs):
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*inputs), module(*inputs))


@each_case
def test_runs_on_the_meta_device(module, inputs):
    want = module(*inputs)
    tensors = {n: x.to("meta") for n, x in module.state_dict().items()}
    on_meta = [x.to("meta") for x in inputs]
    with torch.device("meta"):  # for what a function makes itself
        got = torch.func.functional_call(module, tensors, tuple(on_meta))
    assert got.device.type == "meta"
    assert (got.shape, got.dtype) == (want.shape, want.dtype)


@each_case
def test_exports(module, inputs):
    exported = torch.export.export(module, inputs).module()
    torch.testing.assert_close(exported(*inputs), module(*inputs))


def test_one_graph_serves_all_lengths():
    torch._dynamo.reset()
    module, _ = CASES["Llama's block"]
    graphs = []

    def counting(graph, inputs):
        graphs.append(graph)
        return graph

    compiled = torch.compile(module, fullgraph=True, backend=counting)
    for T in range(3, 12):
        x, real = torch.randn(B, T, D), torch.ones(B, T).long()
        torch.testing.assert_close(compiled(x, real), module(x, real))
    # one for the first length, one for all others
    assert len(graphs) <= 2


def test_one_exported_program_serves_all_lengths():
    module, inputs = CASES["Llama's block"]
    length = torch.export.Dim("T", min=2, max=64)
    program = torch.export.export(
        module,
        inputs,
        dynamic_shapes={"inputs": ({1: length}, {1: length})},
    ).module()
    for T in (4, 9):
        x, real = torch.randn(B, T, D), torch.ones(B, T).long()
        torch.testing.assert_close(program(x, real), module(x, real))
