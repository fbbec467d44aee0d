"""The exercises of the capstone's page.

B batch · H heads · T tokens · K head width
"""

import math
import re
from collections.abc import Callable

import torch

from handmade.exercises.cases import random_case, randoms
from handmade.exercises.core import Case, Exercise, Mistake
from handmade.training.optimizers import A, B, C, orthogonal_part

# -- held-out-windows: fn(n, T, share) -> (starts to train, starts to judge)


def _windows(
    cut: Callable = lambda n, share: n - round(share * n),
    drawn: Callable = lambda n, cut, T: torch.arange(cut - T),
    judged: Callable = lambda n, cut, T: torch.arange(cut, n - T, T),
) -> Callable:
    """The reference, or one with a step replaced."""

    def fn(n, T, share):
        at = cut(n, share)
        return drawn(n, at, T), judged(n, at, T)

    return fn


def _dealt(n, T, share):
    """Deal the windows out: every so many is held out."""
    starts = torch.arange(n - T)
    held = starts % round(1 / share) == 0
    return starts[~held], starts[held]


def _first_part(n, T, share):
    held = round(share * n)
    return torch.arange(held, n - T), torch.arange(0, held - T, T)


HELD_OUT = Exercise(
    name="held-out-windows",
    reference=_windows(),
    cases=(
        Case("40 characters, windows of 4", lambda: (40, 4, 0.25)),
        Case("the last window just fits", lambda: (41, 5, 0.4)),
        Case("one character", lambda: (30, 1, 0.1)),
        Case("room for one window", lambda: (50, 7, 0.2)),
    ),
    mistakes=(
        Mistake(
            "windows to train on begin up to the cut: the last of them read "
            "what is held out",
            _windows(drawn=lambda n, cut, T: torch.arange(cut)),
        ),
        Mistake(
            "the last window to train on has its target on the other side: "
            "a window is T + 1 characters",
            _windows(drawn=lambda n, cut, T: torch.arange(cut - T + 1)),
        ),
        Mistake(
            "windows are dealt out instead of cut by position: nearly every "
            "character that is held out was trained on in a neighbour",
            _dealt,
        ),
        Mistake("the first part is held out, not the last", _first_part),
        Mistake(
            "the first window to judge by begins before the cut",
            _windows(judged=lambda n, cut, T: torch.arange(cut - T, n - T, T)),
        ),
        Mistake(
            "windows to judge by overlap: most characters are judged up to T "
            "times",
            _windows(judged=lambda n, cut, T: torch.arange(cut, n - T)),
        ),
        Mistake(
            "windows to judge by lie T + 1 apart: a character between two of "
            "them is never predicted",
            _windows(judged=lambda n, cut, T: torch.arange(cut, n - T, T + 1)),
        ),
        Mistake(
            "the last window to judge by has no target for its last character",
            _windows(judged=lambda n, cut, T: torch.arange(cut, n - T + 1, T)),
        ),
    ),
)

# -- qk-norm-weights: fn(q, k) (B, H, T, K) -> weights (B, H, T, T)


def _rms(x, dim=-1):
    return x / (x.pow(2).mean(dim, keepdim=True) + 1e-6).sqrt()


def _weights(
    norm: Callable = _rms,
    scale: Callable = math.sqrt,
    keep: Callable = torch.tril,
    dim: int = -1,
) -> Callable:
    def fn(q, k):
        scores = norm(q) @ norm(k).mT / scale(q.shape[-1])
        seen = keep(torch.ones(scores.shape[-2:], dtype=torch.bool))
        return scores.masked_fill(~seen, -math.inf).softmax(dim)

    return fn


def _centred(x):
    return _rms(x - x.mean(-1, keepdim=True))


