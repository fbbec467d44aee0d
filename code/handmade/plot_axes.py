"""Scales and their ticks: where a number stands, and which ones are named."""

import math
from collections.abc import Sequence

import numpy as np

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Scale:
    """From numbers to places on the drawing, linear or logarithmic.

    ``low`` is at ``start``, ``high`` at ``end``; numbers that a logarithm
    does not know have no place (NaN).
    """

    def __init__(
        self,
        low: float,
        high: float,
        start: float,
        end: float,
        log: bool = False,
    ) -> None:
        self.low, self.high, self.log = low, high, log
        self.start, self.end = start, end

    def __call__(self, values: Array | float) -> Array:
        """Return their places."""
        low, high = self._flat(np.array([self.low, self.high]))
        share = (self._flat(np.asarray(values, float)) - low) / (high - low)
        return np.asarray(self.start + share * (self.end - self.start))

    def _flat(self, values: Array) -> Array:
        if not self.log:
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log10(np.where(values > 0, values, np.nan))
        return np.asarray(logs)

    def ticks(self, apart: float, whole: bool = False) -> list[float]:
        """Return round numbers on it, at least ``apart`` units apart."""
        most = max(2, int(abs(self.end - self.start) / apart))
        if self.log:
            return _decades(self.low, self.high, most)
        step = _round_step((self.high - self.low) / most, whole)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def _round_step(step: float, whole: bool) -> float:
    """Return the next larger of 1, 2, 5, 10, 20, 50 and so on."""
    unit = 10 ** math.floor(math.log10(step))
    for times in (1, 2, 5, 10):
        if times * unit >= step * (1 - 1e-9):
            break
    found = float(times * unit)
    return max(1.0, found) if whole else found


def _decades(low: float, high: float, most: int) -> list[float]:
    """Return powers of ten; of less than two decades, more of each."""
    first, last = math.log10(low) - 1e-9, math.log10(high) + 1e-9
    powers = range(math.floor(first), math.ceil(last) + 1)
    found: list[float] = []
    for each in ((1, 2, 5), (1, 3), (1,)) if last - first < 2 else ((1,),):
        ticks = [t * 10.0**power for power in powers for t in each]
        found = [t for t in ticks if first <= math.log10(t) <= last]
        if len(found) <= most:
            break
    return found[:: math.ceil(len(found) / most)] if found else [low, high]


def limits(
    values: Sequence[float] | Array, log: bool, zero: bool = False
) -> tuple[float, float]:
    """Return the range to draw, with some room; from zero if it is near.

    ``zero`` asks for it in any case. Of nothing that can be drawn, 0 to 1.
    """
    found = np.asarray(values, float)
    found = found[np.isfinite(found)]
    if log:
        found = found[found > 0]
    if not len(found):
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = float(found.min()), float(found.max())
    if log:
        room = 10 ** (0.04 * math.log10(high / low)) if high > low else 2.0
        return low / room, high * room
    if zero or 0 <= low < 0.35 * high:
        low = min(low, 0.0)
    if zero:
        high = max(high, 0.0)
    room = 0.05 * (high - low) or max(abs(high), 1.0) * 0.1
    return (
        low if low == 0 and high > 0 else low - room,
        high if high == 0 and low < 0 else high + room,
    )


def written(value: float) -> str:
    """Write a tick: 1,024, 0.5 or a power of ten."""
    if value and not 1e-4 < abs(value) < 1e6:
        power = math.floor(math.log10(abs(value)) + 1e-9)
        first = f"{value / 10.0**power:.3g}"
        shown = {"1": "", "-1": "−"}.get(first, f"{first}·")
        return f"{shown.replace('-', '−')}10{str(power).translate(_RAISED)}"
    return f"{value:,.6g}".replace("-", "−")
