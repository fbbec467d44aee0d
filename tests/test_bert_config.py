"""A BERT's config is read whole or refused, as transformers means it."""

import json
import re

import pytest
import torch
from handmade.models import bert_config as lists
from handmade.models.bert import Bert, BertConfig
from handmade.models.masked_lm import MaskedLM
from handmade.weights.reference import random_reference

V, T = 61, 13
SIZES = {
    "model_type": "bert", "vocab_size": V, "hidden_size": 24,
    "intermediate_size": 40, "num_hidden_layers": 2,
    "num_attention_heads": 6, "layer_norm_eps": 1e-3,
    "max_position_embeddings": 32, "type_vocab_size": 3,
}  # fmt: skip
# as they stand on the hub
BASE_UNCASED = {
    "architectures": ["BertForMaskedLM"], "attention_probs_dropout_prob": 0.1,
    "gradient_checkpointing": False, "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1, "hidden_size": 768,
    "initializer_range": 0.02, "intermediate_size": 3072,
    "layer_norm_eps": 1e-12, "max_position_embeddings": 512,
    "model_type": "bert", "num_attention_heads": 12, "num_hidden_layers": 12,
    "pad_token_id": 0, "position_embedding_type": "absolute",
    "transformers_version": "4.6.0.dev0", "type_vocab_size": 2,
    "use_cache": True, "vocab_size": 30522,
}  # fmt: skip
MULTILINGUAL = {
    "architectures": ["BertForMaskedLM"], "attention_probs_dropout_prob": 0.1,
    "directionality": "bidi", "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1, "hidden_size": 768,
    "initializer_range": 0.02, "intermediate_size": 3072,
    "layer_norm_eps": 1e-12, "max_position_embeddings": 512,
    "model_type": "bert", "num_attention_heads": 12, "num_hidden_layers": 12,
    "pad_token_id": 0, "pooler_fc_size": 768,
    "pooler_num_attention_heads": 12, "pooler_num_fc_layers": 3,
    "pooler_size_per_head": 128, "pooler_type": "first_token_transform",
    "position_embedding_type": "absolute",
    "transformers_version": "4.6.0.dev0", "type_vocab_size": 2,
    "use_cache": True, "vocab_size": 119547,
}  # fmt: skip
LISTS = (set(lists.HF_KEYS.values()), lists.HF_REQUIRED.keys(), lists.HF_INERT)


def reference(config: dict):
    """Build transformers' model as it reads this very dict."""
    from transformers import BertConfig as HFConfig
    from transformers import BertForMaskedLM

    hf_config = HFConfig.from_dict(json.loads(json.dumps(config)))
    return random_reference(BertForMaskedLM, hf_config).double()


def some_ids() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(V, (4, T), generator=generator)


def test_every_key_of_transformers_is_in_exactly_one_list():
    from transformers import BertConfig as HFConfig
    from transformers import GenerationConfig

    known = {*HFConfig().to_dict(), "position_embedding_type"}
    known |= GenerationConfig._get_default_generation_params().keys()
    for key in known:
        assert sum(key in keys for keys in LISTS) == 1, key
    for one in range(3):
        for other in range(one):
            assert not LISTS[one] & LISTS[other]


@pytest.mark.parametrize("config", [BASE_UNCASED, MULTILINGUAL])
def test_real_files_are_read_whole(config):
    from transformers import BertConfig as HFConfig

    ours = BertConfig.from_hf(config)
    assert ours == BertConfig.from_hf(HFConfig.from_dict(dict(config)))
    back = HFConfig.from_dict(ours.to_hf()).to_dict()
    assert back == HFConfig.from_dict(dict(config)).to_dict()


def test_the_preset_is_what_the_file_says():
    ours = BertConfig.from_name("bert-base-uncased")
    assert ours == BertConfig.from_hf(BASE_UNCASED)
    smaller = BertConfig.from_name("bert-base-uncased", n_layers=2)
    assert (smaller.n_layers, smaller.d_model) == (2, 768)


OTHER_VALUES = {
    "architectures": ["BertModel"], "dtype": "float32",
    "torch_dtype": "float64", "transformers_version": "4.0.0",
    "id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1},
    "num_labels": 2, "problem_type": "regression", "_commit_hash": "c0ffee",
    "_attn_implementation": "sdpa", "attn_implementation": "sdpa",
    "output_attentions": False, "output_hidden_states": True,
    "return_dict": True, "_name_or_path": "some/where", "use_cache": False,
    "initializer_range": 0.7, "hidden_dropout_prob": 0.3,
    "attention_probs_dropout_prob": 0.4, "classifier_dropout": 0.5,
    "gradient_checkpointing": True, "directionality": "left",
}  # fmt: skip


