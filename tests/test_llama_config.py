"""A config is read whole or refused, and means what transformers makes of it.

Three lists account for every key: those implemented are held against the
logits of transformers, those inert are shown to change none of them, and all
others are refused by name and value.
"""

import json
import re

import pytest
import torch
from config_helpers import LLAMA_2_7B, LLAMA_3_1_8B, SMOLLM2_135M, TINYLLAMA
from handmade.blocks.rope import RopeScaling
from handmade.inference.cache import KVCache
from handmade.models import config as hf
from handmade.models import llama_config as lists
from handmade.models.llama import Llama, LlamaConfig
from handmade.parity import parity
from handmade.weights.reference import random_reference

V, T = 61, 23
# no size equal to another, as a file states them
SIZES = {
    "model_type": "llama", "vocab_size": V, "hidden_size": 24,
    "intermediate_size": 40, "num_hidden_layers": 3,
    "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 10,
    "rms_norm_eps": 1e-3, "max_position_embeddings": 32,
}  # fmt: skip


def reference(config: dict, dtype=torch.float64, attn="sdpa"):
    """Build transformers' model as it reads this very dict."""
    from transformers import LlamaConfig as HFConfig
    from transformers import LlamaForCausalLM

    hf_config = HFConfig.from_dict(json.loads(json.dumps(config)))
    hf_config._attn_implementation = attn
    return random_reference(LlamaForCausalLM, hf_config).to(dtype)


def some_ids() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(V, (4, T), generator=generator)


def held_to_theirs(config: dict) -> Llama:
    """Load ours from the raw dict and compare every layer in float64."""
    theirs = reference(config)
    ours = Llama.from_weights(theirs.state_dict(), config)
    parity(
        ours, theirs, some_ids(), layers=Llama.HF_LAYERS, name="from a dict"
    )
    return ours


# --- every key is accounted for -------------------------------------------

LISTS = (
    {*lists.HF_KEYS.values(), *hf.ROPE},
    lists.HF_REQUIRED.keys(),
    lists.HF_INERT,
)


def test_every_key_of_transformers_is_in_exactly_one_list():
    from transformers import GenerationConfig
    from transformers import LlamaConfig as HFConfig

    known = {*HFConfig().to_dict(), "rope_scaling", "rope_theta"}
    # what it takes out of a config because it belongs to another file
    known |= GenerationConfig._get_default_generation_params().keys()
    for key in known:
        assert sum(key in keys for keys in LISTS) == 1, key
    for one in range(3):
        for other in range(one):
            assert not LISTS[one] & LISTS[other]


@pytest.mark.parametrize(
    "config", [LLAMA_2_7B, LLAMA_3_1_8B, SMOLLM2_135M, TINYLLAMA]
)
def test_real_files_are_read_whole(config):
    from transformers import LlamaConfig as HFConfig

    ours = LlamaConfig.from_hf(config)
    # the same by way of the library's object, which renames some keys
    assert ours == LlamaConfig.from_hf(HFConfig.from_dict(dict(config)))
    back = HFConfig.from_dict(ours.to_hf()).to_dict()
    want = HFConfig.from_dict(dict(config)).to_dict()
    assert back == want


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("llama-2-7b", LLAMA_2_7B),
        ("llama-3.1-8b", LLAMA_3_1_8B),
        ("smollm2-135m", SMOLLM2_135M),
    ],
)
def test_presets_are_what_the_files_say(name, config):
    assert LlamaConfig.from_name(name) == LlamaConfig.from_hf(config)


def test_the_packaged_file_is_read():
    from handmade.weights.smollm2 import smollm2

    ours = LlamaConfig.from_hf(smollm2().config)
    assert ours == LlamaConfig.from_name("smollm2-135m")
    assert ours.inert["pad_token_id"] == 2


OTHER_VALUES = {
    "architectures": ["LlamaModel"], "dtype": "float32",
    "torch_dtype": "float64", "transformers_version": "4.0.0",
    "bos_token_id": 7, "eos_token_id": [8, 9], "pad_token_id": 3,
    "use_cache": False, "initializer_range": 0.7, "return_dict": True,
    "output_hidden_states": True, "id2label": {"0": "a", "1": "b"},
    "label2id": {"a": 0, "b": 1}, "num_labels": 2,
    "problem_type": "regression", "_commit_hash": "c0ffee",
    "_attn_implementation": "sdpa", "attn_implementation": "sdpa",
    "output_attentions": False, "_name_or_path": "some/where",
    "pretraining_tp": 4, "max_sequence_length": 5, "is_llama_config": True,
    "transformers.js_config": {"dtype": "q4"},
}  # fmt: skip


