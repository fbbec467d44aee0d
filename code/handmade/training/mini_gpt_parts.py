"""What the capstone's blocks compute, in few passes over the numbers.

B batch · T new tokens · S keys, cached ones included · H heads · K head width
D model width

A small model on a CPU waits for memory more than for arithmetic: each
operation here reads and writes its numbers once, and its backward pass is
written out where PyTorch's own would take more of them. Left out: kernels of
our own; `compiled` has them written by torch.compile.
"""

import math
from typing import Any

import torch
from torch.nn import functional as F

from handmade import checks
from handmade.blocks.rope import Rope

EPS = 1e-6  # of every norm, in units of x squared
SDPA_FROM = 129  # keys from which SDPA is the faster one in float32


def norm(x: torch.Tensor) -> torch.Tensor:
    """Divide each vector by its root mean square, (..., D) -> the same.

    y = r x, r = 1 / sqrt(mean(x^2) + eps); dx = r (dy - y mean(dy y))
    """
    checks.floats("x", x, axes=1)
    apply: Any = _Norm.apply
    y: torch.Tensor = apply(x)
    return y


def square_relu(x: torch.Tensor) -> torch.Tensor:
    """Return max(0, x)^2, any shape."""
    checks.floats("x", x)
    apply: Any = _SquareRelu.apply
    y: torch.Tensor = apply(x)
    return y


def split_qkv(
    qkv_BTD: torch.Tensor, n_heads: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Part a product into heads, (B, T, 3 D) -> qk (2, B, H, T, K), v.

    Queries and keys stay one tensor: both are turned and normed.
    """
    checks.floats("qkv", qkv_BTD, axes=3)
    checks.whole("n_heads", n_heads)
    B, T, width = qkv_BTD.shape
    fits = width % (3 * n_heads) == 0
    want = f"a width that {3 * n_heads} divides"
    checks.need(fits, "qkv", width, want)
    heads = (B, T, 3, n_heads, width // (3 * n_heads))
    out = qkv_BTD.view(heads).permute(2, 0, 3, 1, 4).contiguous()
    qk, v = out.split((2, 1))
    return qk, v[0]


def turn(qk: torch.Tensor, rope: Rope) -> torch.Tensor:
    """Rotate queries and keys by their positions' angles, as `apply_rope`.

    (2, B, H, T, K) -> the same; the angles are (1 or B, T, K) each.
    """
    _check_turn(qk, rope)
    cos, sin = (angle[:, None].to(qk.dtype) for angle in rope)
    apply: Any = _Turn.apply
    y: torch.Tensor = apply(qk, cos, sin)
    return y


def attend(
    q_BHTK: torch.Tensor,
    k_BHSK: torch.Tensor,
    v_BHSK: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mix values by softmax(q k^T / sqrt(K)), the fastest way on a CPU.

    (B, H, T, K), (B, H, S, K), (B, H, S, K) -> (B, H, T, K)

    Three plain matrix operations on batches of heads beat the fused kernel
    of PyTorch on a CPU in bfloat16 at every length and in float32 on short
    texts; what they cost is memory, B H T S numbers. ``mask`` is bool,
    (T, S) or (B, 1, T, S), True where a query may attend.
    """
    _check_attend(q_BHTK, k_BHSK, v_BHSK, mask)
    B, H, T, K = q_BHTK.shape
    S = k_BHSK.shape[2]
    if q_BHTK.dtype != torch.bfloat16 and S >= SDPA_FROM:
        return F.scaled_dot_product_attention(
            q_BHTK, k_BHSK, v_BHSK, attn_mask=mask
        )
    q, k, v = (
        x.reshape(B * H, x.shape[2], K) for x in (q_BHTK, k_BHSK, v_BHSK)
    )
    bias = _as_bias(mask, (B, H, T, S), q)
    weights = torch.baddbmm(bias, q, k.mT, alpha=1 / math.sqrt(K)).softmax(-1)
    return (weights.to(v.dtype) @ v).view(B, H, T, K)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
        r = length.square_().div_(x.shape[-1]).add_(EPS).rsqrt_().to(x.dtype)
        y = x * r
        ctx.save_for_backward(y, r)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        (dy,) = grads
        y, r = ctx.saved_tensors
        along = (dy * y).mean(-1, keepdim=True)
        return torch.addcmul(dy, y, along, value=-1).mul_(r)


class _SquareRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        above = x.relu()
        ctx.save_for_backward(above)
        return above * above

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        (dy,) = grads
        (above,) = ctx.saved_tensors
        return (dy * above).mul_(2)


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1)

    @staticmethod
    def backward(
        ctx: Any, *grads: torch.Tensor
    ) -> tuple[torch.Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(grads[0], cos, sin, -1), None, None  # and back


def _turned(
    x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, way: int
) -> torch.Tensor:
    """(a, b) -> (a cos - b sin, b cos + a sin), where `way` is 1."""
    a, b = x.chunk(2, dim=-1)
    left, right = sin.chunk(2, dim=-1)
    signed = torch.cat((-way * left, way * right), dim=-1)
    return torch.addcmul(x * cos, torch.cat((b, a), dim=-1), signed)


def _as_bias(
    mask: torch.Tensor | None, shape: tuple[int, ...], like: torch.Tensor
) -> torch.Tensor:
    """Return what is added to the scores: 0, or next to -inf where hidden."""
    B, H, T, S = shape
    if mask is None:
        return like.new_zeros(1, T, S)
    hidden = torch.finfo(like.dtype).min / 2
    bias = like.new_zeros(mask.shape).masked_fill_(~mask, hidden)
    if mask.ndim == 2:
        return bias[None]
    return bias.expand(B, H, T, S).reshape(B * H, T, S)


def _check_turn(qk: torch.Tensor, rope: Rope) -> None:
    checks.floats("qk", qk, axes=5)
    pair = isinstance(rope, tuple | list) and len(rope) == 2
    checks.need(pair, "rope", type(rope).__name__, "the pair (cos, sin)")
    B, T, K = qk.shape[1], *qk.shape[-2:]
    for angle in rope:
        checks.floats("rope", angle, axes=3)
        fits = tuple(angle.shape) in ((1, T, K), (B, T, K)) and K % 2 == 0
        want = f"(1 or {B}, {T}, {K}), of even width"
        checks.need(fits, "rope", tuple(angle.shape), want)


def _check_attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
) -> None:
    named = {"q": q, "k": k, "v": v}
    for name, x in named.items():
        checks.floats(name, x, axes=4)
    for name, x in named.items():
        want = (*q.shape[:2], k.shape[2], q.shape[3])
        fits = x is q or (x.shape == want and x.dtype == q.dtype)
        got = f"{tuple(x.shape)} {x.dtype}"
        checks.need(fits, name, got, f"(B, H, S, K) = {want} {q.dtype}")
    if mask is None:
        return
    got = getattr(mask, "dtype", type(mask).__name__)
    checks.need(got == torch.bool, "mask", got, "a tensor of bool")
    T, S = q.shape[2], k.shape[2]
    fits = tuple(mask.shape) in ((T, S), (1, 1, T, S), (len(q), 1, T, S))
    want_mask = f"(T, S) = {(T, S)} or (B, 1, T, S)"
    checks.need(fits, "mask", tuple(mask.shape), want_mask)
