"""``flow``: a drawing of what goes into what, from a short table.

    x (B,T,D) -> q_proj -> q (B,H,T,K)
    q, k -> match / √K -> scores (B,H,T,S) -> softmax -> weights

One line says one path. A part between arrows is tensors where it begins or
ends a line, where it has a shape, or where another line says so; any other
is an operation. Commas part tensors. A tensor is the same wherever its name
stands, and needs its shape once.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Any

from handmade.diagrams import layered
from handmade.diagrams.svg import (
    ACCENT,
    INK,
    LINE,
    MUTED,
    SIZE,
    SMALL,
    Canvas,
    Drawing,
    shape_of,
    shape_text,
    text_width,
)

TENSOR = re.compile(r"\s*([^\s(),][^(),]*?)\s*(?:\s\(([^()]*)\))?\s*(?:,|$)")
SIGNS = frozenset("+×·−⊙*")
GAP = 20
TALL = 28  # of an operation's box
SPACE = text_width(" ", SMALL, mono=True)

Words = list[tuple[str, str]]  # (text, colour)


@dataclass(frozen=True)
class Op:
    """An operation: each that is written is one of its own."""

    label: str
    line: int
    place: int


@dataclass
class Flow:
    """What a table says: nodes in the order they came, and edges."""

    shapes: dict[str, tuple[str, ...] | None] = field(default_factory=dict)
    lines: list[list[list[str] | Op]] = field(default_factory=list)
    edges: list[layered.Edge] = field(default_factory=list)
    nodes: list[str | Op] = field(default_factory=list)


def flow(table: str, shapes: Mapping[str, Any] | None = None) -> Drawing:
    """Draw a data flow; with ``shapes``, check it against a run.

    ``shapes`` maps names of the table to tensors or shapes, such as those of
    a ``handmade.record``; they are written beside the letters.
    Raises ValueError for a line that cannot be read, for a name that is not
    in the table, and where one letter has two sizes.
    """
    read = parse(table)
    sizes = {name: shape_of(value) for name, value in (shapes or {}).items()}
    check(read.shapes, sizes)
    return _draw(read, sizes)


def parse(table: str) -> Flow:
    """Read a table; ValueErrors name the line."""
    written = [
        (n, [part.strip() for part in line.split("->")])
        for n, line in enumerate(table.strip().splitlines(), 1)
        if line.strip()
    ]
    if not written:
        raise ValueError("table: got no line, want 'x -> operation -> y'")
    found = Flow()
    for n, parts in written:
        if len(parts) < 2 or not all(parts):
            raise _bad(n, "->".join(parts), "parts with -> between them")
        for part in (parts[0], parts[-1], *(p for p in parts if " (" in p)):
            _declare(n, part, found)
    for n, parts in written:
        line = [_part(n, i, part, found) for i, part in enumerate(parts)]
        found.lines.append(line)
        for upper, lower in pairwise(line):
            _join(n, upper, lower, found)
        for one in line:
            for node in one if isinstance(one, list) else [one]:
                if node not in found.nodes:
                    found.nodes.append(node)
        try:
            layered.levels(found.nodes, found.edges)
        except ValueError as error:
            raise ValueError(f"table, line {n}: {error}") from None
    return found


def _bad(line: int, got: object, want: str) -> ValueError:
    return ValueError(f"table, line {line}: got {got!r}, want {want}")


def _tensors(n: int, part: str) -> Iterator[tuple[str, str | None]]:
    """Yield (name, shape) of `q (B,T,D), k`."""
    at = 0
    while at < len(part):
        one = TENSOR.match(part, at)
        if one is None:
            raise _bad(n, part, "names such as 'q (B,T,D), k'")
        yield one[1], one[2]
        at = one.end()


def _declare(n: int, part: str, found: Flow) -> None:
    for name, shape in _tensors(n, part):
        axes = found.shapes.setdefault(name, None)
        if shape is None:
            continue
        new = tuple(axis.strip() for axis in shape.split(",") if axis.strip())
        for axis in new:
            if _factors(axis) is None:
                raise _bad(n, f"{name} ({shape})", "axes like T, 4 or H*K")
        if axes is not None and axes != new:
            raise _bad(n, f"{name} {shape_text(new)}", shape_text(axes))
        found.shapes[name] = new


def _part(n: int, place: int, part: str, found: Flow) -> list[str] | Op:
    if part not in found.shapes and " (" not in part:
        names = [name.strip() for name in part.split(",")]
        if not all(name in found.shapes for name in names):
            return Op(part, n, place)
    return [name for name, _ in _tensors(n, part)]


def _join(
    n: int, upper: list[str] | Op, lower: list[str] | Op, found: Flow
) -> None:
    origins = {b for _, b in found.edges}
    for name in lower if isinstance(lower, list) else ():
        if name in origins:
            raise _bad(n, f"a second origin of {name!r}", "one")
    for a in upper if isinstance(upper, list) else [upper]:
        for b in lower if isinstance(lower, list) else [lower]:
            if (a, b) in found.edges:
                raise _bad(n, f"{a!r} twice", "each once")
            found.edges.append((a, b))


def _factors(axis: str) -> list[str] | None:
    """Take `H*K`, `H·K` or `2F` apart; None for anything else."""
    found = []
    for factor in re.split(r"[*·]", axis.replace(" ", "")):
        one = re.fullmatch(r"(\d*)([^\W\d]\w*)?", factor)
        if one is None or not factor:
            return None
        found += [part for part in one.groups() if part]
    return found


def check(
    axes: Mapping[str, tuple[str, ...] | None],
    sizes: Mapping[str, tuple[int, ...]],
) -> None:
    """Hold letters to sizes: one letter, one size. Raises ValueError."""
    known: dict[str, tuple[int, str]] = {}
    products = []
    for name, shape in sizes.items():
        if name not in axes:
            raise ValueError(f"shapes: got {name!r}, want one of {list(axes)}")
        letters = axes[name]
        if letters is None:
            continue
        if len(letters) != len(shape):
            raise ValueError(
                f"shapes: got {name} of {shape_text(shape)}, want "
                f"{shape_text(letters)}"
            )
        for axis, size in zip(letters, shape, strict=True):
            if not axis[0].isdigit() and len(_factors(axis) or ()) == 1:
                first, where = known.setdefault(axis, (size, name))
                if first != size:
                    raise ValueError(
                        f"shapes: got {axis} = {size} in {name}, want "
                        f"{first} as in {where}"
                    )
            else:
                products.append((name, axis, size))
    for name, axis, size in products:
        factors = _factors(axis) or []
        if all(f.isdigit() or f in known for f in factors):
            want = prod(
                int(f) if f.isdigit() else known[f][0] for f in factors
            )
            if want != size:
                raise ValueError(
                    f"shapes: got {axis} = {size} in {name}, want {want}"
                )


def _draw(read: Flow, sizes: Mapping[str, tuple[int, ...]]) -> Drawing:
    canvas = Canvas()
    level = layered.levels(read.nodes, read.edges)
    words = {
        name: _words(name, read.shapes[name], sizes.get(name))
        for name in read.shapes
    }
    boxes = _boxes(read, level, words, canvas.width - 8)
    try:
        layout = layered.place(
            level, read.edges, boxes, width=canvas.width - 8, gap=GAP
        )
    except ValueError as error:
        raise ValueError(f"table: {error}") from None
    for (_, node), points in layout.routes.items():
        shifted = [(x + 4, y + 4) for x, y in points]
        side = None
        if (
            isinstance(node, Op)
            and list(level.values()).count(level[node]) == 1
        ):
            x, y = layout.at[node]
            side = _side(node, shifted, x + 4, y + 4)
        canvas.flow_line(shifted, side)
    for node in read.nodes:
        x, y = layout.at[node]
        if isinstance(node, Op):
            _operation(canvas, x + 4, y + 4, node.label, boxes[node])
        else:
            stacked = boxes[node][1] > LINE + 2
            _tensor(canvas, x + 4, y + 4, words[node], stacked)
    return canvas.drawing(layout.height + 8, _say(read, sizes))


def _words(
    name: str,
    axes: tuple[str, ...] | None,
    sizes: tuple[int, ...] | None,
) -> Words:
    """Return a tensor's name, its letters and its sizes, with colours."""
    words = [(name, INK)]
    if axes is not None:
        words.append((shape_text(axes), MUTED))
    if sizes is not None:
        words.append((shape_text(sizes), ACCENT))
    return words