def test_inert_keys_change_nothing_in_either_library():
    assert OTHER_VALUES.keys() | hf.GENERATION == lists.HF_INERT
    plain, ids = reference(SIZES), some_ids()
    want = plain(ids).logits
    ours = LlamaConfig.from_hf(SIZES)
    for key in lists.HF_INERT:
        config = {**SIZES, key: OTHER_VALUES.get(key, 3)}
        assert LlamaConfig.from_hf(config) == ours, key
        assert LlamaConfig.from_hf(config).inert[key] == config[key]
        assert torch.equal(reference(config)(ids).logits, want), key


REFUSED = [
    ("model_type", "qwen2"), ("hidden_act", "gelu"), ("hidden_act", None),
    ("mlp_bias", True), ("attention_dropout", 0.1),
    ("quantization_config", {"bits": 4}), ("is_encoder_decoder", True),
    ("chunk_size_feed_forward", 8), ("rope_interleaved", True),
    ("sliding_window", 4096), ("auto_map", {"AutoModel": "x.py"}),
    ("partial_rotary_factor", 0.5), ("original_max_position_embeddings", 9),
    # keys of no Llama: of other models, and of none
    ("logits_scaling", 8.0), ("final_logit_softcapping", 30.0),
    ("query_pre_attn_scalar", 2), ("attention_multiplier", 0.1),
    ("layer_types", ["full_attention"]), ("head_dimension", 10),
    ("num_experts", None), ("n_layer", 3), ("", 0),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_every_other_key_is_refused_by_name_and_value(key, value):
    message = f"^{key}: got .*{re.escape(str(value))}"
    with pytest.raises(ValueError, match=message):
        LlamaConfig.from_hf({**SIZES, key: value})


@pytest.mark.parametrize(
    "key", ["vocab_size", "hidden_size", "num_hidden_layers",
            "num_attention_heads", "intermediate_size"]
)  # fmt: skip
def test_sizes_have_no_default(key):
    config = {k: v for k, v in SIZES.items() if k != key}
    with pytest.raises(ValueError, match=f"{key}: got nothing"):
        LlamaConfig.from_hf(config)


@pytest.mark.parametrize("config", [None, "llama", 3, [("hidden_size", 3)]])
def test_what_is_no_config(config):
    with pytest.raises(ValueError, match="config: got a"):
        LlamaConfig.from_hf(config)


def test_reading_leaves_the_dict_as_it_was():
    config = json.loads(json.dumps(LLAMA_3_1_8B))
    LlamaConfig.from_hf(config)
    assert config == LLAMA_3_1_8B


# --- what the keys mean ---------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_key_value_heads": None},
        {"num_key_value_heads": 6},
        {"head_dim": None},
        {"tie_word_embeddings": True},
        {"attention_bias": True},
        {"rms_norm_eps": 0.25},
        {"hidden_size": 48, "vocab_size": 71},
        {"num_hidden_layers": 1, "intermediate_size": 9},
    ],
    ids=str,
)
def test_implemented_keys_mean_what_they_mean_in_transformers(changes):
    held_to_theirs({**SIZES, **changes})


@pytest.mark.parametrize(
    "key", ["num_key_value_heads", "head_dim", "rms_norm_eps",
            "max_position_embeddings"]
)  # fmt: skip
def test_what_older_files_leave_out(key):
    config = {k: v for k, v in SIZES.items() if k != key}
    held_to_theirs(config)
    want = reference(config).config.max_position_embeddings
    assert LlamaConfig.from_hf(config).max_seq_len == want


