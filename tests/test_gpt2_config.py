"""A config of GPT-2 is read whole or refused, and means what theirs means."""

import json
import re

import pytest
import torch
from config_helpers import DISTILGPT2, GPT2_MEDIUM, GPT2_SMALL, GPT2_XL
from handmade.models import config as hf
from handmade.models import gpt2_config as lists
from handmade.models.gpt2 import GPT2, GPT2Config
from handmade.parity import ParityError, parity
from handmade.weights.reference import random_reference

V, T = 61, 13
# no size equal to another, as a file states them
SIZES = {
    "model_type": "gpt2", "vocab_size": V, "n_embd": 24, "n_inner": 40,
    "n_layer": 3, "n_head": 4, "layer_norm_epsilon": 1e-3,
    "n_positions": 32, "bos_token_id": 1, "eos_token_id": 1,
}  # fmt: skip


def reference(config: dict, dtype=torch.float64, attn="sdpa"):
    """Build transformers' model as it reads this very dict."""
    from transformers import GPT2Config as HFConfig
    from transformers import GPT2LMHeadModel

    hf_config = HFConfig.from_dict(json.loads(json.dumps(config)))
    hf_config._attn_implementation = attn
    return random_reference(GPT2LMHeadModel, hf_config).to(dtype)


def some_ids() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(V, (4, T), generator=generator)


def held_to_theirs(config: dict, read: dict | None = None) -> GPT2:
    """Load ours from the raw dict and compare every layer in float64."""
    theirs = reference(config)
    ours = GPT2.from_weights(
        theirs.state_dict(), config if read is None else read
    )
    parity(ours, theirs, some_ids(), layers=GPT2.HF_LAYERS, name="from a dict")
    return ours


LISTS = ({*lists.HF_KEYS.values()}, lists.HF_REQUIRED.keys(), lists.HF_INERT)


def test_every_key_of_transformers_is_in_exactly_one_list():
    from transformers import GenerationConfig
    from transformers import GPT2Config as HFConfig

    known = {*HFConfig().to_dict()}
    known |= GenerationConfig._get_default_generation_params().keys()
    for key in known:
        assert sum(key in keys for keys in LISTS) == 1, key
    for one in range(3):
        for other in range(one):
            assert not LISTS[one] & LISTS[other]


FILES = {
    "gpt2": GPT2_SMALL,
    "gpt2-medium": GPT2_MEDIUM,
    "gpt2-xl": GPT2_XL,
    "distilgpt2": DISTILGPT2,
}


@pytest.mark.parametrize("name", FILES)
def test_real_files_are_read_whole(name):
    from transformers import GPT2Config as HFConfig

    config = FILES[name]
    ours = GPT2Config.from_hf(config)
    assert ours == GPT2Config.from_name(name)
    assert ours == GPT2Config.from_hf(HFConfig.from_dict(dict(config)))
    back = HFConfig.from_dict(ours.to_hf()).to_dict()
    want = HFConfig.from_dict(dict(config)).to_dict()
    assert back == want
    assert back["eos_token_id"] == 50_256


OTHER_VALUES = {
    "architectures": ["GPT2Model"], "dtype": "float32",
    "torch_dtype": "float64", "transformers_version": "4.0.0",
    "bos_token_id": 7, "eos_token_id": [8, 9], "pad_token_id": 3,
    "use_cache": False, "initializer_range": 0.7, "return_dict": True,
    "output_hidden_states": True, "id2label": {"0": "a", "1": "b"},
    "label2id": {"a": 0, "b": 1}, "num_labels": 2,
    "problem_type": "regression", "_commit_hash": "c0ffee",
    "_attn_implementation": "sdpa", "attn_implementation": "sdpa",
    "output_attentions": False, "_name_or_path": "some/where",
    "resid_pdrop": 0.9, "embd_pdrop": 0.8, "attn_pdrop": 0.7,
    "summary_type": "mean", "summary_use_proj": False,
    "summary_activation": "tanh", "summary_proj_to_labels": False,
    "summary_first_dropout": 0.6, "reorder_and_upcast_attn": True,
    "n_ctx": 9, "n_special": 0, "predict_special_tokens": False,
    "task_specific_params": {"text-generation": {"max_length": 50}},
    "gradient_checkpointing": False, "output_past": True, "_num_labels": 1,
}  # fmt: skip


def test_inert_keys_change_nothing_in_either_library():
    assert OTHER_VALUES.keys() | hf.GENERATION == lists.HF_INERT
    plain, ids = reference(SIZES), some_ids()
    want = plain(ids).logits
    ours = GPT2Config.from_hf(SIZES)
    for key in lists.HF_INERT:
        config = {**SIZES, key: OTHER_VALUES.get(key, 3)}
        assert GPT2Config.from_hf(config) == ours, key
        assert GPT2Config.from_hf(config).inert[key] == config[key]
        assert torch.equal(reference(config)(ids).logits, want), key


