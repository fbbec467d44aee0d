"""Give the nodes of a flow their places from left to right.

What follows one another alone stands in one column. Columns are pulled to
those that they are joined with, and push each other apart.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise

Key = Hashable
Edge = tuple[Key, Key]
BETWEEN = 14  # pixels between two nodes of a row
BEND = (10.0, 0.0)  # the place of a line that passes a row
DRIFTS = 150


def align(
    rows: Sequence[Sequence[Key]],
    above: Mapping[Key, list[Key]],
    below: Mapping[Key, list[Key]],
    size: Mapping[Key, tuple[float, float]],
    width: float,
) -> dict[Key, float]:
    """Give each node an x near its neighbours', none overlapping.

    What follows one another alone stands in one column. Where columns do not
    fit beside each other, every node is a column of its own.
    """
    for row in rows:
        wide = sum(size[key][0] for key in row) + BETWEEN * (len(row) - 1)
        if wide > width:
            names = [key for key in row if size[key] != BEND]
            raise ValueError(
                f"got a row of {wide:.0f} pixels, want {width:.0f}: {names}"
            )
    for column in (_columns(size, above, below), {key: key for key in size}):
        x = _settle(rows, below, size, column, width)
        if x is not None:
            left = min(x[key] - size[key][0] / 2 for key in size)
            right = max(x[key] + size[key][0] / 2 for key in size)
            return {key: x[key] + (width - left - right) / 2 for key in x}
    raise ValueError(f"got rows that do not settle in {width:.0f} pixels")


def _columns(
    size: Mapping[Key, tuple[float, float]],
    above: Mapping[Key, list[Key]],
    below: Mapping[Key, list[Key]],
) -> dict[Key, Key]:
    """Map each node to the first of its column, rows from above."""

    def next_to(keys: list[Key]) -> Key | None:
        real = [key for key in keys if size[key] != BEND] or keys
        return real[0] if len(real) == 1 else None

    column: dict[Key, Key] = {}

    def first(key: Key) -> Key:
        upper = next_to(above[key])
        alone = upper is not None and next_to(below[upper]) == key
        return first(upper) if alone else key

    for key in size:
        column[key] = first(key)
    return column


def _settle(
    rows: Sequence[Sequence[Key]],
    below: Mapping[Key, list[Key]],
    size: Mapping[Key, tuple[float, float]],
    column: Mapping[Key, Key],
    width: float,
) -> dict[Key, float] | None:
    """Let columns drift to their neighbours and push each other apart.

    Returns None where they do not find room.
    """
    half: dict[Key, float] = defaultdict(float)
    for key, c in column.items():
        half[c] = max(half[c], size[key][0] / 2)
    apart: dict[Edge, float] = defaultdict(float)
    for row in rows:
        for a, b in pairwise(row):
            least = (size[a][0] + size[b][0]) / 2 + BETWEEN
            pair = column[a], column[b]
            apart[pair] = max(apart[pair], least)
    pulls: dict[Key, list[Key]] = {c: [] for c in half}
    for upper, lowers in below.items():
        for lower in lowers:
            a, b = column[upper], column[lower]
            if a != b:
                pulls[a].append(b)
                pulls[b].append(a)
    place = {key: i for row in rows for i, key in enumerate(row)}
    x = {c: width / 2 + place[c] for c in half}
    for _ in range(DRIFTS):
        for c, near in pulls.items():
            if near:
                x[c] += (sum(x[k] for k in near) / len(near) - x[c]) / 2
        _push(x, apart, half, width, times=8)
    least = _push(x, apart, half, width, times=400)
    return {key: x[c] for key, c in column.items()} if least < 0.5 else None


def _push(
    x: dict[Key, float],
    apart: Mapping[Edge, float],
    half: Mapping[Key, float],
    width: float,
    times: int,
) -> float:
    """Move what overlaps apart, both alike; return what is still lacking."""
    worst = 0.0
    for _ in range(times):
        worst = 0.0
        for (a, b), least in apart.items():
            lack = x[a] + least - x[b]
            if lack > 0:
                x[a] -= lack / 2
                x[b] += lack / 2
                worst = max(worst, lack)
        for c, wide in half.items():
            x[c] = min(max(x[c], wide), width - wide)
        if worst < 0.01:
            break
    return worst
