"""What `quantization`, `nf4` and `gptq` refuse, by name."""

import torch
from torch import Tensor

from handmade import checks

HALF = torch.finfo(torch.float16)


def check_bits(bits: int) -> None:
    """Want a whole number of bits from 2 to 8."""
    checks.whole("bits", bits)
    checks.need(2 <= bits <= 8, "bits", bits, "a whole number from 2 to 8")


def check_matrix(w: Tensor) -> None:
    """Want a matrix of finite floats."""
    checks.floats("w", w)
    right = w.ndim == 2 and w.numel() > 0
    checks.need(right, "w", f"shape {tuple(w.shape)}", "(O, D), not empty")
    strange = int((~w.isfinite()).sum())
    if strange:
        raise ValueError(
            f"w: got {strange} weights that are nan or infinite, want them "
            "finite"
        )


def check_weights(w: Tensor, bits: int, group: int | None) -> None:
    """Want weights that float16 scales can reach, and groups that fit."""
    check_bits(bits)
    check_matrix(w)
    largest = float(w.abs().amax())
    if largest > HALF.max:
        raise ValueError(
            f"w: got a weight of size {largest:.3g}, want {HALF.max:g} at "
            "most: scales are float16"
        )
    check_group(w, group)


def check_group(w: Tensor, group: int | None) -> None:
    """Want None, or a divisor of the width."""
    if group is None:
        return
    checks.whole("group", group)
    if w.shape[1] % group:
        raise ValueError(
            f"group: got {group}, want a divisor of {w.shape[1]}, the "
            "weight's width"
        )


def check_codes(codes: Tensor, bits: int) -> None:
    """Want whole numbers that fit in so many bits."""
    check_bits(bits)
    checks.numbers("codes", codes)
    whole = not codes.is_floating_point() and codes.numel() > 0
    got = f"dtype {codes.dtype}, shape {tuple(codes.shape)}"
    checks.need(whole, "codes", got, "some whole numbers")
    low, high = int(codes.amin()), int(codes.amax())
    if low < 0 or high >= 2**bits:
        raise ValueError(
            f"codes: got {low} to {high}, want them from 0 to {2**bits - 1}"
        )


def check_packed(packed: Tensor, bits: int, count: int) -> None:
    """Want the bytes that so many codes fill."""
    check_bits(bits)
    checks.whole("count", count)
    checks.numbers("packed", packed)
    checks.need(
        packed.dtype == torch.uint8, "packed", packed.dtype, "torch.uint8"
    )
    size = -(-count // 8) * bits
    if packed.shape != (size,):
        raise ValueError(
            f"packed: got shape {tuple(packed.shape)}, want ({size},) for "
            f"{count} codes of {bits} bits"
        )


def check_grid(
    codes: Tensor, scale: Tensor, low: Tensor | None, bits: int
) -> None:
    """Want codes (O, D), and a scale, and perhaps a low, for each group."""
    check_bits(bits)
    checks.numbers("codes", codes, axes=2)
    fits = codes.dtype == torch.uint8 and codes.ndim == 2
    got = f"{codes.dtype} {tuple(codes.shape)}"
    checks.need(fits, "codes", got, "torch.uint8 (O, D)")
    for name, part in (("scale", scale), ("low", low)):
        if name == "low" and part is None:
            continue
        checks.floats(name, part)  # type: ignore[arg-type]
        assert part is not None
        fits = part.ndim == 2 and part.shape[1] == 1 and len(part) > 0
        fits = fits and codes.numel() % len(part) == 0
        fits = fits and part.dtype == torch.float16
        got = f"{part.dtype} {tuple(part.shape)}"
        checks.need(fits, name, got, "torch.float16 (C, 1), one a group")
        checks.need(bool(part.isfinite().all()), name, "inf", "finite ones")
    if low is not None and low.shape != scale.shape:
        raise ValueError(
            f"low: got shape {tuple(low.shape)}, want {tuple(scale.shape)}"
        )


def check_scale(x: Tensor, scale: Tensor) -> None:
    """Want numbers, and one scale for each row of them."""
    checks.floats("x", x)
    checks.floats("scale", scale)
    want = (*x.shape[:-1], 1)
    if scale.shape != want:
        raise ValueError(
            f"scale: got shape {tuple(scale.shape)}, want {want}, one a row"
        )