def test_scores_are_float32_in_half_precision_asked_for_or_not():
    """What reorder_and_upcast_attn asks of the eager attention is ours."""
    asked = {**SIZES, "reorder_and_upcast_attn": True}
    ids, gaps = some_ids(), []
    exact = reference(SIZES)
    with torch.no_grad():
        exact.transformer.h[0].attn.c_attn.weight.mul_(4)
        for config in (SIZES, asked):
            half = reference(config, torch.bfloat16, "eager")
            half.load_state_dict(exact.state_dict())
            ours = GPT2.from_hf(half)
            x = half.transformer.h[0].ln_1(half.transformer.wte(ids))
            got, want = ours.blocks[0].attn(x), half.transformer.h[0].attn
            mask = torch.zeros(T, T).masked_fill(
                torch.ones(T, T).triu(1).bool(), -torch.inf
            )
            causal = mask == 0
            got = ours.blocks[0].attn(x, mask=causal)
            gaps.append((got - want(x, attention_mask=mask)[0]).abs().max())
    assert gaps[1] < 0.05  # one rounding of bfloat16
    assert gaps[1] < gaps[0]
    in_float32 = reference(asked, torch.float32, "eager")
    torch.testing.assert_close(
        GPT2.from_hf(in_float32)(ids), in_float32(ids).logits
    )


REFUSED = [
    ("model_type", "gptj"), ("add_cross_attention", True),
    ("activation_function", "tanh"), ("activation_function", None),
    ("quantization_config", {"bits": 4}), ("is_encoder_decoder", True),
    ("chunk_size_feed_forward", 8), ("auto_map", {"AutoModel": "x.py"}),
    ("scale_attn_weights", None), ("scale_attn_by_inverse_layer_idx", 2),
    ("layer_norm_epsilon", 0.0), ("tie_word_embeddings", "yes"),
    ("n_inner", 1.5), ("n_head", 5), ("n_positions", 0),
    # keys of no GPT-2: of other models, and of none
    ("hidden_size", 24), ("num_hidden_layers", 3), ("rotary_dim", 64),
    ("parallel_residual", True), ("attention_bias", False), ("", 0),
    ("multi_query", True), ("cross_attention_hidden_size", 8),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_every_other_key_is_refused_by_name_and_value(key, value):
    ours = {theirs: our for our, theirs in lists.HF_KEYS.items()}.get(key, key)
    message = f"^({key}|{ours}): got .*{re.escape(str(value))}"
    with pytest.raises(ValueError, match=message):
        GPT2Config.from_hf({**SIZES, key: value})


@pytest.mark.parametrize(
    "key", ["vocab_size", "n_embd", "n_layer", "n_head", "n_positions"]
)
def test_sizes_have_no_default(key):
    config = {k: v for k, v in SIZES.items() if k != key}
    with pytest.raises(ValueError, match=f"{key}: got nothing"):
        GPT2Config.from_hf(config)


@pytest.mark.parametrize("config", [None, "gpt2", 3, [("n_embd", 3)]])
def test_what_is_no_config(config):
    with pytest.raises(ValueError, match="config: got a"):
        GPT2Config.from_hf(config)


MEANT = [
    {"n_inner": None},
    {"tie_word_embeddings": False},
    {"layer_norm_epsilon": 0.25},
    {"scale_attn_weights": False},
    {"scale_attn_by_inverse_layer_idx": True},
    {"scale_attn_by_inverse_layer_idx": True, "scale_attn_weights": False},
    *({"activation_function": name} for name in hf.ACTIVATIONS),
    {"n_embd": 48, "vocab_size": 71, "n_head": 2},
    {"n_layer": 1, "n_inner": 9},
]


@pytest.mark.parametrize("changes", MEANT, ids=str)
def test_implemented_keys_mean_what_they_mean_in_transformers(changes):
    held_to_theirs({**SIZES, **changes})


@pytest.mark.parametrize(
    ("key", "value", "layer"),
    [
        ("layer_norm_epsilon", 0.25, "blocks.0.attn_norm"),
        ("scale_attn_weights", False, "blocks.0.attn"),
        ("scale_attn_by_inverse_layer_idx", True, "blocks.1.attn"),
        ("activation_function", "gelu", "blocks.0.ffn"),
    ],
)
def test_a_key_that_is_read_over_shows_where_it_acts(key, value, layer):
    """The comparison above would notice each of them."""
    with pytest.raises(ParityError) as caught:
        held_to_theirs({**SIZES, key: value}, read=SIZES)
    assert layer in str(caught.value).splitlines()[0]


@pytest.mark.parametrize("key", lists.HF_DEFAULTS)
def test_what_older_files_leave_out(key):
    held_to_theirs({k: v for k, v in SIZES.items() if k != key})


def test_presets_take_overrides():
    config = GPT2Config.from_name("gpt2", n_layers=2, vocab_size=99)
    assert (config.n_layers, config.vocab_size, config.d_ff) == (2, 99, 3072)
    model = GPT2.from_name("distilgpt2", n_layers=1, vocab_size=99)
    assert len(model.blocks) == 1
    assert model(torch.tensor([[98]])).shape == (1, 1, 99)
    assert GPT2Config.from_name("gpt2").n_layers == 12
    with pytest.raises(ValueError, match="name: got 'gpt3', want one of"):
        GPT2.from_name("gpt3")
    with pytest.raises(ValueError, match="n_layer: got 2, want one of"):
        GPT2.from_name("gpt2", n_layer=2)


def test_reading_leaves_the_dict_as_it_was():
    config = json.loads(json.dumps(GPT2_XL))
    GPT2Config.from_hf(config)
    assert config == GPT2_XL
