"""The exercises of the page on recipes.

M micro-batches · N numbers of a gradient, or seeds
"""

from collections.abc import Callable

import torch

from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake

# -- first-adam-step: fn(grad (N,), lr, beta1, beta2, eps) -> (N,), the change


def _first(
    mean: Callable = lambda g, b: (1 - b) * g / (1 - b),
    square: Callable = lambda g, b: (1 - b) * g**2 / (1 - b),
    root: Callable = torch.sqrt,
    sign: float = -1.0,
) -> Callable:
    """The reference, or one with a part replaced."""

    def fn(grad, lr, beta1, beta2, eps):
        return (
            sign * lr * mean(grad, beta1) / (root(square(grad, beta2)) + eps)
        )

    return fn


def _grads(size: float) -> Callable:
    def make():
        return randoms((7,), size=size)[0], 0.01, 0.9, 0.95, 1e-8

    return make


def _some_zero() -> tuple:
    grad = randoms((6,), seed=3)[0]
    grad[2] = 0
    return grad, 0.1, 0.9, 0.999, 1e-8


FIRST_STEP = Exercise(
    name="first-adam-step",
    reference=_first(),
    cases=(
        Case("gradients of about 1", _grads(1.0)),
        Case("gradients of about a hundred", _grads(100.0)),
        Case("gradients of about 1e-8, as small as eps", _grads(1e-8)),
        Case("a gradient of zero", _some_zero),
    ),
    mistakes=(
        Mistake(
            "neither mean nor square is divided by 1 - beta^t: the averages "
            "began at zero and are still too small",
            _first(lambda g, b: (1 - b) * g, lambda g, b: (1 - b) * g**2),
        ),
        Mistake(
            "the mean is not divided by 1 - beta1",
            _first(mean=lambda g, b: (1 - b) * g),
        ),
        Mistake(
            "the square is not divided by 1 - beta2",
            _first(square=lambda g, b: (1 - b) * g**2),
        ),
        Mistake(
            "the root is missing: the gradient is divided by its square",
            _first(root=lambda x: x),
        ),
        Mistake("the step goes up the gradient", _first(sign=1.0)),
        Mistake(
            "it is the sign alone: eps counts where gradients are small",
            lambda grad, lr, beta1, beta2, eps: -lr * grad.sign(),
        ),
        Mistake(
            "the gradient is not divided by its size: that is plain descent",
            lambda grad, lr, beta1, beta2, eps: -lr * grad,
        ),
    ),
)

# -- clip-once: fn(grads (M, N), tokens (M,), max_norm) -> (N,)


def _cut(g: torch.Tensor, max_norm: float) -> torch.Tensor:
    norm = torch.linalg.vector_norm(g, dim=-1, keepdim=True)
    return g * (max_norm / (norm + 1e-6)).clamp(max=1)


def _weighted(grads, tokens):
    share = tokens / tokens.sum()
    return (share.to(grads.dtype)[:, None] * grads).sum(0)


def _micro(
    label: str, tokens: tuple[int, ...], max_norm: float, size: float = 1.0
) -> Case:
    def make():
        shape = (len(tokens), 5)
        (grads,) = randoms(shape, size=size, dtype=torch.float32)
        return grads, torch.tensor(tokens), max_norm

    return Case(label, make)


CLIP_ONCE = Exercise(
    name="clip-once",
    reference=lambda grads, tokens, max_norm: _cut(
        _weighted(grads, tokens), max_norm
    ),
    cases=(
        _micro("four micro-batches of one size", (8, 8, 8, 8), 0.5),
        _micro("three of different sizes", (30, 4, 11), 0.7),
        _micro("a gradient shorter than the bound", (5, 9), 1.0, 0.01),
        _micro("a single micro-batch", (6,), 0.3),
    ),
    mistakes=(
        Mistake(
            "each micro-batch is cut before they are added: the long ones "
            "no longer count for what they are",
            lambda grads, tokens, max_norm: _weighted(
                _cut(grads, max_norm), tokens
            ),
        ),
        Mistake(
            "the running sum is cut after each micro-batch",
            lambda grads, tokens, max_norm: _running(grads, tokens, max_norm),
        ),
        Mistake(
            "micro-batches count alike, however many tokens each has",
            lambda grads, tokens, max_norm: _cut(grads.mean(0), max_norm),
        ),
        Mistake(
            "the gradients are added and not divided, then cut",
            lambda grads, tokens, max_norm: _cut(grads.sum(0), max_norm),
        ),
        Mistake(
            "each number is cut to the bound instead of the whole length",
            lambda grads, tokens, max_norm: _weighted(grads, tokens).clamp(
                -max_norm, max_norm
            ),
        ),
        Mistake(
            "every gradient is stretched or cut to the bound, short ones too",
            lambda grads, tokens, max_norm: (
                max_norm
                * torch.nn.functional.normalize(
                    _weighted(grads, tokens), dim=0
                )
            ),
        ),
        Mistake(
            "nothing is cut",
            lambda grads, tokens, max_norm: _weighted(grads, tokens),
        ),
    ),
)


