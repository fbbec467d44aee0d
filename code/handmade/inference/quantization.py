"""Weights as whole numbers: codes of a few bits, and a scale for each group.

O outputs (rows of a weight) · D inputs (its columns) · N weights of a group
C groups

    absmax       w ~ scale * (code - 2^(bits-1)),  scale = max|w| / most
    asymmetric   w ~ scale * code + low,  scale = (max - low) / (2^bits - 1)

A group is N neighbours in a row: all columns of it (a scale a channel), or
the whole matrix. Scales are stored in 16 bits, and the codes are found with
the scale as stored, not as it was before rounding. The bits are really held:
8 codes of b bits lie in b bytes.

Left out: kernels that multiply without unpacking first, activations in
whole numbers, and embeddings.
"""

from collections.abc import Callable, Collection
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from handmade import checks
from handmade.inference.quantization_checks import (
    check_bits,
    check_codes,
    check_grid,
    check_packed,
    check_scale,
    check_weights,
)


def absmax(w: Tensor, *, bits: int = 8, group: int | None = None) -> "Grid":
    """Round to a grid around zero, which reaches to the largest weight.

    code = round(w / scale) + 2^(bits-1), scale = max|w| / (2^(bits-1) - 1)
    over N = `group` neighbours of a row; None: over the whole matrix.
    Zero stays zero. Two bits have three levels.

    (O, D) -> a Grid (O, D). Raises ValueError for weights that are not
    finite or beyond float16's scales, and for a group that does not divide D.
    Source: [dettmers2022].
    """
    check_weights(w, bits, group)
    grouped = w.float().reshape(-1, group or w.numel())  # (C, N)
    most = 2 ** (bits - 1) - 1
    scale = grouped.abs().amax(-1, keepdim=True) / most
    scale = scale.to(torch.float16)
    codes = nearest(grouped, scale).clamp(-most, most) + 2 ** (bits - 1)
    return Grid(codes.view(w.shape).byte(), scale, bits=bits)


def asymmetric(w: Tensor, *, bits: int = 4, group: int | None = 32) -> "Grid":
    """Round to a grid from the smallest weight to the largest.

    code = round((w - low) / scale), low = min w over N = `group` neighbours.
    All 2^bits levels are used wherever the weights lie; zero is one of them
    only by chance. Four bits in groups of 32 are the grid of Q4_1.

    (O, D) -> a Grid (O, D). Raises ValueError as absmax does.
    """
    check_weights(w, bits, group)
    grouped = w.float().reshape(-1, group or w.numel())  # (C, N)
    scale, low = span(grouped, bits)
    codes = nearest(grouped - low.float(), scale).clamp(0, 2**bits - 1)
    return Grid(codes.view(w.shape).byte(), scale, low, bits=bits)


