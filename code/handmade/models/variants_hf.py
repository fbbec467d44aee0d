"""What each model_type's config.json says, read whole or refused.

A ``Family`` is what transformers knows by one ``model_type``: most keys are
a size under another name, and the rest is read by a function. Every other
key must have its one value, or changes no number, or is refused: see
`config`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from handmade.checks import need
from handmade.models import config as hf
from handmade.models import variants_keys as by
from handmade.models.llama_config import (
    HF_DEFAULTS,
    HF_INERT,
    HF_KEYS,
    HF_REQUIRED,
)

Values = dict[str, Any]
SIZES = {k: v for k, v in HF_KEYS.items() if k != "attention_bias"}
SIZES |= {"activation": "hidden_act"}
DEFAULTS = {**HF_DEFAULTS, "hidden_act": "silu"}
OWN = ("model_type", "hidden_act", "sliding_window")
REQUIRED = {k: v for k, v in HF_REQUIRED.items() if k not in OWN}
INERT = (HF_INERT - {"is_llama_config"}) | {"cache_implementation"}
EXPERTS = frozenset({
    "moe_intermediate_size", "n_shared_experts", "n_routed_experts",
    "n_group", "topk_group", "routed_scaling_factor", "num_experts_per_tok",
    "norm_topk_prob", "output_router_logits", "num_nextn_predict_layers",
    "num_mtp_layers",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Family:
    """How one model_type spells its sizes and its switches.

    ``sizes`` maps our names to theirs; ``defaults`` is what transformers
    takes for a key that a file leaves out; ``always`` are the switches that
    no file mentions. ``read`` and ``write`` do what takes more than another
    name, ``keys`` are those that ``read`` reads. Of these ``kept`` go along
    with the inert ones: they say again what another key says.
    """

    sizes: Mapping[str, str]
    defaults: Values = field(default_factory=lambda: DEFAULTS)
    always: Values = field(default_factory=dict)
    required: Mapping[str, tuple[object, ...]]
    inert: frozenset[str] = INERT
    keys: frozenset[str] = frozenset(hf.ROPE)
    kept: frozenset[str] = frozenset()
    read: Callable[[Values], Values] = by.read_rope
    write: Callable[[Any], Values] = by.write_rope


def _some(mapping: Mapping[str, str], *names: str) -> dict[str, str]:
    """Leave some of our names out."""
    return {k: v for k, v in mapping.items() if k not in names}


_NO_BIAS = {**REQUIRED, "attention_bias": (False, None)}
_ROPE_OF_QWEN = hf.ROPE | {
    "use_sliding_window", "sliding_window", "max_window_layers",
    "layer_types",
}  # fmt: skip

FAMILIES: dict[str, Family] = {
    "llama": Family(
        sizes={**SIZES, "attention_bias": "attention_bias"},
        required={**REQUIRED, "sliding_window": (None,)},
        inert=INERT | {"is_llama_config"},
    ),
    "mistral": Family(
        sizes={**SIZES, "window": "sliding_window"},
        defaults={
            **DEFAULTS, "num_key_value_heads": 8, "sliding_window": 4096,
            "max_position_embeddings": 131_072,
        },
        required=_NO_BIAS,
    ),
    "mixtral": Family(
        sizes={
            **_some(SIZES, "d_head", "activation"),
            "window": "sliding_window",
            "n_experts": "num_local_experts", "top_k": "num_experts_per_tok",
        },
        defaults={
            **DEFAULTS, "num_key_value_heads": 8, "sliding_window": None,
            "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5,
            "num_local_experts": 8, "num_experts_per_tok": 2,
            "rope_theta": 1e6,
        },
        # the noise is for training alone, and this mixture has none
        required={
            **_NO_BIAS, "router_jitter_noise": (0.0,), "hidden_act": ("silu",),
        },
        inert=INERT | {"output_router_logits", "router_aux_loss_coef"},
        keys=hf.ROPE | {"head_dim"},
        kept=frozenset({"head_dim"}),
        read=by.read_mixtral,
        write=by.write_mixtral,
    ),
    "qwen2": Family(
        sizes=_some(SIZES, "d_head"),
        defaults={
            **DEFAULTS, "num_key_value_heads": 32,
            "max_position_embeddings": 32_768,
        },
        always={"attention_bias": True, "out_bias": False},
        required=REQUIRED,
        keys=_ROPE_OF_QWEN | {"head_dim"},
        kept=frozenset({"max_window_layers", "head_dim"}),
        read=by.read_qwen,
        write=by.write_qwen2,
    ),
    "qwen3": Family(
        sizes={**SIZES, "attention_bias": "attention_bias"},
        defaults={
            **DEFAULTS, "num_key_value_heads": 32, "head_dim": 128,
            "max_position_embeddings": 32_768,
        },
        always={"qk_norm": True},
        required=REQUIRED,
        keys=_ROPE_OF_QWEN,
        kept=frozenset({"max_window_layers"}),
        read=by.read_qwen,
        write=by.write_qwen,
    ),
    "gemma3_text": Family(
        sizes={
            **SIZES, "activation": "hidden_activation",
            "attention_bias": "attention_bias", "window": "sliding_window",
            "query_pre_attn_scalar": "query_pre_attn_scalar",
            "logit_soft_cap": "final_logit_softcapping",
        },
        defaults={
            **DEFAULTS, "num_key_value_heads": 4, "head_dim": 256,
            "max_position_embeddings": 131_072, "tie_word_embeddings": True,
            "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 4096,
            "query_pre_attn_scalar": 256, "final_logit_softcapping": None,
        },
        always={
            "qk_norm": True, "one_plus_gain": True, "sandwich": True,
            "scale_embeddings": True,
        },
        required={
            **REQUIRED,
            # transformers reads a cap on the scores and does not apply it
            "attn_logit_softcapping": (None,),
            "use_bidirectional_attention": (False, None),
        },
        inert=INERT | {"_sliding_window_pattern"},
        keys=hf.ROPE | by.ROPE_OF_GEMMA | {
            "layer_types", "sliding_window_pattern",
        },
        kept=frozenset({"sliding_window_pattern"}),
        read=by.read_gemma,
        write=by.write_gemma,
    ),
    "deepseek_v3": Family(
        sizes={**_some(SIZES, "d_head"), "attention_bias": "attention_bias"},
        defaults={
            **DEFAULTS, "num_key_value_heads": 128,
            "max_position_embeddings": 4096, "first_k_dense_replace": 3,
        },
        required=REQUIRED,
        inert=INERT | EXPERTS,
        keys=hf.ROPE | {key for key, _ in by.LATENT.values()} | {
            "first_k_dense_replace", "qk_head_dim", "head_dim",
        },
        kept=frozenset({"first_k_dense_replace"}),
        read=by.read_deepseek,
        write=by.write_deepseek,
    ),
}  # fmt: skip


def read_family(config: object) -> Values:
    """Return the fields of a VariantConfig that a config.json means.

    Raises ValueError on another model_type, and on every key that is not
    implemented for it.
    """
    stated = hf.as_dict(config)
    kind = stated.pop("model_type", None)
    known = isinstance(kind, str) and kind in FAMILIES
    need(known, "model_type", repr(kind), f"one of {[*FAMILIES]}")
    family = FAMILIES[kind]
    values, inert = hf.read_config(
        stated,
        implemented={*family.sizes.values(), *family.keys},
        required=family.required,
        inert=family.inert,
    )
    inert |= {key: values[key] for key in family.kept if key in values}
    values = {**family.defaults, **values}
    for key in family.sizes.values():
        need(key in values, key, "nothing", "a size")
    act = family.sizes.get("activation", "hidden_act")
    want = f"one of {[*hf.ACTIVATIONS]}"
    known = isinstance(values[act], str) and values[act] in hf.ACTIVATIONS
    need(known, act, repr(values[act]), want)
    return {
        "model_type": kind,
        **{ours: values[theirs] for ours, theirs in family.sizes.items()},
        **family.always,
        **family.read(values),
        "inert": inert,
    }


def write_family(config: Any) -> Values:
    """Return the config.json that ``read_family`` would read a config from.

    Raises ValueError on what is no VariantConfig.
    """
    kind = getattr(config, "model_type", None)
    got = f"a {type(config).__name__}"
    need(kind in FAMILIES, "config", got, "a VariantConfig")
    family = FAMILIES[config.model_type]
    none = {f"{role}_token_id": None for role in ("bos", "eos", "pad")}
    sizes = {hf: getattr(config, our) for our, hf in family.sizes.items()}
    return {
        **none,
        **config.inert,
        "model_type": config.model_type,
        **sizes,
        **family.write(config),
    }
