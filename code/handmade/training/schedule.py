"""Learning-rate schedules: the factor on the optimizer's rate at each step.

A function of the step alone, so that a resumed run needs no memory of it.
"""

import math
from collections.abc import Callable

from handmade import checks


def warmup_cosine(
    steps: int, *, warmup: int = 0, lowest: float = 0.0
) -> Callable[[int], float]:
    """Rise linearly for `warmup` steps, then fall along half a cosine.

    Step s of the rise has (s + 1) / warmup, so that not even the first is
    lost; then, with u from 0 to 1 over the steps that are left,
    lowest + (1 - lowest) (1 + cos(pi u)) / 2. Step `steps` has `lowest`, and
    so has every later one.
    """
    _check(steps, warmup, lowest)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        u = _share(step, steps, warmup)
        return lowest + (1 - lowest) * (1 + math.cos(math.pi * u)) / 2

    return factor


def warmup_linear(
    steps: int, *, warmup: int = 0, flat: float = 0.0, lowest: float = 0.0
) -> Callable[[int], float]:
    """Rise linearly, stay at 1, fall linearly to `lowest`.

    `flat` is the share of the steps after the rise that stay at 1.
    """
    _check(steps, warmup, lowest)
    checks.number("flat", flat, at_least=0)
    checks.need(flat < 1, "flat", flat, "0 to less than 1")

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        u = max(0.0, (_share(step, steps, warmup) - flat) / (1 - flat))
        return 1 + (lowest - 1) * u

    return factor


def _share(step: int, steps: int, warmup: int) -> float:
    return min(1.0, (step - warmup) / (steps - warmup))


def _check(steps: int, warmup: int, lowest: float) -> None:
    checks.whole("steps", steps)
    checks.whole("warmup", warmup, at_least=0)
    checks.need(warmup < steps, "warmup", warmup, f"0 to {steps - 1}")
    checks.number("lowest", lowest, at_least=0)
    checks.need(lowest <= 1, "lowest", lowest, "0 to 1")
