"""The exercises of the page on many processes.

B rows of the whole batch · N processes
"""

from collections.abc import Callable

import torch

from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake

# -- own-rows: fn(batch (B, ...), rank, N) -> (b, ...)


def _all_of_them(fn: Callable) -> Callable:
    """What all processes have, and how many rows each."""

    def through(batch, N):
        parts = [fn(batch, rank, N) for rank in range(N)]
        counts = [len(part) for part in parts]
        joined = torch.cat(parts)
        return joined[joined[:, 0].argsort()], max(counts) - min(counts) < 2

    return through


def _rows_case(label: str, B: int, N: int) -> Case:
    def make():
        return torch.arange(B)[:, None] * 10 + torch.arange(2), N

    return Case(label, make, through=_all_of_them)


def _even_blocks(batch, rank, N):
    step = len(batch) // N
    return batch[rank * step : (rank + 1) * step]


def _large_blocks(batch, rank, N):
    step = -(-len(batch) // N)
    return batch[rank * step : (rank + 1) * step]


ROWS = Exercise(
    name="own-rows",
    reference=lambda batch, rank, N: batch[rank::N],
    cases=(
        _rows_case("eight rows for two", 8, 2),
        _rows_case("one process", 5, 1),
        _rows_case("seven rows for two", 7, 2),
        _rows_case("nine rows for four", 9, 4),
        _rows_case("eleven rows for four", 11, 4),
    ),
    mistakes=(
        Mistake(
            "every process takes all rows: the same gradient, N times",
            lambda batch, rank, N: batch,
        ),
        Mistake(
            "every process takes the same rows",
            lambda batch, rank, N: batch[: len(batch) // N],
        ),
        Mistake(
            "rows that do not divide are dropped: nobody ever trains on them",
            _even_blocks,
        ),
        Mistake(
            "the blocks are rounded up, so the last process has fewer rows "
            "than it could, or none",
            _large_blocks,
        ),
        Mistake(
            "the last process takes what is left over on top of its own",
            lambda batch, rank, N: (
                batch[rank * (len(batch) // N) :]
                if rank == N - 1
                else _even_blocks(batch, rank, N)
            ),
        ),
        Mistake(
            "processes are counted from 1: row 0 belongs to nobody",
            lambda batch, rank, N: batch[rank + 1 :: N],
        ),
    ),
)

# -- global-mean: fn(losses of each process, each (n_r,)) -> scalar


def _mean_case(label: str, *sizes: int) -> Case:
    def make():
        return ([x.abs() for x in randoms(*[(n,) for n in sizes])],)

    return Case(label, make)


MEAN = Exercise(
    name="global-mean",
    reference=lambda losses: (
        sum(x.sum() for x in losses) / sum(map(len, losses))
    ),
    cases=(
        _mean_case("as many tokens each", 6, 6),
        _mean_case("20 tokens and 3", 20, 3),
        _mean_case("three processes", 2, 9, 31),
        _mean_case("one process", 8),
        _mean_case("one that has no token", 5, 0),
    ),
    mistakes=(
        Mistake(
            "the means are averaged: a token of a short row counts more than "
            "one of a long row",
            lambda losses: torch.stack([x.mean() for x in losses]).mean(),
        ),
        Mistake(
            "the means of those that have a token are averaged: a token of a "
            "short row still counts more",
            lambda losses: torch.stack(
                [x.mean() for x in losses if len(x)]
            ).mean(),
        ),
        Mistake(
            "the sums are averaged: the loss, and so the gradient, grows "
            "with the length",
            lambda losses: torch.stack([x.sum() for x in losses]).mean(),
        ),
        Mistake(
            "the sum is not divided",
            lambda losses: torch.stack([x.sum() for x in losses]).sum(),
        ),
        Mistake(
            "the sum is divided by the tokens of one process",
            lambda losses: (
                torch.stack([x.sum() for x in losses]).sum() / len(losses[0])
            ),
        ),
        Mistake(
            "the mean is divided by the number of processes once more",
            lambda losses: torch.cat(losses).mean() / len(losses),
        ),
    ),
)

# -- clip-shards: fn(shards of a gradient, most) -> shards, cut


def _clip(norm: Callable, least: Callable = lambda x: min(1.0, x)) -> Callable:
    def fn(shards, most):
        length = float(norm(shards))
        factor = least(most / length) if length else 1.0
        return [x * factor for x in shards]

    return fn


def _length(shards):
    return torch.stack([x.norm() for x in shards]).norm()


def _own_norms(shards, most):
    return [x * min(1.0, most / float(x.norm())) for x in shards]


def _clip_case(label: str, most: float, *sizes: int, size: float = 1) -> Case:
    def make():
        # float32, whose tolerance has room for the 1e-6 PyTorch adds
        shapes = [(n,) for n in sizes]
        return [*randoms(*shapes, size=size, dtype=torch.float32)], most

    return Case(label, make)


CLIP = Exercise(
    name="clip-shards",
    reference=_clip(_length),
    cases=(
        _clip_case("two shards, cut", 1.0, 9, 9),
        _clip_case("three of unequal size, cut", 0.5, 4, 9, 2),
        _clip_case("short enough: not cut", 50.0, 5, 5),
        _clip_case("one shard", 1.0, 12),
        _clip_case("cut by the whole, not by a part", 4.0, 12, 12),
    ),
    mistakes=(
        Mistake(
            "each shard is cut by its own length: the parts shrink by other "
            "factors, and the gradient points elsewhere",
            _own_norms,
        ),
        Mistake(
            "the lengths are added: they add up squared",
            _clip(lambda shards: sum(x.norm() for x in shards)),
        ),
        Mistake(
            "the squares are added and no root is taken",
            _clip(lambda shards: sum(x.norm() ** 2 for x in shards)),
        ),
        Mistake(
            "the longest shard decides",
            _clip(lambda shards: max(x.norm() for x in shards)),
        ),
        Mistake(
            "the lengths are averaged",
            _clip(lambda shards: sum(x.norm() for x in shards) / len(shards)),
        ),
        Mistake(
            "a gradient that is short enough is made longer",
            _clip(_length, lambda x: x),
        ),
    ),
)

# -- reduce-scatter: fn(rows (N, N * s)) -> (N, s), row r what rank r keeps


def _scatter(
    total: Callable = lambda rows: rows.sum(0),
    part: Callable = lambda x, N: x.view(N, -1),
) -> Callable:
    return lambda rows: part(total(rows), len(rows))


def _scatter_case(label: str, N: int, s: int) -> Case:
    return Case(label, lambda: randoms((N, N * s)))


SCATTER = Exercise(
    name="reduce-scatter",
    reference=_scatter(),
    cases=(
        _scatter_case("two processes", 2, 3),
        _scatter_case("three, two numbers each", 3, 2),
        _scatter_case("four, one number each", 4, 1),
        _scatter_case("one process", 1, 5),
    ),
    mistakes=(
        Mistake(
            "every process keeps the whole sum: that is an all-reduce",
            lambda rows: rows.sum(0).expand(len(rows), -1).clone(),
        ),
        Mistake(
            "the parts are dealt out like cards: process r takes every Nth "
            "number instead of a block",
            _scatter(part=lambda x, N: x.view(-1, N).T),
        ),
        Mistake(
            "the processes are averaged, not added",
            _scatter(total=lambda rows: rows.mean(0)),
        ),
        Mistake(
            "every process keeps its own part, and nothing is added",
            lambda rows: torch.stack(
                [
                    row.view(len(rows), -1)[rank]
                    for rank, row in enumerate(rows)
                ]
            ),
        ),
        Mistake(
            "parts go to the next process round the ring, one too far",
            lambda rows: _scatter()(rows).roll(1, 0),
        ),
    ),
)
