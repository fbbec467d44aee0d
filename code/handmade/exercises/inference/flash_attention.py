"""The exercises of the page on FlashAttention.

T queries · S keys · N keys of one block · K head width
"""

import math
from collections.abc import Callable

import torch

from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake
from handmade.inference.flash_tiles import raised

# -- online-step: fn(peak, total, out, scores, v) -> (peak, total, out)


def online_step(peak, total, out, scores, v):
    """Take one block of keys in: maximum, sum and weighted values."""
    peak, shrunk, weights = raised(peak, scores)
    total = total * shrunk + weights.sum(-1, keepdim=True)
    return peak, total, out * shrunk + weights @ v


def _with(fn: Callable) -> Callable:
    """An online step whose last line is another."""

    def step(peak, total, out, scores, v):
        new, shrunk, weights = raised(peak, scores)
        return fn(peak, total, out, v, new, shrunk, weights)

    return step


def _no_memory(peak, total, out, scores, v):
    new = scores.amax(-1, keepdim=True)
    weights = torch.exp(scores - new)
    shrunk = torch.exp(peak - new)
    total = total * shrunk + weights.sum(-1, keepdim=True)
    return new, total, out * shrunk + weights @ v


def _nan(peak, total, out, scores, v):
    new = torch.maximum(peak, scores.amax(-1, keepdim=True))
    weights, shrunk = torch.exp(scores - new), torch.exp(peak - new)
    total = total * shrunk + weights.sum(-1, keepdim=True)
    return new, total, out * shrunk + weights @ v


def _begun(S: int, N: int, seed: int, start: float = 0.0) -> Callable:
    """A state after S keys (none: the beginning), and N keys more."""

    def make():
        scores, more, values, v = randoms(
            (3, S), (3, N), (S, 2), (N, 2), seed=seed, size=2.0
        )
        peak = scores.new_full((3, 1), -math.inf)
        total, out = torch.zeros_like(peak), scores.new_zeros(3, 2)
        if S:
            state = online_step(peak, total, out, scores, values)
        else:
            state = peak, total, out
        return *state, more + start, v

    return make


def _hidden_row() -> tuple:
    peak, total, out, scores, v = _begun(0, 4, 9)()
    scores[1] = -math.inf
    return peak, total, out, scores, v


STEP = Exercise(
    name="online-step",
    reference=online_step,
    cases=(
        Case("the first block", _begun(0, 4, 1)),
        Case("a block with a new maximum", _begun(5, 3, 2, start=9.0)),
        Case("a block without one", _begun(5, 3, 3, start=-9.0)),
        Case("some rows with, some without", _begun(6, 4, 4)),
        Case("scores in the thousands", _begun(4, 4, 5, start=2000.0)),
        Case("a row that has seen nothing yet", _hidden_row),
    ),
    mistakes=(
        Mistake(
            "the values gathered so far are not scaled when the maximum "
            "moves, and the sum is",
            _with(
                lambda peak, total, out, v, new, shrunk, w: (
                    new,
                    total * shrunk + w.sum(-1, keepdim=True),
                    out + w @ v,
                )
            ),
        ),
        Mistake(
            "neither the sum nor the values are scaled when the maximum moves",
            _with(
                lambda peak, total, out, v, new, shrunk, w: (
                    new,
                    total + w.sum(-1, keepdim=True),
                    out + w @ v,
                )
            ),
        ),
        Mistake(
            "the values are divided by the sum in every block: the sum is "
            "not whole before the last",
            _with(
                lambda peak, total, out, v, new, shrunk, w: (
                    new,
                    total * shrunk + w.sum(-1, keepdim=True),
                    (out * shrunk + w @ v)
                    / (total * shrunk + w.sum(-1, keepdim=True)).clamp(1e-30),
                )
            ),
        ),
        Mistake(
            "the maximum is that of the block alone: one that was higher "
            "before is forgotten",
            _no_memory,
        ),
        Mistake(
            "a row that has seen nothing becomes nan: its maximum is -inf, "
            "and -inf - (-inf) is no number",
            _nan,
        ),
    ),
)

# -- join-parts: fn(out_a, lse_a, out_b, lse_b) -> out


def join_parts(out_a, lse_a, out_b, lse_b):
    """Join attention over two sets of keys, by their log-sum-exp."""
    share = torch.sigmoid(lse_a - lse_b)[..., None]
    return share * out_a + (1 - share) * out_b


def _parts(S: int, first: int, size: float, seed: int) -> Callable:
    def make():
        scores, v = randoms((2, 5, S), (S, 3), seed=seed, size=size)
        return tuple(
            x
            for at in (slice(0, first), slice(first, S))
            for x in (
                scores[..., at].softmax(-1) @ v[at],
                scores[..., at].logsumexp(-1),
            )
        )

    return make


