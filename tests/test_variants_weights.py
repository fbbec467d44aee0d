"""A variant's tensors come from a checkpoint whole, and go back whole."""

from dataclasses import replace

import pytest
import torch
from handmade.models.llama import Llama
from handmade.models.variants import PRESETS, Variant, VariantConfig
from variant_helpers import (
    MODELS,
    came_back,
    compare,
    hf_model,
    some_ids,
)

each_model = pytest.mark.parametrize("kind", MODELS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_parameters_of_transformers(name):
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

    config = VariantConfig.from_name(name).to_hf()
    theirs = CONFIG_MAPPING[config["model_type"]].from_dict(config)
    with torch.device("meta"):
        ours = Variant.from_name(name)
        reference = MODEL_FOR_CAUSAL_LM_MAPPING[type(theirs)](theirs)
        # a mixture looks at who was chosen, which nobody is there
        if ours.config.n_experts is None:
            assert ours(torch.zeros(1, 3, dtype=torch.int64)).is_meta
    count = [sum(p.numel() for p in m.parameters()) for m in (ours, reference)]
    assert count[0] == count[1]
    assert count[0] == {
        "mistral-7b": 7_241_732_096, "mixtral-8x7b": 46_702_792_704,
        "qwen3-0.6b": 596_049_920, "gemma-3-1b": 999_885_952,
    }.get(name, count[0])  # fmt: skip


def test_from_name_takes_overrides():
    model = Variant.from_name(
        "gemma-3-1b", n_layers=7, d_model=16, vocab_size=99, d_ff=12
    )
    kinds = ["sliding"] * 5 + ["full", "sliding"]
    assert [*model.config.layer_kinds] == kinds
    assert len(model.blocks) == 7
    assert model(torch.tensor([[98]])).shape == (1, 1, 99)


# --- the way back ---------------------------------------------------------


@each_model
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float64]
)
def test_every_tensor_comes_back_bit_for_bit(kind, dtype):
    theirs = hf_model(kind, dtype)
    back = came_back(Variant.from_hf(theirs), theirs)
    if dtype == torch.float32 or kind != "mixtral":
        assert torch.equal(back(some_ids()).logits, theirs(some_ids()).logits)


@each_model
def test_to_hf_of_a_fresh_model(kind):
    config = Variant.from_hf(hf_model(kind)).config
    fresh = Variant(replace(config, inert={}))
    back = fresh.to_hf()
    assert back.config.eos_token_id is None
    again = Variant.from_hf(back)
    assert again.config == config
    assert torch.equal(again(some_ids()), fresh(some_ids()))


@each_model
def test_half_precision_is_near(kind):
    theirs = hf_model(kind, torch.bfloat16)
    ours = Variant.from_hf(theirs)
    got, want = ours(some_ids()), theirs(some_ids()).logits
    assert got.dtype == want.dtype == torch.bfloat16
    wide = Variant.from_hf(hf_model(kind, torch.float32))(some_ids())
    off = [(x.float() - wide).abs().mean() for x in (got, want)]
    assert off[0] < 2 * off[1]


def test_a_published_mixtral_has_each_expert_for_itself():
    """Under the names that transformers' own conversion reads."""
    theirs = hf_model("mixtral", torch.float64)
    weights = dict(theirs.state_dict())
    for layer in range(3):
        at = f"model.layers.{layer}."
        fused = weights.pop(f"{at}mlp.experts.gate_up_proj")
        down = weights.pop(f"{at}mlp.experts.down_proj")
        sparse = f"{at}block_sparse_moe."
        weights[f"{sparse}gate.weight"] = weights.pop(f"{at}mlp.gate.weight")
        for e in range(5):
            gate, up = fused[e].chunk(2)
            weights[f"{sparse}experts.{e}.w1.weight"] = gate
            weights[f"{sparse}experts.{e}.w2.weight"] = down[e]
            weights[f"{sparse}experts.{e}.w3.weight"] = up
    ours = Variant.from_weights(weights, theirs.config)
    compare(ours, theirs, some_ids())
    came_back(ours, theirs)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("qwen3", lambda w: w.pop("model.layers.1.self_attn.q_norm.weight"),
         r"missing: model.layers.1.self_attn.q_norm.weight \(our blocks.1."),
        ("llama", lambda w: w.update({
            "model.layers.1.self_attn.q_norm.weight": torch.ones(10)}),
         "unexpected: model.layers.1.self_attn.q_norm.weight"),
        ("mixtral", lambda w: w.update({
            "model.layers.0.mlp.experts.down_proj": torch.ones(4, 24, 40)}),
         r"misshapen: model.layers.0.mlp.experts.down_proj \(4, 24, 40\), "
         r"want \(5, 24, 40\)"),
        ("gemma3_text", lambda w: w.pop(
            "model.layers.2.pre_feedforward_layernorm.weight"),
         "missing: model.layers.2.pre_feedforward_layernorm.weight"),
        ("deepseek_v3", lambda w: w.pop(
            "model.layers.2.self_attn.kv_a_proj_with_mqa.bias"),
         "missing: model.layers.2.self_attn.kv_a_proj_with_mqa.bias"),
    ],
)  # fmt: skip
def test_wrong_weights(kind, change, message):
    theirs = hf_model(kind)
    weights = dict(theirs.state_dict())
    change(weights)
    with pytest.raises(ValueError, match=f"(?s)weights: got .*{message}"):
        Variant.from_weights(weights, theirs.config)


@pytest.mark.parametrize("source", [None, "a name", {}, torch.zeros(1)])
def test_only_a_model_has_weights(source):
    with pytest.raises(ValueError, match=r"hf_model: got a .*, want a model"):
        Variant.from_hf(source)


def test_a_variant_wants_a_config_of_its_own():
    plain = Llama.from_hf(hf_model("llama"))
    with pytest.raises(ValueError, match="config: got LlamaConfig, want a V"):
        Variant(plain.config)
