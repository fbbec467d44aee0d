"""One Llama with switches: its sizes, and which switch each model turns.

Every field beyond those of ``LlamaConfig`` is a switch whose default is the
Llama's own way. How a config.json spells them stands in `variants_hf`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from handmade import checks
from handmade.checks import need
from handmade.models import config as hf
from handmade.models import variants_hf
from handmade.models.latent_attention import Latent
from handmade.models.llama_config import LlamaConfig

KINDS = ("full", "sliding")
MISTRAL = {
    "vocab_size": 32_000, "d_model": 4096, "n_layers": 32, "n_heads": 32,
    "n_kv_heads": 8, "d_ff": 14_336, "d_head": 128, "max_seq_len": 32_768,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "mistral-7b": {**MISTRAL, "model_type": "mistral", "window": 4096},
    "mixtral-8x7b": {
        **MISTRAL, "model_type": "mixtral", "rope_theta": 1e6,
        "n_experts": 8, "top_k": 2,
    },
    "qwen3-0.6b": {
        "model_type": "qwen3",
        "vocab_size": 151_936, "d_model": 1024, "n_layers": 28,
        "n_heads": 16, "n_kv_heads": 8, "d_ff": 3072, "d_head": 128,
        "max_seq_len": 40_960, "norm_eps": 1e-6, "rope_theta": 1e6,
        "tie_embeddings": True, "qk_norm": True,
    },
    "gemma-3-1b": {
        "model_type": "gemma3_text",
        "vocab_size": 262_144, "d_model": 1152, "n_layers": 26,
        "n_heads": 4, "n_kv_heads": 1, "d_ff": 6912, "d_head": 256,
        "max_seq_len": 32_768, "norm_eps": 1e-6, "rope_theta": 1e6,
        "tie_embeddings": True, "qk_norm": True, "window": 512,
        "layer_kinds": ("sliding",) * 5 + ("full",), "local_theta": 1e4,
        "scale_embeddings": True, "one_plus_gain": True, "sandwich": True,
        "activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256,
    },
    # the three blocks that come before the first mixture of experts
    "deepseek-v3-dense": {
        "model_type": "deepseek_v3",
        "vocab_size": 129_280, "d_model": 7168, "n_layers": 3,
        "n_heads": 128, "d_ff": 18_432, "max_seq_len": 4096,
        "norm_eps": 1e-6,
        "latent": Latent(
            kv_rank=512, q_rank=1536, d_nope=128, d_rope=64, d_value=128
        ),
    },
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class VariantConfig(LlamaConfig):
    """The sizes of a Llama, and its switches.

    ``model_type`` says whose config.json and names of tensors are spoken.
    ``out_bias`` defaults to ``attention_bias``, which is then that of q, k
    and v alone. ``window`` counts the keys that a sliding layer sees, its own
    included; ``layer_kinds`` says which layers are "sliding" and which
    "full": a pattern, repeated over the layers; by default all are of one
    kind. ``local_theta`` is that of the sliding layers, unscaled.
    ``query_pre_attn_scalar`` s divides the scores by sqrt(s) where it is not
    d_head. With ``latent``, d_head is the part of a head that turns.
    Raises ValueError for sizes and switches that do not fit each other.
    """

    model_type: str = "llama"
    # attention
    out_bias: bool = None  # type: ignore[assignment]
    qk_norm: bool = False
    window: int | None = None
    layer_kinds: tuple[str, ...] = None  # type: ignore[assignment]
    local_theta: float | None = None
    query_pre_attn_scalar: int | None = None
    latent: Latent | None = None
    # feed-forward
    activation: str = "silu"
    n_experts: int | None = None
    top_k: int | None = None
    # norms, and the two ends
    one_plus_gain: bool = False
    sandwich: bool = False
    scale_embeddings: bool = False
    logit_soft_cap: float | None = None

    def __post_init__(self) -> None:
        _check_latent(self)
        super().__post_init__()
        _fill_in(self)
        _check_switches(self)

    @classmethod
    def from_name(cls, name: str, **overrides: Any) -> "VariantConfig":
        """Return a published model's configuration, some sizes replaced.

        ``from_name("gemma-3-1b", n_layers=7)``
        """
        return hf.preset(cls, PRESETS, name, overrides)

    @classmethod
    def from_hf(cls, config: object) -> "VariantConfig":
        """Translate a config.json (a dict), a config object or a model's.

        Raises ValueError on another model_type, and on every key that this
        model does not implement for it.
        """
        return cls(**variants_hf.read_family(config))

    def to_hf(self) -> dict[str, Any]:
        """Return the contents of a config.json: what ``from_hf`` reads.

        Raises ValueError where the model_type has no word for a switch.
        """
        written = variants_hf.write_family(self)
        back = VariantConfig.from_hf(written)
        for name in self.__dataclass_fields__:
            ours, theirs = getattr(self, name), getattr(back, name)
            want = f"{theirs!r}: a {self.model_type} has no other"
            same = name == "inert" or ours == theirs
            need(same, name, repr(ours), want)
        return written


def _check_latent(config: VariantConfig) -> None:
    """Give a latent head its width, before a Llama's sizes are checked."""
    z = config.latent
    if z is None:
        return
    checks.kind("latent", z, Latent, "a Latent, or None")
    if config.d_head is None:
        object.__setattr__(config, "d_head", z.d_rope)
    want = f"{z.d_rope}, the d_rope of latent, or None"
    need(config.d_head == z.d_rope, "d_head", repr(config.d_head), want)
    heads = config.n_heads
    want = f"None or n_heads = {heads}: latent attention shares no heads"
    one = config.n_kv_heads in (None, heads)
    need(one, "n_kv_heads", config.n_kv_heads, want)


