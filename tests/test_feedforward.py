"""Feed-forward layers against transformers' MLPs and PyTorch's curves."""

import pytest
import torch
from gradient_helpers import assert_equal_with_gradients, same_names
from handmade.blocks.feedforward import (
    FeedForward,
    GatedFeedForward,
    SwiGLU,
    gelu,
    gelu_tanh,
)
from handmade.blocks.norms import LayerNorm
from handmade.weights.reference import random_reference
from torch.nn import functional as F

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


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
    theirs = random_reference(LlamaMLP, config).to(dtype)
    ours = SwiGLU(8, 14, bias=bias).to(dtype)
    ours.load_state_dict(theirs.state_dict())
    x, rtol = torch.randn(2, 5, 8, dtype=dtype), TOLERANCE[dtype]
    pairs = same_names(ours, theirs)
    assert_equal_with_gradients(ours, theirs, [x], pairs, rtol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gemmas_gate_has_another_curve(dtype):
    from transformers import GemmaConfig
    from transformers.models.gemma.modeling_gemma import GemmaMLP

    config = GemmaConfig(hidden_size=8, intermediate_size=14)
    theirs = random_reference(GemmaMLP, config).to(dtype)
    ours = GatedFeedForward(8, 14, gelu_tanh).to(dtype)
    ours.load_state_dict(theirs.state_dict())
    x, rtol = torch.randn(2, 5, 8, dtype=dtype), TOLERANCE[dtype]
    pairs = same_names(ours, theirs)
    assert_equal_with_gradients(ours, theirs, [x], pairs, rtol)


def test_by_hand():
    # gate 1, up 2, down 3: 3 * silu(x) * 2 x with silu(1) = 0.731059
    ffn = SwiGLU(1, 1)
    for linear, weight in zip(ffn.children(), (1.0, 2.0, 3.0), strict=True):
        torch.nn.init.constant_(linear.weight, weight)
    assert ffn(torch.ones(1)).item() == pytest.approx(6 * 0.731059, rel=1e-5)


def test_gpt2s_layer_and_its_gradients():
    from transformers import GPT2Config
    from transformers.models.gpt2.modeling_gpt2 import GPT2MLP

    with torch.no_grad():
        config = GPT2Config(n_embd=6)
        theirs = random_reference(lambda c: GPT2MLP(20, c), config).double()
        ours = FeedForward(6, 20, gelu_tanh).double()
        for a, b in (
            (ours.up_proj, theirs.c_fc),
            (ours.down_proj, theirs.c_proj),
        ):
            a.weight.copy_(b.weight.T)  # GPT-2 stores (in, out)
            a.bias.copy_(b.bias)
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    pairs = [
        (ours.up_proj.weight, lambda: theirs.c_fc.weight.grad.T),
        (ours.up_proj.bias, theirs.c_fc.bias),
        (ours.down_proj.weight, lambda: theirs.c_proj.weight.grad.T),
        (ours.down_proj.bias, theirs.c_proj.bias),
    ]
    assert_equal_with_gradients(ours, theirs, [x], pairs)


def test_berts_layer_and_its_gradients():
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import (
        BertIntermediate,
        BertOutput,
    )

    config = BertConfig(hidden_size=6, intermediate_size=10,
                        num_attention_heads=2)  # fmt: skip
    up = random_reference(BertIntermediate, config).double()
    down = random_reference(BertOutput, config).double()
    ours, norm = FeedForward(6, 10, gelu), LayerNorm(6, config.layer_norm_eps)
    ours.up_proj.load_state_dict(up.dense.state_dict())
    ours.down_proj.load_state_dict(down.dense.state_dict())
    norm.load_state_dict(down.LayerNorm.state_dict())
    ours, norm = ours.double(), norm.double()
    pairs = same_names(ours.up_proj, up.dense)
    pairs += same_names(ours.down_proj, down.dense)
    pairs += same_names(norm, down.LayerNorm)
    assert_equal_with_gradients(
        lambda x: norm(x + ours(x)),
        lambda x: down(up(x), x),
        [torch.randn(2, 5, 6, dtype=torch.float64)],
        pairs,
    )


@pytest.mark.parametrize(
    ("ours", "how"), [(gelu, "none"), (gelu_tanh, "tanh")]
)
def test_gelus_equal_pytorch(ours, how):
    x = torch.linspace(-30, 30, 2001, dtype=torch.float64, requires_grad=True)
    y = torch.linspace(-30, 30, 2001, dtype=torch.float64, requires_grad=True)
    want = F.gelu(y, approximate=how)
    torch.testing.assert_close(ours(x), want, rtol=1e-12, atol=1e-12)
    ours(x).sum().backward()
    want.sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-12, atol=1e-12)


def test_tokens_do_not_meet():
    ffn, x = FeedForward(4, 9, torch.relu), torch.randn(2, 5, 4)
    changed = x.clone()
    changed[0, 3] += 1
    others = torch.ones(2, 5, dtype=torch.bool)
    others[0, 3] = False
    assert torch.equal(ffn(changed)[others], ffn(x)[others])


def test_the_activation_is_a_function():
    with pytest.raises(ValueError, match="activation: got 'gelu'"):
        FeedForward(4, 9, "gelu")
    assert FeedForward(4, 9, F.relu, bias=False).up_proj.bias is None
