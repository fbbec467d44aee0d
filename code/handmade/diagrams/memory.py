"""``strides``: one row of memory, and the views that read it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from handmade import checks
from handmade.diagrams.svg import INK, MUTED, PALETTE, Canvas, Drawing
from handmade.diagrams.writing import (
    LINE,
    SMALL,
    number,
    shape_text,
    text_width,
)

CELL = 22
MOST = 16  # numbers in memory: one row of cells


def strides(x: Tensor, views: Mapping[str, Tensor]) -> Drawing:
    """Draw a tensor's memory, and what each view reads from it.

    A cell has the colour of the tensor's row it belongs to, so that a
    transposed view shows columns of one colour, and an expanded one the same
    cells again. Raises ValueError for a view that has memory of its own,
    more than two axes or more cells than fit.
    """
    _check(x, views)
    memory = torch.as_strided(
        x, (x.untyped_storage().nbytes() // x.itemsize,), (1,), 0
    )
    row = x.shape[-1]
    canvas = Canvas()
    left = 2.0
    canvas.text(left, 10, "memory", anchor="start", bold=True)
    for address, value in enumerate(memory.tolist()):
        at = left + CELL * address
        _cell(canvas, at, 22, value, address // row)
        canvas.text(at + CELL / 2, 54, str(address), size=SMALL, colour=MUTED)
    y = 78.0
    for name, view in views.items():
        y = _view(canvas, y, name, view, row)
    told = "; ".join(
        f"{name} has shape {shape_text(view.shape)}, strides "
        f"{shape_text(view.stride())} and offset {view.storage_offset()}"
        for name, view in views.items()
    )
    return canvas.drawing(
        y - 14,
        f"A row of {len(memory)} numbers in memory, and the views that read "
        f"it: {told}.",
    )


def _view(
    canvas: Canvas, y: float, name: str, view: Tensor, row: int
) -> float:
    """Draw a view's cells, and how it walks; return where the next begins."""
    rows = view.unsqueeze(0) if view.ndim == 1 else view
    steps = rows.stride()
    canvas.text(2, y, name, anchor="start", bold=True, mono=True)
    top = y + 13
    for i, line in enumerate(rows.tolist()):
        for j, value in enumerate(line):
            address = view.storage_offset() + i * steps[0] + j * steps[1]
            _cell(canvas, 2 + CELL * j, top + CELL * i, value, address // row)
    right = max(2 + CELL * rows.shape[1] + 16, 116)
    facts = [
        f"shape   {shape_text(view.shape)}",
        f"strides {shape_text(view.stride())}",
        f"offset  {view.storage_offset()}",
    ]
    middle = top + CELL * rows.shape[0] / 2 - LINE * (len(facts) - 1) / 2
    middle = max(middle, top + 8)
    for k, fact in enumerate(facts):
        canvas.text(
            right,
            middle + LINE * k,
            fact,
            size=SMALL,
            anchor="start",
            mono=True,
            colour=INK if k == 1 else MUTED,
        )
    return max(top + CELL * rows.shape[0], middle + LINE * len(facts)) + 26


def _cell(canvas: Canvas, x: float, y: float, value: float, row: int) -> None:
    colour = PALETTE[row % len(PALETTE)]
    canvas.rect(
        x + 1, y + 1, CELL - 2, CELL - 2, colour=colour, tint=0.2, corner=3
    )
    canvas.text(x + CELL / 2, y + CELL / 2, number(value), size=SMALL)


def _check(x: Tensor, views: Mapping[str, Tensor]) -> None:
    checks.numbers("x", x)
    checks.mapping("views", views, "a dict from name to a view of x")
    numbers = x.untyped_storage().nbytes() // x.itemsize
    if not 1 <= x.ndim <= 2 or not 1 <= numbers <= MOST:
        raise ValueError(
            f"x: got shape {shape_text(x.shape)} on {numbers} numbers, want "
            f"one or two axes on 1 to {MOST}"
        )
    if not views:
        raise ValueError("views: got none, want at least one")
    for name, view in views.items():
        checks.kind(f"views: {name}", view, Tensor, "a view of x")
        same = view.untyped_storage().data_ptr()
        if same != x.untyped_storage().data_ptr() or view.dtype != x.dtype:
            raise ValueError(
                f"x, views: got {name}, which has memory of its own or "
                "another dtype, want views of x"
            )
        room = (336 - text_width("strides (1, 3)", SMALL, mono=True)) / CELL
        if not 1 <= view.ndim <= 2 or view.shape[-1] > room:
            raise ValueError(
                f"views: got {name} of shape {shape_text(view.shape)}, want "
                f"one or two axes, {int(room)} columns or fewer"
            )
    for value in x.flatten().tolist():
        if text_width(number(value), SMALL) > CELL - 2:
            raise ValueError(
                f"x: got {value}, want numbers of one or two digits"
            )
