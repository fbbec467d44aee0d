"""Read a Hugging Face config.json whole, or refuse it by name and value.

Each model has three lists of keys: those it implements, those that must have
one value because it has no other, and those that change no number it
computes. A key in none of them is refused: nothing is read over.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch.nn import functional as F

from handmade import checks
from handmade.blocks.feedforward import gelu, gelu_tanh
from handmade.blocks.rope import RopeScaling
from handmade.checks import need

Config = TypeVar("Config")


def _keys(text: str) -> frozenset[str]:
    return frozenset(text.split())


# what any config may say that no model of ours has a use for
INERT = _keys(
    """
    _name_or_path architectures dtype torch_dtype transformers_version
    bos_token_id eos_token_id pad_token_id use_cache initializer_range
    return_dict output_attentions output_hidden_states id2label label2id
    num_labels problem_type _attn_implementation attn_implementation
    _commit_hash
    """
)
# how to decode, which old files have here and new ones in another file
GENERATION = _keys(
    """
    max_length min_length do_sample early_stopping num_beams temperature
    top_k top_p typical_p repetition_penalty length_penalty
    no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids
    num_return_sequences output_scores return_dict_in_generate
    forced_bos_token_id forced_eos_token_id remove_invalid_values
    exponential_decay_length_penalty suppress_tokens begin_suppress_tokens
    epsilon_cutoff eta_cutoff encoder_repetition_penalty
    num_assistant_tokens num_assistant_tokens_schedule
    assistant_confidence_threshold assistant_lookbehind target_lookbehind
    num_beam_groups diversity_penalty
    """
)

ROPE = _keys(
    """
    rope_theta rope_scaling rope_parameters partial_rotary_factor
    original_max_position_embeddings
    """
)
# the numbers of each kind of rotary settings that we compute
ROPE_KINDS: dict[str, dict[str, str]] = {
    "default": {},
    "linear": {"factor": "factor"},
    "llama3": {
        "factor": "factor",
        "low_freq_factor": "low_freq_factor",
        "high_freq_factor": "high_freq_factor",
        "original_max_position_embeddings": "original_max_seq_len",
    },
}
ROPE_NUMBERS = _keys(
    """
    factor low_freq_factor high_freq_factor attention_factor beta_fast
    beta_slow mscale mscale_all_dim truncate short_factor long_factor
    original_max_position_embeddings
    """
)


# how a config.json calls the curve of a feed-forward layer
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": torch.relu,
    "silu": F.silu,
}


def activation(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function that a config.json means by this name.

    Raises ValueError on a name that no model of ours implements.
    """
    known = isinstance(name, str) and name in ACTIVATIONS
    need(known, "name", repr(name), f"one of {[*ACTIVATIONS]}")
    return ACTIVATIONS[name]


def as_dict(config: object) -> dict[str, Any]:
    """Return the contents of a config: a dict, a config object or a model.

    Raises ValueError on anything else.
    """
    config = getattr(config, "config", config)
    if isinstance(config, Mapping):
        return dict(config)
    to_dict = getattr(config, "to_dict", None)
    need(
        callable(to_dict),
        "config",
        f"a {type(config).__name__}",
        "a Hugging Face model, its config, or a dict of config.json",
    )
    assert to_dict is not None
    return dict(to_dict())


def read_config(
    config: object,
    *,
    implemented: Collection[str],
    required: Mapping[str, tuple[object, ...]],
    inert: Collection[str],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort a config's keys; return those implemented, and all others.

    Raises ValueError on a key in none of the three lists, and on a required
    one with another value.
    """
    values, kept = {}, {}
    for key, value in as_dict(config).items():
        if key in implemented:
            values[key] = value
            continue
        if key in required:
            wants = required[key]
            need(
                value in wants, key, repr(value), " or ".join(map(repr, wants))
            )
        else:
            need(key in inert, key, repr(value), "a key this model implements")
        kept[key] = value
    return values, kept


def read_rope(
    config: Mapping[str, Any],
) -> tuple[float, RopeScaling | None]:
    """Return theta and scaling of a config's rotary settings.

    Files spell them in two ways: at the top with ``rope_scaling``, or all in
    ``rope_parameters``. Where two spellings contradict each other, the order
    is that of transformers 5: a ``rope_scaling`` that is not empty, then
    ``rope_parameters``, then the top; ``rope_type`` before ``type``.
    Raises ValueError on a kind or a key that is not implemented.
    """
    checks.mapping("config", config, "a dict of config.json")
    source = config.get("rope_scaling") or config.get("rope_parameters") or {}
    need(isinstance(source, Mapping), "rope_parameters", source, "a dict")
    rope = dict(source)
    theta = rope.pop("rope_theta", config.get("rope_theta", 10_000.0))
    partial = config.get("partial_rotary_factor")
    partial = rope.pop("partial_rotary_factor", partial)
    want = "1: every axis of a head turns"
    need(partial in (None, 1), "partial_rotary_factor", partial, want)

    older = rope.pop("type", None)
    kind = rope.pop("rope_type", "default" if older is None else older)
    if kind == "dynamic":
        raise ValueError(
            "rope_type: got dynamic, want default, linear or llama3: its "
            "angles depend on the longest text that the model was called "
            "with before, so one text has several answers"
        )
    known = isinstance(kind, str) and kind in ROPE_KINDS
    need(known, "rope_type", kind, f"one of {[*ROPE_KINDS]}")
    names = ROPE_KINDS[kind]
    if older not in (None, kind):  # drop the numbers of the one that lost
        lost = ROPE_NUMBERS - names.keys()
        rope = {key: rope[key] for key in rope if key not in lost}
    longest = "original_max_position_embeddings"
    if longest in names:
        rope.setdefault(longest, config.get("max_position_embeddings"))
    if longest in config:
        rope[longest] = config[longest]
    for key, value in rope.items():
        want = f"no such key beside rope_type {kind}"
        need(key in names, key, repr(value), want)
    for key in names:
        need(key in rope, key, "nothing", f"a number for rope_type {kind}")
    if kind == "default":
        return theta, None
    numbers = {names[key]: value for key, value in rope.items()}
    return theta, RopeScaling(kind=kind, **numbers)


def write_rope(theta: float, scaling: RopeScaling | None) -> dict[str, Any]:
    """Return the ``rope_parameters`` of a config.json."""
    checks.positive("theta", theta)
    if scaling is not None:
        checks.kind("scaling", scaling, RopeScaling, "a RopeScaling or None")
    kind = "default" if scaling is None else scaling.kind
    rope = {"rope_type": kind, "rope_theta": theta}
    for theirs, ours in ROPE_KINDS[kind].items():
        rope[theirs] = getattr(scaling, ours)
    return rope


def preset(
    cls: type[Config],
    presets: Mapping[str, Mapping[str, Any]],
    name: str,
    overrides: Mapping[str, Any],
) -> Config:
    """Return the configuration of a published model, some sizes replaced.

    Raises ValueError on a name of no preset and on a size of no such name.
    """
    need(is_dataclass(cls), "cls", f"a {type(cls).__name__}", "a dataclass")
    checks.mapping("presets", presets, "a dict from name to sizes")
    checks.mapping("overrides", overrides, "a dict from name to size")
    known_name = isinstance(name, str) and name in presets
    need(known_name, "name", repr(name), f"one of {[*presets]}")
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    for key, value in overrides.items():
        need(key in known, key, repr(value), f"one of {known}")
    return cls(**{**presets[name], **overrides})
