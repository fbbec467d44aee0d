"""Llama: RMSNorm, rotary positions, grouped queries and SwiGLU, assembled.

B batch · T new tokens · S all tokens, cached ones included · D model width
V vocabulary

Loads any Hugging Face Llama: Llama 2, 3, 3.1 and 3.2, TinyLlama, SmolLM2.
Left out: dropout (these models are trained without), biases in the
feed-forward layer, and generation, which lives in `inference` and sees no
more of a model than `handmade.contracts.Decoder`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from handmade.blocks.block import Block
from handmade.blocks.feedforward import SwiGLU
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import RMSNorm
from handmade.blocks.rope import rope_angles
from handmade.checks import need
from handmade.contracts import Cache
from handmade.models.decoder import begin, mask_and_positions
from handmade.models.llama_config import PRESETS, LlamaConfig
from handmade.models.load import checkpoint_dtype, export, load

__all__ = ["PRESETS", "Llama", "LlamaConfig"]


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
        ours = isinstance(config, LlamaConfig)
        need(ours, "config", type(config).__name__, "a LlamaConfig")
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
        return self.lm_head(x)

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

    def to_hf(self) -> Any:
        """Return the same model as a transformers ``LlamaForCausalLM``."""
        # only here: the model itself runs without transformers
        from transformers import LlamaConfig as HFConfig
        from transformers import LlamaForCausalLM

        hf_config = HFConfig.from_dict(self.config.to_hf())
        hf_model: Any = LlamaForCausalLM(hf_config)
        # assigned, so that dtypes are kept: a cast of the whole model would
        # also round the rotary frequencies, which stay in float32
        hf_model.load_state_dict(export(self, self.HF_WEIGHTS), assign=True)
        hf_model.tie_weights()
        return hf_model.to(self.tok_emb.weight.device).eval()

    def _tie(self) -> None:
        if self.config.tie_embeddings:
            self.lm_head.weight = self.tok_emb.weight


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