QK_NORM = Exercise(
    name="qk-norm-weights",
    reference=_weights(),
    cases=(
        random_case("two heads", (2, 2, 5, 8), (2, 2, 5, 8)),
        random_case("one head, wide", (1, 1, 7, 12), (1, 1, 7, 12)),
        random_case("three heads", (2, 3, 4, 6), (2, 3, 4, 6)),
    ),
    mistakes=(
        Mistake("queries and keys keep their length", _weights(lambda x: x)),
        Mistake(
            "the norm makes the length 1, not √K: all scores lie within "
            "1/√K of 0, and no head can look at one place",
            _weights(lambda x: x / x.norm(dim=-1, keepdim=True)),
        ),
        Mistake(
            "scores are not divided by √K",
            _weights(scale=lambda K: 1.0),
        ),
        Mistake("scores are divided by K", _weights(scale=float)),
        Mistake(
            "a mean is subtracted: this is the layer norm",
            _weights(_centred),
        ),
        Mistake(
            "the norm goes over the tokens, not over a vector",
            _weights(lambda x: _rms(x, -2)),
        ),
        Mistake(
            "the norm goes over all heads together",
            _weights(lambda x: _rms(x, (1, 3))),
        ),
        Mistake(
            "a token sees what comes after it",
            _weights(keep=lambda ones: ones),
        ),
        Mistake(
            "a token sees itself and what comes after it, not what was",
            _weights(keep=torch.triu),
        ),
        Mistake(
            "the softmax goes over the queries: each column sums to 1",
            _weights(dim=-2),
        ),
    ),
)

# -- look-back-key: fn(query (K,), back, theta) -> key (K,)


