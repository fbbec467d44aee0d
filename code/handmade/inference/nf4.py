"""NF4: sixteen levels that lie where the weights are, and QLoRA's layer.

O outputs · D inputs · N weights of a block · C blocks

A block of 64 weights is divided by its largest and each becomes the nearest
of sixteen levels, quantiles of a normal distribution: dense near zero. As in
bitsandbytes, blocks run over the rows of a matrix, the last may be short, and
the first code of a byte stands in its high half. With `double` the scales
are codes too: eight bits each around their mean, in groups of 256.

Left out: bitsandbytes' own 8-bit levels for those scales; ours are even.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from handmade import checks
from handmade.inference.quantization import (
    Grid,
    QuantizedLinear,
    absmax,
)
from handmade.inference.quantization_checks import check_matrix

# as published with [dettmers2023]; `normal_levels` derives them
LEVELS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634,
    0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip
DOUBLE_GROUP = 256


def normal_levels() -> Tensor:
    """Derive the sixteen levels from quantiles of the normal distribution.

    Seven negative ones and eight positive ones, each side evenly spaced in
    probability from a half to the same far quantile, and zero, exactly. The
    far one is halfway between those that 15 and 16 levels would use.

    () -> (16,) float32, from -1 to 1. Source: [dettmers2023].
    """
    far = 0.9677083  # (1 - 1/30 + 1 - 1/32) / 2, as the published code has it
    above = torch.special.ndtri(torch.linspace(far, 0.5, 9).double())
    below = -torch.special.ndtri(torch.linspace(far, 0.5, 8).double())
    levels = torch.cat((below[:-1], above.flip(0))).float()
    return levels / levels.abs().max()


class NF4(nn.Module):
    """A matrix as NF4 codes: w = level[code] * absmax, for each block.

    (O, D) weights in, `dequantize` gives (O, D) back.
    """

    packed: Tensor
    absmax_bits: Tensor

    def __init__(
        self, w: Tensor, *, block: int = 64, double: bool = False
    ) -> None:
        super().__init__()
        _check_nf4(w, block, double)
        self.shape, self.block = tuple(w.shape), block
        blocks = _blocks(w.float(), block)  # (C, N)
        largest = blocks.abs().amax(-1)
        # a block of zeros is divided by something
        within = blocks * (1 / largest.clamp(min=1e-38))[:, None]
        levels = torch.tensor(LEVELS, device=w.device)
        between = (levels[1:] + levels[:-1]) / 2
        codes = torch.bucketize(within.clamp(-1, 1), between)
        pairs = codes.flatten()[: w.numel() + w.numel() % 2].view(-1, 2)
        packed = (pairs[:, 0] << 4 | pairs[:, 1]).to(torch.uint8)
        self.register_buffer("packed", packed)
        self.scales = DoubleScales(largest) if double else None
        bits = None if double else largest.view(torch.int32)
        self.register_buffer("absmax_bits", bits)

    def absmax(self) -> Tensor:
        """Return the largest weight of each block, as held: (C,)."""
        if self.scales is not None:
            return self.scales.dequantize()
        return self.absmax_bits.view(torch.float32)

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return level[code] * absmax as floats: (O, D)."""
        checks.dtype("dtype", dtype)
        codes = torch.stack((self.packed >> 4, self.packed & 15), dim=1)
        levels = torch.tensor(LEVELS, device=codes.device)
        count = torch.Size(self.shape).numel()
        values = levels[codes.flatten()[:count].long()]
        w = _blocks(values, self.block) * self.absmax()[:, None]
        return w.flatten()[:count].view(self.shape).to(dtype)


class DoubleScales(nn.Module):
    """The scales of all blocks (C,), less their mean, in eight bits each."""

    mean_bits: Tensor

    def __init__(self, largest: Tensor) -> None:
        super().__init__()
        checks.floats("largest", largest)
        some = largest.ndim == 1 and largest.numel() > 0
        got = f"shape {tuple(largest.shape)}"
        checks.need(some, "largest", got, "(C,), not empty")
        self.count, mean = len(largest), largest.float().mean()
        self.register_buffer("mean_bits", mean.view(1).view(torch.int32))
        around = _blocks(largest.float() - mean, DOUBLE_GROUP)
        self.grid: Grid = absmax(around, bits=8, group=DOUBLE_GROUP)

    def dequantize(self) -> Tensor:
        """Return the scales as floats: (C,)."""
        around = self.grid.dequantize().flatten()[: self.count]
        return around + self.mean_bits.view(torch.float32)


def nf4_linear(
    linear: nn.Linear, *, block: int = 64, double: bool = False
) -> QuantizedLinear:
    """Return a frozen copy of a linear layer with its weight in NF4.

    What QLoRA puts its adapters beside: the gradient passes through it to
    its input, and its weight is never held in floats between two calls.
    Source: [dettmers2023].
    """
    checks.kind("linear", linear, nn.Linear, "an nn.Linear")
    packed = NF4(linear.weight.detach(), block=block, double=double)
    return QuantizedLinear(packed, linear.bias)


def _blocks(x: Tensor, block: int) -> Tensor:
    """Cut what lies in memory into rows, the last filled up with zeros."""
    return F.pad(x.flatten(), (0, -x.numel() % block)).view(-1, block)


def _check_nf4(w: Tensor, block: int, double: bool) -> None:
    checks.whole("block", block)
    checks.flag("double", double)
    check_matrix(w)