def test_inert_keys_change_nothing_in_either_library():
    ids = some_ids()
    want, ours = reference(SIZES)(ids).logits, BertConfig.from_hf(SIZES)
    for key in sorted(lists.HF_INERT):
        config = {**SIZES, key: OTHER_VALUES.get(key, 3)}
        assert BertConfig.from_hf(config) == ours, key
        assert BertConfig.from_hf(config).inert[key] == config[key]
        assert torch.equal(reference(config)(ids).logits, want), key


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hidden_act": "relu"},
        {"hidden_act": "gelu_new"},
        {"layer_norm_eps": 0.25},
        {"type_vocab_size": 1},
        {"pad_token_id": 7},
        {"pad_token_id": None},
        {"num_attention_heads": 3, "intermediate_size": 9},
    ],
    ids=str,
)
def test_implemented_keys_mean_what_they_mean_in_transformers(changes):
    theirs = reference({**SIZES, **changes})
    ours = MaskedLM.from_weights(theirs.state_dict(), {**SIZES, **changes})
    got, want = ours(some_ids()), theirs(some_ids()).logits
    assert (got - want).abs().max() <= 1e-10 * want.abs().max()
    # the pad row, too, is theirs: the embedding's own gradient leaves it out
    table = theirs.bert.embeddings.word_embeddings
    assert ours.bert.tok_emb.padding_idx == table.padding_idx


@pytest.mark.parametrize("key", lists.HF_DEFAULTS)
def test_what_files_leave_out(key):
    config = {k: v for k, v in SIZES.items() if k != key}
    theirs = reference(config)
    ours = MaskedLM.from_weights(theirs.state_dict(), config)
    torch.testing.assert_close(ours(some_ids()), theirs(some_ids()).logits)
    hf_config = {**lists.HF_DEFAULTS, **theirs.config.to_dict()}
    assert hf_config[key] == lists.HF_DEFAULTS[key]


REFUSED = [
    ("model_type", "roberta"), ("position_embedding_type", "relative_key"),
    ("is_decoder", True), ("add_cross_attention", True),
    ("is_encoder_decoder", True), ("tie_word_embeddings", False),
    ("chunk_size_feed_forward", 8), ("pruned_heads", {"1": [0]}),
    ("pooler_type", "mean"), ("quantization_config", {"bits": 4}),
    ("auto_map", {"AutoModel": "x.py"}), ("cross_attention_hidden_size", 9),
    # keys of no BERT: of other models, and of none
    ("embedding_size", 128), ("rope_theta", 1e4), ("n_layer", 3), ("", 0),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_every_other_key_is_refused_by_name_and_value(key, value):
    message = f"^{key}: got .*{re.escape(str(value))}"
    with pytest.raises(ValueError, match=message):
        BertConfig.from_hf({**SIZES, key: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_heads": 5}, "n_heads: got 5, want a divisor of d_model = 24"),
        ({"n_layers": 0}, "n_layers: got 0"),
        ({"vocab_size": 61.0}, "vocab_size: got 61.0"),
        ({"n_types": 0}, "n_types: got 0"),
        ({"norm_eps": 0.0}, "norm_eps: got 0.0"),
        ({"norm_eps": None}, "norm_eps: got None"),
        ({"activation": "swish9"}, "activation: got 'swish9', want one of"),
        ({"activation": ["gelu"]}, r"activation: got \['gelu'\]"),
        ({"pad_id": 61}, "pad_id: got 61, want 0 to 60"),
        ({"pad_id": -1}, "pad_id: got -1"),
        ({"pooler": None}, "pooler: got None"),
        ({"inert": []}, "inert: got a list"),
    ],
)
def test_impossible_sizes_are_refused(changes, message):
    sizes = {
        "vocab_size": V, "d_model": 24, "n_layers": 3, "n_heads": 6,
        "d_ff": 40, "max_seq_len": 16,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        BertConfig(**{**sizes, **changes})


@pytest.mark.parametrize(
    "key", ["vocab_size", "hidden_size", "num_hidden_layers",
            "num_attention_heads", "intermediate_size"]
)  # fmt: skip
def test_sizes_have_no_default(key):
    config = {k: v for k, v in SIZES.items() if k != key}
    with pytest.raises(ValueError, match=f"{key}: got nothing"):
        BertConfig.from_hf(config)


def test_wrong_names_are_refused():
    with pytest.raises(ValueError, match="name: got 'bert', want one of"):
        Bert.from_name("bert")
    with pytest.raises(ValueError, match="layers: got 2, want one of"):
        Bert.from_name("minilm", layers=2)
