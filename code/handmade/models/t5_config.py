"""The sizes of a T5, and how a Hugging Face config.json says them.

Every key of a config stands in one of three lists: those this model
implements, those that must have the one value it has, and those that change
no number it computes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handmade.checks import flag, kind, mapping, need, positive, whole
from handmade.models import config as hf
from handmade.models.t5_positions import check_sizes

# the second version's small one; instruction-tuned, it is Flan-T5
SMALL_2 = {
    "vocab_size": 32_128, "d_model": 512, "n_layers": 8, "n_heads": 6,
    "d_head": 64, "d_ff": 1024, "activation": "gelu_new", "gated": True,
    "tie_embeddings": False,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "t5-small": {
        "vocab_size": 32_128, "d_model": 512, "n_layers": 6, "n_heads": 8,
        "d_head": 64, "d_ff": 2048,
    },
    "t5-base": {
        "vocab_size": 32_128, "d_model": 768, "n_layers": 12, "n_heads": 12,
        "d_head": 64, "d_ff": 3072,
    },
    "t5-v1_1-small": SMALL_2,
    "flan-t5-small": SMALL_2,
}  # fmt: skip

# our name -> its name in a Hugging Face config.json
HF_KEYS = {
    "vocab_size": "vocab_size",
    "d_model": "d_model",
    "n_layers": "num_layers",
    "n_decoder_layers": "num_decoder_layers",
    "n_heads": "num_heads",
    "d_head": "d_kv",
    "d_ff": "d_ff",
    "n_buckets": "relative_attention_num_buckets",
    "max_distance": "relative_attention_max_distance",
    "norm_eps": "layer_norm_epsilon",
    "activation": "dense_act_fn",
    "gated": "is_gated_act",
    "tie_embeddings": "tie_word_embeddings",
    "scale_output": "scale_decoder_outputs",
}
# what files leave out has a default in transformers
HF_DEFAULTS = {
    "num_decoder_layers": None,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "tie_word_embeddings": True,
    "feed_forward_proj": "relu",
}
# this T5 has no other
HF_REQUIRED: dict[str, tuple[object, ...]] = {
    "model_type": ("t5",),
    "is_encoder_decoder": (True,),
    "is_decoder": (False,),
    "quantization_config": (None,),
    "chunk_size_feed_forward": (0,),
    "auto_map": (None,),
}
# dropout is left out, n_positions bounds nothing; the rest is for training
# and for other programs
HF_INERT = hf.INERT | hf.GENERATION | {
    "dropout_rate", "classifier_dropout", "initializer_factor", "n_positions",
    "decoder_start_token_id", "task_specific_params", "output_past",
    "tokenizer_class", "output_hidden_states", "gradient_checkpointing",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class T5Config:
    """The sizes of a T5; its decoder has as many layers as its encoder.

    ``d_head`` times n_heads may differ from d_model. ``activation`` is a
    name as in a config.json. ``scale_output``, the factor d_model^-0.5
    before the logits, defaults to ``tie_embeddings``. ``inert`` keeps what a
    Hugging Face config says besides, such as the ids of special tokens.
    Raises ValueError where sizes are not whole and positive.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_decoder_layers: int = None  # type: ignore[assignment]
    n_heads: int
    d_head: int = 64
    d_ff: int
    n_buckets: int = 32
    max_distance: int = 128
    norm_eps: float = 1e-6
    activation: str = "relu"
    gated: bool = False
    tie_embeddings: bool = True
    scale_output: bool = None  # type: ignore[assignment]
    inert: Mapping[str, Any] = field(
        default_factory=dict, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        _fill_in(self)

    @classmethod
    def from_name(cls, name: str, **overrides: Any) -> "T5Config":
        """Return a published model's configuration, some sizes replaced.

        ``from_name("t5-small", n_layers=2)``
        """
        return hf.preset(cls, PRESETS, name, overrides)

    @classmethod
    def from_hf(cls, config: object) -> "T5Config":
        """Translate a config.json (a dict), a config object or a model's.

        Files say the feed-forward layer in one key, ``feed_forward_proj``,
        and some once more in two others, which then count. Raises ValueError
        on every key that this model does not implement.
        """
        values, inert = hf.read_config(
            config,
            implemented={*HF_KEYS.values(), "feed_forward_proj"},
            required=HF_REQUIRED,
            inert=HF_INERT,
        )
        values = {**HF_DEFAULTS, **values}
        values = {**_feed_forward(values.pop("feed_forward_proj")), **values}
        tied = values["tie_word_embeddings"]
        values.setdefault("scale_decoder_outputs", tied is not False)
        for key in HF_KEYS.values():
            need(key in values, key, "nothing", "a size")
        sizes = {ours: values[theirs] for ours, theirs in HF_KEYS.items()}
        return cls(**sizes, inert=inert)

    def to_hf(self) -> dict[str, Any]:
        """Return the contents of a config.json: what ``from_hf`` reads.

        A model that says nothing of special tokens begins with 0, as every
        published T5.
        """
        curve = self.activation
        if self.gated:
            curve = "gated-" + curve.replace("gelu_new", "gelu")
        start = {} if self.inert else {"decoder_start_token_id": 0}
        return {
            **start,
            **self.inert,
            "model_type": "t5",
            "feed_forward_proj": curve,
            **{hf: getattr(self, our) for our, hf in HF_KEYS.items()},
        }


def _feed_forward(projection: str) -> dict[str, Any]:
    """Take ``gated-gelu`` apart: whether it is gated, and by which curve."""
    kind("feed_forward_proj", projection, str, "a str, such as gated-gelu")
    first, _, rest = projection.partition("-")
    gated = first == "gated"
    curve = rest if gated else projection
    if projection == "gated-gelu":
        curve = "gelu_new"  # an old habit of the reference
    known = curve in hf.ACTIVATIONS
    want = f"one of {[*hf.ACTIVATIONS]}, or gated- and one of them"
    need(known, "feed_forward_proj", repr(projection), want)
    return {"dense_act_fn": curve, "is_gated_act": gated}


def _fill_in(config: T5Config) -> None:
    """Give the sizes left out their defaults, and check all of them."""
    if config.n_decoder_layers is None:
        object.__setattr__(config, "n_decoder_layers", config.n_layers)
    if config.scale_output is None:
        object.__setattr__(config, "scale_output", config.tie_embeddings)
    for name in (
        "vocab_size", "d_model", "n_layers", "n_decoder_layers", "n_heads",
        "d_head", "d_ff",
    ):  # fmt: skip
        whole(name, getattr(config, name))
    check_sizes(config.n_buckets, config.max_distance)
    positive("norm_eps", config.norm_eps)
    named = isinstance(config.activation, str)
    known = named and config.activation in hf.ACTIVATIONS
    want = f"one of {[*hf.ACTIVATIONS]}"
    need(known, "activation", repr(config.activation), want)
    flag("gated", config.gated)
    flag("tie_embeddings", config.tie_embeddings)
    flag("scale_output", config.scale_output)
    mapping("inert", config.inert, "a dict")