def _fill_in(config: VariantConfig) -> None:
    if config.out_bias is None:
        object.__setattr__(config, "out_bias", config.attention_bias)
    if config.window is not None:
        checks.whole("window", config.window)
    pattern: Sequence[str] = config.layer_kinds
    if pattern is None:
        pattern = ("full",) if config.window is None else ("sliding",)
    checks.several("layer_kinds", pattern, f"a list of {KINDS}")
    kinds = tuple(pattern)
    known = bool(kinds) and all(kind in KINDS for kind in kinds)
    need(known, "layer_kinds", repr(pattern), f"a list of {KINDS}")
    repeats = -(-config.n_layers // len(kinds))
    kinds = (kinds * repeats)[: config.n_layers]
    object.__setattr__(config, "layer_kinds", kinds)
    if "sliding" in kinds and config.window is None:
        raise ValueError("window: got None, want how many keys a sliding "
                         "layer sees")  # fmt: skip


def _check_switches(config: VariantConfig) -> None:
    checks.text("model_type", config.model_type)
    known, want = config.model_type in variants_hf.FAMILIES, "one of "
    want += str([*variants_hf.FAMILIES])
    need(known, "model_type", repr(config.model_type), want)
    for name in (
        "out_bias", "qk_norm", "one_plus_gain", "sandwich", "scale_embeddings"
    ):  # fmt: skip
        checks.flag(name, getattr(config, name))
    if config.query_pre_attn_scalar is not None:
        checks.whole("query_pre_attn_scalar", config.query_pre_attn_scalar)
    for name in ("local_theta", "logit_soft_cap"):
        if getattr(config, name) is not None:
            checks.positive(name, getattr(config, name))
    act, known_acts = config.activation, [*hf.ACTIVATIONS]
    need(act in known_acts, "activation", repr(act), f"one of {known_acts}")
    _check_experts(config)
    if config.latent is not None:
        for name in ("qk_norm", "query_pre_attn_scalar"):
            value, want = getattr(config, name), "none of it beside latent"
            need(not value, name, repr(value), want)
        same = config.out_bias == config.attention_bias
        want = "that of attention_bias, beside latent"
        need(same, "out_bias", config.out_bias, want)


def _check_experts(config: VariantConfig) -> None:
    if config.n_experts is None:
        want = "None: there are no experts to choose from"
        need(config.top_k is None, "top_k", repr(config.top_k), want)
        return
    checks.whole("n_experts", config.n_experts)
    want = f"how many of the {config.n_experts} experts a token takes"
    k = config.top_k
    whole = isinstance(k, int) and not isinstance(k, bool)
    fits = whole and k in range(1, config.n_experts + 1)
    need(fits, "top_k", repr(k), want)
    want = "silu, as the experts have it"
    silu = config.activation == "silu"
    need(silu, "activation", repr(config.activation), want)
