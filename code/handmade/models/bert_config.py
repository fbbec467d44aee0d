"""The sizes of a BERT, and how a Hugging Face config.json says them.

Every key of a config stands in one of three lists: those this model
implements, those that must have the one value it has, and those that change
no number it computes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handmade import checks
from handmade.models import config as hf

BASE = {
    "vocab_size": 30_522, "d_model": 768, "n_layers": 12, "n_heads": 12,
    "d_ff": 3072, "max_seq_len": 512, "pad_id": 0,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "bert-base-uncased": BASE,
    "bert-large-uncased": {
        **BASE, "d_model": 1024, "n_layers": 24, "n_heads": 16, "d_ff": 4096,
    },
    "minilm": {**BASE, "d_model": 384, "n_layers": 6, "d_ff": 1536},
}  # fmt: skip

# our name -> its name in a Hugging Face config.json
HF_KEYS = {
    "vocab_size": "vocab_size",
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "d_ff": "intermediate_size",
    "max_seq_len": "max_position_embeddings",
    "n_types": "type_vocab_size",
    "norm_eps": "layer_norm_eps",
    "activation": "hidden_act",
    "pad_id": "pad_token_id",
}
# what a file leaves out has a default in transformers
HF_DEFAULTS = {
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "pad_token_id": 0,
}
# this BERT has no other
HF_REQUIRED: dict[str, tuple[object, ...]] = {
    "model_type": ("bert",),
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (None,),
    "is_encoder_decoder": (False,),
    "tie_word_embeddings": (True,),
    "chunk_size_feed_forward": (0,),
    "pruned_heads": ({}, None),
    "pooler_type": ("first_token_transform",),
    "quantization_config": (None,),
    "auto_map": (None,),
}
# dropout acts in training alone; the pooler's sizes are read by no library,
# a classifier's dropout by a head that this model has not
HF_INERT = (hf.INERT - {"pad_token_id"}) | hf.GENERATION | {
    "hidden_dropout_prob", "attention_probs_dropout_prob",
    "classifier_dropout", "gradient_checkpointing", "directionality",
    "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
    "pooler_size_per_head",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """The sizes of a BERT; ``activation`` is a name of a config.json.

    ``n_types`` counts the token types, ``pad_id`` names the row of the
    embedding that lookups do not train, as in PyTorch's ``padding_idx``.
    Without ``pooler`` there is no layer behind the first token. ``inert``
    keeps what a Hugging Face config says besides, such as other special ids.
    Raises ValueError where sizes are not whole, positive, or do not divide.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    d_ff: int
    max_seq_len: int
    n_types: int = 2
    norm_eps: float = 1e-12
    activation: str = "gelu"
    pad_id: int | None = None
    pooler: bool = True
    inert: Mapping[str, Any] = field(
        default_factory=dict, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        _check_sizes(self)

    @classmethod
    def from_name(cls, name: str, **overrides: Any) -> "BertConfig":
        """Return a published model's configuration, some sizes replaced.

        ``from_name("bert-base-uncased", n_layers=2)``
        """
        return hf.preset(cls, PRESETS, name, overrides)

    @classmethod
    def from_hf(cls, config: object, *, pooler: bool = True) -> "BertConfig":
        """Translate a config.json (a dict), a config object or a model's.

        Whether there is a pooler, the file does not say. Raises ValueError
        on every key that this model does not implement, rather than compute
        something else without a word.
        """
        values, inert = hf.read_config(
            config,
            implemented={*HF_KEYS.values()},
            required=HF_REQUIRED,
            inert=HF_INERT,
        )
        values = {**HF_DEFAULTS, **values}
        for key in HF_KEYS.values():
            checks.need(key in values, key, "nothing", "a size")
        sizes = {ours: values[theirs] for ours, theirs in HF_KEYS.items()}
        return cls(**sizes, pooler=pooler, inert=inert)

    def to_hf(self) -> dict[str, Any]:
        """Return the contents of a config.json: what ``from_hf`` reads."""
        return {
            **self.inert,
            "model_type": "bert",
            **{hf: getattr(self, our) for our, hf in HF_KEYS.items()},
        }


def _check_sizes(c: BertConfig) -> None:
    for name in ("vocab_size", "d_model", "n_layers", "n_heads", "d_ff",
                 "max_seq_len", "n_types"):  # fmt: skip
        checks.whole(name, getattr(c, name))
    want = f"a divisor of d_model = {c.d_model}"
    checks.need(c.d_model % c.n_heads == 0, "n_heads", c.n_heads, want)
    checks.positive("norm_eps", c.norm_eps)
    known = isinstance(c.activation, str) and c.activation in hf.ACTIVATIONS
    want = f"one of {[*hf.ACTIVATIONS]}"
    checks.need(known, "activation", repr(c.activation), want)
    if c.pad_id is not None:
        checks.whole("pad_id", c.pad_id, at_least=0)
        want = f"0 to {c.vocab_size - 1}, or None"
        checks.need(c.pad_id < c.vocab_size, "pad_id", c.pad_id, want)
    checks.flag("pooler", c.pooler)
    checks.mapping("inert", c.inert, "a dict")
