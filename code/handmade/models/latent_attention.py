"""Latent attention: keys and values of all heads from one small vector.

B batch · T query tokens · S key/value tokens · D model width · H heads
N width of a head's part without position · R width of the part that turns
W value width of a head · L width of the latent vector

A token is compressed to L numbers; each head makes its key and its value of
them when they are needed. A rotation depends on the position and could not
be undone there, so position travels apart, in R numbers that all heads share.
A cache keeps L + R numbers a token instead of 2 H K.

Left out: the order of multiplication that never builds the keys and values
of past tokens, by taking the two matrices that would build them into the
query and the output. It returns the same numbers up to rounding.
"""

from dataclasses import dataclass

import torch
from torch import nn

from handmade import checks
from handmade.blocks.attention import attention
from handmade.blocks.multi_head import merge_heads, split_heads
from handmade.blocks.norms import RMSNorm
from handmade.blocks.rope import Rope, apply_rope
from handmade.contracts import Cache

# what transformers and DeepSeek's own code give the two norms, whatever the
# model's other norms have
EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Latent:
    """The sizes of latent attention, and how a file pairs what turns.

    ``kv_rank`` L · ``d_nope`` N · ``d_rope`` R · ``d_value`` W;  ``q_rank``,
    where queries are compressed too. ``interleaved`` says that neighbours
    (0, 1), (2, 3) turn together, as DeepSeek stores them, instead of i and
    i + R/2. Raises ValueError for what is no size, and for an odd R.
    """

    kv_rank: int
    d_nope: int
    d_rope: int
    d_value: int
    q_rank: int | None = None
    interleaved: bool = True

    def __post_init__(self) -> None:
        _check_sizes(self)


