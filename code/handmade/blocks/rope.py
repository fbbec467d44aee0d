"""Rotary position embedding: position as an angle, not as a number added.

B batch · T tokens · H heads (query or key/value) · K head width

Split-half, as Hugging Face stores its weights: axis i turns together with
axis i + K/2. Meta's own checkpoints pair neighbours (2i, 2i + 1) instead;
the two are the same rotation after a permutation of the projection's rows,
so mixing them up raises no error. Left out: scalings for longer contexts
whose angles depend on how long the text has become (dynamic, longrope):
with a cache, keys turned at one length meet queries turned at another.
"""

import math
from dataclasses import dataclass

import torch

from handmade import checks

Rope = tuple[torch.Tensor, torch.Tensor]

LLAMA3_NUMBERS = (
    "low_freq_factor",
    "high_freq_factor",
    "original_max_seq_len",
)


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """Slow the rotations down, so that a model reads longer texts.

    linear:  every frequency w becomes w / factor [chen2023]
    llama3:  by turns n = original_max_seq_len w / 2 pi in the text the model
             was first trained on: w where n > high_freq_factor, w / factor
             where n < low_freq_factor, and in between a mean of the two,
             w (s + (1 - s) / factor), where s goes from 0 to 1 with n
             [grattafiori2024]

    Raises ValueError for another kind, and for a number that the kind needs
    and lacks, or has and does not read.
    """

    kind: str
    factor: float
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    original_max_seq_len: int | None = None

    def __post_init__(self) -> None:
        _check_scaling(self)

    def slow(self, frequency: torch.Tensor) -> torch.Tensor:
        """Return the scaled frequencies, radians per token, (K/2) -> same."""
        checks.floats("frequency", frequency)
        if self.kind == "linear":
            return frequency / self.factor
        low, high, length = _llama3_numbers(self)
        # in this order of operations float32 gives Hugging Face's digits
        wavelength = 2 * math.pi / frequency
        share = (length / wavelength - low) / (high - low)
        mixed = (1 - share) * frequency / self.factor + share * frequency
        slow, fast = wavelength > length / low, wavelength < length / high
        mixed = (frequency / self.factor).where(slow, mixed)
        return frequency.where(fast, mixed)


def rope_angles(
    positions: torch.Tensor,
    d_head: int,
    theta: float = 10000.0,
    scaling: RopeScaling | None = None,
) -> Rope:
    """Return cos and sin of the angle of each position and axis.

    angle(t, i) = t * theta^(-2i / K) in radians, i = 0 .. K/2 - 1
    (B, T) -> (B, T, K), (B, T, K): the K/2 angles stand there twice

    ``d_head`` may be less than the head's width: then the axes after it do
    not turn. ``scaling`` slows the angles down for longer texts.
    Angles are float32 whatever the model computes in, as in Hugging Face.
    Raises ValueError on an odd width. [su2021]
    """
    _check_angles(positions, d_head, theta, scaling)
    axis = torch.arange(0, d_head, 2, device=positions.device).float()
    frequency = 1.0 / theta ** (axis / d_head)
    if scaling is not None:
        frequency = scaling.slow(frequency)
    angle_BTK = positions[..., None].float() * frequency
    angle_BTK = torch.cat((angle_BTK, angle_BTK), dim=-1)
    return angle_BTK.cos(), angle_BTK.sin()


def rotate_half(x: torch.Tensor) -> torch.Tensor:
    """Turn every pair by a quarter: (a, b) -> (-b, a), (..., K) -> same."""
    _check_pairs(x)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


