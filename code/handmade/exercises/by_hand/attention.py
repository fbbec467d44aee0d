"""The exercises of the page on attention, in lists and floats."""

import math

from handmade.exercises.by_hand.numbers import draw
from handmade.exercises.core import Case, Exercise, Mistake

# -- scalar-softmax: fn(scores) -> shares


def _softmax(scores):
    largest = max(scores)
    powers = [math.exp(score - largest) for score in scores]
    return [power / sum(powers) for power in powers]


def _overflowing(scores):
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


SOFTMAX = Exercise(
    name="scalar-softmax",
    reference=_softmax,
    cases=(
        Case("four scores", lambda: (draw(4),)),
        Case("a hidden score", lambda: ([0.5, -math.inf, -1.5],)),
        Case("scores around 1000", lambda: ([1000.0, 999.0, 998.5],)),
        Case("one score", lambda: ([-3.0],)),
    ),
    mistakes=(
        Mistake("exp of a large score overflows", _overflowing),
        Mistake(
            "the powers are not divided by their sum",
            lambda scores: [math.exp(s - max(scores)) for s in scores],
        ),
        Mistake(
            "the scores themselves are divided by their sum",
            lambda scores: [s / sum(scores) for s in scores],
        ),
        Mistake(
            "it returns the logarithms of the shares",
            lambda scores: [
                -math.inf if p == 0 else math.log(p) for p in _softmax(scores)
            ],
        ),
    ),
)


# -- scalar-attention: fn(q, k, v) -> out, causal


def _attention(q, k, v, *, root=None, ahead=0, late=False, fill=None):
    """Attend; `late` hides after the softmax, `fill` is a hidden score."""
    T, width = len(q), math.sqrt(len(q[0])) if root is None else root(q)
    out = []
    for t in range(T):
        scores = [
            sum(a * b for a, b in zip(q[t], k[s], strict=True)) / width
            for s in range(T)
        ]
        hidden = [s > t + ahead for s in range(T)]
        instead = -math.inf if fill is None else fill
        if not late:
            scores = [
                instead if off else score
                for score, off in zip(scores, hidden, strict=True)
            ]
        shares = _softmax(scores)
        if late:
            shares = [
                0.0 if off else share
                for share, off in zip(shares, hidden, strict=True)
            ]
        out.append(
            [
                sum(shares[s] * v[s][d] for s in range(T))
                for d in range(len(v[0]))
            ]
        )
    return out


def _attention_case(label: str, T: int, K: int, width: int) -> Case:
    def make():
        size = 2.0
        return (
            draw(T, K, size=size),
            draw(T, K, seed=2, size=size),
            draw(T, width, seed=3),
        )

    return Case(label, make)


ATTENTION = Exercise(
    name="scalar-attention",
    reference=_attention,
    cases=(
        _attention_case("four tokens", 4, 3, 3),
        _attention_case("values wider than keys", 3, 4, 6),
        _attention_case("as many tokens as axes", 5, 5, 5),
        _attention_case("one token", 1, 4, 2),
    ),
    mistakes=(
        Mistake(
            "the scores are not divided by the root of the head's width",
            lambda q, k, v: _attention(q, k, v, root=lambda q: 1.0),
        ),
        Mistake(
            "the scores are divided by the width, not by its root",
            lambda q, k, v: _attention(q, k, v, root=lambda q: len(q[0])),
        ),
        Mistake(
            "the scores are divided by the root of the number of tokens",
            lambda q, k, v: _attention(
                q, k, v, root=lambda q: math.sqrt(len(q))
            ),
        ),
        Mistake(
            "the mask is applied after the softmax",
            lambda q, k, v: _attention(q, k, v, late=True),
        ),
        Mistake(
            "a hidden score is set to 0, which still takes a share",
            lambda q, k, v: _attention(q, k, v, fill=0.0),
        ),
        Mistake(
            "there is no mask: each token sees what comes after it",
            lambda q, k, v: _attention(q, k, v, ahead=len(q)),
        ),
        Mistake(
            "each token sees the one after it too",
            lambda q, k, v: _attention(q, k, v, ahead=1),
        ),
    ),
)
