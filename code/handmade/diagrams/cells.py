"""``masks`` and ``packing``: what may be seen, and what stands where."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any, Protocol

from torch import Tensor

from handmade import checks
from handmade.diagrams.svg import ACCENT, GRID, MUTED, PALETTE, Canvas, Drawing
from handmade.diagrams.writing import (
    LINE,
    SMALL,
    number,
    shape_text,
    text_width,
)

NOTHING = -1  # the document of a place that holds none
MOST = 40  # rows or columns of a mask: below four pixels nothing is seen


def masks(which: Mapping[str, Tensor]) -> Drawing:
    """Draw masks two by two: a filled cell is a key that the query sees.

    Each is bool, (T, S), or with axes of length 1 before these.
    Raises ValueError for other shapes and dtypes.
    """
    checks.mapping("which", which, "a dict from name to mask")
    grids = {name: _grid(name, mask) for name, mask in which.items()}
    if not grids:
        raise ValueError("which: got no mask, want at least one")
    canvas = Canvas()
    columns = min(2, len(grids))
    side = 148.0
    left = 26.0 if columns == 2 else (canvas.width - side) / 2
    step, y = 180.0, 0.0
    items = list(grids.items())
    for start in range(0, len(items), columns):
        lowest = y
        for i, (name, mask) in enumerate(items[start : start + columns]):
            below = _mask(canvas, left + step * i, y, side, name, mask)
            lowest = max(lowest, below)
        y = lowest + 14
    told = "; ".join(f"{name}: {_seen(mask)}" for name, mask in grids.items())
    return canvas.drawing(
        y - 10,
        f"Masks as grids, a row for each query and a column for each key, "
        f"filled where the query sees the key. {told}.",
    )


def _grid(name: str, mask: Tensor) -> list[list[bool]]:
    checks.yes_or_no(name, mask)
    shape = shape_text(tuple(mask.shape))
    if mask.ndim < 2 or any(n != 1 for n in mask.shape[:-2]):
        raise ValueError(f"{name}: got shape {shape}, want one of (T, S)")
    if not 1 <= min(mask.shape[-2:]) <= max(mask.shape[-2:]) <= MOST:
        raise ValueError(f"{name}: got shape {shape}, want 1 to {MOST}")
    rows: list[list[bool]] = mask.reshape(mask.shape[-2:]).bool().tolist()
    return rows


def _seen(mask: list[list[bool]]) -> str:
    counts = [sum(row) for row in mask]
    return f"{sum(counts)} of {len(mask) * len(mask[0])} cells filled"


def _mask(
    canvas: Canvas,
    x: float,
    y: float,
    side: float,
    name: str,
    mask: list[list[bool]],
) -> float:
    """Draw one mask, its name above; return the height of its lower end."""
    T, S = len(mask), len(mask[0])
    cell = side / max(T, S)
    top = y + 22
    canvas.text(x, y + 9, name, anchor="start", bold=True)
    filled = "".join(
        f"M{number(x + cell * s)} {number(top + cell * t)}"
        f"h{number(cell * run)}v{number(cell)}h{number(-cell * run)}z"
        for t, row in enumerate(mask)
        for s, run in _runs(row)
    )
    if filled:
        canvas.path(filled, colour=ACCENT, filled=True, opacity=0.75)
    lines = "".join(
        f"M{number(x + cell * s)} {number(top)}v{number(cell * T)}"
        for s in range(S + 1)
    ) + "".join(
        f"M{number(x)} {number(top + cell * t)}h{number(cell * S)}"
        for t in range(T + 1)
    )
    canvas.path(lines, colour=GRID, thick=1)
    below = top + cell * T
    canvas.text(
        x + cell * S / 2, below + 11, "key →", size=SMALL, colour=MUTED
    )
    canvas.text(
        x - 11,
        top + cell * T / 2,
        "← query",
        size=SMALL,
        colour=MUTED,
        up=True,
    )
    return below + 20


def _runs(row: list[bool]) -> list[tuple[int, int]]:
    """Return (start, length) of each run of True."""
    found, at = [], 0
    for seen, run in groupby(row):
        length = len(list(run))
        if seen:
            found.append((at, length))
        at += length
    return found


class Packed(Protocol):
    """Rows of several documents each, as ``handmade.text.data.pack`` makes."""

    @property
    def documents(self) -> Tensor: ...
    @property
    def positions(self) -> Tensor: ...


def packing(packed: Packed) -> Drawing:
    """Draw rows of packed documents: a colour each, positions from 0 in each.

    Raises ValueError for documents and positions of unequal shapes, or none.
    """
    documents = getattr(packed, "documents", None)
    positions = getattr(packed, "positions", None)
    if not isinstance(documents, Tensor) or not isinstance(positions, Tensor):
        raise ValueError(
            f"packed: got {packed!r:.60}, want documents and positions, as "
            "handmade.text.data.pack makes them"
        )
    checks.ids("packed.documents", documents)
    checks.ids("packed.positions", positions)
    if (
        documents.ndim != 2
        or documents.shape != positions.shape
        or not documents.numel()
    ):
        raise ValueError(
            f"packed: got documents {shape_text(tuple(documents.shape))} and "
            f"positions {shape_text(tuple(positions.shape))}, want two (N, T)"
        )
    canvas = Canvas()
    N, T = documents.shape
    cell = (canvas.width - 24) / T
    y, count, told = 0.0, 0, []
    for n in range(N):
        canvas.text(12, y + 9, f"row {n}", anchor="start", bold=True)
        at = 0
        said = []
        for document, places in groupby(documents[n].tolist()):
            length = len(list(places))
            x = 12 + cell * at
            wide = cell * length
            if document == NOTHING:
                _padding(canvas, x, y + 22, wide, length)
                said.append(f"{length} places of padding")
            else:
                colour = PALETTE[count % (len(PALETTE) - 1)]
                values = positions[n, at : at + length].tolist()
                _segment(canvas, x, y + 22, cell, values, document, colour)
                said.append(f"document {document} of {length} tokens")
                count += 1
            at += length
        told.append(f"row {n}: {', '.join(said)}")
        y += 22 + 26 + LINE + 14
    return canvas.drawing(
        y - 10,
        f"{N} rows of {T} places, packed with documents whose positions begin "
        f"at 0 each. {'; '.join(told)}.",
    )


def _segment(
    canvas: Canvas,
    x: float,
    y: float,
    cell: float,
    positions: list[Any],
    document: int,
    colour: str,
) -> None:
    wide = cell * len(positions)
    canvas.rect(x + 1, y, wide - 2, 26, colour=colour, tint=0.2, corner=4)
    if text_width(str(max(positions)), SMALL) <= cell - 1:
        for i, position in enumerate(positions):
            at = x + cell * (i + 0.5)
            canvas.text(at, y + 13, str(position), size=SMALL)
    else:
        ends = f"{positions[0]} … {positions[-1]}"
        if text_width(ends, SMALL) <= wide - 4:
            canvas.text(x + wide / 2, y + 13, ends, size=SMALL)
    for label in (f"document {document}", f"doc {document}", str(document)):
        if text_width(label, SMALL) <= wide:
            canvas.text(x + wide / 2, y + 36, label, size=SMALL, colour=colour)
            break


def _padding(
    canvas: Canvas, x: float, y: float, wide: float, length: int
) -> None:
    canvas.rect(
        x + 1, y, wide - 2, 26, colour=MUTED, tint=0, corner=4, dashed=True
    )
    for label in (f"{length} × padding", "padding", "pad"):
        if text_width(label, SMALL) <= wide:
            canvas.text(x + wide / 2, y + 36, label, size=SMALL, colour=MUTED)
            break
