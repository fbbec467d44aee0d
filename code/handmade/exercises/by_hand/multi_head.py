"""The exercises of the page on heads, in lists and floats."""

from handmade.exercises.by_hand.numbers import draw
from handmade.exercises.core import Case, Exercise, Mistake


def _split(x, n_heads):
    width = len(x[0]) // n_heads
    return [
        [row[h * width : (h + 1) * width] for row in x] for h in range(n_heads)
    ]


def _reshaped(x, n_heads):
    flat = [y for row in x for y in row]
    T, width = len(x), len(x[0]) // n_heads
    return [
        [flat[(h * T + t) * width :][:width] for t in range(T)]
        for h in range(n_heads)
    ]


def _case(label: str, T: int, D: int, n_heads: int) -> Case:
    return Case(label, lambda: (draw(T, D), n_heads))


SPLIT = Exercise(
    name="scalar-split",
    reference=_split,
    cases=(
        _case("two heads", 3, 4, 2),
        _case("three heads", 2, 12, 3),
        _case("as many heads as tokens", 3, 6, 3),
        _case("one head", 4, 5, 1),
    ),
    mistakes=(
        Mistake(
            "the memory is cut from the left, as a reshape to (H, T, K) does: "
            "heads get whole tokens instead of a piece of each",
            _reshaped,
        ),
        Mistake(
            "a head takes every H-th number instead of neighbours",
            lambda x, n: [[row[h::n] for row in x] for h in range(n)],
        ),
        Mistake(
            "the heads come after the tokens: (T, H, K)",
            lambda x, n: [
                [row[h * len(row) // n :][: len(row) // n] for h in range(n)]
                for row in x
            ],
        ),
    ),
)