def _boxes(
    read: Flow,
    level: Mapping[layered.Key, int],
    words: Mapping[str, Words],
    width: float,
) -> dict[layered.Key, tuple[float, float]]:
    """Give each node its room; tensors write in one line where they can."""
    boxes: dict[layered.Key, tuple[float, float]] = {}
    for row in range(max(level.values()) + 1):
        there = [node for node in read.nodes if level[node] == row]
        passing = sum(level[a] < row < level[b] for a, b in read.edges)
        room = width - passing * (layered.BEND[0] + layered.BETWEEN)
        room -= layered.BETWEEN * (len(there) - 1)
        ops: dict[layered.Key, tuple[float, float]] = {
            n: _op_box(n.label) for n in there if isinstance(n, Op)
        }
        flat: dict[layered.Key, tuple[float, float]] = {
            n: (_wide(words[n]), LINE + 2.0)
            for n in there
            if not isinstance(n, Op)
        }
        taken = sum(w for w, _ in (*ops.values(), *flat.values()))
        if taken > room:
            for n in there:
                if not isinstance(n, Op):
                    wide = max(_wide([word]) for word in words[n])
                    flat[n] = wide, LINE * len(words[n]) + 2.0
        boxes |= ops
        boxes |= flat
    return boxes


def _op_box(label: str) -> tuple[float, float]:
    if label in SIGNS:
        return 24.0, 24.0
    return text_width(label) + 22, float(TALL)


