"""The exercises of the page on layer norm, in lists and floats."""

import math

from handmade.exercises.by_hand.numbers import draw
from handmade.exercises.core import Case, Exercise, Mistake


def _norm(row, gain, bias, eps, *, mean=None, less=0, outside=False):
    middle = sum(row) / len(row) if mean is None else mean
    variance = sum((y - middle) ** 2 for y in row) / (len(row) - less)
    root = math.sqrt(variance) + eps if outside else math.sqrt(variance + eps)
    return [
        g * (y - middle) / root + b
        for y, g, b in zip(row, gain, bias, strict=True)
    ]


def _case(label: str, D: int, *, size: float = 1.0, shift: float = 0) -> Case:
    def make():
        row = [y + shift for y in draw(D, size=size)]
        return row, draw(D, seed=2), draw(D, seed=3), 1e-5

    return Case(label, make)


NORM = Exercise(
    name="scalar-layer-norm",
    reference=_norm,
    cases=(
        _case("six numbers", 6),
        _case("numbers far from zero", 5, shift=30.0),
        _case("numbers so small that eps counts", 4, size=1e-3),
        _case("numbers that are all alike", 3, size=0.0, shift=2.0),
    ),
    mistakes=(
        Mistake(
            "the variance divides by D - 1 instead of D",
            lambda *args: _norm(*args, less=1),
        ),
        Mistake(
            "eps is added to the root instead of the variance",
            lambda *args: _norm(*args, outside=True),
        ),
        Mistake(
            "the mean is not subtracted, as in RMSNorm",
            lambda *args: _norm(*args, mean=0.0),
        ),
        Mistake(
            "there is no eps",
            lambda row, gain, bias, eps: _norm(row, gain, bias, 0.0),
        ),
        Mistake(
            "the bias is dropped",
            lambda row, gain, bias, eps: _norm(
                row, gain, [0.0] * len(row), eps
            ),
        ),
    ),
)
