"""The exercises of the page on the gradients at the loss, in lists."""

from handmade.exercises.by_hand.numbers import draw
from handmade.exercises.core import Case, Exercise, Mistake

# -- scalar-softmax-backward: fn(g, p) -> the gradient at the scores


def _softmax_backward(g, p):
    mean = sum(a * b for a, b in zip(g, p, strict=True))
    return [b * (a - mean) for a, b in zip(g, p, strict=True)]


def _shares(n: int, seed: int) -> list[float]:
    parts = [y + 1.5 for y in draw(n, seed=seed)]
    return [y / sum(parts) for y in parts]


def _softmax_case(label: str, n: int, seed: int = 4) -> Case:
    return Case(label, lambda: (draw(n, size=2.0), _shares(n, seed)))


SOFTMAX_BACKWARD = Exercise(
    name="scalar-softmax-backward",
    reference=_softmax_backward,
    cases=(
        _softmax_case("four shares", 4),
        _softmax_case("seven shares", 7),
        Case(
            "a hidden score, whose share is 0",
            lambda: ([0.5, 3.0, -1.0], [0.25, 0.0, 0.75]),
        ),
        Case("one share", lambda: ([2.0], [1.0])),
    ),
    mistakes=(
        Mistake(
            "the Jacobian is taken as diagonal: each share is thought to "
            "depend on its own score alone",
            lambda g, p: [a * b * (1 - b) for a, b in zip(g, p, strict=True)],
        ),
        Mistake(
            "the term with the sum is forgotten",
            lambda g, p: [a * b for a, b in zip(g, p, strict=True)],
        ),
        Mistake(
            "the plain mean of the gradients is subtracted, not the one "
            "weighed by the shares",
            lambda g, p: [
                b * (a - sum(g) / len(g)) for a, b in zip(g, p, strict=True)
            ],
        ),
        Mistake(
            "the gradient passes through a share of 0, as if the score were "
            "not hidden: the factor p is missing",
            lambda g, p: [
                a - sum(x * y for x, y in zip(g, p, strict=True)) for a in g
            ],
        ),
        Mistake(
            "it is the rule for a softmax with a cross-entropy behind it",
            lambda g, p: [b - a for a, b in zip(g, p, strict=True)],
        ),
    ),
)


# -- scalar-tied: fn(grad_logits, norm, grad_x, ids, vocab_size) -> (V, D)


def _tied(grad_logits, norm, grad_x, ids, vocab_size, *, head=1, add=True):
    grad = [
        [
            head
            * sum(g[i] * x[d] for g, x in zip(grad_logits, norm, strict=True))
            for d in range(len(norm[0]))
        ]
        for i in range(vocab_size)
    ]
    put = [[0.0] * len(norm[0]) for _ in range(vocab_size)]
    for i, row in zip(ids, grad_x, strict=True):
        put[i] = [
            a + b if add else b for a, b in zip(put[i], row, strict=True)
        ]
    return [
        [a + b for a, b in zip(*rows, strict=True)]
        for rows in zip(grad, put, strict=True)
    ]


def _head_alone(grad_logits, norm, grad_x, ids, vocab_size):
    nothing = [[0.0] * len(row) for row in grad_x]
    return _tied(grad_logits, norm, nothing, ids, vocab_size)


def _tied_case(label: str, V: int, D: int, ids: list[int]) -> Case:
    T = len(ids)
    return Case(
        label,
        lambda: (
            draw(T, V),
            draw(T, D, seed=2),
            draw(T, D, seed=3),
            list(ids),
            V,
        ),
    )


TIED = Exercise(
    name="scalar-tied",
    reference=_tied,
    cases=(
        _tied_case("three tokens", 4, 3, [2, 0, 1]),
        _tied_case("a token that comes twice", 5, 4, [3, 1, 3, 0]),
        _tied_case("one token", 3, 2, [1]),
    ),
    mistakes=(
        Mistake(
            "the tied weight is counted once, as head: what it does as "
            "embedding is missing",
            _head_alone,
        ),
        Mistake(
            "the tied weight is counted once, as embedding: what it does as "
            "head is missing",
            lambda *args: _tied(*args, head=0),
        ),
        Mistake(
            "a token that is read twice keeps the gradient of its last place "
            "instead of the sum",
            lambda *args: _tied(*args, add=False),
        ),
    ),
)
