"""Llama: RMSNorm, rotary positions, grouped queries and SwiGLU, assembled.

B batch · T new tokens · S all tokens, cached ones included · D model width
V vocabulary

Loads any Hugging Face Llama without scaled rotary positions and biases;
SmolLM2 is one. Left out: dropout (these models are trained without), the
scaled rotary embeddings of long-context checkpoints, and generation, which
lives in `inference` and sees no more of a model than the call
``model(ids, attention_mask, cache)``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from torch import nn

from handmade.blocks.block import Block
from handmade.blocks.feedforward import SwiGLU
from handmade.blocks.masks import causal_mask, padding_mask
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import RMSNorm
from handmade.blocks.rope import rope_angles, token_positions

# published sizes, in the order of LlamaConfig's fields
PRESETS = {
    "smollm2-135m": (49152, 576, 30, 9, 3, 1536, 8192, 1e-5, 1e5, 64, True),
    "smollm2-360m": (49152, 960, 32, 15, 5, 2560, 8192, 1e-5, 1e5, 64, True),
    "llama-2-7b": (32000, 4096, 32, 32, 32, 11008, 4096, 1e-5, 1e4, 128),
    "llama-3-8b": (128256, 4096, 32, 32, 8, 14336, 8192, 1e-5, 5e5, 128),
}

# our name of a size -> its name in a Hugging Face config.json
HF_SIZES = {
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
}


@dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """The sizes of a Llama; ``d_head`` defaults to d_model / n_heads.

    Raises ValueError where sizes are not positive or do not divide.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_ff: int
    max_seq_len: int
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    d_head: int | None = None
    tie_embeddings: bool = False

    def __post_init__(self) -> None:
        if self.d_head is None:
            divides = self.n_heads > 0 and self.d_model % self.n_heads == 0
            want = f"a divisor of d_model = {self.d_model}, or give d_head"
            _need(divides, "n_heads", self.n_heads, want)
            object.__setattr__(self, "d_head", self.d_model // self.n_heads)
        for name, value in vars(self).items():
            if name != "tie_embeddings":
                _need(value > 0, name, value, "more than 0")
        want = f"a divisor of n_heads = {self.n_heads}"
        divides = self.n_heads % self.n_kv_heads == 0
        _need(divides, "n_kv_heads", self.n_kv_heads, want)
        want = "an even width, as rotary embedding turns pairs"
        _need(self.d_head % 2 == 0, "d_head", self.d_head, want)

    @classmethod
    def from_name(cls, name: str) -> "LlamaConfig":
        """Return the configuration of a published model by its name."""
        _need(name in PRESETS, "name", name, f"one of {[*PRESETS]}")
        names = [field.name for field in fields(cls)]
        return cls(**dict(zip(names, PRESETS[name], strict=False)))

    @classmethod
    def from_hf(cls, config: Mapping) -> "LlamaConfig":
        """Translate the contents of a Hugging Face config.json.

        Raises ValueError on settings this model does not have, rather than
        compute something else without a word.
        """
        rope = config.get("rope_parameters") or config.get("rope_scaling")
        rope = {"rope_theta": config.get("rope_theta"), **(rope or {})}
        kind = rope.get("rope_type", rope.get("type", "default"))
        wants = {
            "model_type": (config.get("model_type", "llama"), "llama"),
            "hidden_act": (config.get("hidden_act", "silu"), "silu"),
            "rope_type": (kind, "default"),
            "partial_rotary_factor": (rope.get("partial_rotary_factor", 1), 1),
            "attention_bias": (bool(config.get("attention_bias")), False),
            "mlp_bias": (bool(config.get("mlp_bias")), False),
            "attention_dropout": (config.get("attention_dropout") or 0, 0),
            "quantization_config": (config.get("quantization_config"), None),
        }
        for name, (got, want) in wants.items():
            _need(got == want, name, got, f"{want}: this Llama has no other")
        # what older files leave out has a default in transformers
        config = {
            "num_key_value_heads": config["num_attention_heads"],
            "head_dim": None,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": False,
            **config,
        }
        sizes = {ours: config[theirs] for ours, theirs in HF_SIZES.items()}
        return cls(**sizes, rope_theta=float(rope["rope_theta"] or 1e4))


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

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        D = config.d_model
        self.tok_emb = nn.Embedding(config.vocab_size, D)
        self.blocks = nn.ModuleList(
            Block(
                attn_norm=RMSNorm(D, config.norm_eps, precision=torch.float32),
                attn=MultiHeadAttention(
                    D,
                    config.n_heads,
                    n_kv_heads=config.n_kv_heads,
                    d_head=config.d_head,
                    layer=layer,
                ),
                ffn_norm=RMSNorm(D, config.norm_eps, precision=torch.float32),
                ffn=SwiGLU(D, config.d_ff),
            )
            for layer in range(config.n_layers)
        )
        self.norm = RMSNorm(D, config.norm_eps, precision=torch.float32)
        self.lm_head = nn.Linear(D, config.vocab_size, bias=False)
        self.apply(_init)
        if config.tie_embeddings:
            self.lm_head.weight = self.tok_emb.weight

    def forward(
        self,
        ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        cache=None,
    ) -> torch.Tensor:
        """Return the logits of the T new tokens, (B, T) -> (B, T, V).

        ``attention_mask`` (B, S) has 1 for a token and 0 for padding, on
        either side, and covers the cached tokens too (S = cache.length + T).
        A padding position gets finite numbers that mean nothing.
        Raises ValueError on ids, masks and lengths that do not fit.
        """
        past = 0 if cache is None else cache.length
        _check(self.config, ids, attention_mask, past)
        T, S = ids.shape[1], past + ids.shape[1]

        mask = causal_mask(T, S, device=ids.device)
        if attention_mask is None:
            positions = torch.arange(past, S, device=ids.device)[None]
        else:
            mask = mask & padding_mask(attention_mask)
            positions = token_positions(attention_mask)[:, past:]
        c = self.config
        rope = rope_angles(positions, c.d_head, c.rope_theta)
        x = self.tok_emb(ids)
        for block in self.blocks:
            x = block(x, mask=mask, rope=rope, cache=cache)
        return self.lm_head(self.norm(x))

    @classmethod
    def from_hf(cls, hf_model: nn.Module) -> "Llama":
        """Copy a transformers ``LlamaForCausalLM``, dtype and device too."""
        config = hf_model.config.to_dict()
        return cls.from_weights(hf_model.state_dict(), config)

    @classmethod
    def from_weights(cls, weights: Mapping, config: Mapping) -> "Llama":
        """Build from tensors by Hugging Face name and a config.json.

        The tensors are copied. Raises ValueError on missing, unexpected or
        misshapen ones.
        """
        llama_config = LlamaConfig.from_hf(config)
        with torch.device("meta"):  # no time spent on random weights
            model = cls(llama_config)
        copies = {_our_name(n): x.detach().clone() for n, x in weights.items()}
        if llama_config.tie_embeddings and "tok_emb.weight" in copies:
            tied = copies["tok_emb.weight"]
            same = torch.equal(copies.get("lm_head.weight", tied), tied)
            _need(same, "lm_head.weight", "another", "the tied embedding")
            copies["lm_head.weight"] = tied
        try:
            model.load_state_dict(copies, assign=True)
        except RuntimeError as error:
            raise ValueError(f"weights: {error}") from error
        if llama_config.tie_embeddings:
            model.lm_head.weight = model.tok_emb.weight
        return model.requires_grad_(True).eval()

    def to_hf(self):
        """Return the same model as a transformers ``LlamaForCausalLM``."""
        # only here: the model itself runs without transformers
        from transformers import LlamaConfig as HFConfig
        from transformers import LlamaForCausalLM

        theta = self.config.rope_theta
        hf_config = HFConfig(
            **{hf: getattr(self.config, our) for our, hf in HF_SIZES.items()},
            rope_parameters={"rope_type": "default", "rope_theta": theta},
        )
        hf_model = LlamaForCausalLM(hf_config)
        ours = self.state_dict()
        # assigned, so that dtypes are kept: a cast of the whole model would
        # also round the rotary frequencies, which stay in float32
        hf_model.load_state_dict(
            {n: ours[_our_name(n)].clone() for n in hf_model.state_dict()},
            assign=True,
        )
        hf_model.tie_weights()
        return hf_model.to(self.tok_emb.weight.device).eval()


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)