LINEAR = {"rope_type": "linear", "factor": 2.5}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 28,
}  # fmt: skip
OLD_LINEAR = {"type": "linear", "factor": 2.5}
NO_LENGTH = {k: v for k, v in LLAMA3.items() if k[0] != "o"}
# spellings, contradictions included: the last column is who wins
ROTARY = [
    ({}, 1e4, None),
    ({"rope_theta": 77.0}, 77.0, None),
    ({"rope_theta": 77}, 77, None),
    ({"rope_scaling": None, "rope_theta": 77.0}, 77.0, None),
    ({"rope_scaling": {}, "rope_theta": 77.0}, 77.0, None),
    ({"rope_parameters": {"rope_type": "default", "rope_theta": 5.0}},
     5.0, None),
    ({"rope_parameters": {"rope_theta": 5.0}, "rope_theta": 77.0}, 5.0, None),
    ({"rope_parameters": {"rope_type": "default"}, "rope_theta": 77.0},
     77.0, None),
    ({"rope_scaling": LINEAR, "rope_theta": 77.0}, 77.0, "linear"),
    ({"rope_scaling": OLD_LINEAR, "rope_theta": 77.0}, 77.0, "linear"),
    ({"rope_scaling": OLD_LINEAR}, 1e4, "linear"),
    ({"rope_parameters": {**LINEAR, "rope_theta": 5.0}}, 5.0, "linear"),
    ({"rope_scaling": OLD_LINEAR, "rope_theta": 77.0,
      "rope_parameters": {"rope_type": "default", "rope_theta": 5.0}},
     77.0, "linear"),
    ({"rope_scaling": {**LINEAR, "rope_theta": 3.0}, "rope_theta": 77.0,
      "rope_parameters": {"rope_type": "default", "rope_theta": 5.0}},
     3.0, "linear"),
    ({"rope_scaling": {"rope_type": "default"}, "rope_theta": 77.0,
      "rope_parameters": {**LINEAR, "rope_theta": 5.0}}, 77.0, None),
    ({"rope_scaling": {}, "rope_parameters": {**LINEAR, "rope_theta": 5.0}},
     5.0, "linear"),
    ({"rope_scaling": {"type": "linear", **LLAMA3}, "rope_theta": 77.0},
     77.0, "llama3"),
    ({"rope_scaling": {"rope_type": "default", **OLD_LINEAR},
      "rope_theta": 77.0}, 77.0, None),
    ({"rope_scaling": LLAMA3, "rope_theta": 500.0}, 500.0, "llama3"),
    ({"rope_scaling": NO_LENGTH, "rope_theta": 500.0}, 500.0, "llama3"),
    ({"rope_scaling": LLAMA3, "rope_theta": 500.0,
      "original_max_position_embeddings": 9}, 500.0, "llama3"),
    ({"rope_scaling": NO_LENGTH, "rope_theta": 500.0,
      "original_max_position_embeddings": 9}, 500.0, "llama3"),
    ({"rope_scaling": LINEAR, "rope_theta": 77.0,
      "partial_rotary_factor": 1.0}, 77.0, "linear"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "theta", "kind"), ROTARY, ids=str)
def test_rotary_settings_are_read_as_in_transformers(changes, theta, kind):
    ours = held_to_theirs({**SIZES, **changes})
    scaling = ours.config.rope_scaling
    assert ours.config.rope_theta == theta
    assert (scaling and scaling.kind) == kind


SCALED = [
    {"rope_scaling": LINEAR, "rope_theta": 50.0},
    # of 5 frequencies some are slow, some mixed: tested below
    {"rope_scaling": LLAMA3, "rope_theta": 50.0},
    {"rope_scaling": {**LLAMA3, "factor": 32.0, "low_freq_factor": 0.5},
     "rope_theta": 500.0},
]  # fmt: skip


@pytest.mark.parametrize("changes", SCALED, ids=str)
@pytest.mark.parametrize(
    ("dtype", "attn"),
    [(torch.float32, "eager"), (torch.float32, "sdpa"),
     (torch.float64, "sdpa")],
)  # fmt: skip
def test_scaled_rotary_whole_and_cached(changes, dtype, attn):
    config = {**SIZES, **changes}
    theirs = reference(config, dtype, attn)
    ours, ids = Llama.from_hf(theirs), some_ids()
    parity(ours, theirs, ids, layers=Llama.HF_LAYERS, name="scaled")
    cache, want = KVCache(), theirs(ids).logits
    steps = [ours(part, cache=cache) for part in ids.split([9, 1, 12, 1], 1)]
    limit = 1e-4 if dtype == torch.float32 else 1e-10
    gap = (torch.cat(steps, 1) - want).abs().max() / want.abs().max()
    assert gap < limit
    # and it is not what the model says without scaling
    plain = Llama.from_weights(theirs.state_dict(), {**config,
        "rope_scaling": None})(ids)  # fmt: skip
    assert (plain - want).abs().max() / want.abs().max() > 1e-2
    back = ours.to_hf()
    assert back.config.rope_parameters == theirs.config.rope_parameters
    torch.testing.assert_close(back(ids).logits, want)


