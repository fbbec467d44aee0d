"""GPT-2: learned positions, LayerNorm before each layer, GELU, assembled.

B batch · T new tokens · S all tokens, cached ones included · D model width
V vocabulary · N blocks

Loads any Hugging Face GPT-2: the four that OpenAI published, DistilGPT-2 and
what was trained like them. Left out: dropout, which changes nothing outside
training (what a file says of it is kept for the way back); the heads that
summarize or classify; and generation, which lives in `inference`.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from handmade.blocks.block import Block
from handmade.blocks.feedforward import FeedForward
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import LayerNorm
from handmade.blocks.positions import LearnedPositions
from handmade.checks import need
from handmade.contracts import Cache
from handmade.models.config import activation
from handmade.models.decoder import begin, mask_and_positions
from handmade.models.gpt2_config import PRESETS, GPT2Config
from handmade.models.load import (
    Rule,
    Split,
    Transposed,
    checkpoint_dtype,
    export,
    load,
)

__all__ = ["GPT2", "PRESETS", "GPT2Config"]

STD = 0.02  # of every matrix at the start


class GPT2(nn.Module):
    """Predict the next token at every position.

    x = tok_emb(ids) + pos_emb(positions); x = block(x) for each block;
    lm_head(norm(x)),  (B, T) -> (B, T, V) logits. [radford2019]
    """

    # our module -> the same place in transformers' GPT2LMHeadModel
    HF_LAYERS: ClassVar[dict[str, str]] = {
        "tok_emb": "transformer.wte",
        "pos_emb": "transformer.wpe",
        "blocks.{}.attn_norm": "transformer.h.{}.ln_1",
        "blocks.{}.attn": "transformer.h.{}.attn",
        "blocks.{}.ffn_norm": "transformer.h.{}.ln_2",
        "blocks.{}.ffn": "transformer.h.{}.mlp",
        "blocks.{}": "transformer.h.{}",
        "norm": "transformer.ln_f",
        "lm_head": "lm_head",
        "": "",
    }

    # the tensors of a checkpoint -> our parameters. A Conv1D has its matrix
    # as (in, out): transposed, and of q, k and v side by side in one
    HF_WEIGHTS: ClassVar[dict[str, str | Rule]] = {
        "transformer.wte.weight": "tok_emb.weight",
        "transformer.wpe.weight": "pos_emb.weight",
        "transformer.h.{}.ln_1.weight": "blocks.{}.attn_norm.weight",
        "transformer.h.{}.ln_1.bias": "blocks.{}.attn_norm.bias",
        "transformer.h.{}.attn.c_attn.weight": Transposed(Split(
            "blocks.{}.attn.q_proj.weight", "blocks.{}.attn.k_proj.weight",
            "blocks.{}.attn.v_proj.weight")),
        "transformer.h.{}.attn.c_attn.bias": Split(
            "blocks.{}.attn.q_proj.bias", "blocks.{}.attn.k_proj.bias",
            "blocks.{}.attn.v_proj.bias"),
        "transformer.h.{}.attn.c_proj.weight":
            Transposed("blocks.{}.attn.o_proj.weight"),
        "transformer.h.{}.attn.c_proj.bias": "blocks.{}.attn.o_proj.bias",
        "transformer.h.{}.ln_2.weight": "blocks.{}.ffn_norm.weight",
        "transformer.h.{}.ln_2.bias": "blocks.{}.ffn_norm.bias",
        "transformer.h.{}.mlp.c_fc.weight":
            Transposed("blocks.{}.ffn.up_proj.weight"),
        "transformer.h.{}.mlp.c_fc.bias": "blocks.{}.ffn.up_proj.bias",
        "transformer.h.{}.mlp.c_proj.weight":
            Transposed("blocks.{}.ffn.down_proj.weight"),
        "transformer.h.{}.mlp.c_proj.bias": "blocks.{}.ffn.down_proj.bias",
        "transformer.ln_f.weight": "norm.weight",
        "transformer.ln_f.bias": "norm.bias",
        "lm_head.weight": "lm_head.weight",
    }  # fmt: skip
    # a causal mask and its -10,000, which old files hold beside the weights
    HF_BUFFERS: ClassVar[tuple[str, ...]] = (
        "transformer.h.{}.attn.bias",
        "transformer.h.{}.attn.masked_bias",
    )

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        ours = isinstance(config, GPT2Config)
        need(ours, "config", type(config).__name__, "a GPT2Config")
        self.config = config
        D, eps = config.d_model, config.norm_eps
        curve = activation(config.activation)
        self.tok_emb = nn.Embedding(config.vocab_size, D)
        self.pos_emb = LearnedPositions(config.max_seq_len, D, std=STD)
        self.blocks = nn.ModuleList(
            Block(
                attn_norm=LayerNorm(D, eps),
                attn=MultiHeadAttention(
                    D,
                    config.n_heads,
                    bias=True,
                    scale=_scale(config, layer),
                    layer=layer,
                ),
                ffn_norm=LayerNorm(D, eps),
                ffn=FeedForward(D, config.d_ff, curve),
            )
            for layer in range(config.n_layers)
        )
        self.norm = LayerNorm(D, eps)
        self.lm_head = nn.Linear(D, config.vocab_size, bias=False)
        _init(self)
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
        Positions count the tokens, not the padding: transformers' GPT-2,
        called alone, counts both. ``positions`` (B, T) and ``mask``, bool
        (T, S) or (B, 1, T, S), replace the counted positions and the causal
        mask. ``logits_to_keep`` n computes the last n rows only.
        A padding position gets finite numbers that mean nothing.
        Raises ValueError on shapes that do not fit and on a text longer than
        the table of positions.
        """
        c = self.config
        begin(c, ids, attention_mask, positions, mask, cache, logits_to_keep)
        mask, positions = mask_and_positions(
            ids, attention_mask, positions, mask, cache
        )
        x = self.tok_emb(ids) + self.pos_emb(positions)
        for block in self.blocks:
            x = block(x, mask=mask, cache=cache)
        x = self.norm(x)
        if logits_to_keep is not None:
            x = x[:, -logits_to_keep:]
        return self.lm_head(x)

    @classmethod
    def from_name(cls, name: str, **overrides: Any) -> "GPT2":
        """Return an untrained model of a published model's sizes."""
        return cls(GPT2Config.from_name(name, **overrides))

    @classmethod
    def from_hf(cls, hf_model: nn.Module) -> "GPT2":
        """Copy a transformers ``GPT2LMHeadModel``, dtype and device too."""
        weighs = isinstance(hf_model, nn.Module)
        want = "a model: a config has no weights"
        need(weighs, "hf_model", f"a {type(hf_model).__name__}", want)
        return cls.from_weights(hf_model.state_dict(), hf_model)

    @classmethod
    def from_weights(
        cls, weights: Mapping[str, torch.Tensor], config: object
    ) -> "GPT2":
        """Build from tensors by Hugging Face name and a config.json.

        ``config`` is all that ``GPT2Config.from_hf`` takes, or one of ours.
        Names may lack their ``transformer.``, as OpenAI's own do on the hub.
        The tensors are copied; where they have several dtypes, all take the
        one that the config states, as in transformers.
        Raises ValueError on missing, unexpected or misshapen tensors.
        """
        if not isinstance(config, GPT2Config):
            config = GPT2Config.from_hf(config)
        with torch.device("meta"):  # no time spent on random weights
            model = cls(config)
        dtype = checkpoint_dtype(weights, config.inert)
        prefix = _prefix(weights)
        tied = {"lm_head.weight": "tok_emb.weight"}
        load(
            model,
            weights,
            {n.removeprefix(prefix): r for n, r in cls.HF_WEIGHTS.items()},
            tied=tied if config.tie_embeddings else None,
            ignored=[name.removeprefix(prefix) for name in cls.HF_BUFFERS],
            dtype=dtype,
        )
        model._tie()
        return model.requires_grad_(True).eval()

    def to_hf(self) -> Any:
        """Return the same model as a transformers ``GPT2LMHeadModel``."""
        # only here: the model itself runs without transformers
        from transformers import GPT2Config as HFConfig
        from transformers import GPT2LMHeadModel

        hf_config = HFConfig.from_dict(self.config.to_hf())
        hf_model: Any = GPT2LMHeadModel(hf_config)
        hf_model.load_state_dict(export(self, self.HF_WEIGHTS), assign=True)
        hf_model.tie_weights()
        return hf_model.to(self.tok_emb.weight.device).eval()

    def _tie(self) -> None:
        if self.config.tie_embeddings:
            self.lm_head.weight = self.tok_emb.weight


@torch.no_grad()
def _init(model: GPT2) -> None:
    """Draw the matrices from N(0, 0.02^2), biases 0, gains 1.

    What writes to the residual stream is drawn sqrt(2 N) narrower: N blocks
    add to it twice each, and the sum begins as wide as one. [radford2019]
    """
    narrow = STD / math.sqrt(2 * model.config.n_layers)
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            parameter.normal_(std=narrow)
        elif parameter.ndim == 2:
            parameter.normal_(std=STD)
        elif name.endswith("bias"):
            parameter.zero_()


def _scale(config: GPT2Config, layer: int) -> float:
    """Return what the scores of a layer are multiplied by."""
    K = config.d_model // config.n_heads
    scale = 1 / math.sqrt(K) if config.scale_attn else 1.0
    return scale / (layer + 1) if config.scale_by_layer else scale


def _prefix(weights: Mapping[str, torch.Tensor]) -> str:
    """Return what the names of this file lack of those in the table."""
    prefix = "transformer."
    named = any(str(name).startswith(prefix) for name in weights)
    return "" if named else prefix
