"""The exercises of the page on the gradients of a block, in lists."""

import math

from handmade.exercises.by_hand.numbers import draw
from handmade.exercises.core import Case, Exercise, Mistake

# -- scalar-layer-norm-backward: fn(u, x, eps) -> the gradient at x


def _norm_backward(u, x, eps, *, mean=True, along=True, scale=True):
    D = len(x)
    middle = sum(x) / D
    r = 1 / math.sqrt(sum((y - middle) ** 2 for y in x) / D + eps)
    n = [r * (y - middle) for y in x]
    constant = sum(u) / D if mean else 0.0
    part = sum(a * b for a, b in zip(u, n, strict=True)) / D if along else 0.0
    return [
        (r if scale else 1.0) * (a - constant - b * part)
        for a, b in zip(u, n, strict=True)
    ]


def _norm_case(label: str, D: int, size: float = 1.0) -> Case:
    return Case(label, lambda: (draw(D, seed=2), draw(D, size=size), 1e-5))


LAYER_NORM_BACKWARD = Exercise(
    name="scalar-layer-norm-backward",
    reference=_norm_backward,
    cases=(
        _norm_case("five numbers", 5),
        _norm_case("large numbers", 8, size=40.0),
        _norm_case("numbers so small that eps counts", 4, size=2e-3),
    ),
    mistakes=(
        Mistake(
            "the mean term is forgotten: the mean is taken for a constant",
            lambda u, x, eps: _norm_backward(u, x, eps, mean=False),
        ),
        Mistake(
            "the variance is taken for a constant: the part along the vector "
            "is not subtracted",
            lambda u, x, eps: _norm_backward(u, x, eps, along=False),
        ),
        Mistake(
            "mean and variance are both taken for constants",
            lambda u, x, eps: _norm_backward(
                u, x, eps, mean=False, along=False
            ),
        ),
        Mistake(
            "the factor 1 / sqrt(var + eps) is forgotten",
            lambda u, x, eps: _norm_backward(u, x, eps, scale=False),
        ),
    ),
)


# -- scalar-attention-backward: fn(grad, q, k, v, weights) -> three gradients


def _product(a, b):
    return [
        [
            sum(x * y for x, y in zip(row, column, strict=True))
            for column in zip(*b, strict=True)
        ]
        for row in a
    ]


def _turned(a):
    return [list(column) for column in zip(*a, strict=True)]


def _whole(p, y):
    mean = sum(b * c for b, c in zip(p, y, strict=True))
    return [b * (c - mean) for b, c in zip(p, y, strict=True)]


def _diagonal(p, y):
    return [b * (1 - b) * c for b, c in zip(p, y, strict=True)]


def _no_mean(p, y):
    return [b * c for b, c in zip(p, y, strict=True)]


def _through_the_mask(p, y):
    mean = sum(c for c in y) / len(y)
    return [b * (c - mean) for b, c in zip(p, y, strict=True)]


def _attention_backward(
    grad, q, k, v, weights, *, softmax=_whole, root=True, swap=False
):
    at_weights = _product(grad, _turned(v))
    size = math.sqrt(len(q[0])) if root else 1.0
    at_scores = [
        [y / size for y in softmax(*rows)]
        for rows in zip(weights, at_weights, strict=True)
    ]
    at_k = at_scores if swap else _turned(at_scores)
    at_v = weights if swap else _turned(weights)
    return _product(at_scores, k), _product(at_k, q), _product(at_v, grad)


def _causal_weights(T: int) -> list[list[float]]:
    rows = []
    for t, row in enumerate(draw(T, T, seed=5)):
        powers = [math.exp(y) if s <= t else 0.0 for s, y in enumerate(row)]
        rows.append([power / sum(powers) for power in powers])
    return rows


def _attention_case(label: str, T: int, K: int) -> Case:
    return Case(
        label,
        lambda: (
            *(draw(T, K, seed=seed) for seed in (1, 2, 3, 4)),
            _causal_weights(T),
        ),
    )


ATTENTION_BACKWARD = Exercise(
    name="scalar-attention-backward",
    reference=_attention_backward,
    cases=(
        _attention_case("four tokens", 4, 3),
        _attention_case("two tokens of width 6", 2, 6),
        _attention_case("as many tokens as axes", 5, 5),
    ),
    mistakes=(
        Mistake(
            "the softmax's Jacobian is taken as diagonal",
            lambda *args: _attention_backward(*args, softmax=_diagonal),
        ),
        Mistake(
            "the weighted mean is not subtracted at the softmax",
            lambda *args: _attention_backward(*args, softmax=_no_mean),
        ),
        Mistake(
            "the gradient goes through the mask: hidden keys have a part in "
            "the mean that is subtracted at the softmax",
            lambda *args: _attention_backward(
                *args, softmax=_through_the_mask
            ),
        ),
        Mistake(
            "the division by the root of the head's width is forgotten",
            lambda *args: _attention_backward(*args, root=False),
        ),
        Mistake(
            "weights and scores are not transposed on the way to k and v",
            lambda *args: _attention_backward(*args, swap=True),
        ),
    ),
)


# -- scalar-sum-backward: fn(grad, x, weight, eps) -> the gradient at x


def _sum_backward(grad, x, weight, eps, *, past=1, through=1, norm=True):
    rows = []
    for g, row, u in zip(grad, x, _product(grad, weight), strict=True):
        back = _norm_backward(u, row, eps) if norm else u
        rows.append(
            [past * a + through * b for a, b in zip(g, back, strict=True)]
        )
    return rows


def _sum_case(label: str, T: int, D: int, size: float = 1.0) -> Case:
    return Case(
        label,
        lambda: (
            draw(T, D, seed=2),
            draw(T, D, size=size),
            draw(D, D, seed=3),
            1e-5,
        ),
    )


SUM_BACKWARD = Exercise(
    name="scalar-sum-backward",
    reference=_sum_backward,
    cases=(
        _sum_case("three tokens of width 4", 3, 4),
        _sum_case("one token", 1, 5),
        _sum_case("numbers so small that eps counts", 2, 4, size=2e-3),
    ),
    mistakes=(
        Mistake(
            "the gradient goes through the layer only: the part that passes "
            "the sum unchanged is forgotten",
            lambda *args: _sum_backward(*args, past=0),
        ),
        Mistake(
            "the gradient passes the sum only: what goes through the layer "
            "is forgotten",
            lambda *args: _sum_backward(*args, through=0),
        ),
        Mistake(
            "both ways are added twice",
            lambda *args: _sum_backward(*args, past=2, through=2),
        ),
        Mistake(
            "the way through the layer ends at the norm's result instead of "
            "at x",
            lambda *args: _sum_backward(*args, norm=False),
        ),
    ),
)
