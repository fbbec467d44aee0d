"""The exercises of the page on LoRA.

T tokens · D input width · F output width · R rank
"""

from collections.abc import Callable

import torch

from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake

# -- lora-forward: fn(x (T, D), w (F, D), A (R, D), B (F, R), alpha) -> (T, F)


def _forward(
    scale: Callable = lambda A, alpha: alpha / A.shape[0],
    join: Callable = lambda base, change: base + change,
) -> Callable:
    """The reference, or one with a step replaced."""

    def fn(x, w, A, B, alpha):
        return join(x @ w.T, scale(A, alpha) * (x @ A.T @ B.T))

    return fn


def _layer_case(
    label: str, D: int, F: int, R: int, alpha: float, zero: bool = False
) -> Case:
    def make() -> tuple:
        x, w, A, B = randoms((3, D), (F, D), (R, D), (F, R))
        return x, w, A, B * (not zero), alpha

    return Case(label, make)


FORWARD = Exercise(
    name="lora-forward",
    reference=_forward(),
    cases=(
        _layer_case("rank 2, alpha 8", 5, 4, 2, 8.0),
        _layer_case("rank 1", 4, 6, 1, 3.0),
        _layer_case("a square matrix", 6, 6, 3, 1.0),
        _layer_case("as at the start, B zero", 5, 4, 2, 8.0, zero=True),
    ),
    mistakes=(
        Mistake("the change is not scaled", _forward(lambda A, alpha: 1)),
        Mistake(
            "the change is multiplied by alpha, and not divided by the rank",
            _forward(lambda A, alpha: alpha),
        ),
        Mistake(
            "alpha is divided by the input width, not by the rank",
            _forward(lambda A, alpha: alpha / A.shape[1]),
        ),
        Mistake(
            "the rank is divided by alpha, not alpha by the rank",
            _forward(lambda A, alpha: A.shape[0] / alpha),
        ),
        Mistake(
            "only the change is returned: the frozen layer's own output is "
            "missing",
            _forward(join=lambda base, change: change),
        ),
        Mistake(
            "the frozen layer's output is scaled along with the change",
            lambda x, w, A, B, alpha: (
                alpha / A.shape[0] * (x @ w.T + x @ A.T @ B.T)
            ),
        ),
    ),
)

# -- lora-merge: fn(w (F, D) bfloat16, A, B float32, alpha) -> (F, D) bfloat16


def _merged(w, A, B, alpha):
    change = alpha / A.shape[0] * (B @ A)
    return (w.float() + change).to(w.dtype)


def _merge_case(label: str, D: int, F: int, R: int, size: float) -> Case:
    def make() -> tuple:
        w, A, B = randoms((F, D), (R, D), (F, R), dtype=torch.float32)
        return w.to(torch.bfloat16), A, size * B, 4.0

    return Case(label, make)


MERGE = Exercise(
    name="lora-merge",
    reference=_merged,
    cases=(
        _merge_case("a change as large as the matrix", 7, 5, 2, 1.0),
        _merge_case("a small change", 24, 16, 4, 0.01),
        _merge_case("a square matrix, rank 1", 6, 6, 1, 0.1),
    ),
    mistakes=(
        Mistake(
            "the scale alpha / R is forgotten",
            lambda w, A, B, alpha: _merged(w, A, B, A.shape[0]),
        ),
        Mistake(
            "the change is multiplied by alpha, and not divided by the rank",
            lambda w, A, B, alpha: _merged(w, A, B, alpha * A.shape[0]),
        ),
        Mistake(
            "the adapter replaces the matrix, instead of changing it",
            lambda w, A, B, alpha: _merged(0 * w, A, B, alpha),
        ),
        Mistake(
            "the change is subtracted",
            lambda w, A, B, alpha: _merged(w, A, -B, alpha),
        ),
        Mistake(
            "the change is added twice, as by a second merge",
            lambda w, A, B, alpha: _merged(_merged(w, A, B, alpha), A, B,
                                           alpha),
        ),
        Mistake(
            "the sum is left in float32",
            lambda w, A, B, alpha: _merged(w.float(), A, B, alpha),
        ),
    ),
)  # fmt: skip

# -- lora-count: fn(shapes [(F, D), ...], rank) -> int


def _count(shapes, rank):
    return sum(rank * (F + D) for F, D in shapes)


def _count_case(label: str, rank: int, *shapes: tuple[int, int]) -> Case:
    return Case(label, lambda: ([*shapes], rank))


COUNT = Exercise(
    name="lora-count",
    reference=_count,
    cases=(
        _count_case("one square matrix", 8, (768, 768)),
        _count_case("one that widens", 4, (1536, 384)),
        _count_case("a block", 2, (64, 64), (16, 64), (64, 64), (192, 64)),
        _count_case("none", 3),
    ),
    mistakes=(
        Mistake(
            "the whole matrices are counted",
            lambda shapes, rank: sum(F * D for F, D in shapes),
        ),
        Mistake(
            "only the numbers of A are counted",
            lambda shapes, rank: sum(rank * D for _, D in shapes),
        ),
        Mistake(
            "only the numbers of B are counted",
            lambda shapes, rank: sum(rank * F for F, _ in shapes),
        ),
        Mistake(
            "every matrix is counted as square, F wide on both sides",
            lambda shapes, rank: sum(2 * rank * F for F, _ in shapes),
        ),
        Mistake(
            "the sizes of A and B are multiplied, not added",
            lambda shapes, rank: sum(rank * D * rank * F for F, D in shapes),
        ),
        Mistake(
            "the frozen matrices are counted too",
            lambda shapes, rank: (
                _count(shapes, rank) + sum(F * D for F, D in shapes)
            ),
        ),
    ),
)

# -- rank-share: fn(change (F, D), rank) -> share of its squared size


def _share(change, rank):
    squares = torch.linalg.svdvals(change).square()
    return (squares[:rank].sum() / squares.sum()).item()


def _share_case(label: str, F: int, D: int, rank: int) -> Case:
    return Case(label, lambda: (*randoms((F, D)), rank))


def _thin() -> tuple:
    A, B = randoms((2, 9), (6, 2))
    return B @ A, 2


SHARE = Exercise(
    name="rank-share",
    reference=_share,
    cases=(
        _share_case("rank 2 of a wide matrix", 5, 9, 2),
        _share_case("rank 1 of a square one", 6, 6, 1),
        _share_case("nothing", 4, 7, 0),
        Case("all of a matrix of rank 2", _thin),
    ),
    mistakes=(
        Mistake(
            "the singular values are added, not their squares",
            lambda change, rank: (
                torch.linalg.svdvals(change)[:rank].sum()
                / torch.linalg.svdvals(change).sum()
            ).item(),
        ),
        Mistake(
            "the smallest singular values are kept, not the largest",
            lambda change, rank: 1 - _share(change, min(change.shape) - rank),
        ),
        Mistake(
            "the share of the lengths is returned, the square root of what "
            "is asked",
            lambda change, rank: _share(change, rank) ** 0.5,
        ),
        Mistake(
            "the share that is lost is returned",
            lambda change, rank: 1 - _share(change, rank),
        ),
        Mistake(
            "the rank is divided by the width: the singular values are not "
            "looked at",
            lambda change, rank: rank / min(change.shape),
        ),
    ),
)
