"""The exercises of the page on the loss, in lists and floats."""

import math

from handmade.exercises.by_hand.numbers import draw
from handmade.exercises.core import Case, Exercise, Mistake


def _cost(logits, target):
    largest = max(logits)
    total = sum(math.exp(z - largest) for z in logits)
    return largest + math.log(total) - logits[target]


def _defined(logits, target):
    powers = [math.exp(z) for z in logits]
    return -math.log(powers[target] / sum(powers))


def _shares(logits):
    powers = [math.exp(z - max(logits)) for z in logits]
    return [power / sum(powers) for power in powers]


CROSS_ENTROPY = Exercise(
    name="scalar-cross-entropy",
    reference=_cost,
    cases=(
        Case("five words", lambda: (draw(5, size=3.0), 2)),
        Case("the last word", lambda: (draw(3, size=2.0), 2)),
        Case("a sure wrong answer", lambda: ([1000.0, 0.0, -1000.0], 2)),
        Case("a sure right answer", lambda: ([900.0, -20.0], 0)),
    ),
    mistakes=(
        Mistake("exp of a large logit overflows", _defined),
        Mistake(
            "a share that is too small for a float becomes 0, which has no "
            "logarithm",
            lambda z, t: -math.log(_shares(z)[t]),
        ),
        Mistake(
            "the sign is wrong: it is the log of the share, not minus it",
            lambda z, t: -_cost(z, t),
        ),
        Mistake(
            "the logarithm is that of base 2: the cost is in bits",
            lambda z, t: _cost(z, t) / math.log(2),
        ),
        Mistake(
            "the largest logit is subtracted and not added again",
            lambda z, t: _cost(z, t) - max(z),
        ),
        Mistake(
            "it is the share of the target that is missing to 1",
            lambda z, t: 1 - _shares(z)[t],
        ),
    ),
)