def apply_rope(x_BHTK: torch.Tensor, rope: Rope) -> torch.Tensor:
    """Rotate queries or keys by their positions' angles.

    (a, b) -> (a cos - b sin, b cos + a sin),  (B, H, T, K) -> the same

    ``rope`` is what ``rope_angles`` returned, (B, T, K) each; where it is
    narrower than the heads, only the first axes turn. Raises ValueError
    where tokens or widths do not fit: an axis swapped by mistake would
    broadcast and rotate the heads. [su2021]
    """
    _check_rope(x_BHTK, rope)
    # the new axis lets all heads share the angles of their token
    cos, sin = (angle.unsqueeze(-3).to(x_BHTK.dtype) for angle in rope)
    width = cos.shape[-1]
    turned, kept = x_BHTK[..., :width], x_BHTK[..., width:]
    turned = turned * cos + rotate_half(turned) * sin
    return torch.cat((turned, kept), dim=-1)


def token_positions(attention_mask_BS: torch.Tensor) -> torch.Tensor:
    """Count the real tokens before each one, (B, S) -> (B, S).

    Padding on the left shifts nothing: the first real token is at 0, as in
    transformers' ``generate``. Padding itself gets 0.
    Raises ValueError where it is no tensor of whole numbers or bool.
    """
    checks.yes_or_no("attention_mask", attention_mask_BS)
    real = attention_mask_BS.bool()
    return (real.long().cumsum(-1) - 1).masked_fill(~real, 0)


def _check_scaling(scaling: RopeScaling) -> None:
    kinds = ("linear", "llama3")
    checks.need(
        scaling.kind in kinds, "kind", repr(scaling.kind), f"one of {kinds}"
    )
    checks.positive("factor", scaling.factor)
    if scaling.kind == "llama3":
        _llama3_numbers(scaling)
        return
    for name in LLAMA3_NUMBERS:
        want = "None: linear scaling reads no such number"
        value = getattr(scaling, name)
        checks.need(value is None, name, value, want)


def _llama3_numbers(scaling: RopeScaling) -> tuple[float, float, int]:
    low = checks.positive("low_freq_factor", scaling.low_freq_factor)
    high = checks.positive("high_freq_factor", scaling.high_freq_factor)
    want = f"more than low_freq_factor = {low}"
    checks.need(high > low, "high_freq_factor", high, want)
    length = scaling.original_max_seq_len
    return low, high, checks.whole("original_max_seq_len", length)


def _check_angles(
    positions: torch.Tensor,
    d_head: int,
    theta: float,
    scaling: RopeScaling | None,
) -> None:
    checks.numbers("positions", positions)
    checks.whole("d_head", d_head, at_least=2)
    checks.need(d_head % 2 == 0, "d_head", d_head, "an even width")
    checks.positive("theta", theta)
    if scaling is not None:
        checks.kind("scaling", scaling, RopeScaling, "a RopeScaling or None")


def _check_pairs(x: torch.Tensor) -> None:
    checks.numbers("x", x, axes=1)
    if x.shape[-1] % 2:
        raise ValueError(f"x: got width {x.shape[-1]}, want an even width")


def _check_rope(x: torch.Tensor, rope: Rope) -> None:
    checks.floats("x", x, axes=3)
    if not isinstance(rope, tuple | list) or len(rope) != 2:
        kind = type(rope).__name__
        raise ValueError(f"rope: got a {kind}, want the pair (cos, sin)")
    for angle in rope:
        checks.floats("rope", angle, axes=2)
    cos, sin = rope
    (T, K), lead = x.shape[-2:], x.shape[:-3]
    width, batch = cos.shape[-1], cos.shape[:-2]
    # aligned at the right, as they will be broadcast
    fits = len(batch) <= len(lead) and all(
        size in (1, whole)
        for size, whole in zip(batch[::-1], lead[::-1], strict=False)
    )
    if (
        cos.shape != sin.shape
        or cos.shape[-2] != T
        or not 0 < width <= K
        or width % 2
        or not fits
    ):
        raise ValueError(
            f"rope: got angles {tuple(cos.shape)} and {tuple(sin.shape)}, "
            f"want (B, T, d_rope) twice, with B 1 or that of x, T = {T} and "
            f"d_rope even and at most K = {K}; x is {tuple(x.shape)}"
        )
