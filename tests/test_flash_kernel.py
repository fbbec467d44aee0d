"""The kernel, interpreted on the CPU or compiled on a GPU, and compiled for
GPUs that are not here, as far as the machine code.
"""

import subprocess
import sys

import pytest
import torch
from handmade.blocks.attention import attention
from handmade.blocks.masks import causal_mask
from handmade.devices import device
from handmade.inference import flash_kernel
from handmade.inference.flash_attention import flash_attention
from handmade.inference.flash_kernel import is_interpreted, kernel_attention
from torch.testing import assert_close

linux = pytest.mark.skipif(
    flash_kernel.triton is None, reason="Triton is made for Linux"
)
# T, S, H, G, K: odd lengths, one token, groups, widths of no power of two
SIZES = [
    (37, 53, 6, 2, 24),
    (1, 70, 4, 1, 16),
    (65, 65, 2, 2, 64),
    (1, 1, 1, 1, 3),
    (20, 33, 3, 3, 5),
]
HALF = torch.float16


def drawn(T, S, H, G, K, dtype=torch.float32):
    torch.manual_seed(T + S)
    shapes = (2, H, T, K), (2, G, S, K), (2, G, S, K)
    return [torch.randn(x).to(device(), dtype) for x in shapes]


@linux
@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_equals_the_whole_matrix_and_the_tiles(size, causal, dtype):
    q, k, v = drawn(*size, dtype)
    T, S = size[:2]
    out, lse = kernel_attention(q, k, v, causal=causal, block_q=16, block_k=32)
    mask = causal_mask(T, S, device=q.device) if causal else None
    whole = attention(q, k, v, mask)
    _, tiled = flash_attention(q, k, v, causal=causal, return_lse=True)
    near = {"rtol": 0, "atol": 2e-3 if dtype == HALF else 5e-6}
    assert_close(out, whole, **near)
    assert_close(lse, tiled, **near)


@linux
def test_views_scales_and_large_scores():
    q, k, v = drawn(9, 40, 4, 2, 16)
    turned = [
        x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)
    ]
    out, _ = kernel_attention(*turned, scale=20.0, block_q=16, block_k=16)
    assert_close(out, attention(q, k, v, scale=20.0), rtol=0, atol=1e-4)


@linux
def test_bfloat16_where_it_is_compiled():
    q, k, v = drawn(20, 33, 4, 2, 16, torch.bfloat16)
    if is_interpreted():
        with pytest.raises(ValueError, match=r"q: got dtype torch.bfloat16"):
            kernel_attention(q, k, v)
    else:
        out, _ = kernel_attention(q, k, v)
        assert_close(out, attention(q, k, v), rtol=0, atol=2e-2)


@linux
def test_it_is_interpreted_just_where_there_is_no_gpu():
    assert is_interpreted() == (device().type == "cpu")


AHEAD = """
import os
os.environ["TRITON_INTERPRET"] = "0"
import torch
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from handmade.inference.flash_kernel import flash_kernel

names = flash_kernel.arg_names
for dtype, K, card in (("fp16", 64, 80), ("bf16", 128, 90), ("fp32", 24, 80)):
    types = {n: f"*{dtype}" for n in names[:4]}
    types |= {"lse_ptr": "*fp32", "T": "i32", "S": "i32", "scale": "fp32"}
    fixed = {"R": 3, "K": K, "WIDE": max(32, K), "M": 64, "N": 32,
             "CAUSAL": True}
    types |= dict.fromkeys(fixed, "constexpr")
    source = ASTSource(
        flash_kernel, types,
        constexprs={(names.index(n),): value for n, value in fixed.items()},
    )
    made = compile(source, target=GPUTarget("cuda", card, 32))
    print(dtype, len(made.asm["cubin"]) > 1000, made.metadata.shared < 2**16)
"""


@linux
@pytest.mark.slow
def test_it_compiles_for_cards_that_are_not_here(tmp_path, monkeypatch):
    """Down to machine code, by the assembler that Triton brings along."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", AHEAD], capture_output=True, text=True
    )
    said = "".join(f"{x} True True\n" for x in ("fp16", "bf16", "fp32"))
    assert (done.stdout, done.returncode) == (said, 0), done.stderr


ABSENT = """
import sys
sys.modules["triton"] = None
import torch
from handmade.inference.flash_kernel import kernel_attention
try:
    kernel_attention(*torch.randn(3, 1, 2, 3, 4))
except ImportError as error:
    print(error)
"""
LATE = """
import triton, torch
from handmade.blocks.attention import attention
from handmade.inference.flash_kernel import kernel_attention
q, k, v = torch.randn(3, 1, 2, 3, 4)
out, _ = kernel_attention(q, k, v)
print("apart by", (out - attention(q, k, v)).abs().max() > 1e-5)
"""


@pytest.mark.parametrize(
    ("script", "says"),
    [(ABSENT, "triton: got none on this machine, want"),
     pytest.param(LATE, "apart by tensor(False)", marks=linux)],
)  # fmt: skip
def test_without_triton_and_with_it_imported_before(script, says, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("HANDMADE_DEVICE", "cpu")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    assert done.stdout.startswith(says), done.stderr


@linux
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"block_q": 8}, "block_q: got 8, want a whole number, 16 or more"),
        ({"block_k": 48}, "block_k: got 48, want a power of two"),
        ({"k": (2, 3, 7, 8)}, "k: got 3 heads, want a divisor of the 4"),
        ({"k": (2, 2, 7, 9)}, "k: got shape .* want q's"),
        ({"v": (2, 2, 7, 9)}, "v: got shape .* want that of k"),
        ({"q": (2, 4, 0, 8)}, "q: got shape .*, want 4 axes"),
        ({"causal": True, "q": (2, 4, 8, 8)}, "T: got 8 queries, want"),
    ],
)
def test_what_does_not_fit_is_named(change, says):
    shapes = {"q": (2, 4, 5, 8), "k": (2, 2, 7, 8), "v": (2, 2, 7, 8)}
    shapes |= {n: x for n, x in change.items() if n in shapes}
    tensors = [torch.zeros(x, device=device()) for x in shapes.values()]
    options = {n: x for n, x in change.items() if n not in shapes}
    with pytest.raises(ValueError, match=says):
        kernel_attention(*tensors, **options)
