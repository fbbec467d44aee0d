"""Each model_type's config is read whole or refused.

Three lists account for every key: those implemented are held against
transformers, those inert are shown to change nothing, and all others are
refused by name and value.
"""

import json
import re
from dataclasses import replace

import pytest
import torch
from handmade.models import config as hf
from handmade.models import llama_config
from handmade.models.latent_attention import Latent
from handmade.models.llama import LlamaConfig
from handmade.models.variants import Variant, VariantConfig
from handmade.models.variants_hf import FAMILIES
from handmade.weights.reference import random_reference
from test_llama_config import OTHER_VALUES
from variant_files import FILES, GEMMA_3_1B
from variant_helpers import MODELS, compare, some_ids

each_model = pytest.mark.parametrize("kind", MODELS)


def their_config(config: dict):
    """Return transformers' config as it reads this very dict."""
    from transformers import CONFIG_MAPPING

    told = json.loads(json.dumps(config))
    read = CONFIG_MAPPING[told["model_type"]].from_dict(told)
    read._attn_implementation = "sdpa"
    read._experts_implementation = "eager"
    return read


def reference(config: dict):
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    theirs = their_config(config)
    hf_class = MODEL_FOR_CAUSAL_LM_MAPPING[type(theirs)]
    return random_reference(hf_class, theirs).double()


def held_to_theirs(config: dict) -> Variant:
    """Load ours from the raw dict and compare every layer in float64."""
    theirs = reference(config)
    ours = Variant.from_weights(theirs.state_dict(), config)
    compare(ours, theirs, some_ids())
    return ours


def as_file(kind: str) -> dict:
    return {**MODELS[kind], "model_type": kind}


# --- every key is accounted for -------------------------------------------


def lists(kind: str) -> tuple:
    family = FAMILIES[kind]
    implemented = {*family.sizes.values(), *family.keys}
    return implemented, family.required.keys(), family.inert


def test_there_is_a_test_for_every_family():
    assert FAMILIES.keys() == MODELS.keys()


@each_model
def test_every_key_of_transformers_is_in_exactly_one_list(kind):
    from transformers import CONFIG_MAPPING, GenerationConfig

    of_kind = lists(kind)
    known = {*CONFIG_MAPPING[kind]().to_dict(), "rope_scaling", "rope_theta"}
    known |= GenerationConfig._get_default_generation_params().keys()
    # one number that a model reads, and one that says how to decode
    for key in known - {"model_type"}:
        assert sum(key in keys for keys in of_kind) == 1, key
    for one in range(3):
        for other in range(one):
            assert not of_kind[one] & of_kind[other]


OTHERS = {
    **OTHER_VALUES, "cache_implementation": "hybrid",
    "output_router_logits": True, "router_aux_loss_coef": 0.5,
    "_sliding_window_pattern": 3, "moe_intermediate_size": 9,
    "n_shared_experts": 2, "n_routed_experts": 12, "n_group": 3,
    "topk_group": 2, "routed_scaling_factor": 1.5, "num_experts_per_tok": 4,
    "norm_topk_prob": False, "num_nextn_predict_layers": 2,
    "num_mtp_layers": 2,
}  # fmt: skip


@each_model
def test_inert_keys_change_nothing_in_either_library(kind):
    """Those of the Llama are shown in test_llama_config already."""
    plain, ids = reference(as_file(kind)), some_ids()
    want = plain(ids).logits
    ours = VariantConfig.from_hf(as_file(kind))
    inert = FAMILIES[kind].inert
    assert inert <= OTHERS.keys() | hf.GENERATION
    for key in inert:
        config = {**as_file(kind), key: OTHERS.get(key, 3)}
        assert VariantConfig.from_hf(config) == ours, key
        assert VariantConfig.from_hf(config).inert[key] == config[key]
    for key in inert - llama_config.HF_INERT:
        config = {**as_file(kind), key: OTHERS.get(key, 3)}
        assert torch.equal(reference(config)(ids).logits, want), key