def _by_exponentials(out_a, lse_a, out_b, lse_b):
    a, b = lse_a.exp()[..., None], lse_b.exp()[..., None]
    return (a * out_a + b * out_b) / (a + b)


JOIN = Exercise(
    name="join-parts",
    reference=join_parts,
    cases=(
        Case("two halves", _parts(8, 4, 2.0, 1)),
        Case("one key and the rest", _parts(9, 1, 2.0, 2)),
        Case("large scores", _parts(6, 3, 900.0, 3)),
    ),
    mistakes=(
        Mistake(
            "the two outputs are averaged, whatever their keys weigh",
            lambda a, lse_a, b, lse_b: (a + b) / 2,
        ),
        Mistake(
            "the two outputs are added: each is an average already",
            lambda a, lse_a, b, lse_b: a + b,
        ),
        Mistake(
            "the log-sum-exps themselves are the weights: exponentiate them",
            lambda a, lse_a, b, lse_b: (
                (lse_a[..., None] * a + lse_b[..., None] * b)
                / (lse_a + lse_b)[..., None]
            ),
        ),
        Mistake(
            "the exponentials overflow: take the larger log-sum-exp off both "
            "first",
            _by_exponentials,
        ),
        Mistake(
            "the shares are in each other's place",
            lambda a, lse_a, b, lse_b: join_parts(a, lse_b, b, lse_a),
        ),
    ),
)

# -- scores-gradient: fn(weights, v, out, dout) -> dscores


def scores_gradient(weights, v, out, dout):
    """Go back through softmax(scores) @ v to the scores."""
    less = (dout * out).sum(-1, keepdim=True)
    return weights * (dout @ v.mT - less)


def _attended(T: int, S: int, K: int, seed: int) -> Callable:
    def make():
        scores, v, dout = randoms((T, S), (S, K), (T, K), seed=seed)
        weights = scores.softmax(-1)
        return weights, v, weights @ v, dout

    return make


def _averaged(weights, v, out, dout):
    dweights = dout @ v.mT
    return weights * (dweights - dweights.mean(-1, keepdim=True))


GRADIENT = Exercise(
    name="scores-gradient",
    reference=scores_gradient,
    cases=(
        Case("one query", _attended(1, 4, 3, 1)),
        Case("several queries", _attended(5, 7, 3, 2)),
        Case("as many queries as axes", _attended(4, 6, 4, 3)),
    ),
    mistakes=(
        Mistake(
            "the sum that the softmax takes off each row is missing",
            lambda w, v, out, dout: w * (dout @ v.mT),
        ),
        Mistake(
            "the factor of the weights is missing",
            lambda w, v, out, dout: (
                dout @ v.mT - (dout * out).sum(-1, keepdim=True)
            ),
        ),
        Mistake(
            "the sum of dout * out runs over the queries instead of the width",
            lambda w, v, out, dout: (
                w * (dout @ v.mT - (dout * out).sum(0).sum())
            ),
        ),
        Mistake(
            "the row's mean is taken off: it has to be weighted",
            _averaged,
        ),
    ),
)

# -- count-tiles: fn(T, S, block_q, block_k) -> int


def count_tiles(T: int, S: int, block_q: int, block_k: int) -> int:
    """Count the tiles that a causal mask leaves something of."""
    last = (min(start + block_q, T) + S - T for start in range(0, T, block_q))
    return sum(math.ceil(seen / block_k) for seen in last)


def _sizes(*numbers: int) -> Callable:
    return lambda: numbers


COUNT = Exercise(
    name="count-tiles",
    reference=count_tiles,
    cases=(
        Case("a square of whole tiles", _sizes(8, 8, 2, 2)),
        Case("tiles that are wider than high", _sizes(12, 12, 2, 4)),
        Case("lengths that no tile divides", _sizes(10, 10, 4, 3)),
        Case("new queries behind a cache", _sizes(5, 20, 2, 4)),
        Case("one token of decoding", _sizes(1, 17, 4, 8)),
    ),
    mistakes=(
        Mistake(
            "all tiles are counted, hidden or not",
            lambda T, S, q, k: math.ceil(T / q) * math.ceil(S / k),
        ),
        Mistake(
            "half of the tiles are counted: those on the diagonal are "
            "computed whole",
            lambda T, S, q, k: math.ceil(T / q) * math.ceil(S / k) // 2,
        ),
        Mistake(
            "query 0 stands at key 0: the queries are the last T of the S "
            "positions",
            lambda T, S, q, k: sum(
                math.ceil(min(start + q, T) / k) for start in range(0, T, q)
            ),
        ),
        Mistake(
            "a tile that is hidden in part is left out",
            lambda T, S, q, k: sum(
                (start + 1 + S - T) // k for start in range(0, T, q)
            ),
        ),
    ),
)