def test_llama3_mixes_three_kinds_of_frequency():
    # what the comparison above would not prove if all were of one kind
    scaling = RopeScaling(
        kind="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_seq_len=28,
    )  # fmt: skip
    w = 50.0 ** -(torch.arange(0, 10, 2) / 10)
    ratio = w / scaling.slow(w)
    assert ratio[0] == 1
    assert 1.3 < ratio[1] < 7.9
    assert ratio[-1] == 8


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"rope_type": "dynamic", "factor": 2.0},
         "rope_type: got dynamic, .*the longest text that the model was"),
        ({"type": "dynamic", "factor": 2.0}, "rope_type: got dynamic"),
        ({"rope_type": "yarn", "factor": 2.0}, "rope_type: got yarn"),
        ({"rope_type": "longrope", "short_factor": [1.0]},
         "rope_type: got longrope"),
        ({"rope_type": "su", "factor": 2.0}, "rope_type: got su"),
        ({"rope_type": None}, "rope_type: got None"),
        ({"rope_type": ["linear"]}, r"rope_type: got \['linear'\]"),
        ({"rope_type": "default", "factor": 2.0}, "factor: got 2.0"),
        ({"rope_type": "default", "mrope_section": [1, 2]},
         r"mrope_section: got \[1, 2\]"),
        ({**LINEAR, "low_freq_factor": 1.0}, "low_freq_factor: got 1.0"),
        ({**LINEAR, "mscale": 1.0}, "mscale: got 1.0"),
        ({"rope_type": "linear"}, "factor: got nothing"),
        ({**LINEAR, "factor": 0}, "factor: got 0"),
        ({**LINEAR, "factor": None}, "factor: got None"),
        ({**LINEAR, "factor": float("nan")}, "factor: got nan"),
        ({**LLAMA3, "high_freq_factor": 1.0}, "high_freq_factor: got 1.0"),
        ({"rope_type": "llama3", "factor": 8.0}, "_freq_factor: got nothing"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor: got 0.5"),
        ({"rope_theta": 0.0}, "rope_theta: got 0.0"),
        ({"rope_theta": None}, "rope_theta: got None"),
        ({"rope_theta": float("inf")}, "rope_theta: got inf"),
        ({"full_attention": {"rope_type": "default"}}, "full_attention: got"),
        ("linear", "rope_parameters: got linear, want a dict"),
    ],
)  # fmt: skip
def test_rotary_settings_that_are_not_implemented(rope, message):
    for spelling in ("rope_parameters", "rope_scaling"):
        with pytest.raises(ValueError, match=message):
            LlamaConfig.from_hf({**SIZES, spelling: rope})


# --- presets --------------------------------------------------------------


def test_presets_take_overrides():
    config = LlamaConfig.from_name("smollm2-135m", n_layers=2, vocab_size=99)
    assert (config.n_layers, config.vocab_size, config.d_model) == (2, 99, 576)
    model = Llama.from_name("smollm2-135m", n_layers=1, vocab_size=99)
    assert len(model.blocks) == 1
    assert model(torch.tensor([[98]])).shape == (1, 1, 99)
    # a preset is not changed by what was made of it
    assert LlamaConfig.from_name("smollm2-135m").n_layers == 30


def test_wrong_names_are_refused():
    with pytest.raises(ValueError, match="name: got 'gpt', want one of"):
        LlamaConfig.from_name("gpt")
    with pytest.raises(ValueError, match="layers: got 2, want one of"):
        LlamaConfig.from_name("smollm2-135m", layers=2)
    with pytest.raises(ValueError, match="n_heads: got 7"):
        LlamaConfig.from_name("smollm2-135m", n_heads=7, n_kv_heads=7,
                              d_head=None)  # fmt: skip


def test_every_named_curve_is_transformers_own():
    from transformers.activations import ACT2FN

    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    for name in hf.ACTIVATIONS:
        torch.testing.assert_close(hf.activation(name)(x), ACT2FN[name](x))