def _our_name(hf_name: str) -> str:
    """Rename a weight: HF_LAYERS, read from right to left."""
    layer = "".join(re.findall(r"\.(\d+)\.", hf_name))
    for ours, theirs in Llama.HF_LAYERS.items():
        prefix = theirs.format(layer) + "."
        if hf_name.startswith(prefix):
            return f"{ours.format(layer)}.{hf_name.removeprefix(prefix)}"
    return hf_name


def _check(
    config: LlamaConfig,
    ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    past: int,
) -> None:
    whole = ids.ndim == 2 and ids.dtype in (torch.int64, torch.int32)
    got = f"{tuple(ids.shape)} of {ids.dtype}"
    _need(whole, "ids", got, "(B, T) of whole numbers")
    B, T = ids.shape
    room = config.max_seq_len - past
    want = f"1 to {room}: max_seq_len less what is cached"
    _need(0 < T <= room, "length of ids", T, want)
    low, high = ids.aminmax() if B else (0, 0)
    fits = low >= 0 and high < config.vocab_size
    want = f"0 to {config.vocab_size - 1}"
    _need(fits, "ids", f"{int(low)} to {int(high)}", want)
    if attention_mask is not None:
        shape, want = tuple(attention_mask.shape), (B, past + T)
        _need(shape == want, "attention_mask", shape, f"(B, S) = {want}")
        binary = bool(((attention_mask == 0) | (attention_mask == 1)).all())
        want = "only 1 (token) and 0 (padding)"
        _need(binary, "attention_mask", "other numbers", want)


def _need(holds: bool, name: str, got: object, want: object) -> None:
    if not holds:
        raise ValueError(f"{name}: got {got}, want {want}")
