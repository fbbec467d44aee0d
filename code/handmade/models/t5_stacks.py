"""T5's two stacks: one reads, the other writes and looks at what was read.

B batch · S tokens read · T tokens written · D model width · H heads
K head width

Left out: dropout.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from handmade import checks
from handmade.blocks.block import Block
from handmade.blocks.cross_attention import (
    CrossAttention,
    DecoderBlock,
    KeysValues,
)
from handmade.blocks.feedforward import FeedForward, GatedFeedForward
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import RMSNorm
from handmade.contracts import Cache
from handmade.models.config import activation
from handmade.models.t5_config import T5Config
from handmade.models.t5_positions import RelativeBias


class T5Norm(RMSNorm):
    """RMSNorm that takes only the mean square in float32, of float64 too.

    So does Hugging Face's T5; its Llama takes the whole division so.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean_square = x.float().pow(2).mean(-1, keepdim=True)
        normed = x * torch.rsqrt(mean_square + self.eps)
        return self.weight * normed.to(x.dtype)


class Encoder(nn.Module):
    """Let every token of the first text see all the others.

    (B, S, D) -> (B, S, D). One table of biases serves all layers.
    """

    def __init__(self, c: T5Config) -> None:
        super().__init__()
        self.bias = RelativeBias(
            c.n_heads, c.n_buckets, c.max_distance, both_ways=True
        )
        self.blocks = nn.ModuleList(
            Block(
                attn_norm=T5Norm(c.d_model, c.norm_eps),
                attn=_attention(c),
                ffn_norm=T5Norm(c.d_model, c.norm_eps),
                ffn=_feed_forward(c),
            )
            for _ in range(c.n_layers)
        )
        self.norm = T5Norm(c.d_model, c.norm_eps)

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        bias = hidden(self.bias(x.shape[1], x.shape[1]), mask)
        for block in self.blocks:
            x = block(x, mask=bias)
        return self.norm(x)


class Decoder(nn.Module):
    """Let every token of the second text see its past, and all of the first.

    (B, T, D) -> (B, T, D). The bias is for the tokens' own distances: those
    between two texts mean nothing.
    """

    def __init__(self, c: T5Config) -> None:
        super().__init__()
        self.bias = RelativeBias(
            c.n_heads, c.n_buckets, c.max_distance, both_ways=False
        )
        self.blocks = nn.ModuleList(
            DecoderBlock(
                attn_norm=T5Norm(c.d_model, c.norm_eps),
                attn=_attention(c, layer),
                cross_norm=T5Norm(c.d_model, c.norm_eps),
                cross_attn=CrossAttention(
                    c.d_model, c.n_heads, d_head=c.d_head, scale=1.0
                ),
                ffn_norm=T5Norm(c.d_model, c.norm_eps),
                ffn=_feed_forward(c),
            )
            for layer in range(c.n_decoder_layers)
        )
        self.norm = T5Norm(c.d_model, c.norm_eps)

    def forward(
        self,
        x: torch.Tensor,
        context: "Context",
        mask: torch.Tensor,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        bias = hidden(self.bias(x.shape[1], mask.shape[-1]), mask)
        for block, keys_values in zip(
            self.blocks, context.layers, strict=True
        ):
            x = block(
                x,
                keys_values,
                context_mask=context.mask,
                mask=bias,
                cache=cache,
            )
        return self.norm(x)

    def keys_values(self, y: torch.Tensor) -> tuple[KeysValues, ...]:
        """Take from what was read, (B, S, D), what each layer looks at."""
        attentions: list[Any] = [block.cross_attn for block in self.blocks]
        return tuple(attention.keys_values(y) for attention in attentions)


@dataclass(frozen=True)
class Context:
    """What the decoder needs of texts that were read."""

    layers: tuple[KeysValues, ...]  # (B, H, S, K) twice, for each layer
    mask: torch.Tensor | None  # bool (B, 1, 1, S), False for padding

    def rows(self, index: torch.Tensor) -> "Context":
        """Keep the texts named by ``index``, repeats allowed, (N,)."""
        checks.ids("index", index, axes=1)
        layers = tuple((k[index], v[index]) for k, v in self.layers)
        mask = None if self.mask is None else self.mask[index]
        return Context(layers, mask)


def hidden(bias: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Put -inf into a bias (1, H, T, S) where a bool mask is False."""
    checks.floats("bias", bias, axes=4)
    if mask is None:
        return bias
    checks.yes_or_no("mask", mask)
    return bias.masked_fill(~mask.bool(), -math.inf)


@torch.no_grad()
def init(model: nn.Module, c: T5Config) -> None:
    """Begin as T5 does: every matrix keeps the size of what it is given.

    Queries begin 1 / sqrt(K) smaller than keys, where others divide scores.
    """
    checks.module("model", model)
    checks.kind("c", c, T5Config, "a T5Config")
    for name, x in model.named_parameters():
        if name.endswith("norm.weight"):
            continue
        width = x.shape[1] if x.ndim > 1 else 1
        if "tok_emb" in name or "lm_head" in name:
            std = 1.0
        elif "bias" in name:
            std = c.d_model**-0.5
        elif "q_proj" in name:
            std = (c.d_model * c.d_head) ** -0.5
        else:
            std = width**-0.5
        x.normal_(std=std)


def _attention(c: T5Config, layer: int | None = None) -> MultiHeadAttention:
    # no 1 / sqrt(K): it is in the size that W_q begins with
    return MultiHeadAttention(
        c.d_model, c.n_heads, d_head=c.d_head, scale=1.0, layer=layer
    )


def _feed_forward(c: T5Config) -> nn.Module:
    kind = GatedFeedForward if c.gated else FeedForward
    return kind(c.d_model, c.d_ff, activation(c.activation), bias=False)
