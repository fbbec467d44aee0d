"""``score_tiles``: the scores cut into tiles, and the one at work.

T query tokens · S key tokens
"""

import math

from handmade import checks
from handmade.blocks.masks import check_lengths
from handmade.diagrams.svg import ACCENT, GRID, MUTED, PALETTE, Canvas, Drawing
from handmade.diagrams.writing import LINE, SMALL, number

MOST = 16  # tiles along a side: a smaller one is not seen
STRIP = 24.0  # the queries at the left, the keys and values on top
LEFT, TOP = 56.0, 56.0  # of the first tile
SIDE = 190.0  # of the longer side of the scores
BOX = 94.0  # what is carried along


def score_tiles(
    T: int, S: int, block_q: int, block_k: int, at: tuple[int, int]
) -> Drawing:
    """Draw the tiles of causal scores, and which of them is at work.

    ``at`` is its row and column, counted in tiles. Tiles on the diagonal are
    computed whole and masked in part, those behind it never.
    Raises ValueError for sizes that do not fit, and a tile that is not
    computed.
    """
    rows, columns = _counts(T, S, block_q, block_k)
    row, column = _place(at, rows, columns, T, S, block_q, block_k)
    unit = SIDE / max(T, S)
    wide, high = unit * S, unit * T
    canvas = Canvas()
    canvas.text(LEFT + wide / 2, 9, "keys and values", bold=True)
    canvas.text(13, TOP + high / 2, "queries", bold=True, up=True)
    computed = 0
    for j in range(columns):
        x, width = _span(j, block_k, S, unit)
        lit = j == column
        _block(canvas, LEFT + x, TOP - STRIP - 8, width, STRIP, lit)
    for i in range(rows):
        y, height = _span(i, block_q, T, unit)
        lit = i == row
        _block(canvas, LEFT - STRIP - 8, TOP + y, STRIP, height, lit)
        seen = min((i + 1) * block_q, T) + S - T
        for j in range(columns):
            x, width = _span(j, block_k, S, unit)
            if j * block_k >= seen:
                continue
            computed += 1
            whole = min((j + 1) * block_k, S) <= i * block_q + S - T + 1
            canvas.rect(
                LEFT + x + 1,
                TOP + y + 1,
                width - 2,
                height - 2,
                tint=1 if (i, j) == (row, column) else 0.35 if whole else 0.13,
                corner=2,
            )
    canvas.path(
        f"M{number(LEFT)} {number(TOP)}h{number(wide)}v{number(high)}"
        f"h{number(-wide)}z",
        colour=GRID,
        thick=1,
    )
    _carried(canvas, wide, row, block_q, T, unit)
    below = TOP + high + 18
    for k, (tint, label) in enumerate(
        (
            (1.0, "the tile at work"),
            (0.35, "a tile without a mask"),
            (0.13, "on the diagonal: masked in part"),
            (0.0, "behind it: never computed"),
        )
    ):
        y = below + LINE * 1.25 * k
        line = ACCENT if tint else GRID
        canvas.rect(LEFT, y - 6, 12, 12, tint=tint, line=line, corner=2)
        canvas.text(LEFT + 20, y, label, size=SMALL, anchor="start")
    return canvas.drawing(
        below + LINE * 1.25 * 3 + 14,
        f"The scores of {T} queries and {S} keys as {rows} times {columns} "
        f"tiles, of which a causal mask leaves {computed}. At work is tile "
        f"{column} of row {row}: it reads one block of queries and one of "
        "keys and values, and changes the row's maximum, sum and output.",
    )


def _carried(
    canvas: Canvas, wide: float, row: int, block: int, T: int, unit: float
) -> None:
    """Draw what a row of tiles hands from one to the next."""
    y, height = _span(row, block, T, unit)
    middle = TOP + y + height / 2
    x = LEFT + wide + 16
    canvas.arrow(LEFT + wide + 2, middle, x, middle)
    top = middle - 1.5 * LINE - 4
    colour = PALETTE[2]
    canvas.rect(x, top, BOX - 6, 3 * LINE + 8, colour=colour)
    for k, name in enumerate(("maximum", "sum", "output")):
        canvas.text(x + (BOX - 6) / 2, top + 4 + LINE * (k + 0.5), name)
    canvas.text(
        x + (BOX - 6) / 2,
        top + 3 * LINE + 20,
        "of this row",
        size=SMALL,
        colour=MUTED,
    )


def _block(
    canvas: Canvas,
    x: float,
    y: float,
    width: float,
    height: float,
    lit: bool,
) -> None:
    canvas.rect(
        x + 1,
        y + 1,
        width - 2,
        height - 2,
        colour=PALETTE[1],
        tint=0.75 if lit else 0.13,
        corner=2,
    )


def _span(i: int, block: int, length: int, unit: float) -> tuple[float, float]:
    """Return where a block begins and how long it is, in pixels."""
    return unit * i * block, unit * (min((i + 1) * block, length) - i * block)


def _counts(T: int, S: int, block_q: int, block_k: int) -> tuple[int, int]:
    checks.whole("T", T)
    check_lengths(T, S)
    counts = []
    for name, length, block in (
        ("block_q", T, block_q),
        ("block_k", S, block_k),
    ):
        checks.whole(name, block)
        count = math.ceil(length / block)
        fits = count <= MOST and block / max(T, S) * SIDE > 5
        checks.need(fits, name, block, f"{MOST} blocks or fewer, and larger")
        counts.append(count)
    return counts[0], counts[1]


def _place(
    at: tuple[int, int],
    rows: int,
    columns: int,
    T: int,
    S: int,
    block_q: int,
    block_k: int,
) -> tuple[int, int]:
    pair = isinstance(at, tuple) and len(at) == 2
    checks.need(pair, "at", repr(at), "a tile's row and column")
    row, column = (checks.whole("at", each, at_least=0) for each in at)
    inside = row < rows and column < columns
    seen = min((row + 1) * block_q, T) + S - T
    computed = inside and column * block_k < seen
    checks.need(computed, "at", repr(at), "a tile that is computed")
    return row, column
