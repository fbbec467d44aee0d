"""SwiGLU against transformers' LlamaMLP."""

import pytest
import torch
from handmade.blocks.feedforward import SwiGLU


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_transformers(bias, dtype):
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaMLP

    config = LlamaConfig(
        hidden_size=8,
        intermediate_size=14,
        num_attention_heads=4,
        mlp_bias=bias,
    )
    theirs = LlamaMLP(config).to(dtype)
    ours = SwiGLU(8, 14, bias=bias).to(dtype)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 5, 8, dtype=dtype)
    torch.testing.assert_close(ours(x), theirs(x))


def test_by_hand():
    # gate 1, up 2, down 3: 3 * silu(x) * 2 x with silu(1) = 0.731059
    ffn = SwiGLU(1, 1)
    for linear, weight in zip(ffn.children(), (1.0, 2.0, 3.0), strict=True):
        torch.nn.init.constant_(linear.weight, weight)
    assert ffn(torch.ones(1)).item() == pytest.approx(6 * 0.731059, rel=1e-5)