class LatentAttention(nn.Module):
    """Attend to keys and values that are unpacked from one latent vector.

    c = norm(W_c x),  k_h = [W_k^h c, turn(W_r x)],  v_h = W_v^h c
    q_h = [W_q^h x, turn(W_s^h x)],  o_proj(concat_h attention(q_h, k_h, v_h))
    (B, T, D) -> (B, T, D)

    c (L wide) and the turned W_r x (R wide, one for all heads) are what a
    cache keeps: they enter it as the "keys" and "values" of a single head.
    ``sizes.q_rank`` makes q of norm(W_a x) instead of x. ``bias`` is that of
    the matrices that read the residual stream compressed, and of o_proj.
    ``layer`` as in ``MultiHeadAttention``. [deepseek2024]
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        sizes: Latent,
        *,
        bias: bool = False,
        precision: torch.dtype | None = None,
        layer: int | None = None,
    ) -> None:
        super().__init__()
        _check_parts(d_model, n_heads, sizes, bias, layer)
        self.d_model, self.n_heads = d_model, n_heads
        self.sizes, self.layer = sizes, layer
        d_query = n_heads * (sizes.d_nope + sizes.d_rope)
        if sizes.q_rank is None:
            self.q_proj = nn.Linear(d_model, d_query, bias=False)
        else:
            self.q_down_proj = nn.Linear(d_model, sizes.q_rank, bias=bias)
            self.q_norm = RMSNorm(sizes.q_rank, EPS, precision=precision)
            self.q_up_proj = nn.Linear(sizes.q_rank, d_query, bias=False)
        self.kv_down_proj = nn.Linear(
            d_model, sizes.kv_rank + sizes.d_rope, bias=bias
        )
        self.kv_norm = RMSNorm(sizes.kv_rank, EPS, precision=precision)
        self.kv_up_proj = nn.Linear(
            sizes.kv_rank, n_heads * (sizes.d_nope + sizes.d_value), bias=False
        )
        self.o_proj = nn.Linear(n_heads * sizes.d_value, d_model, bias=bias)

    def forward(
        self,
        x: torch.Tensor,
        *,
        mask: torch.Tensor | None = None,
        rope: Rope | None = None,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """Mix the tokens of x.

        ``mask`` as in ``attention``, over all S keys, cached ones included.
        ``rope`` are the angles of the T new tokens, R wide.
        Raises ValueError for a cache where the module has no ``layer``.
        """
        _check_call(self, x, rope, cache)
        z = self.sizes
        q_BHTK = split_heads(self._queries(x), self.n_heads)
        q_BHTN, q_BHTR = q_BHTK.split([z.d_nope, z.d_rope], dim=-1)
        c_BTL, k_BTR = self.kv_down_proj(x).split([z.kv_rank, z.d_rope], -1)
        # a norm's float32 gain makes float32 of it under autocast
        c_B1SL = self.kv_norm(c_BTL).to(c_BTL.dtype).unsqueeze(1)
        k_B1SR = k_BTR.unsqueeze(1)
        if z.interleaved:
            q_BHTR, k_B1SR = halves(q_BHTR), halves(k_B1SR)
        if rope is not None:
            q_BHTR, k_B1SR = apply_rope(q_BHTR, rope), apply_rope(k_B1SR, rope)
        if cache is not None:  # the latent is kept, not what is made of it
            c_B1SL, k_B1SR = cache.update(_slot(self), c_B1SL, k_B1SR)
        kv = split_heads(self.kv_up_proj(c_B1SL.squeeze(1)), self.n_heads)
        k_BHSN, v_BHSW = kv.split([z.d_nope, z.d_value], dim=-1)
        k_BHSR = k_B1SR.expand(-1, self.n_heads, -1, -1)
        out_BHTW = attention(
            torch.cat((q_BHTN, q_BHTR), dim=-1),
            torch.cat((k_BHSN, k_BHSR), dim=-1),
            v_BHSW,
            mask,
        )
        return self.o_proj(merge_heads(out_BHTW))

    def _queries(self, x: torch.Tensor) -> torch.Tensor:
        if self.sizes.q_rank is None:
            return self.q_proj(x)
        normed = self.q_norm(self.q_down_proj(x))
        return self.q_up_proj(normed.to(x.dtype))


def halves(x: torch.Tensor) -> torch.Tensor:
    """Put the first of each pair of neighbours before the second ones.

    (x0, x1, x2, x3, ...) -> (x0, x2, ..., x1, x3, ...),  (..., R) -> same

    Rotations here pair axis i with i + R/2; a file that pairs neighbours is
    read in another order, of queries and keys alike, and no product of the
    two changes. Raises ValueError on an odd width.
    """
    _check_pairs(x)
    return x.unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2)


def _check_sizes(sizes: Latent) -> None:
    for name in ("kv_rank", "d_nope", "d_rope", "d_value"):
        checks.whole(name, getattr(sizes, name))
    if sizes.q_rank is not None:
        checks.whole("q_rank", sizes.q_rank)
    want = "an even width, as rotary embedding turns pairs"
    checks.need(sizes.d_rope % 2 == 0, "d_rope", sizes.d_rope, want)
    checks.flag("interleaved", sizes.interleaved)


def _check_parts(
    d_model: int, n_heads: int, sizes: Latent, bias: bool, layer: int | None
) -> None:
    checks.whole("d_model", d_model)
    checks.whole("n_heads", n_heads)
    checks.kind("sizes", sizes, Latent, "a Latent")
    checks.flag("bias", bias)
    if layer is not None:
        checks.whole("layer", layer, at_least=0)


def _check_call(
    attn: LatentAttention,
    x: torch.Tensor,
    rope: Rope | None,
    cache: Cache | None,
) -> None:
    checks.width("x", x, attn.d_model, axes=3)
    checks.cache("cache", cache)
    if isinstance(rope, tuple) and len(rope) == 2:
        checks.width("rope", rope[0], attn.sizes.d_rope)


def _slot(attn: LatentAttention) -> int:
    if attn.layer is None:
        raise ValueError(
            "cache: got one, want a module that knows its layer: give each "
            "LatentAttention of the model a number of its own, layer=0, 1 "
            "and so on, or they would share one place in the cache"
        )
    return attn.layer


def _check_pairs(x: torch.Tensor) -> None:
    checks.floats("x", x, axes=1)
    if x.shape[-1] % 2:
        raise ValueError(f"x: got width {x.shape[-1]}, want an even width")
