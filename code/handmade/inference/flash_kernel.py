"""The forward pass of FlashAttention as one kernel, in Triton.

T query tokens · S key/value tokens · H query heads · G key/value heads
K head width · R query heads of a group · M queries of a tile · N keys of one

Each program of the grid owns M queries of one head: it walks over their keys
as `flash_tiles.flash_forward` does, and what it holds on the way never
leaves the chip. On a machine without a GPU Triton's interpreter runs the
same lines on the CPU, slowly. Triton is made for Linux: elsewhere the
module can be imported and its function says what is missing.

Left out: the backward kernel, masks other than the causal one, and what
makes it fast on one card or another (exp2, pipelining, block sizes by trial).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from handmade import checks
from handmade.blocks.masks import check_lengths
from handmade.devices import device

if device().type == "cpu" and not torch.xpu.is_available():
    # Triton reads it for each function; with a GPU nothing is changed
    os.environ.setdefault("TRITON_INTERPRET", "1")
try:
    import triton
    import triton.language as tl
except ModuleNotFoundError:
    triton = tl = None

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def _compiled(fn: Callable[..., None]) -> Any:
    """Hand a kernel to Triton, where there is one."""
    if triton is None:
        return fn
    kernel = triton.jit(fn)
    # where Triton was there before the variable, its own functions, such as
    # tl.max, wait for a GPU that this machine has not
    for name, value in [*vars(tl).items()]:
        waits = isinstance(value, triton.JITFunction)
        if waits and not isinstance(kernel, triton.JITFunction):
            setattr(tl, name, triton.jit(value.fn))
    return kernel


@_compiled
def flash_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, T, S, scale,
    R: tl.constexpr, K: tl.constexpr, WIDE: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, CAUSAL: tl.constexpr,
):  # fmt: skip
    """Attend from M queries of one head to all the keys that they may see."""
    # my queries, and the key/value head of my head's group
    rows = tl.program_id(0) * M + tl.arange(0, M)
    head = tl.program_id(1).to(tl.int64)
    axis = tl.arange(0, WIDE)  # K, or the next power of two
    mine = (rows < T)[:, None] & (axis < K)[None, :]
    at = head * T * K + rows[:, None] * K + axis[None, :]
    q = tl.load(q_ptr + at, mask=mine, other=0.0)
    k_ptr += head // R * S * K
    v_ptr += head // R * S * K

    # what is carried from tile to tile stays in registers, in float32
    peak = tl.full((M,), -float("inf"), tl.float32)
    total = tl.zeros((M,), tl.float32)
    out = tl.zeros((M, WIDE), tl.float32)
    last = S
    if CAUSAL:  # the tiles to the right of the diagonal are not visited
        last = tl.minimum(S, S - T + (tl.program_id(0) + 1) * M)
    for start in range(0, last, N):
        keys = start + tl.arange(0, N)
        there = (keys < S)[:, None] & (axis < K)[None, :]
        tile = keys[:, None] * K + axis[None, :]
        k = tl.load(k_ptr + tile, mask=there, other=0.0)
        v = tl.load(v_ptr + tile, mask=there, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = (keys < S)[None, :]
        if CAUSAL:
            seen = seen & (keys[None, :] <= S - T + rows[:, None])
        scores = tl.where(seen, scores, -float("inf"))
        # key 0 is seen by every query: from the first tile on, new is finite
        new = tl.maximum(peak, tl.max(scores, 1))
        weights = tl.exp(scores - new[:, None])
        shrunk = tl.exp(peak - new)
        total = total * shrunk + tl.sum(weights, 1)
        out = out * shrunk[:, None]
        out += tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        peak = new

    out = out / total[:, None]
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask=mine)
    tl.store(lse_ptr + head * T + rows, peak + tl.log(total), mask=rows < T)


def kernel_attention(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    *,
    causal: bool = False,
    scale: float | None = None,
    block_q: int = 64,
    block_k: int = 32,
) -> tuple[Tensor, Tensor]:
    """Launch the kernel: one program for each tile of queries and head.

    out = softmax(q k^T scale) v,  lse = log sum_s exp(scores)
    (B, H, T, K), (B, G, S, K), (B, G, S, K) -> (B, H, T, K), (B, H, T)

    In float32, float16 or bfloat16, summed in float32; no gradients.
    ``block_q`` and ``block_k`` are powers of two, 16 or more. Raises
    ValueError on what does not fit, ImportError where there is no Triton.
    [dao2022, dao2024]
    """
    _check(q_BHTK, k_BGSK, v_BGSK, causal, scale, block_q, block_k)
    (B, H, T, K), (_, G, S, _) = q_BHTK.shape, k_BGSK.shape
    scale = 1 / math.sqrt(K) if scale is None else scale
    q, k, v = (x.detach().contiguous() for x in (q_BHTK, k_BGSK, v_BGSK))
    out = torch.empty_like(q)
    lse = q.new_empty((B, H, T), dtype=torch.float32)
    grid = (triton.cdiv(T, block_q), B * H)
    flash_kernel[grid](
        q, k, v, out, lse, T, S, float(scale),
        R=H // G, K=K, WIDE=max(16, triton.next_power_of_2(K)),
        M=block_q, N=block_k, CAUSAL=causal,
    )  # fmt: skip
    return out, lse


def is_interpreted() -> bool:
    """Whether the kernel runs by Triton's interpreter, on the CPU."""
    return type(flash_kernel).__name__ == "InterpretedFunction"


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    causal: bool,
    scale: float | None,
    block_q: int,
    block_k: int,
) -> None:
    if triton is None:
        raise ImportError(
            "triton: got none on this machine, want the package triton, "
            "which is made for Linux (pip install 'handmade[kernels]'); "
            "handmade.inference.flash_attention runs without"
        )
    for name, x in (("q", q), ("k", k), ("v", v)):
        checks.floats(name, x)
        full = x.ndim == 4 and x.numel() > 0
        want = "4 axes (B, heads, tokens, K), none of them 0"
        checks.need(full, name, f"shape {tuple(x.shape)}", want)
        known = DTYPES[:2] if is_interpreted() else DTYPES
        want = " or ".join(map(str, known)) + ", that of q"
        fits = x.dtype in known and x.dtype == q.dtype
        checks.need(fits, name, f"dtype {x.dtype}", want)
        there = is_interpreted() or x.device.type != "cpu"
        checks.need(there, name, "a tensor on the CPU", "it on the GPU")
    want = f"q's {tuple(q.shape)} in batch and width"
    fits = (k.shape[0], k.shape[3]) == (q.shape[0], q.shape[3])
    checks.need(fits, "k", f"shape {tuple(k.shape)}", want)
    want = f"a divisor of the {q.shape[1]} query heads"
    checks.need(not q.shape[1] % k.shape[1], "k", f"{k.shape[1]} heads", want)
    want = f"that of k, {tuple(k.shape)}"
    checks.need(v.shape == k.shape, "v", f"shape {tuple(v.shape)}", want)
    checks.flag("causal", causal)
    if causal:
        check_lengths(q.shape[2], k.shape[2])
    if scale is not None:
        checks.positive("scale", scale)
    for name, size in (("block_q", block_q), ("block_k", block_k)):
        checks.whole(name, size, at_least=16)
        checks.need(not size & (size - 1), name, size, "a power of two")
