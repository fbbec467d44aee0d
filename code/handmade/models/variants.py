"""One Llama with switches: Mistral, Mixtral, Qwen, Gemma 3 and DeepSeek.

B batch · T new tokens · S all tokens, cached ones included · D model width
V vocabulary

With every switch off it is the Llama of the page before, parameter by
parameter. Six models of transformers are this one with some of them on;
`variants_weights` says which tensor of theirs is which parameter. Left out:
losses that balance experts, which a model's forward pass does not need, and
mixtures with shared experts (see `variants_keys`).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from handmade import checks
from handmade.blocks.block import Block
from handmade.blocks.feedforward import GatedFeedForward
from handmade.blocks.masks import sliding_window_mask
from handmade.blocks.mixture_of_experts import MixtureOfExperts
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import RMSNorm
from handmade.blocks.rope import Rope, rope_angles
from handmade.blocks.sandwich import OnePlusRMSNorm, SandwichBlock
from handmade.checks import need
from handmade.contracts import Cache
from handmade.models.config import activation
from handmade.models.decoder import begin, mask_and_positions
from handmade.models.latent_attention import LatentAttention
from handmade.models.load import Table, checkpoint_dtype, export, load
from handmade.models.variants_config import PRESETS, VariantConfig
from handmade.models.variants_weights import (
    EXPERTS_IN_FILES,
    HF_LAYERS,
    HF_WEIGHTS,
)

__all__ = ["PRESETS", "Variant", "VariantConfig"]


class ScaledEmbedding(nn.Embedding):
    """Look up a vector a token and multiply it by sqrt(D).

    (B, T) -> (B, T, D). The root is rounded to float32, then to the dtype of
    the table, as transformers does it: 33.94 is 34 in bfloat16. [gemma2024]
    """

    def __init__(self, vocab_size: int, d_model: int) -> None:
        checks.whole("vocab_size", vocab_size)
        checks.whole("d_model", d_model)
        super().__init__(vocab_size, d_model)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        checks.ids("ids", ids)
        # a tensor without axes is taken for a number on any device
        root = torch.tensor(self.embedding_dim**0.5, dtype=torch.float32)
        return super().forward(ids) * root.to(self.weight.dtype)


class Variant(nn.Module):
    """Predict the next token at every position, as the config says.

    x = tok_emb(ids); x = block(x) for each block; lm_head(norm(x))
    (B, T) -> (B, T, V) logits. [jiang2023], [jiang2024], [gemma2025],
    [deepseek2024]
    """

    def __init__(self, config: VariantConfig) -> None:
        super().__init__()
        ours = isinstance(config, VariantConfig)
        need(ours, "config", type(config).__name__, "a VariantConfig")
        self.config = config
        V, D = config.vocab_size, config.d_model
        scaled = config.scale_embeddings
        self.tok_emb = (ScaledEmbedding if scaled else nn.Embedding)(V, D)
        self.blocks = nn.ModuleList(
            self._block(layer) for layer in range(config.n_layers)
        )
        self.norm = self._norm(D)
        self.lm_head = nn.Linear(D, V, bias=False)
        self.apply(_init)
        self._tie()

    def _norm(self, width: int) -> nn.Module:
        c = self.config
        kind = OnePlusRMSNorm if c.one_plus_gain else RMSNorm
        # Hugging Face takes the mean square in float32, also of float64
        return kind(width, c.norm_eps, precision=torch.float32)

    def _attention(self, layer: int) -> nn.Module:
        c, scalar = self.config, self.config.query_pre_attn_scalar
        if c.latent is not None:
            return LatentAttention(
                c.d_model,
                c.n_heads,
                c.latent,
                bias=c.attention_bias,
                precision=torch.float32,
                layer=layer,
            )
        return MultiHeadAttention(
            c.d_model,
            c.n_heads,
            n_kv_heads=c.n_kv_heads,
            d_head=c.d_head,
            bias=c.attention_bias,
            out_bias=c.out_bias,
            q_norm=self._norm(c.d_head) if c.qk_norm else None,
            k_norm=self._norm(c.d_head) if c.qk_norm else None,
            scale=None if scalar is None else scalar**-0.5,
            layer=layer,
        )

    def _feedforward(self) -> nn.Module:
        c = self.config
        if c.n_experts is not None and c.top_k is not None:
            return MixtureOfExperts(c.d_model, c.d_ff, c.n_experts, c.top_k)
        return GatedFeedForward(c.d_model, c.d_ff, activation(c.activation))

    def _block(self, layer: int) -> Block:
        D = self.config.d_model
        parts: dict[str, Any] = {
            "attn_norm": self._norm(D),
            "attn": self._attention(layer),
            "ffn_norm": self._norm(D),
            "ffn": self._feedforward(),
        }
        if not self.config.sandwich:
            return Block(**parts)
        after = {"attn_post_norm": self._norm(D)}
        after["ffn_post_norm"] = self._norm(D)
        return SandwichBlock(**parts, **after)

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

        The arguments are those of ``Llama.forward``. A sliding layer sees of
        ``mask``, given or causal, the last ``window`` keys up to its token.
        Raises ValueError on shapes that do not fit.
        """
        c = self.config
        begin(c, ids, attention_mask, positions, mask, cache, logits_to_keep)
        mask, positions = mask_and_positions(
            ids, attention_mask, positions, mask, cache
        )
        # once for each kind of layer, not for each layer
        kinds = dict.fromkeys(c.layer_kinds)
        masks = {kind: self._mask(kind, mask) for kind in kinds}
        ropes = {kind: self._rope(kind, positions) for kind in kinds}
        x = self.tok_emb(ids)
        for kind, block in zip(c.layer_kinds, self.blocks, strict=True):
            x = block(x, mask=masks[kind], rope=ropes[kind], cache=cache)
        x = self.norm(x)
        if logits_to_keep is not None:
            x = x[:, -logits_to_keep:]
        logits, cap = self.lm_head(x), c.logit_soft_cap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def _mask(self, kind: str, mask: torch.Tensor) -> torch.Tensor:
        if kind == "full" or self.config.window is None:
            return mask
        T, S = mask.shape[-2:]
        return mask & sliding_window_mask(
            T, self.config.window, S, mask.device
        )

    def _rope(self, kind: str, positions: torch.Tensor) -> Rope:
        c = self.config
        if kind == "sliding" and c.local_theta is not None:
            return rope_angles(positions, c.d_head, c.local_theta)
        return rope_angles(positions, c.d_head, c.rope_theta, c.rope_scaling)

    @property
    def hf_weights(self) -> Table:
        """The tensors of a checkpoint -> our parameters."""
        return HF_WEIGHTS[self.config.model_type]

    @property
    def hf_layers(self) -> dict[str, str]:
        """Our module -> the same place in transformers' model."""
        return HF_LAYERS[self.config.model_type]

    @classmethod
    def from_name(cls, name: str, **overrides: Any) -> "Variant":
        """Return an untrained model of a published model's sizes."""
        return cls(VariantConfig.from_name(name, **overrides))

    @classmethod
    def from_hf(cls, hf_model: nn.Module) -> "Variant":
        """Copy a transformers model for causal language modelling.

        Of Llama, Mistral, Mixtral, Qwen 2 and 3, Gemma 3 (text), and of a
        DeepSeek V3 whose layers are all dense; dtype and device too.
        """
        weighs = isinstance(hf_model, nn.Module)
        want = "a model: a config has no weights"
        need(weighs, "hf_model", f"a {type(hf_model).__name__}", want)
        return cls.from_weights(hf_model.state_dict(), hf_model)

    @classmethod
    def from_weights(
        cls, weights: Mapping[str, torch.Tensor], config: object
    ) -> "Variant":
        """Build from tensors by Hugging Face name and a config.json.

        ``config`` is all that ``VariantConfig.from_hf`` takes, or one of
        ours. The tensors are copied; where they have several dtypes, all
        take the one that the config states, as in transformers.
        Raises ValueError on missing, unexpected or misshapen tensors.
        """
        if not isinstance(config, VariantConfig):
            config = VariantConfig.from_hf(config)
        with torch.device("meta"):  # no time spent on random weights
            model = cls(config)
        tied = {"lm_head.weight": "tok_emb.weight"}
        older = EXPERTS_IN_FILES if config.n_experts is not None else {}
        load(
            model,
            weights,
            {**model.hf_weights, **older},
            tied=tied if config.tie_embeddings else None,
            ignored=["model.layers.{}.self_attn.rotary_emb.inv_freq"],
            dtype=checkpoint_dtype(weights, config.inert),
        )
        model._tie()
        return model.requires_grad_(True).eval()

    def to_hf(self) -> Any:
        """Return the same model as a transformers model.

        Raises ValueError where that model has no word for a switch of ours.
        """
        stated = self.config.to_hf()
        # only here: the model itself runs without transformers
        from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

        hf_config = CONFIG_MAPPING[stated["model_type"]].from_dict(stated)
        hf_model: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(hf_config)](hf_config)
        # assigned, so that dtypes are kept: a cast of the whole model would
        # also round the rotary frequencies, which stay in float32
        hf_model.load_state_dict(export(self, self.hf_weights), assign=True)
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
