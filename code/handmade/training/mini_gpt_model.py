"""The capstone's model: a small GPT with what earned its place since GPT-2.

B batch · T new tokens · S keys, cached ones included · D model width
H heads · K head width · F feed-forward width · V vocabulary

RMSNorm without gains, also after the embedding and on queries and keys;
rotary positions; squared ReLU; no biases; what writes to the residual stream
starts at zero. In the Hugging Face format this is a NanoChat model. Left
out: grouped heads and dropout, which a model of this size does not need.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from handmade import checks
from handmade.blocks.rope import Rope, rope_angles
from handmade.contracts import Cache
from handmade.models.decoder import begin, mask_and_positions
from handmade.training.mini_gpt_hf import hf_weights
from handmade.training.mini_gpt_ngrams import NGrams
from handmade.training.mini_gpt_parts import (
    EPS,
    attend,
    norm,
    split_qkv,
    square_relu,
    turn,
)

THETA = 10000.0


@dataclass(frozen=True, kw_only=True)
class MiniGPTConfig:
    """The sizes of a MiniGPT.

    Raises ValueError where one is no whole number above 0, and where the
    heads do not share the width evenly or get an odd one.
    """

    vocab_size: int
    d_model: int = 128
    n_layers: int = 5
    n_heads: int = 2
    d_ff: int = 384
    max_seq_len: int = 256
    ngrams: int = 0  # buckets of each table of n-grams; 0: no such tables

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            checks.whole(name, value, at_least=0 if name == "ngrams" else 1)
        if self.d_model % (2 * self.n_heads):
            raise ValueError(
                f"n_heads: got {self.n_heads}, want a number that shares "
                f"d_model = {self.d_model} into even widths"
            )


class MiniGPT(nn.Module):
    """Predict the next token at every position, (B, T) -> (B, T, V).

    x = norm(tok_emb(ids)); x = x + attn(norm(x)); x = x + ffn(norm(x)) for
    each block; lm_head(norm(x)), with norm(x) = x / sqrt(mean(x^2) + eps).
    """

    def __init__(self, config: MiniGPTConfig) -> None:
        super().__init__()
        kind = MiniGPTConfig
        checks.kind("config", config, kind, "a MiniGPTConfig")
        self.config = config
        D = config.d_model
        self.tok_emb = nn.Embedding(config.vocab_size, D)
        V = config.vocab_size
        self.ngrams = NGrams(config.ngrams, D, V) if config.ngrams else None
        first = int(config.ngrams > 0)  # what they read is layer 0 of a cache
        self.blocks = nn.ModuleList(
            MiniBlock(config, first + i) for i in range(config.n_layers)
        )
        self.lm_head = nn.Linear(D, config.vocab_size, bias=False)
        _init(self)

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

        Arguments are those of `handmade.contracts.Decoder`.
        """
        c = self.config
        begin(c, ids, attention_mask, positions, mask, cache, logits_to_keep)
        mask, positions = mask_and_positions(
            ids, attention_mask, positions, mask, cache
        )
        rope = self.angles(positions)
        x = self.tok_emb(ids)
        if self.ngrams is not None:
            x = x + self.ngrams(ids, attention_mask, cache)
        x = as_computed(norm(x))
        for block in self.blocks:
            x = block(x, rope, mask, cache)
        x = norm(x)
        if logits_to_keep is not None:
            x = x[:, -logits_to_keep:]
        logits: torch.Tensor = self.lm_head(x)
        return logits.float() if logits.dtype == torch.bfloat16 else logits

    def angles(self, positions: torch.Tensor) -> Rope:
        """Return cos and sin of every position's angles, (B, T, K) each."""
        c = self.config
        return rope_angles(positions, c.d_model // c.n_heads, THETA)

    def to_hf(self) -> Any:
        """Return the same model as a transformers ``NanoChatForCausalLM``.

        Raises ValueError for a model with n-grams, which NanoChat lacks.
        """
        got = f"tables of {self.config.ngrams} buckets"
        want = "0: NanoChat has none"
        checks.need(self.ngrams is None, "ngrams", got, want)
        # only here: the model itself runs without transformers
        from transformers import NanoChatConfig, NanoChatForCausalLM

        c = self.config
        hf_config = NanoChatConfig(
            vocab_size=c.vocab_size,
            hidden_size=c.d_model,
            intermediate_size=c.d_ff,
            num_hidden_layers=c.n_layers,
            num_attention_heads=c.n_heads,
            max_position_embeddings=c.max_seq_len,
            rms_norm_eps=EPS,
            rope_parameters={"rope_type": "default", "rope_theta": THETA},
            final_logit_softcapping=None,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
        hf_model: Any = NanoChatForCausalLM(hf_config)
        hf_model.load_state_dict(hf_weights(self), assign=True)
        return hf_model.eval()


class MiniBlock(nn.Module):
    """Attention, then the feed-forward layer, each beside the stream."""

    def __init__(self, config: MiniGPTConfig, layer: int) -> None:
        super().__init__()
        checks.kind("config", config, MiniGPTConfig, "a MiniGPTConfig")
        checks.whole("layer", layer, at_least=0)
        D, self.n_heads, self.layer = config.d_model, config.n_heads, layer
        self.norm_qk, self.activation = norm, square_relu
        # one product instead of three: q, k and v read the same x
        self.qkv_proj = nn.Linear(D, 3 * D, bias=False)
        self.o_proj = nn.Linear(D, D, bias=False)
        self.up_proj = nn.Linear(D, config.d_ff, bias=False)
        self.down_proj = nn.Linear(config.d_ff, D, bias=False)

    def forward(
        self,
        x: torch.Tensor,
        rope: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor | None = None,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """(B, T, D) -> (B, T, D)."""
        checks.width("x", x, self.o_proj.out_features, axes=3)
        checks.cache("cache", cache)
        B, T, D = x.shape
        qk, v_BHTK = split_qkv(self.qkv_proj(norm(x)), self.n_heads)
        q_BHTK, k_BHTK = self.norm_qk(turn(qk, rope))
        k_BHSK, v_BHSK = k_BHTK, v_BHTK
        if cache is not None:
            k_BHSK, v_BHSK = cache.update(self.layer, k_BHTK, v_BHTK)
        out_BHTK = attend(q_BHTK, k_BHSK, v_BHSK, mask)
        x = x + self.o_proj(out_BHTK.transpose(1, 2).reshape(B, T, D))
        return x + self.down_proj(self.activation(self.up_proj(norm(x))))


def as_computed(x: torch.Tensor) -> torch.Tensor:
    """Round to what autocast computes in, where it is on: half the bytes."""
    checks.floats("x", x)
    if torch.is_autocast_enabled(x.device.type):
        return x.to(torch.get_autocast_dtype(x.device.type))
    return x


@torch.no_grad()
def _init(model: MiniGPT) -> None:
    """Draw what reads, and put zeros into what writes.

    A block that writes nothing is the identity: at the first step the model
    is its embedding and its head, and each block enters as it has learned
    something.
    """
    for name, p in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            p.zero_()
        elif name == "tok_emb.weight":
            p.normal_()
        elif name in ("ngrams.table", "ngrams.after"):
            p.zero_()  # nothing is known of any yet
        elif name == "lm_head.weight":
            p.zero_()  # every token is equally likely at first: ln V nats
        else:
            p.normal_(std=1 / math.sqrt(p.shape[1]))