def _running(grads, tokens, max_norm):
    total = torch.zeros_like(grads[0])
    for g, n in zip(grads, tokens, strict=True):
        total = _cut(total + g * (n / tokens.sum()), max_norm)
    return total


# -- lost-updates: fn(w (N,) float32, update (N,) float32, dtype) -> a share


def _lost(w, update, dtype):
    kept = w.to(dtype)
    return (kept + update.to(dtype) == kept).double().mean()


def _updates(label: str, size: float, dtype: torch.dtype) -> Case:
    def make():
        w, update = randoms((400,), (400,), seed=7, dtype=torch.float32)
        return 0.1 * w, size * update, dtype

    return Case(label, make)


LOST = Exercise(
    name="lost-updates",
    reference=_lost,
    cases=(
        _updates("steps of 1e-3 in bfloat16", 1e-3, torch.bfloat16),
        _updates("steps of 1e-4 in bfloat16", 1e-4, torch.bfloat16),
        _updates("steps of 1e-4 in float16", 1e-4, torch.float16),
        _updates("steps of 1e-4 in float32", 1e-4, torch.float32),
    ),
    mistakes=(
        Mistake(
            "weights and steps are added in float32, where nothing is lost",
            lambda w, update, dtype: (w + update == w).double().mean(),
        ),
        Mistake(
            "each step is compared with finfo.eps: that is the distance "
            "between two numbers at 1, and weights are smaller",
            lambda w, update, dtype: (
                (update.abs() < torch.finfo(dtype).eps).double().mean()
            ),
        ),
        Mistake(
            "a step is called lost where it is shorter than a whole distance "
            "between two numbers: rounding takes those beyond half of it",
            lambda w, update, dtype: (
                (update.abs() < _spacing(w, dtype)).double().mean()
            ),
        ),
        Mistake(
            "each step is compared with eps times its weight: a sum rounds "
            "to the nearest, so half a distance is enough, and the distance "
            "is the same from one power of two to the next",
            lambda w, update, dtype: (
                (update.abs() < torch.finfo(dtype).eps * w.abs())
                .double()
                .mean()
            ),
        ),
        Mistake(
            "weights and steps are added in float32 and the sum is rounded: "
            "they are held in dtype, so both are rounded before",
            lambda w, update, dtype: (
                ((w + update).to(dtype) == w.to(dtype)).double().mean()
            ),
        ),
        Mistake(
            "it is the share that arrives",
            lambda w, update, dtype: 1 - _lost(w, update, dtype),
        ),
        Mistake(
            "it is the number of lost steps, not their share",
            lambda w, update, dtype: _lost(w, update, dtype) * len(w),
        ),
    ),
)


def _spacing(w: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    power = w.to(dtype).float().abs().log2().floor()
    return torch.finfo(dtype).eps * 2**power


# -- paired-gain: fn(base (N,), other (N,)) -> (2,): the mean gain, its error


def _gain(base, other):
    gain = base - other
    error = gain.std(correction=1) / len(gain) ** 0.5
    return torch.stack((gain.mean(), error))


def _seeds(label: str, count: int, luck: float) -> Case:
    def make():
        shared, own = randoms((count,), (count,), seed=count)
        base = 2.4 + luck * shared
        return base, base - 0.03 + 0.01 * own

    return Case(label, make)


def _unpaired(base, other):
    error = (base.var() / len(base) + other.var() / len(other)).sqrt()
    return torch.stack(((base - other).mean(), error))


PAIRED = Exercise(
    name="paired-gain",
    reference=_gain,
    cases=(
        _seeds("four seeds, much luck in common", 4, 0.1),
        _seeds("nine seeds, a little in common", 9, 0.01),
        _seeds("two seeds", 2, 0.05),
    ),
    mistakes=(
        Mistake(
            "the two spreads are added as if the runs had nothing in common: "
            "a seed's luck is in both, and cancels in the difference",
            _unpaired,
        ),
        Mistake(
            "the sign is reversed: a lower loss is a gain",
            lambda base, other: _gain(base, other) * torch.tensor([-1, 1]),
        ),
        Mistake(
            "the spread of one gain is returned, not that of their mean",
            lambda base, other: torch.stack(
                ((base - other).mean(), (base - other).std())
            ),
        ),
        Mistake(
            "the spread is divided by n: that of the root is missing",
            lambda base, other: torch.stack(
                ((base - other).mean(), (base - other).std() / len(base))
            ),
        ),
        Mistake(
            "squares are divided by n, not n - 1",
            lambda base, other: torch.stack(
                (
                    (base - other).mean(),
                    (base - other).std(correction=0) / len(base) ** 0.5,
                )
            ),
        ),
        Mistake(
            "the error is that of the other recipe's losses, not of the gains",
            lambda base, other: torch.stack(
                (
                    (base - other).mean(),
                    other.std() / len(other) ** 0.5,
                )
            ),
        ),
    ),
)
