"""The sizes of a Llama, and how a Hugging Face config.json says them.

Every key of a config stands in one of three lists: those this model
implements, those that must have the one value it has, and those that change
no number it computes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from handmade.blocks.rope import RopeScaling
from handmade.checks import mapping, need, positive, whole
from handmade.models import config as hf

LLAMA_3 = {
    "vocab_size": 128_256, "d_model": 4096, "n_layers": 32, "n_heads": 32,
    "n_kv_heads": 8, "d_ff": 14_336, "d_head": 128, "max_seq_len": 8192,
    "rope_theta": 5e5,
}  # fmt: skip
LLAMA_3_1 = RopeScaling(
    kind="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_seq_len=8192,
)
PRESETS: dict[str, dict[str, Any]] = {
    "smollm2-135m": {
        "vocab_size": 49_152, "d_model": 576, "n_layers": 30, "n_heads": 9,
        "n_kv_heads": 3, "d_ff": 1536, "d_head": 64, "max_seq_len": 8192,
        "rope_theta": 1e5, "tie_embeddings": True,
    },
    "smollm2-360m": {
        "vocab_size": 49_152, "d_model": 960, "n_layers": 32, "n_heads": 15,
        "n_kv_heads": 5, "d_ff": 2560, "d_head": 64, "max_seq_len": 8192,
        "rope_theta": 1e5, "tie_embeddings": True,
    },
    "llama-2-7b": {
        "vocab_size": 32_000, "d_model": 4096, "n_layers": 32, "n_heads": 32,
        "n_kv_heads": 32, "d_ff": 11_008, "d_head": 128, "max_seq_len": 4096,
    },
    "llama-3-8b": LLAMA_3,
    "llama-3.1-8b": {
        **LLAMA_3, "max_seq_len": 131_072, "rope_scaling": LLAMA_3_1,
    },
    "llama-3.2-1b": {
        **LLAMA_3, "d_model": 2048, "n_layers": 16, "d_ff": 8192,
        "d_head": 64, "max_seq_len": 131_072,
        "rope_scaling": replace(LLAMA_3_1, factor=32.0),
        "tie_embeddings": True,
    },
}  # fmt: skip

# our name -> its name in a Hugging Face config.json
HF_KEYS = {
    "vocab_size": "vocab_size",
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "d_ff": "intermediate_size",
    "max_seq_len": "max_position_embeddings",
    "norm_eps": "rms_norm_eps",
    "d_head": "head_dim",
    "tie_embeddings": "tie_word_embeddings",
    "attention_bias": "attention_bias",
}
# what older files leave out has a default in transformers
HF_DEFAULTS = {
    "num_key_value_heads": None,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "head_dim": None,
    "tie_word_embeddings": False,
    "attention_bias": False,
}
# this Llama has no other
HF_REQUIRED: dict[str, tuple[object, ...]] = {
    "model_type": ("llama",),
    "hidden_act": ("silu",),
    "mlp_bias": (False, None),
    "attention_dropout": (0.0, None),
    "quantization_config": (None,),
    "is_encoder_decoder": (False,),
    "chunk_size_feed_forward": (0,),
    "rope_interleaved": (False,),
    "sliding_window": (None,),
    "auto_map": (None,),
}
# pretraining_tp once cut products in pieces; the rest is for other programs
HF_INERT = hf.INERT | hf.GENERATION | {
    "pretraining_tp", "max_sequence_length", "is_llama_config",
    "transformers.js_config",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """The sizes of a Llama; ``d_head`` defaults to d_model / n_heads.

    ``n_kv_heads`` defaults to n_heads. ``inert`` keeps what a Hugging Face
    config says besides, such as the ids of special tokens.
    Raises ValueError where sizes are not whole, positive, or do not divide.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int = None  # type: ignore[assignment]
    d_ff: int
    max_seq_len: int
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    d_head: int = None  # type: ignore[assignment]
    attention_bias: bool = False
    tie_embeddings: bool = False
    inert: Mapping[str, Any] = field(
        default_factory=dict, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        _fill_in(self)

    @classmethod
    def from_name(cls, name: str, **overrides: Any) -> "LlamaConfig":
        """Return a published model's configuration, some sizes replaced.

        ``from_name("smollm2-135m", n_layers=2)``
        """
        return hf.preset(cls, PRESETS, name, overrides)

    @classmethod
    def from_hf(cls, config: object) -> "LlamaConfig":
        """Translate a config.json (a dict), a config object or a model's.

        Raises ValueError on every key that this model does not implement,
        rather than compute something else without a word.
        """
        values, inert = hf.read_config(
            config,
            implemented={*HF_KEYS.values(), *hf.ROPE},
            required=HF_REQUIRED,
            inert=HF_INERT,
        )
        theta, scaling = hf.read_rope(values)
        values = {**HF_DEFAULTS, **values}
        for key in HF_KEYS.values():
            need(key in values, key, "nothing", "a size")
        sizes = {ours: values[theirs] for ours, theirs in HF_KEYS.items()}
        return cls(
            **sizes, rope_theta=theta, rope_scaling=scaling, inert=inert
        )

    def to_hf(self) -> dict[str, Any]:
        """Return the contents of a config.json: what ``from_hf`` reads.

        A model that names no token to begin or end with has none.
        """
        none = {f"{role}_token_id": None for role in ("bos", "eos", "pad")}
        return {
            **none,
            **self.inert,
            "model_type": "llama",
            **{hf: getattr(self, our) for our, hf in HF_KEYS.items()},
            "rope_parameters": hf.write_rope(
                self.rope_theta, self.rope_scaling
            ),
        }


def _fill_in(config: LlamaConfig) -> None:
    """Give the sizes left out their defaults, and check all of them."""
    for name in ("vocab_size", "d_model", "n_layers", "n_heads", "d_ff"):
        whole(name, getattr(config, name))
    whole("max_seq_len", config.max_seq_len)
    if config.n_kv_heads is None:
        object.__setattr__(config, "n_kv_heads", config.n_heads)
    if config.d_head is None:
        divides = config.d_model % config.n_heads == 0
        want = f"a divisor of d_model = {config.d_model}, or give d_head"
        need(divides, "n_heads", config.n_heads, want)
        object.__setattr__(config, "d_head", config.d_model // config.n_heads)
    whole("n_kv_heads", config.n_kv_heads)
    want = f"a divisor of n_heads = {config.n_heads}"
    divides = config.n_heads % config.n_kv_heads == 0
    need(divides, "n_kv_heads", config.n_kv_heads, want)
    whole("d_head", config.d_head)
    want = "an even width, as rotary embedding turns pairs"
    need(config.d_head % 2 == 0, "d_head", config.d_head, want)
    positive("norm_eps", config.norm_eps)
    positive("rope_theta", config.rope_theta)
    for name in ("attention_bias", "tie_embeddings"):
        value = getattr(config, name)
        need(isinstance(value, bool), name, repr(value), "True or False")
    mapping("inert", config.inert, "a dict")
    scaled = isinstance(config.rope_scaling, RopeScaling | None)
    need(scaled, "rope_scaling", config.rope_scaling, "a RopeScaling")
