"""LoRA held to peft: outputs, gradients, files in both directions.

A change of W by s B A has the gradients dL/dB = s (dL/dy)^T x A^T and
dL/dA = s B^T (dL/dy)^T x. With B = 0 the first step moves B alone.
"""

import json

import pytest
import torch
from handmade.inference.nf4 import nf4_linear
from handmade.models.llama import Llama
from handmade.training.lora import (
    LoRALinear,
    adapters,
    inject,
    merge_adapters,
    trainable,
    untie,
)
from handmade.training.lora_files import load_adapter, save_adapter
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.nn import functional as F

# peft asks transformers by a name that is to go
pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing.:FutureWarning"
)
NAMES = {
    "blocks.{}.attn": "model.layers.{}.self_attn",
    "blocks.{}.ffn": "model.layers.{}.mlp",
    "lm_head": "lm_head",
}
TARGETS = ["q_proj", "v_proj", "down_proj"]


def pair(dtype=torch.float64, tie=False):
    """The same small Llama twice: theirs and ours."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=37, hidden_size=24, intermediate_size=40,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=32, tie_word_embeddings=tie,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = LlamaForCausalLM(config).to(dtype).eval()
    return theirs, Llama.from_hf(theirs)


def both(rank=3, alpha=6.0, dtype=torch.float64):
    """Both with the same adapters, of numbers that are not zero."""
    theirs, ours = pair(dtype)
    peft = get_peft_model(
        theirs, LoraConfig(r=rank, lora_alpha=alpha, target_modules=TARGETS)
    )
    inject(ours, TARGETS, rank=rank, alpha=alpha)
    g = torch.Generator().manual_seed(1)
    theirs_by_name = dict(peft.named_parameters())
    for name, layer in adapters(ours):
        at = name.replace("blocks", "model.layers")
        at = at.replace("attn", "self_attn").replace("ffn", "mlp")
        for part in ("lora_A", "lora_B"):
            p = layer.get_parameter(part)
            drawn = torch.randn(p.shape, generator=g, dtype=dtype) / 5
            other = theirs_by_name[
                f"base_model.model.{at}.{part}.default.weight"
            ]
            with torch.no_grad():
                p.copy_(drawn)
                other.copy_(drawn)
    return peft, ours


def ids(B=3, T=9):
    return torch.randint(
        37, (B, T), generator=torch.Generator().manual_seed(2)
    )


def loss_of(logits, x):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), x[:, 1:].flatten())


@pytest.mark.parametrize(("rank", "alpha"), [(1, 1.0), (3, 6.0), (8, 4.0)])
def test_outputs_and_gradients_are_pefts(rank, alpha):
    peft, ours = both(rank, alpha)
    x = ids()
    theirs_logits, logits = peft(x).logits, ours(x)
    torch.testing.assert_close(logits, theirs_logits, rtol=0, atol=1e-12)
    loss_of(theirs_logits, x).backward()
    loss_of(logits, x).backward()
    theirs_by_name = dict(peft.named_parameters())
    n = 0
    for name, layer in adapters(ours):
        at = name.replace("blocks", "model.layers")
        at = at.replace("attn", "self_attn").replace("ffn", "mlp")
        for part in ("lora_A", "lora_B"):
            other = theirs_by_name[
                f"base_model.model.{at}.{part}.default.weight"
            ]
            got = layer.get_parameter(part).grad
            torch.testing.assert_close(got, other.grad, rtol=0, atol=1e-12)
            assert got.abs().max() > 0
            n += 1
    assert n == 2 * 2 * len(TARGETS)


def test_nothing_else_gets_a_gradient():
    _, ours = both()
    loss_of(ours(ids()), ids()).backward()
    for name, p in ours.named_parameters():
        assert (p.grad is not None) == ("lora_" in name)


def test_at_first_it_is_the_model_that_was_loaded():
    _, ours = pair()
    before = ours(ids())
    inject(ours, TARGETS, rank=2, alpha=4.0)
    assert torch.equal(ours(ids()), before)


def test_a_matrix_of_768_squared_learns_12288_numbers():
    layer = LoRALinear(nn.Linear(768, 768, bias=False), 8, 16)
    assert trainable(layer) == (12_288, 589_824 + 12_288)


def test_adapters_go_to_peft_and_come_back(tmp_path):
    _, ours = both()
    save_adapter(ours, tmp_path / "ours", NAMES)
    theirs, fresh = pair()
    loaded = PeftModel.from_pretrained(theirs, tmp_path / "ours").double()
    torch.testing.assert_close(
        loaded(ids()).logits, ours(ids()), rtol=0, atol=1e-12
    )
    loaded.save_pretrained(tmp_path / "theirs")
    done = load_adapter(fresh, tmp_path / "theirs", NAMES)
    assert done == [name for name, _ in adapters(ours)]
    torch.testing.assert_close(fresh(ids()), ours(ids()), rtol=0, atol=1e-12)
    # the adapters alone are in the file
    from safetensors.torch import load_file

    kept = load_file(tmp_path / "ours" / "adapter_model.safetensors")
    assert sum(x.numel() for x in kept.values()) == trainable(ours)[0]


def test_merged_is_equal_in_float64_and_bounded_in_bfloat16():
    _, ours = both()
    want = ours(ids())
    names = [n for n, _ in ours.named_modules() if "base" not in n]
    merge_adapters(ours)
    assert not list(adapters(ours))
    assert [n for n, _ in ours.named_modules()] == [
        n for n in names if "lora" not in n
    ]
    torch.testing.assert_close(ours(ids()), want, rtol=0, atol=1e-12)

    layer = LoRALinear(nn.Linear(64, 48, bias=False), 4, 8)
    nn.init.normal_(layer.lora_B, std=0.1)
    exact = layer.base.weight.detach() + layer.delta().detach()
    half = nn.Sequential(layer).to(torch.bfloat16)
    # B A of the rounded factors, rounded once more: 2^-8 of each number
    factors = layer.scale * (
        layer.lora_B.float().detach() @ layer.lora_A.float().detach()
    )
    whole = layer.base.weight.detach().float() + factors
    merge_adapters(half)
    gap = (half[0].weight.float() - whole).abs()
    assert (gap <= 2**-8 * whole.abs() + 1e-9).all()
    assert (half[0].weight.float() - exact).abs().max() > 0


def test_merging_into_a_tied_matrix_is_refused_until_it_is_untied():
    _, ours = pair(tie=True)
    assert ours.lm_head.weight is ours.tok_emb.weight
    inject(ours, ["lm_head"], rank=2, alpha=2.0)
    layer = dict(adapters(ours))["lm_head"]
    nn.init.normal_(layer.lora_B)
    want, table = ours(ids()), ours.tok_emb.weight.detach().clone()
    with pytest.raises(ValueError, match="lm_head tied to tok_emb"):
        merge_adapters(ours)
    assert torch.equal(ours(ids()), want)
    untie(ours, "lm_head")
    merge_adapters(ours)
    torch.testing.assert_close(ours(ids()), want, rtol=0, atol=1e-12)
    assert torch.equal(ours.tok_emb.weight, table)


class Held(nn.Module):
    """A linear layer that keeps no floats: 8-bit integers and a scale."""

    def __init__(self, base):
        super().__init__()
        self.in_features, self.out_features = (
            base.in_features,
            base.out_features,
        )
        scale = base.weight.detach().abs().amax() / 127
        held = (base.weight.detach() / scale).round().to(torch.int8)
        self.register_buffer("held", held)
        self.scale = float(scale)

    def forward(self, x):
        return x @ (self.scale * self.held.to(x.dtype)).mT


def test_a_quantized_base_learns_through_and_is_not_merged():
    layer = LoRALinear(Held(nn.Linear(6, 5, bias=False)), 2, 2.0)
    nn.init.normal_(layer.lora_B)
    x = torch.randn(4, 6, requires_grad=True)
    layer(x).square().sum().backward()
    for tensor in (x, layer.lora_A, layer.lora_B):
        assert tensor.grad.abs().max() > 0
    model = nn.Sequential(layer)
    with pytest.raises(ValueError, match="quantized"):
        merge_adapters(model)
    assert model[0] is layer


@pytest.mark.parametrize("bias", [True, False])
def test_four_bits_learn_beside_what_they_decode_to(bias, tmp_path):
    """QLoRA's layer is LoRA's on the decoded weights, gradients included."""
    torch.manual_seed(0)
    linear = nn.Linear(24, 10, bias=bias)
    packed = nf4_linear(linear, block=8)
    decoded = nn.Linear(24, 10, bias=bias)
    decoded.load_state_dict(
        linear.state_dict() | {"weight": packed.weight.dequantize()}
    )
    layers = [LoRALinear(base, 3, 6.0) for base in (packed, decoded)]
    x = torch.randn(5, 24)
    found = []
    for layer in layers:
        g = torch.Generator().manual_seed(1)
        with torch.no_grad():
            layer.lora_A.normal_(generator=g)
            layer.lora_B.normal_(generator=g)
        mine = x.clone().requires_grad_()
        y = layer(mine)
        y.pow(3).sum().backward()
        found.append((y, mine.grad, layer.lora_A.grad, layer.lora_B.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-3)
    # its codes did not move, and its file fits the layer of floats
    assert torch.equal(
        packed.weight.packed, nf4_linear(linear, block=8).weight.packed
    )
    models = [nn.Sequential(layer) for layer in layers]
    save_adapter(models[0], tmp_path, {"{}": "layer.{}"})
    fresh = nn.Sequential(nf4_linear(linear, block=8))
    assert load_adapter(fresh, tmp_path, {"{}": "layer.{}"}) == ["0"]
    torch.testing.assert_close(fresh(x), models[0](x), rtol=0, atol=0)
    with pytest.raises(ValueError, match="quantized"):
        merge_adapters(models[0])


def test_a_quantized_layer_is_adapted_by_its_name():
    model = nn.Sequential(nf4_linear(nn.Linear(24, 10), block=8))
    assert inject(model, ["0"], rank=2, alpha=2.0) == ["0"]
    assert trainable(model)[0] == 2 * (24 + 10)
    with pytest.raises(ValueError, match="rank: got 11, want 1 to 10"):
        LoRALinear(nf4_linear(nn.Linear(24, 10), block=8), 11, 2.0)


def test_an_adapter_of_another_kind_is_refused_by_key(tmp_path):
    _, ours = both()
    save_adapter(ours, tmp_path, NAMES)
    path = tmp_path / "adapter_config.json"
    plain = json.loads(path.read_text())
    for key, value in (
        ("use_dora", True), ("bias", "all"), ("lora_dropout", 0.1),
        ("rank_pattern", {"q_proj": 2}), ("modules_to_save", ["lm_head"]),
        ("something_new", 3), ("init_lora_weights", "pissa"),
    ):  # fmt: skip
        path.write_text(json.dumps(plain | {key: value}))
        _, fresh = pair()
        before = fresh(ids())
        with pytest.raises(ValueError, match=f"{key} = "):
            load_adapter(fresh, tmp_path, NAMES)
        assert torch.equal(fresh(ids()), before)
        assert not list(adapters(fresh))


def test_a_file_that_does_not_fit_is_refused_whole(tmp_path):
    from safetensors.torch import load_file, save_file

    _, ours = both()
    save_adapter(ours, tmp_path, NAMES)
    path = tmp_path / "adapter_model.safetensors"
    kept = load_file(path)
    first = next(iter(kept))
    for change, said in (
        ({first: torch.zeros(2, 2)}, "want"),
        ({"base_model.model.none.lora_A.weight": torch.zeros(3, 24)}, "none"),
    ):
        save_file(kept | change, path)
        _, fresh = pair()
        with pytest.raises(ValueError, match=said):
            load_adapter(fresh, tmp_path, NAMES)
        assert not list(adapters(fresh))
    save_file({k: v for k, v in kept.items() if k != first}, path)
    _, fresh = pair()
    with pytest.raises(ValueError, match="lora_B"):
        load_adapter(fresh, tmp_path, NAMES)


def test_what_cannot_be_adapted_is_refused():
    _, ours = pair()
    for targets, options, said in (
        (["nowhere"], {}, "nowhere"),
        (["tok_emb"], {}, "linear"),
        (TARGETS, {"rank": 0}, "rank"),
        (TARGETS, {"rank": 25}, "rank"),
        (TARGETS, {"alpha": 0.0}, "alpha"),
        ("q_proj", {}, "targets"),
    ):
        with pytest.raises(ValueError, match=said):
            inject(ours, targets, **({"rank": 2, "alpha": 2.0} | options))
        assert all(p.requires_grad for p in ours.parameters())
    inject(ours, TARGETS, rank=2, alpha=2.0)
    with pytest.raises(ValueError, match="with adapters"):
        inject(ours, TARGETS, rank=2, alpha=2.0)
    with pytest.raises(ValueError, match="no adapters"):
        merge_adapters(pair()[1])


def test_the_start_is_that_of_its_generator():
    starts = [
        LoRALinear(
            nn.Linear(6, 5), 2, 2.0, generator=torch.Generator().manual_seed(s)
        ).lora_A
        for s in (1, 1, 2)
    ]
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])
    assert starts[0].abs().max() <= 6**-0.5
