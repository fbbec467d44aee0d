"""The model of `scalar` in PyTorch, of the book's own blocks, in float64.

T tokens · V vocabulary

It exists to be compared with: the same numbers under the same names, and
autograd for the gradients.
"""

from typing import Any

import torch
from torch import nn

from handmade import scalar
from handmade.blocks.block import Block
from handmade.blocks.feedforward import FeedForward, gelu
from handmade.blocks.masks import causal_mask
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import LayerNorm
from handmade.checks import ids as check_ids
from handmade.checks import mapping


class ScalarTwin(nn.Module):
    """Predict the next token with the weights of `scalar`, (T) -> (T, V).

    Raises ValueError for weights of other names or shapes.
    """

    def __init__(self, weights: dict[str, Any]) -> None:
        super().__init__()
        _check_weights(weights)
        D, F = scalar.SIZES["D"], scalar.SIZES["F"]
        self.tok_emb = nn.Embedding(scalar.SIZES["V"], D)
        self.pos_emb = nn.Embedding(scalar.SIZES["P"], D)
        self.block = Block(
            attn_norm=LayerNorm(D, scalar.EPS),
            attn=MultiHeadAttention(D, scalar.N_HEADS),
            ffn_norm=LayerNorm(D, scalar.EPS),
            ffn=FeedForward(D, F, gelu, bias=False),
        )
        self.norm = LayerNorm(D, scalar.EPS)
        self.double()
        with torch.no_grad():
            for name, parameter in self.by_name().items():
                parameter.copy_(
                    torch.tensor(weights[name], dtype=torch.float64)
                )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        check_ids("ids", ids, axes=1)
        T = len(ids)
        places = torch.arange(T, device=ids.device)
        x = self.tok_emb(ids) + self.pos_emb(places)
        x = self.block(x, mask=causal_mask(T, device=ids.device))
        return self.norm(x) @ self.tok_emb.weight.T

    def by_name(self) -> dict[str, nn.Parameter]:
        """Return the parameters under the names of `scalar`."""
        ours = dict(self.named_parameters())
        return {name: ours[_place(name)] for name in scalar.SHAPES}


def _place(name: str) -> str:
    """Return where a weight of `scalar` stands among the parameters."""
    if name.endswith("_emb"):
        return f"{name}.weight"
    if name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        return f"block.attn.{name}.weight"
    if name in ("up_proj", "down_proj"):
        return f"block.ffn.{name}.weight"
    return name if name.startswith("norm") else f"block.{name}"


def _check_weights(weights: dict[str, Any]) -> None:
    mapping("weights", weights, "the weights of handmade.scalar")
    sizes = scalar.SIZES
    for name, letters in scalar.SHAPES.items():
        want = tuple(sizes[letter] for letter in letters)
        try:
            got = tuple(torch.tensor(weights[name]).shape)
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"weights: got none for {name!r}, want numbers of shape {want}"
            ) from None
        if got != want:
            raise ValueError(
                f"weights: got shape {got} for {name!r}, want {want}"
            )
