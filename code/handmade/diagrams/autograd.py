"""``autograd_graph``: what PyTorch noted while it computed."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from handmade import checks
from handmade.diagrams.columns import Edge, Key
from handmade.diagrams.layered import levels, place
from handmade.diagrams.svg import MUTED, PALETTE, Canvas, Drawing
from handmade.diagrams.writing import LINE, SIZE, SMALL, shape_text, text_width

MOST = 24
GAP = 22


def autograd_graph(result: Tensor, names: Mapping[str, Tensor]) -> Drawing:
    """Draw the functions that ``result.backward()`` will call, as it goes.

    The arrows are the way of the gradient, from the result down to the
    leaves, where it is added to ``.grad``. The shape in a box is that of the
    gradient which arrives there. ``names`` says what tensors are called.
    Raises ValueError for a tensor without a graph, one of more than 24
    functions, and for a leaf that has no name.
    """
    checks.kind("result", result, Tensor, "a tensor")
    checks.mapping("names", names, "a dict from name to tensor")
    for name, tensor in names.items():
        checks.kind(f"names: {name}", tensor, Tensor, "a tensor")
    if result.grad_fn is None:
        raise ValueError("result: got no grad_fn, want a computed tensor")
    called = {id(t.grad_fn): n for n, t in names.items() if t.grad_fn}
    leaves = {id(t): n for n, t in names.items() if not t.grad_fn}
    words: dict[Key, list[str]] = {}
    edges: list[Edge] = []
    kept = [result.grad_fn]  # an id means something while its object lives
    for fn in kept:
        words[id(fn)] = _words(fn, called, leaves)
        for after, _ in fn.next_functions:
            if after is None:
                continue
            if (id(fn), id(after)) not in edges:
                edges.append((id(fn), id(after)))
            if not any(after is other for other in kept):
                kept.append(after)
        if len(kept) > MOST:
            raise ValueError(
                f"result: got more than {MOST} functions, want fewer"
            )
    return _draw(kept, words, edges)


def _is_leaf(fn: Any) -> bool:
    return hasattr(fn, "variable")


def _words(
    fn: Any, called: Mapping[int, str], leaves: Mapping[int, str]
) -> list[str]:
    """Return what stands in a box, or under a leaf's name."""
    if _is_leaf(fn):
        leaf = fn.variable
        if id(leaf) not in leaves:
            raise ValueError(
                f"names: got none for a leaf of shape "
                f"{shape_text(leaf.shape)}, want one for each"
            )
        return [f"{leaves[id(leaf)]}.grad", shape_text(leaf.shape)]
    shape = shape_text(tuple(fn._input_metadata[0].shape))
    own = f"{called[id(fn)]} {shape}" if id(fn) in called else shape
    return [fn.name(), own]


def _draw(
    kept: list[Any],
    words: Mapping[Key, list[str]],
    edges: list[Edge],
) -> Drawing:
    canvas = Canvas()
    sizes: dict[Key, tuple[float, float]] = {}
    for fn in kept:
        name, more = words[id(fn)]
        leaf = _is_leaf(fn)
        wide = max(
            text_width(name, SIZE, mono=leaf),
            text_width(more, SMALL, mono=True),
        )
        sizes[id(fn)] = (wide, 34.0) if leaf else (wide + 20, 42.0)
    level = levels(list(sizes), edges)
    try:
        layout = place(level, edges, sizes, width=canvas.width - 8, gap=GAP)
    except ValueError as error:
        raise ValueError(f"result: {error}") from None
    for points in layout.routes.values():
        canvas.flow_line([(x + 4, y + 4) for x, y in points])
    for fn in kept:
        x, y = (at + 4 for at in layout.at[id(fn)])
        name, more = words[id(fn)]
        leaf = _is_leaf(fn)
        if not leaf:
            wide, tall = sizes[id(fn)]
            canvas.rect(
                x - wide / 2, y - tall / 2, wide, tall, colour=PALETTE[1]
            )
        canvas.text(x, y - LINE / 2, name, bold=leaf, mono=leaf)
        canvas.text(x, y + LINE / 2, more, size=SMALL, mono=True, colour=MUTED)
    ends = {
        upper: [words[b][0] for a, b in edges if a == upper] for upper in words
    }
    told = "; ".join(
        f"{words[fn][0]} to {' and '.join(below)}"
        for fn, below in ends.items()
        if below
    )
    return canvas.drawing(
        layout.height + 8,
        "The graph that autograd keeps, in the order in which the gradient "
        f"passes it: {told}.",
    )
