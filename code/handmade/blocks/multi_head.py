"""Multi-head attention: one class for self, cross and grouped queries.

B batch · T query tokens · S key/value tokens · D model width
H query heads · G key/value heads · K head width

Left out: dropout on the attention weights, and one fused projection for
queries, keys and values, which saves launches and hides the shapes.
"""

import torch
from torch import nn

from handmade.blocks.attention import attention
from handmade.blocks.rope import Rope, apply_rope


class MultiHeadAttention(nn.Module):
    """Attend with H query heads that share G key/value heads.

    o_proj(concat_h attention(x W_q^h, y W_k^g, y W_v^g)),  g = h // (H / G)
    (B, T, D) -> (B, T, D);  y is ``context`` (B, S, D), or x itself

    G = H is multi-head attention [vaswani2017], G = 1 multi-query, between
    them grouped-query attention [ainslie2023]. ``d_head`` defaults to D / H.
    ``layer`` says which layer of a cache is this module's.
    Raises ValueError where heads do not divide.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        n_kv_heads: int | None = None,
        d_head: int | None = None,
        bias: bool = False,
        layer: int = 0,
    ) -> None:
        super().__init__()
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        _check_heads(d_model, n_heads, n_kv_heads, d_head)
        d_head = d_model // n_heads if d_head is None else d_head
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads
        self.d_head, self.layer = d_head, layer
        self.q_proj = nn.Linear(d_model, n_heads * d_head, bias=bias)
        self.k_proj = nn.Linear(d_model, n_kv_heads * d_head, bias=bias)
        self.v_proj = nn.Linear(d_model, n_kv_heads * d_head, bias=bias)
        self.o_proj = nn.Linear(n_heads * d_head, d_model, bias=bias)

    def forward(
        self,
        x: torch.Tensor,
        context: torch.Tensor | None = None,
        *,
        mask: torch.Tensor | None = None,
        rope: Rope | None = None,
        cache=None,
    ) -> torch.Tensor:
        """Mix the tokens of x, or for each token of x those of context.

        ``mask`` as in ``attention``, over all S keys, cached ones included.
        ``rope`` are the angles of the T new tokens (keys are cached after
        their rotation). ``cache`` has ``update(layer, k, v)``.
        Raises ValueError for a context together with rope or a cache.
        """
        if context is None:
            context = x
        elif rope is not None or cache is not None:
            raise ValueError(
                "context: got one together with rope or cache, which are "
                "for self-attention"
            )
        q_BHTK = split_heads(self.q_proj(x), self.n_heads)
        k_BGSK = split_heads(self.k_proj(context), self.n_kv_heads)
        v_BGSK = split_heads(self.v_proj(context), self.n_kv_heads)
        if rope is not None:
            q_BHTK, k_BGSK = apply_rope(q_BHTK, rope), apply_rope(k_BGSK, rope)
        if cache is not None:
            k_BGSK, v_BGSK = cache.update(self.layer, k_BGSK, v_BGSK)
        out_BHTK = attention(q_BHTK, k_BGSK, v_BGSK, mask)
        return self.o_proj(merge_heads(out_BHTK))


def split_heads(x: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Cut the last axis into heads, (B, T, H * K) -> (B, H, T, K)."""
    return x.unflatten(-1, (n_heads, -1)).transpose(-3, -2)


def merge_heads(x_BHTK: torch.Tensor) -> torch.Tensor:
    """Put the heads side by side again, (B, H, T, K) -> (B, T, H * K)."""
    return x_BHTK.transpose(-3, -2).flatten(-2)


def _check_heads(
    d_model: int, n_heads: int, n_kv_heads: int, d_head: int | None
) -> None:
    if n_heads < 1 or n_kv_heads < 1 or n_heads % n_kv_heads:
        raise ValueError(
            f"n_kv_heads: got {n_kv_heads}, want a divisor of the "
            f"{n_heads} query heads"
        )
    if d_head is None and d_model % n_heads:
        raise ValueError(
            f"n_heads: got {n_heads}, want a divisor of d_model = {d_model}, "
            "or a d_head of your own"
        )
    if d_head is not None and d_head < 1:
        raise ValueError(f"d_head: got {d_head}, want at least 1")
