"""The exercises of the page on the feed-forward layer, in floats."""

import math

from handmade.exercises.core import Case, Exercise, Mistake

ROOT = math.sqrt(2)


def _gelu(x, *, stretch=ROOT, half=2.0):
    return x * (1 + math.erf(x / stretch)) / half


def _gelu_tanh(x):
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return x * (1 + math.tanh(inner)) / 2


GELU = Exercise(
    name="scalar-gelu",
    reference=_gelu,
    cases=(
        Case("one half", lambda: (0.5,)),
        Case("a negative number", lambda: (-1.25,)),
        Case("zero", lambda: (0.0,)),
        Case("a number that passes", lambda: (4.5,)),
    ),
    mistakes=(
        Mistake(
            "the share is approximated by a sigmoid of 1.702 x",
            lambda x: x / (1 + math.exp(-1.702 * x)),
        ),
        Mistake(
            "the share is approximated by a tanh, as in GPT-2", _gelu_tanh
        ),
        Mistake(
            "x is not divided by the root of 2 before erf",
            lambda x: _gelu(x, stretch=1.0),
        ),
        Mistake("the sum 1 + erf is not halved", lambda x: _gelu(x, half=1.0)),
        Mistake(
            "it returns the share Phi(x), not x times it",
            lambda x: (1 + math.erf(x / math.sqrt(2))) / 2,
        ),
        Mistake("it is the ReLU", lambda x: max(0.0, x)),
    ),
)
