"""The exercises of the page on projections, in lists and floats."""

from handmade.exercises.by_hand.numbers import draw
from handmade.exercises.core import Case, Exercise, Mistake


def _linear(x, weight):
    return [
        [sum(a * b for a, b in zip(row, w, strict=True)) for w in weight]
        for row in x
    ]


def _columns(x, weight):
    """Multiply by the weight as it lies; it must be square."""
    return [
        [
            sum(row[d] * weight[d][f] for d in range(len(row)))
            for f in range(len(weight))
        ]
        for row in x
    ]


def _case(label: str, T: int, D: int, F: int) -> Case:
    return Case(label, lambda: (draw(T, D), draw(F, D, seed=2)))


LINEAR = Exercise(
    name="scalar-linear",
    reference=_linear,
    cases=(
        _case("a square weight", 3, 4, 4),
        _case("a wide layer", 2, 3, 5),
        _case("a narrow layer", 4, 6, 2),
    ),
    mistakes=(
        Mistake(
            "tokens are matched with the columns of the weight, not its rows: "
            "x W instead of x W^T",
            _columns,
        ),
        Mistake(
            "the products are added up over the tokens, not over the width",
            lambda x, w: [
                [sum(row[d] * one[d] for row in x) for d in range(len(one))]
                for one in w
            ],
        ),
        Mistake(
            "the result is transposed: a row for each number that comes out",
            lambda x, w: _linear(w, x),
        ),
    ),
)
