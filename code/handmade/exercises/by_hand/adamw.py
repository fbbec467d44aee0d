"""The exercises of the page on AdamW, in floats."""

import math

from handmade.exercises.core import Case, Exercise, Mistake


def _adamw(
    w, m, v, g, step, lr, decay, *, first=True, second=True, apart=True,
    late=0, inside=False,
):  # fmt: skip
    if not apart:
        g = g + decay * w
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g**2
    t = step + late
    m_hat = m / (1 - 0.9**t) if first else m
    v_hat = v / (1 - 0.999**t) if second else v
    root = math.sqrt(v_hat + 1e-8) if inside else math.sqrt(v_hat) + 1e-8
    if apart:
        w = w - lr * decay * w
    return w - lr * m_hat / root, m, v


def _case(label: str, *given: float) -> Case:
    return Case(label, lambda: given)


ADAMW = Exercise(
    name="scalar-adamw",
    reference=_adamw,
    cases=(
        _case("the first step", 0.5, 0.0, 0.0, 0.2, 1, 0.01, 0.1),
        _case("the fourth step", -1.5, 0.03, 0.002, -0.4, 4, 0.1, 0.01),
        _case("a small gradient", 0.25, 0.0, 0.0, 1e-4, 1, 0.01, 0.0),
        _case("a late step", 2.0, 0.1, 0.04, 0.3, 5000, 0.02, 0.2),
    ),
    mistakes=(
        Mistake(
            "the two means are not corrected for their start at 0",
            lambda *args: _adamw(*args, first=False, second=False),
        ),
        Mistake(
            "the mean of the gradients is not corrected",
            lambda *args: _adamw(*args, first=False),
        ),
        Mistake(
            "the mean of the squares is not corrected",
            lambda *args: _adamw(*args, second=False),
        ),
        Mistake(
            "the decay is added to the gradient, as in Adam with L2, and "
            "divided like it",
            lambda *args: _adamw(*args, apart=False),
        ),
        Mistake(
            "steps are counted from 0, and 1 is added: the correction is one "
            "step late",
            lambda *args: _adamw(*args, late=1),
        ),
        Mistake(
            "eps is added under the root",
            lambda *args: _adamw(*args, inside=True),
        ),
    ),
)