REFUSED = {
    "llama": [("sliding_window", 9), ("qk_norm", True), ("layer_types", [])],
    "mistral": [("attention_bias", True), ("hidden_act", "swish"),
                ("layer_types", ["full_attention"] * 3),
                ("num_local_experts", 8)],
    "mixtral": [("router_jitter_noise", 0.1), ("attention_bias", True),
                ("hidden_act", "gelu"), ("shared_experts", 1)],
    "qwen2": [("attention_bias", True), ("qk_norm", True),
              ("use_sliding_window", "yes"), ("max_window_layers", -1),
              ("layer_types", ["chunked_attention"] * 3)],
    "qwen3": [("num_experts", 8), ("layer_types", ["full_attention"] * 2),
              ("attention_dropout", 0.5)],
    "gemma3_text": [("attn_logit_softcapping", 50.0),
                    ("use_bidirectional_attention", True),
                    ("hidden_act", "gelu"), ("sliding_window_pattern", 0),
                    ("rope_parameters", {"rope_theta": 5.0}),
                    ("layer_types", "sliding_attention"),
                    ("vision_config", {"hidden_size": 4})],
    "deepseek_v3": [("first_k_dense_replace", 2), ("head_dim", 10),
                    ("qk_head_dim", 10), ("sliding_window", 4),
                    ("scoring_func", "softmax"),
                    ("rope_scaling", {"rope_type": "yarn", "factor": 40.0}),
                    ("quantization_config", {"bits": 8})],
}  # fmt: skip
EVERYWHERE = [
    ("mlp_bias", True), ("auto_map", {"AutoModel": "x.py"}),
    ("chunk_size_feed_forward", 8), ("partial_rotary_factor", 0.5),
    ("logits_scaling", 8.0), ("n_layer", 3), ("", 0), ("bias", False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [(kind, *pair) for kind in MODELS for pair in REFUSED[kind] + EVERYWHERE],
)
def test_every_other_key_is_refused_by_name_and_value(kind, key, value):
    with pytest.raises(ValueError, match=": got ") as caught:
        VariantConfig.from_hf({**as_file(kind), key: value})
    name, said = str(caught.value).split(": got ", 1)
    if key == "rope_scaling":
        key, value = "rope_type", "yarn"
    if value == ["full_attention"] * 2:
        value = "2 layers"
    assert name == key
    assert re.search(re.escape(str(value)), said), said


@pytest.mark.parametrize("kind", ["gpt2", None, "mamba", ["llama"]])
def test_another_model_type_is_refused(kind):
    with pytest.raises(ValueError, match=r"^model_type: got .*, want one of"):
        VariantConfig.from_hf({**as_file("llama"), "model_type": kind})


@pytest.mark.parametrize("config", [None, "llama", 3, [("hidden_size", 3)]])
def test_what_is_no_config(config):
    with pytest.raises(ValueError, match="config: got a"):
        VariantConfig.from_hf(config)


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers"])
@each_model
def test_sizes_have_no_default(kind, key):
    config = {k: v for k, v in as_file(kind).items() if k != key}
    with pytest.raises(ValueError, match=f"{key}: got nothing, want a size"):
        VariantConfig.from_hf(config)


# --- what the keys mean ---------------------------------------------------

SMALL_DEFAULTS = [
    "rms_norm_eps", "max_position_embeddings", "rope_parameters",
    "sliding_window", "max_window_layers", "head_dim", "rope_interleave",
    "query_pre_attn_scalar", "layer_types", "final_logit_softcapping",
    "num_experts_per_tok", "num_local_experts", "v_head_dim",
    "qk_nope_head_dim", "kv_lora_rank", "q_lora_rank",
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "key"),
    [(k, key) for k in MODELS for key in SMALL_DEFAULTS if key in MODELS[k]],
)
def test_what_a_file_leaves_out_is_what_transformers_takes(kind, key):
    config = {k: v for k, v in as_file(kind).items() if k != key}
    want = their_config(config)
    ours = held_to_theirs(config)
    assert ours.config.max_seq_len == want.max_position_embeddings


@pytest.mark.parametrize("name", FILES)
def test_published_files_are_read_whole(name):
    config = FILES[name]
    ours = VariantConfig.from_hf(config)
    assert ours == VariantConfig.from_name(name)
    # the same by way of the library's object, which renames some keys
    theirs = their_config(config)
    assert ours == VariantConfig.from_hf(theirs)
    back = their_config(ours.to_hf()).to_dict()
    assert back == their_config(config).to_dict()
    before = json.loads(json.dumps(config))
    assert config == before