def span(grouped: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return scale and low of each group in float16: (C, N) -> 2 (C, 1)."""
    check_bits(bits)
    checks.floats("grouped", grouped, axes=2)
    low = grouped.amin(-1, keepdim=True).to(torch.float16)
    reach = grouped.amax(-1, keepdim=True) - low.float()
    # rounded, a low may lie above all weights of a narrow group
    return (reach / (2**bits - 1)).clamp(min=0).to(torch.float16), low


def nearest(x: Tensor, scale: Tensor) -> Tensor:
    """Return round(x / scale), and 0 where the scale is 0."""
    check_scale(x, scale)
    return torch.where(scale == 0, 0, x / scale.float()).round()


def pack(codes: Tensor, bits: int) -> Tensor:
    """Lay 8 codes of `bits` bits into `bits` bytes, the first one lowest.

    Any shape of whole numbers in [0, 2^bits) -> bytes (n,) uint8; the last
    ones are filled up with zeros. Raises ValueError for codes that need more
    bits.
    """
    check_codes(codes, bits)
    codes = F.pad(codes.flatten(), (0, -codes.numel() % 8)).view(-1, 8)
    places = torch.arange(8, device=codes.device)
    word = (codes.long() << bits * places).sum(-1, keepdim=True)
    return (word >> 8 * places[:bits] & 255).to(torch.uint8).flatten()


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Return the first `count` codes of what pack made, (count,) uint8."""
    check_packed(packed, bits, count)
    places = torch.arange(8, device=packed.device)
    word = (packed.view(-1, bits).long() << 8 * places[:bits]).sum(-1)
    codes = word[:, None] >> bits * places & (2**bits - 1)
    return codes.to(torch.uint8).flatten()[:count]


class PackedWeight(Protocol):
    """A matrix (O, D) in fewer bits, as `Grid` and `NF4` hold it.

    A module whose buffers are whole numbers, scales included, so that
    `.to(dtype)` cannot round them.
    """

    shape: tuple[int, ...]

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the matrix as floats: (O, D)."""


class Grid(nn.Module):
    """Codes on an even grid: w = scale * code + low, for each group.

    Without a low the middle code, 2^(bits-1), is zero.
    """

    packed: Tensor
    scale_bits: Tensor
    low_bits: Tensor | None

    def __init__(
        self,
        codes: Tensor,
        scale: Tensor,
        low: Tensor | None = None,
        *,
        bits: int,
    ) -> None:
        super().__init__()
        check_grid(codes, scale, low, bits)
        self.shape, self.bits = tuple(codes.shape), bits
        self.register_buffer("packed", pack(codes, bits))
        self.register_buffer("scale_bits", scale.view(torch.int16))
        low_bits = None if low is None else low.view(torch.int16)
        self.register_buffer("low_bits", low_bits)

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return scale * code + low as floats: (O, D)."""
        checks.dtype("dtype", dtype)
        scale = self.scale_bits.view(torch.float16).float()  # (C, 1)
        codes = self.codes().view(len(scale), -1).float()  # (C, N)
        if self.low_bits is None:
            w = scale * (codes - 2 ** (self.bits - 1))
        else:
            w = scale * codes + self.low_bits.view(torch.float16).float()
        return w.view(self.shape).to(dtype)

    def codes(self) -> Tensor:
        """Return the codes, one a byte: (O, D) uint8."""
        count = torch.Size(self.shape).numel()
        return unpack(self.packed, self.bits, count).view(self.shape)


class _FrozenMatmul(torch.autograd.Function):
    """x W^T, with a gradient for x and none for W.

    Only the packed weight is kept for the way back; it is unpacked again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: PackedWeight) -> Tensor:
        ctx.weight = weight
        return x @ weight.dequantize(x.dtype).T

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad @ ctx.weight.dequantize(grad.dtype), None


class QuantizedLinear(nn.Module):
    """A linear layer whose weight is packed, and frozen.

    y = x dequantize(weight)^T + bias; the gradient reaches x (and the bias)
    (..., D) -> (..., O)
    """

    def __init__(
        self, weight: PackedWeight, bias: nn.Parameter | None = None
    ) -> None:
        super().__init__()
        _check_linear(weight, bias)
        self.weight = weight
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        checks.width("x", x, self.weight.shape[1])
        multiply: Any = _FrozenMatmul.apply  # which has no types
        y: Tensor = multiply(x, self.weight)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        rows, width = self.weight.shape
        bits = bits_per_weight(self.weight)
        return f"in_features={width}, out_features={rows}, bits={bits:.3g}"


def quantize_linears(
    model: nn.Module,
    quantize: Callable[[Tensor], PackedWeight],
    skip: Collection[str] = (),
) -> list[str]:
    """Replace the model's linear layers, in place; return their names.

    Those named in `skip`, and those whose weight another module holds too,
    stay as they are: a head tied to the embedding would become a second
    matrix. Raises ValueError for a name in `skip` that is no linear layer,
    and where nothing is left to replace.
    """
    _check_model(model, quantize, skip)
    homes: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            homes[id(parameter)] = homes.get(id(parameter), 0) + 1
    done = []
    for name, linear in [*model.named_modules()]:
        if type(linear) is not nn.Linear or name in skip:
            continue
        if homes[id(linear.weight)] > 1:
            continue
        packed = quantize(linear.weight.detach())
        model.set_submodule(name, QuantizedLinear(packed, linear.bias))
        done.append(name)
    _check_done(done)
    return done


def bits_per_weight(weight: PackedWeight) -> float:
    """Return the bits that are held for each weight, scales included."""
    _check_packed_weight("weight", weight)
    held = held_bytes(cast(nn.Module, weight))
    return 8 * held / torch.Size(weight.shape).numel()


def held_bytes(model: nn.Module) -> int:
    """Return the bytes of a model's parameters and buffers, each once."""
    checks.module("model", model)
    held = {id(x): x for x in (*model.parameters(), *model.buffers())}
    return sum(x.numel() * x.itemsize for x in held.values())


def _check_packed_weight(name: str, weight: PackedWeight) -> None:
    want = "a packed weight, such as a Grid or an NF4"
    checks.kind(name, weight, nn.Module, want)
    got = type(weight).__name__
    checks.need(hasattr(weight, "dequantize"), name, got, want)


def _check_linear(weight: PackedWeight, bias: nn.Parameter | None) -> None:
    _check_packed_weight("weight", weight)
    if bias is None:
        return
    checks.kind("bias", bias, nn.Parameter, "an nn.Parameter or None")
    checks.floats("bias", bias)
    if bias.shape != weight.shape[:1]:
        raise ValueError(
            f"bias: got shape {tuple(bias.shape)}, want ({weight.shape[0]},)"
        )


def _check_model(
    model: nn.Module,
    quantize: Callable[[Tensor], PackedWeight],
    skip: Collection[str],
) -> None:
    checks.module("model", model)
    checks.function("quantize", quantize)
    checks.several("skip", skip, "names of linear layers")
    linears = {
        name
        for name, module in model.named_modules()
        if type(module) is nn.Linear
    }
    for name in skip:
        if name not in linears:
            raise ValueError(
                f"skip: got {name!r}, want names of linear layers of the model"
            )


def _check_done(done: list[str]) -> None:
    if not done:
        raise ValueError(
            "model: got no linear layer to replace, want one whose weight is "
            "its own"
        )
