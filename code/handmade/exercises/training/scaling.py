"""The exercises of the page on what training weighs.

P parameters · N GPUs · L layers
"""

import math
from collections.abc import Callable

from handmade.exercises.core import Case, Exercise, Mistake


def _number(fn: Callable) -> Callable:
    """Take a whole number as a float: both are right."""
    return lambda *args: float(fn(*args))


def _case(label: str, *args) -> Case:
    return Case(label, lambda: args, through=_number)


# -- sharded-bytes: fn(P, N, stage) -> bytes


def _sharded(
    weights: int = 2,
    gradients: int = 2,
    optimizer: int = 12,
    order: tuple[int, int, int] = (3, 2, 1),
    cut: Callable = lambda n, N: n / N,
) -> Callable:
    def fn(P, N, stage):
        held = 0.0
        parts = (weights, gradients, optimizer)
        for each, from_stage in zip(parts, order, strict=True):
            held += cut(each * P, N) if stage >= from_stage else each * P
        return held

    return fn


SHARDED = Exercise(
    name="sharded-bytes",
    reference=_sharded(),
    cases=(
        _case("one GPU, nothing sharded", 1000, 1, 0),
        _case("eight GPUs, nothing sharded", 1000, 8, 0),
        _case("ZeRO-1 on 8", 4000, 8, 1),
        _case("ZeRO-2 on 8", 4000, 8, 2),
        _case("ZeRO-3 on 8", 4000, 8, 3),
        _case("ZeRO-2 on 64", 64_000, 64, 2),
    ),
    mistakes=(
        Mistake(
            "the optimizer holds the two moments alone: its float32 copy of "
            "the weights is left out",
            _sharded(optimizer=8),
        ),
        Mistake("the gradients are in float32", _sharded(gradients=4)),
        Mistake(
            "the weights are counted in float32 as well as their float32 copy",
            _sharded(weights=4),
        ),
        Mistake(
            "all is divided as soon as anything is",
            _sharded(order=(1, 1, 1)),
        ),
        Mistake(
            "the gradients are sharded from ZeRO-1 on and the optimizer from "
            "ZeRO-2: it is the other way round",
            _sharded(order=(3, 1, 2)),
        ),
        Mistake(
            "the weights are sharded first and the optimizer last",
            _sharded(order=(1, 2, 3)),
        ),
        Mistake(
            "a stage shards its own part alone, not those of the stages "
            "before it",
            lambda P, N, stage: sum(
                each * P / (N if stage == own else 1)
                for each, own in ((2, 3), (2, 2), (12, 1))
            ),
        ),
    ),
)

# -- best-segment: fn(L, kept, inside) -> layers a segment


def _held(L: int, kept: int, inside: int, k: int) -> int:
    return -(-L // k) * kept + k * inside


def _best(held: Callable = _held, sizes: Callable = lambda L: range(1, L + 1)):
    return lambda L, kept, inside: min(
        sizes(L), key=lambda k: held(L, kept, inside, k)
    )


SEGMENT = Exercise(
    name="best-segment",
    reference=_best(),
    cases=(
        _case("a layer's inside as large as its input", 16, 1, 1),
        _case("an inside of 9 inputs", 36, 1, 9),
        _case("a light inside, under heavy inputs", 10, 100, 1),
        _case("32 layers, an inside of 2 inputs", 32, 10, 20),
        _case("a number of layers that few divide", 23, 8, 1),
    ),
    mistakes=(
        Mistake(
            "the segment that is computed again weighs nothing, or as much "
            "as one block: one input for all layers then looks best",
            lambda L, kept, inside: L,
        ),
        Mistake(
            "each segment is one layer: that is what `checkpoint_blocks` "
            "does, not what is least",
            lambda L, kept, inside: 1,
        ),
        Mistake(
            "the root of L is taken, which is best only where a layer's "
            "inside is as large as its input",
            lambda L, kept, inside: round(math.sqrt(L)),
        ),
        Mistake(
            "input and inside are exchanged",
            lambda L, kept, inside: _best()(L, inside, kept),
        ),
        Mistake(
            "the rest of the layers, which fills no segment, keeps no input",
            _best(lambda L, kept, inside, k: L // k * kept + k * inside),
        ),
    ),
)

# -- bytes-sent: fn(size, N, stage) -> bytes a GPU and step


def _sent(
    passes: Callable = lambda stage: 3 if stage == 3 else 2,
    ring: Callable = lambda size, N: size * (N - 1) / N,
) -> Callable:
    return lambda size, N, stage: passes(stage) * ring(size, N)


SENT = Exercise(
    name="bytes-sent",
    reference=_sent(),
    cases=(
        _case("two GPUs, an all-reduce", 1000, 2, 0),
        _case("eight GPUs, an all-reduce", 8000, 8, 0),
        _case("ZeRO-1 on 8", 8000, 8, 1),
        _case("ZeRO-2 on 5", 500, 5, 2),
        _case("ZeRO-3 on 8", 8000, 8, 3),
        _case("one GPU", 1000, 1, 0),
    ),
    mistakes=(
        Mistake(
            "an all-reduce is counted once: it is a reduce-scatter and an "
            "all-gather",
            _sent(lambda stage: 2 if stage == 3 else 1),
        ),
        Mistake(
            "with ZeRO-3 the weights are gathered once: the backward pass "
            "needs them again",
            _sent(lambda stage: 2),
        ),
        Mistake(
            "three passes are counted for ZeRO-2, where each GPU still has "
            "all weights in the forward and the backward pass",
            _sent(lambda stage: 3 if stage >= 2 else 2),
        ),
        Mistake(
            "all of it is sent to each of the others: in a ring each piece "
            "goes on one place at a time",
            _sent(ring=lambda size, N: size * (N - 1)),
        ),
        Mistake(
            "the piece that a GPU keeps is sent too",
            _sent(ring=lambda size, N: size),
        ),
        Mistake(
            "only one piece is counted, not the N - 1 rounds",
            _sent(ring=lambda size, N: size / N),
        ),
    ),
)