def _key(
    ahead: float = 1.0,
    places: Callable = lambda back: back,
    speeds: Callable = lambda i, K, theta: theta ** -(2 * i / K),
    pairs: Callable = lambda x: x.chunk(2),
    joined: Callable = torch.cat,
) -> Callable:
    """The reference, or one with a step replaced."""

    def fn(query, back, theta):
        K = len(query)
        i = torch.arange(K // 2, dtype=query.dtype)
        angle = ahead * places(back) * speeds(i, K, theta)
        a, b = pairs(query)
        cos, sin = angle.cos(), angle.sin()
        return joined((a * cos - b * sin, b * cos + a * sin))

    return fn


def _query(K):
    return randoms((K,), dtype=torch.float32)[0]


LOOK_BACK = Exercise(
    name="look-back-key",
    reference=_key(),
    cases=(
        Case("one place back", lambda: (_query(8), 1, 10000.0)),
        Case("three back, wide", lambda: (_query(16), 3, 10000.0)),
        Case("two back, another theta", lambda: (_query(6), 2, 100.0)),
        Case("itself", lambda: (_query(4), 0, 10000.0)),
    ),
    mistakes=(
        Mistake(
            "the key is turned back, not ahead: the head looks at t + back, "
            "which is hidden",
            _key(ahead=-1.0),
        ),
        Mistake(
            "the key is the query: they meet at the place itself",
            _key(ahead=0.0),
        ),
        Mistake(
            "the key is turned by one place, however far back it is to look",
            _key(places=lambda back: 1),
        ),
        Mistake(
            "all pairs turn at one speed: only the first does 1 a place",
            _key(speeds=lambda i, K, theta: torch.ones_like(i)),
        ),
        Mistake(
            "speeds fall half as fast: pair i of K / 2 turns by "
            "theta^(-2i / K)",
            _key(speeds=lambda i, K, theta: theta ** -(i / K)),
        ),
        Mistake(
            "the exponent has lost its sign: theta^(2i / K) turns ever faster",
            _key(speeds=lambda i, K, theta: theta ** (2 * i / K)),
        ),
        Mistake(
            "the key is normed: it is to be as long as the query",
            _key(
                joined=lambda ab: torch.nn.functional.normalize(
                    torch.cat(ab), dim=0
                )
            ),
        ),
        Mistake(
            "the speeds are those of the last pair first",
            _key(speeds=lambda i, K, theta: theta ** -(2 * i.flip(0) / K)),
        ),
        Mistake(
            "neighbours are taken as pairs: here pair i is dimensions i and "
            "i + K / 2",
            _key(
                pairs=lambda x: (x[::2], x[1::2]),
                joined=lambda ab: torch.stack(ab, -1).flatten(),
            ),
        ),
        Mistake(
            "a and b are swapped: a is the first half, and stays the first",
            _key(pairs=lambda x: x.chunk(2)[::-1]),
        ),
    ),
)

# -- newton-schulz: fn(g (m, n), steps) -> (m, n)


def _schulz(
    size: Callable = lambda g: g.norm(),
    square: Callable = lambda x: x @ x.mT,
    factors: tuple[float, float, float] = (A, B, C),
    power: Callable = torch.matmul,
) -> Callable:
    a, b, c = factors

    def fn(g, steps):
        x = g / (size(g) + 1e-7)
        for _ in range(steps):
            s = square(x)
            x = a * x + (b * s + c * power(s, s)) @ x
        return x

    return fn


def _exact(g, steps):
    u, _, v = torch.linalg.svd(g, full_matrices=False)
    return u @ v


SCHULZ = Exercise(
    name="newton-schulz",
    reference=orthogonal_part,
    cases=(
        random_case("wide", (4, 7), then=(3,)),
        random_case("tall", (6, 3), then=(3,)),
        random_case("square, two steps", (5, 5), then=(2,)),
        random_case("one step", (3, 4), then=(1,)),
    ),
    mistakes=(
        Mistake(
            "the matrix is not made small first: singular values above 1 "
            "are thrown out to infinity",
            _schulz(size=lambda g: 1.0),
        ),
        Mistake(
            "the matrix is divided by its largest entry, not by its length",
            _schulz(size=lambda g: g.abs().max()),
        ),
        Mistake(
            "the square of the square is taken entry by entry",
            _schulz(power=torch.mul),
        ),
        Mistake(
            "the factors stand in the wrong order",
            _schulz(factors=(C, B, A)),
        ),
        Mistake(
            "b is taken as positive: it has to pull large values back",
            _schulz(factors=(A, -B, C)),
        ),
        Mistake(
            "the last term is left out: X ← a X + b X Xᵀ X",
            _schulz(factors=(A, B, 0.0)),
        ),
        Mistake(
            "the step is Newton's own, X ← 1.5 X − 0.5 X Xᵀ X, which small "
            "values leave too slowly",
            _schulz(factors=(1.5, -0.5, 0.0)),
        ),
        Mistake(
            "all singular values become exactly 1: that is the "
            "decomposition, which costs more than the step is worth",
            _exact,
        ),
    ),
)

# -- newest-whole: fn(found: dict from name to "is whole") -> name or None


def _named(found, pattern=r"step-(\d+)", whole=True):
    return [
        (int(match[1]), name)
        for name, fine in found.items()
        if (match := re.fullmatch(pattern, name)) and (fine or not whole)
    ]


def _newest(found):
    return max(_named(found), default=(0, None))[1]


def _only_newest(found):
    every = _named(found, whole=False)
    name = max(every, default=(0, None))[1]
    return name if name is not None and found[name] else None


NEWEST = Exercise(
    name="newest-whole",
    reference=_newest,
    cases=(
        Case(
            "three, all whole",
            lambda: ({"step-00000300": True, "step-00000100": True,
                      "step-00000200": True},),
        ),
        Case(
            "the newest is damaged",
            lambda: ({"step-00000100": True, "step-00000300": False,
                      "step-00000200": True},),
        ),
        Case(
            "one that was being written, and the log",
            lambda: ({"step-00000100": True, "log.jsonl": True,
                      ".step-00000200.tmp": True, "step-00000050": True},),
        ),
        Case(
            "more than eight digits",
            lambda: ({"step-99999900": True, "step-100000000": True},),
        ),
        Case(
            "none is whole",
            lambda: ({"step-00000100": False, "step-00000200": False},),
        ),
        Case("nothing at all", lambda: ({},)),
    ),
    mistakes=(
        Mistake(
            "the newest is taken whether it is whole or not",
            lambda found: max(
                _named(found, whole=False), default=(0, None)
            )[1],
        ),
        Mistake(
            "only the newest is looked at: where it is damaged, nothing is "
            "found",
            _only_newest,
        ),
        Mistake(
            "names are compared as texts, and 9 is more than 1 there",
            lambda found: max(
                (name for _, name in _named(found)), default=None
            ),
        ),
        Mistake(
            "the oldest is taken",
            lambda found: min(_named(found), default=(0, None))[1],
        ),
        Mistake(
            "a name that is being written counts as well",
            lambda found: max(
                _named(found, r"\.?step-(\d+)(?:\.tmp)?"), default=(0, None)
            )[1],
        ),
        Mistake(
            "the one that was found last is taken: a folder has no order",
            lambda found: next(
                (name for _, name in reversed(_named(found))), None
            ),
        ),
    ),
)  # fmt: skip
