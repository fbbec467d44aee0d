"""``flow``: a drawing of what goes into what, from a short table.

    x (B,T,D) -> q_proj -> q (B,H,T,K)
    q, k -> match / √K -> scores (B,H,T,S) -> softmax -> weights

One line says one path. A part between arrows is tensors where it begins or
ends a line, where it has a shape, or where another line says so; any other
is an operation. Commas part tensors. A tensor is the same wherever its name
stands, and needs its shape once.
"""

from collections.abc import Mapping
from typing import Any

from handmade.diagrams.columns import BEND, BETWEEN, Key
from handmade.diagrams.flow_table import Flow, Op, check, parse
from handmade.diagrams.layered import Point, levels, place
from handmade.diagrams.svg import ACCENT, INK, MUTED, Canvas, Drawing
from handmade.diagrams.writing import (
    LINE,
    SIZE,
    SMALL,
    shape_of,
    shape_text,
    text_width,
)

SIGNS = frozenset("+×·−⊙*")
GAP = 20
TALL = 28  # of an operation's box
SPACE = text_width(" ", SMALL, mono=True)

Words = list[tuple[str, str]]  # (text, colour)


def flow(table: str, shapes: Mapping[str, Any] | None = None) -> Drawing:
    """Draw a data flow; with ``shapes``, check it against a run.

    ``shapes`` maps names of the table to tensors or shapes, such as those of
    a ``handmade.record``; they are written beside the letters.
    Raises ValueError for a line that cannot be read, for a name that is not
    in the table, and where one letter has two sizes.
    """
    read = parse(table)
    sizes = _sizes({} if shapes is None else shapes)
    check(read.shapes, sizes)
    return _draw(read, sizes)


def _sizes(shapes: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    want = "a dict from name to tensor or shape"
    if not isinstance(shapes, Mapping):
        raise ValueError(f"shapes: got {shapes!r:.60}, want {want}")
    sizes = {}
    for name, value in shapes.items():
        try:
            sizes[name] = shape_of(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"shapes: got {value!r:.60} for {name}, want {want}"
            ) from None
    return sizes


def _draw(read: Flow, sizes: Mapping[str, tuple[int, ...]]) -> Drawing:
    canvas = Canvas()
    level = levels(read.nodes, read.edges)
    words = {
        name: _words(name, read.shapes[name], sizes.get(name))
        for name in read.shapes
    }
    boxes = _boxes(read, level, words, canvas.width - 8)
    try:
        layout = place(
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
    level: Mapping[Key, int],
    words: Mapping[str, Words],
    width: float,
) -> dict[Key, tuple[float, float]]:
    """Give each node its room; tensors write in one line where they can."""
    boxes: dict[Key, tuple[float, float]] = {}
    for row in range(max(level.values()) + 1):
        there = [node for node in read.nodes if level[node] == row]
        passing = sum(level[a] < row < level[b] for a, b in read.edges)
        room = width - passing * (BEND[0] + BETWEEN)
        room -= BETWEEN * (len(there) - 1)
        ops: dict[Key, tuple[float, float]] = {
            n: _op_box(n.label) for n in there if isinstance(n, Op)
        }
        flat: dict[Key, tuple[float, float]] = {
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


def _side(node: Op, points: list[Point], x: float, y: float) -> Point | None:
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
