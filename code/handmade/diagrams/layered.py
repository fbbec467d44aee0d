"""Place the nodes of a flow in rows, from its sources down to its ends.

Sugiyama's four steps, each in its simplest form: the longest path gives the
row, barycentres the order in a row, a few rounds of pull and push the place,
and a line that passes a row gets a place in it, so that none crosses a node.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from handmade.diagrams.columns import BEND, Edge, Key, align

Point = tuple[float, float]


@dataclass
class Layout:
    """Where each node's middle lies, and the points each line goes through."""

    height: float
    at: dict[Key, Point]
    routes: dict[Edge, list[Point]] = field(default_factory=dict)


def levels(keys: Sequence[Key], edges: Sequence[Edge]) -> dict[Key, int]:
    """Return each node's row; sources stand right above what they feed.

    Raises ValueError where the edges make a circle.
    """
    above, below = _neighbours(keys, edges)
    found: dict[Key, int] = {}
    waiting = list(keys)
    while waiting:
        ready = [k for k in waiting if all(a in found for a in above[k])]
        if not ready:
            raise ValueError(f"got a circle through {waiting[0]!r}, want none")
        for key in ready:
            found[key] = 1 + max((found[a] for a in above[key]), default=-1)
        waiting = [key for key in waiting if key not in found]
    for key in keys:
        if not above[key] and below[key]:
            found[key] = min(found[b] for b in below[key]) - 1
    return found


def place(
    level: Mapping[Key, int],
    edges: Sequence[Edge],
    sizes: Mapping[Key, tuple[float, float]],
    *,
    width: float,
    gap: float,
) -> Layout:
    """Place nodes of these (width, height), ``gap`` pixels between rows.

    Raises ValueError where a row is wider than ``width``.
    """
    rows: list[list[Key]] = [[] for _ in range(max(level.values()) + 1)]
    for key, row in level.items():
        rows[row].append(key)
    size = dict(sizes)
    chains = {edge: _chain(edge, level, rows, size) for edge in edges}
    steps = [step for chain in chains.values() for step in pairwise(chain)]
    above, below = _neighbours(list(size), steps)
    _order(rows, above, below)
    x = align(rows, above, below, size, width)
    tall = [max(size[key][1] for key in row) for row in rows]
    tops = [sum(tall[:i]) + i * gap for i in range(len(rows))]
    at = {
        key: (x[key], tops[i] + tall[i] / 2)
        for i, row in enumerate(rows)
        for key in row
    }
    layout = Layout(tops[-1] + tall[-1], {key: at[key] for key in level})
    for edge, chain in chains.items():
        ends = _ports(edge[1], chains, at, size)
        layout.routes[edge] = _route(chain, at, size, tops, tall, level, ends)
    return layout


def _neighbours(
    keys: Sequence[Key], edges: Sequence[Edge]
) -> tuple[dict[Key, list[Key]], dict[Key, list[Key]]]:
    above: dict[Key, list[Key]] = {key: [] for key in keys}
    below: dict[Key, list[Key]] = {key: [] for key in keys}
    for upper, lower in edges:
        above[lower].append(upper)
        below[upper].append(lower)
    return above, below


def _chain(
    edge: Edge,
    level: Mapping[Key, int],
    rows: list[list[Key]],
    size: dict[Key, tuple[float, float]],
) -> list[Key]:
    """Return an edge's nodes, one a row: bends where it passes."""
    upper, lower = edge
    bends = []
    for row in range(level[upper] + 1, level[lower]):
        bend = ("bend", edge, row)
        rows[row].append(bend)
        size[bend] = BEND
        bends.append(bend)
    return [upper, *bends, lower]


def _order(
    rows: list[list[Key]],
    above: Mapping[Key, list[Key]],
    below: Mapping[Key, list[Key]],
) -> None:
    """Sort each row by where its neighbours stand; keep the best found."""
    best, least = [list(row) for row in rows], _crossings(rows, below)
    for sweep in range(8):
        down = sweep % 2 == 0
        near = above if down else below
        for row in rows if down else reversed(rows):
            at = {key: i for other in rows for i, key in enumerate(other)}
            means = {
                key: sum(at[k] for k in near[key]) / len(near[key])
                if near[key]
                else float(at[key])
                for key in row
            }
            row.sort(key=lambda key: means[key])
        crossed = _crossings(rows, below)
        if crossed < least:
            best, least = [list(row) for row in rows], crossed
    rows[:] = best


def _crossings(
    rows: Sequence[Sequence[Key]], below: Mapping[Key, list[Key]]
) -> int:
    count = 0
    for upper, lower in pairwise(rows):
        at = {key: i for i, key in enumerate(lower)}
        ends = [[at[k] for k in below[key]] for key in upper]
        count += sum(
            a > b
            for i, left in enumerate(ends)
            for right in ends[i + 1 :]
            for a in left
            for b in right
        )
    return count


def _ports(
    key: Key,
    chains: Mapping[Edge, list[Key]],
    at: Mapping[Key, Point],
    size: Mapping[Key, tuple[float, float]],
) -> dict[Key, float]:
    """Return where on a node's upper side each line arrives.

    One from right above goes straight down, the others beside it.
    """
    last = [chain[-2] for edge, chain in chains.items() if edge[1] == key]
    last.sort(key=lambda k: at[k][0])
    x, wide = at[key][0], size[key][0]
    straight = [i for i, k in enumerate(last) if abs(at[k][0] - x) < 1]
    middle = straight[0] if straight else (len(last) - 1) / 2
    most = max(middle, len(last) - 1 - middle, 1)
    step = min(18.0, (wide / 2 - 6) / most)
    return {k: x + step * (i - middle) for i, k in enumerate(last)}


def _route(
    chain: Sequence[Key],
    at: Mapping[Key, Point],
    size: Mapping[Key, tuple[float, float]],
    tops: Sequence[float],
    tall: Sequence[float],
    level: Mapping[Key, int],
    ends: Mapping[Key, float],
) -> list[Point]:
    first, *bends, last = chain
    x, y = at[first]
    row = level[first]
    points = [(x, y + size[first][1] / 2), (x, tops[row] + tall[row])]
    for bend in bends:
        row += 1
        across = at[bend][0]
        points += [(across, tops[row]), (across, tops[row] + tall[row])]
    end, across = ends[chain[-2]], points[-1][0]
    if abs(end - across) < 2:  # what is nearly straight shall be straight
        end = across
    points += [(end, tops[row + 1]), (end, at[last][1] - size[last][1] / 2)]
    return points
