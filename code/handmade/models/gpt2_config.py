"""The sizes of a GPT-2, and how a Hugging Face config.json says them.

Every key of a config stands in one of three lists: those this model
implements, those that must have the one value it has, and those that change
no number it computes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handmade.checks import mapping, need, positive, whole
from handmade.models import config as hf

GPT2 = {
    "vocab_size": 50_257, "d_model": 768, "n_layers": 12, "n_heads": 12,
    "max_seq_len": 1024,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "gpt2": GPT2,
    "gpt2-medium": {**GPT2, "d_model": 1024, "n_layers": 24, "n_heads": 16},
    "gpt2-large": {**GPT2, "d_model": 1280, "n_layers": 36, "n_heads": 20},
    "gpt2-xl": {**GPT2, "d_model": 1600, "n_layers": 48, "n_heads": 25},
    "distilgpt2": {**GPT2, "n_layers": 6},
}

# our name -> its name in a Hugging Face config.json
HF_KEYS = {
    "vocab_size": "vocab_size",
    "d_model": "n_embd",
    "n_layers": "n_layer",
    "n_heads": "n_head",
    "d_ff": "n_inner",
    "max_seq_len": "n_positions",
    "norm_eps": "layer_norm_epsilon",
    "activation": "activation_function",
    "tie_embeddings": "tie_word_embeddings",
    "scale_attn": "scale_attn_weights",
    "scale_by_layer": "scale_attn_by_inverse_layer_idx",
}
# what older files leave out has a default in transformers
HF_DEFAULTS = {
    "n_inner": None,
    "layer_norm_epsilon": 1e-5,
    "activation_function": "gelu_new",
    "tie_word_embeddings": True,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
}
# this GPT-2 has no other
HF_REQUIRED: dict[str, tuple[object, ...]] = {
    "model_type": ("gpt2",),
    "add_cross_attention": (False, None),
    "quantization_config": (None,),
    "is_encoder_decoder": (False,),
    "chunk_size_feed_forward": (0,),
    "auto_map": (None,),
}
# dropout does nothing in evaluation; the summary is another class's head;
# scores are float32 in half precision, whether a file asks for it or not;
# n_ctx is n_positions once more, and the rest is for other programs
HF_INERT = hf.INERT | hf.GENERATION | {
    "resid_pdrop", "embd_pdrop", "attn_pdrop",
    "summary_type", "summary_use_proj", "summary_activation",
    "summary_proj_to_labels", "summary_first_dropout",
    "reorder_and_upcast_attn",
    "n_ctx", "task_specific_params", "gradient_checkpointing",
    "output_past", "_num_labels", "n_special", "predict_special_tokens",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GPT2Config:
    """The sizes of a GPT-2; ``d_ff`` defaults to 4 d_model.

    ``activation`` is a config.json's name of a curve. With ``scale_attn``
    scores are divided by sqrt(d_head), with ``scale_by_layer`` also by the
    number of their layer, 1 being the first. ``inert`` keeps what a Hugging
    Face config says besides, such as dropouts and the ids of special tokens.
    Raises ValueError where sizes are not whole, positive, or do not divide.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    d_ff: int = None  # type: ignore[assignment]
    max_seq_len: int
    norm_eps: float = 1e-5
    activation: str = "gelu_new"
    tie_embeddings: bool = True
    scale_attn: bool = True
    scale_by_layer: bool = False
    inert: Mapping[str, Any] = field(
        default_factory=dict, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        _fill_in(self)

    @classmethod
    def from_name(cls, name: str, **overrides: Any) -> "GPT2Config":
        """Return a published model's configuration, some sizes replaced.

        ``from_name("gpt2", n_layers=2)``
        """
        return hf.preset(cls, PRESETS, name, overrides)

    @classmethod
    def from_hf(cls, config: object) -> "GPT2Config":
        """Translate a config.json (a dict), a config object or a model's.

        Raises ValueError on every key that this model does not implement,
        rather than compute something else without a word.
        """
        values, inert = hf.read_config(
            config,
            implemented=HF_KEYS.values(),
            required=HF_REQUIRED,
            inert=HF_INERT,
        )
        values = {**HF_DEFAULTS, **values}
        for key in HF_KEYS.values():
            need(key in values, key, "nothing", "a size")
        _check_curve("activation_function", values["activation_function"])
        sizes = {ours: values[theirs] for ours, theirs in HF_KEYS.items()}
        # None says 4 d_model: how a file put it is kept for the way back
        inert["n_inner"] = values["n_inner"]
        return cls(**sizes, inert=inert)

    def to_hf(self) -> dict[str, Any]:
        """Return the contents of a config.json: what ``from_hf`` reads.

        A model that names no token to begin or end with has none.
        """
        none = {f"{role}_token_id": None for role in ("bos", "eos", "pad")}
        sizes = {hf: getattr(self, our) for our, hf in HF_KEYS.items()}
        usual = self.d_ff == 4 * self.d_model
        if usual and self.inert.get("n_inner", self) is None:
            sizes["n_inner"] = None
        return {**none, **self.inert, "model_type": "gpt2", **sizes}


def _fill_in(config: GPT2Config) -> None:
    """Give the size left out its default, and check all of them."""
    for name in ("vocab_size", "d_model", "n_layers", "n_heads"):
        whole(name, getattr(config, name))
    if config.d_ff is None:
        object.__setattr__(config, "d_ff", 4 * config.d_model)
    whole("d_ff", config.d_ff)
    whole("max_seq_len", config.max_seq_len)
    divides = config.d_model % config.n_heads == 0
    want = f"a divisor of d_model = {config.d_model}"
    need(divides, "n_heads", config.n_heads, want)
    positive("norm_eps", config.norm_eps)
    _check_curve("activation", config.activation)
    for name in ("tie_embeddings", "scale_attn", "scale_by_layer"):
        value = getattr(config, name)
        need(isinstance(value, bool), name, repr(value), "True or False")
    mapping("inert", config.inert, "a dict")


def _check_curve(name: str, curve: object) -> None:
    known = isinstance(curve, str) and curve in hf.ACTIVATIONS
    need(known, name, repr(curve), f"one of {[*hf.ACTIVATIONS]}")
