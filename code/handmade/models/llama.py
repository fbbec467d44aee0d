"""Llama: RMSNorm, rotary positions, grouped queries and SwiGLU, assembled.

B batch · T new tokens · S all tokens, cached ones included · D model width
V vocabulary

Loads any Hugging Face Llama: Llama 2, 3, 3.1 and 3.2, TinyLlama, SmolLM2.
Left out: dropout (these models are trained without), biases in the
feed-forward layer, and generation, which lives in `inference` and sees no
more of a model than `handmade.contracts.Decoder`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from handmade.blocks.block import Block
from handmade.blocks.feedforward import SwiGLU
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import RMSNorm
from handmade.blocks.rope import RopeScaling, rope_angles
from handmade.checks import need, positive, whole
from handmade.contracts import Cache
from handmade.models import config as hf
from handmade.models.decoder import begin, mask_and_positions
from handmade.models.load import checkpoint_dtype, export, load

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

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


class Llama(nn.Module):
    """Predict the next token at every position.

    x = tok_emb(ids); x = block(x) for each block; lm_head(norm(x))
    (B, T) -> (B, T, V) logits. [touvron2023]
    """

    # our module -> the same place in transformers' LlamaForCausalLM
    HF_LAYERS: ClassVar[dict[str, str]] = {
        "tok_emb": "model.embed_tokens",
        "blocks.{}.attn_norm": "model.layers.{}.input_layernorm",
        "blocks.{}.attn": "model.layers.{}.self_attn",
        "blocks.{}.ffn_norm": "model.layers.{}.post_attention_layernorm",
        "blocks.{}.ffn": "model.layers.{}.mlp",
        "blocks.{}": "model.layers.{}",
        "norm": "model.norm",
        "lm_head": "lm_head",
        "": "",
    }

    # the tensors of a checkpoint -> our parameters
    HF_WEIGHTS: ClassVar[dict[str, str]] = {
        "model.embed_tokens.weight": "tok_emb.weight",
        "model.layers.{}.input_layernorm.weight":
            "blocks.{}.attn_norm.weight",
        "model.layers.{}.self_attn.q_proj.weight":
            "blocks.{}.attn.q_proj.weight",
        "model.layers.{}.self_attn.k_proj.weight":
            "blocks.{}.attn.k_proj.weight",
        "model.layers.{}.self_attn.v_proj.weight":
            "blocks.{}.attn.v_proj.weight",
        "model.layers.{}.self_attn.o_proj.weight":
            "blocks.{}.attn.o_proj.weight",
        "model.layers.{}.self_attn.q_proj.bias": "blocks.{}.attn.q_proj.bias",
        "model.layers.{}.self_attn.k_proj.bias": "blocks.{}.attn.k_proj.bias",
        "model.layers.{}.self_attn.v_proj.bias": "blocks.{}.attn.v_proj.bias",
        "model.layers.{}.self_attn.o_proj.bias": "blocks.{}.attn.o_proj.bias",
        "model.layers.{}.post_attention_layernorm.weight":
            "blocks.{}.ffn_norm.weight",
        "model.layers.{}.mlp.gate_proj.weight":
            "blocks.{}.ffn.gate_proj.weight",
        "model.layers.{}.mlp.up_proj.weight": "blocks.{}.ffn.up_proj.weight",
        "model.layers.{}.mlp.down_proj.weight":
            "blocks.{}.ffn.down_proj.weight",
        "model.norm.weight": "norm.weight",
        "lm_head.weight": "lm_head.weight",
    }  # fmt: skip

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        D, eps = config.d_model, config.norm_eps
        # Hugging Face takes the mean square in float32, also of float64
        as_hf = torch.float32
        self.tok_emb = nn.Embedding(config.vocab_size, D)
        self.blocks = nn.ModuleList(
            Block(
                attn_norm=RMSNorm(D, eps, precision=as_hf),
                attn=MultiHeadAttention(
                    D,
                    config.n_heads,
                    n_kv_heads=config.n_kv_heads,
                    d_head=config.d_head,
                    bias=config.attention_bias,
                    layer=layer,
                ),
                ffn_norm=RMSNorm(D, eps, precision=as_hf),
                ffn=SwiGLU(D, config.d_ff),
            )
            for layer in range(config.n_layers)
        )
        self.norm = RMSNorm(D, eps, precision=as_hf)
        self.lm_head = nn.Linear(D, config.vocab_size, bias=False)
        self.apply(_init)
        self._tie()

    def forward(
        self,
        ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        positions: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        cache: Cache | None = None,
        logits_to_keep: int | None = None,
    ) -> torch.Tensor:
        """Return the logits of the T new tokens, (B, T) -> (B, T, V).

        ``attention_mask`` (B, S) has 1 for a token and 0 for padding, on
        either side, and covers the cached tokens too (S = cache.length + T).
        ``positions`` (B, T) and ``mask``, bool (T, S) or (B, 1, T, S),
        replace the counted positions and the causal mask: packed documents
        need both. ``logits_to_keep`` n computes the last n rows only.
        A padding position gets finite numbers that mean nothing.
        Raises ValueError on shapes that do not fit.
        """
        c = self.config
        begin(c, ids, attention_mask, positions, mask, cache, logits_to_keep)
        mask, positions = mask_and_positions(
            ids, attention_mask, positions, mask, cache
        )
        rope = rope_angles(positions, c.d_head, c.rope_theta, c.rope_scaling)
        x = self.tok_emb(ids)
        for block in self.blocks:
            x = block(x, mask=mask, rope=rope, cache=cache)
        x = self.norm(x)
        if logits_to_keep is not None:
            x = x[:, -logits_to_keep:]
        logits: torch.Tensor = self.lm_head(x)
        return logits

    @classmethod
    def from_name(cls, name: str, **overrides: Any) -> "Llama":
        """Return an untrained model of a published model's sizes."""
        return cls(LlamaConfig.from_name(name, **overrides))

    @classmethod
    def from_hf(cls, hf_model: nn.Module) -> "Llama":
        """Copy a transformers ``LlamaForCausalLM``, dtype and device too."""
        weighs = isinstance(hf_model, nn.Module)
        want = "a model: a config has no weights"
        need(weighs, "hf_model", f"a {type(hf_model).__name__}", want)
        return cls.from_weights(hf_model.state_dict(), hf_model)

    @classmethod
    def from_weights(
        cls, weights: Mapping[str, torch.Tensor], config: object
    ) -> "Llama":
        """Build from tensors by Hugging Face name and a config.json.

        ``config`` is all that ``LlamaConfig.from_hf`` takes, or one of ours.
        The tensors are copied; where they have several dtypes, all take the
        one that the config states, as in transformers.
        Raises ValueError on missing, unexpected or misshapen tensors.
        """
        if not isinstance(config, LlamaConfig):
            config = LlamaConfig.from_hf(config)
        with torch.device("meta"):  # no time spent on random weights
            model = cls(config)
        tied = {"lm_head.weight": "tok_emb.weight"}
        load(
            model,
            weights,
            cls.HF_WEIGHTS,
            tied=tied if config.tie_embeddings else None,
            ignored=["model.layers.{}.self_attn.rotary_emb.inv_freq"],
            dtype=checkpoint_dtype(weights, config.inert),
        )
        model._tie()
        return model.requires_grad_(True).eval()

    def to_hf(self) -> "LlamaForCausalLM":
        """Return the same model as a transformers ``LlamaForCausalLM``."""
        # only here: the model itself runs without transformers
        from transformers import LlamaConfig as HFConfig
        from transformers import LlamaForCausalLM

        hf_model = LlamaForCausalLM(HFConfig.from_dict(self.config.to_hf()))
        # assigned, so that dtypes are kept: a cast of the whole model would
        # also round the rotary frequencies, which stay in float32
        hf_model.load_state_dict(export(self, self.HF_WEIGHTS), assign=True)
        hf_model.tie_weights()
        hf_model.to(self.tok_emb.weight.device)  # type: ignore[arg-type]
        hf_model.eval()  # type: ignore[no-untyped-call]
        return hf_model

    def _tie(self) -> None:
        if self.config.tie_embeddings:
            self.lm_head.weight = self.tok_emb.weight


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


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
    scaled = isinstance(config.rope_scaling, RopeScaling | None)
    need(scaled, "rope_scaling", config.rope_scaling, "a RopeScaling")