def _wide(words: Words) -> float:
    """Return the width of words in one line, with a space between two."""
    return sum(
        text_width(word, SIZE if colour == INK else SMALL, mono=True)
        for word, colour in words
    ) + SPACE * (len(words) - 1)


def _operation(
    canvas: Canvas,
    x: float,
    y: float,
    label: str,
    size: tuple[float, float],
) -> None:
    if label in SIGNS:
        canvas.circle(x, y, 12)
        canvas.text(x, y, label, size=16)
    else:
        canvas.box(x, y, *size, label)


def _tensor(
    canvas: Canvas, x: float, y: float, words: Words, stacked: bool
) -> None:
    left = x - _wide(words) / 2
    high = y - LINE * (len(words) - 1) / 2
    for word in words:
        wide = _wide([word])
        at = (x, high) if stacked else (left + wide / 2, y)
        text, colour = word
        name = colour == INK
        canvas.text(
            *at,
            text,
            size=SIZE if name else SMALL,
            colour=colour,
            bold=name,
            mono=True,
        )
        left += wide + SPACE
        high += LINE


def _side(
    node: Op, points: list[layered.Point], x: float, y: float
) -> layered.Point | None:
    """Return where a line from afar enters an operation: at its side."""
    across = points[-3][0]
    half = _op_box(node.label)[0] / 2
    from_afar = len(points) > 4 or node.label in SIGNS
    if not from_afar or abs(across - x) < half + 18:
        return None
    return x + (half if across > x else -half), y


def _say(read: Flow, sizes: Mapping[str, tuple[int, ...]]) -> str:
    told: set[str] = set()

    def name(tensor: str) -> str:
        axes = read.shapes[tensor]
        size = sizes.get(tensor)
        if tensor in told or (axes is None and size is None):
            return tensor
        told.add(tensor)
        shown = [shape_text(s) for s in (axes, size) if s is not None]
        return f"{tensor} {' = '.join(shown)}"

    def part(one: list[str] | Op) -> str:
        if isinstance(one, Op):
            return one.label
        return " and ".join(name(tensor) for tensor in one)

    paths = "; ".join(
        " to ".join(part(one) for one in line) for line in read.lines
    )
    return f"Data flow: {paths}."