def test_spellings_of_a_gemma_mean_the_same():
    old = {**as_file("gemma3_text"), "rope_theta": 77.0,
           "rope_local_base_freq": 33.0, "sliding_window_pattern": 2,
           "rope_scaling": {"rope_type": "linear", "factor": 2.5}}  # fmt: skip
    del old["rope_parameters"], old["layer_types"]
    ours = held_to_theirs(old).config
    assert (ours.rope_theta, ours.local_theta) == (77.0, 33.0)
    assert ours.rope_scaling.factor == 2.5
    assert ours.layer_kinds == ("sliding", "full", "sliding")
    assert VariantConfig.from_hf(ours.to_hf()) == ours


def test_to_hf_refuses_a_switch_that_its_kind_has_no_word_for():
    gemma = VariantConfig.from_hf(GEMMA_3_1B)
    for kind, change, name in (
        ("llama", {"qk_norm": True}, "qk_norm"),
        ("mistral", {"window": 3, "layer_kinds": ("full", "sliding")},
         "layer_kinds"),
        ("qwen2", {"attention_bias": False}, "out_bias|attention_bias"),
        ("mixtral", {"scale_embeddings": True}, "scale_embeddings"),
        ("qwen3", {"sandwich": True}, "sandwich"),
    ):  # fmt: skip
        config = VariantConfig.from_hf(as_file(kind))
        with pytest.raises(ValueError, match=f"^({name}): got "):
            replace(config, **change).to_hf()
    with pytest.raises(ValueError, match=r"^one_plus_gain: got False"):
        replace(gemma, one_plus_gain=False).to_hf()


# --- sizes that do not fit ------------------------------------------------

PLAIN = {
    "vocab_size": 61, "d_model": 24, "n_layers": 3, "n_heads": 6,
    "n_kv_heads": 2, "d_ff": 40, "max_seq_len": 16,
}  # fmt: skip
LATENT = Latent(kv_rank=5, d_nope=3, d_rope=4, d_value=6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 0}, "window: got 0"),
        ({"layer_kinds": ("sliding",)}, "window: got None, want how many"),
        ({"layer_kinds": ()}, "layer_kinds: got"),
        ({"layer_kinds": "full"}, "layer_kinds: got"),
        ({"layer_kinds": ("near",)}, r"layer_kinds: got \('near',\)"),
        ({"model_type": "gpt2"}, "model_type: got 'gpt2', want one of"),
        ({"qk_norm": 1}, "qk_norm: got an int"),
        ({"query_pre_attn_scalar": 0}, "query_pre_attn_scalar: got 0"),
        ({"local_theta": -1.0}, "local_theta: got -1"),
        ({"logit_soft_cap": 0}, "logit_soft_cap: got 0"),
        ({"activation": "tanh"}, "activation: got 'tanh', want one of"),
        ({"top_k": 2}, "top_k: got 2, want None"),
        ({"n_experts": 4}, "top_k: got None, want how many of the 4"),
        ({"n_experts": 4, "top_k": 5}, "top_k: got 5, want how many"),
        ({"n_experts": 4, "top_k": True}, "top_k: got True"),
        ({"n_experts": 4, "top_k": 2, "activation": "gelu"},
         "activation: got 'gelu', want silu"),
        ({"latent": 3}, "latent: got an int"),
        ({"latent": LATENT}, "n_kv_heads: got 2, want None or n_heads"),
        ({"latent": LATENT, "n_kv_heads": 6, "d_head": 8},
         "d_head: got 8, want 4"),
        ({"latent": LATENT, "n_kv_heads": 6, "qk_norm": True},
         "qk_norm: got True, want none of it beside latent"),
        ({"latent": LATENT, "n_kv_heads": 6, "out_bias": True},
         "out_bias: got True, want that of attention_bias"),
        ({"n_kv_heads": 4}, "n_kv_heads: got 4, want a divisor"),
    ],
    ids=str,
)  # fmt: skip
def test_switches_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        VariantConfig(**{**PLAIN, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"d_rope": 3}, "d_rope: got 3, want an even"), ({"kv_rank": 0},
     "kv_rank: got 0"), ({"q_rank": 0}, "q_rank: got 0"),
     ({"interleaved": None}, "interleaved: got None")],
)  # fmt: skip
def test_latent_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(LATENT, **changes)


def test_with_every_switch_off_it_reads_what_a_llama_reads():
    ours = VariantConfig(**PLAIN)
    plain = LlamaConfig(**PLAIN)
    for name in plain.__dataclass_fields__:
        assert getattr(ours, name) == getattr(plain, name)
    assert ours.to_hf() == {**plain.to_hf(), "hidden_act": "silu"}
