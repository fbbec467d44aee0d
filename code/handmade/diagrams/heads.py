"""Heads: cut and joined, shared, and turned in pairs."""

import torch
from torch import Tensor

from handmade.checks import need, numbers, whole
from handmade.diagrams.svg import INK, MUTED, PALETTE, Canvas, Drawing
from handmade.diagrams.writing import (
    LINE,
    SMALL,
    number,
    shape_text,
    text_width,
)


def head_split(x: Tensor, n_heads: int) -> Drawing:
    """Draw how the width of x (B, T, D) becomes heads, and width again.

    Shown is the first sequence, a column for each entry of a token. Raises
    ValueError where the heads do not divide D, or D is above 48, T above 12.
    """
    whole("n_heads", n_heads)
    numbers("x", x)
    shape = shape_text(tuple(x.shape))
    need(x.ndim == 3, "x", f"shape {shape}", "(B, T, D)")
    _, T, D = x.shape
    need(D % n_heads == 0, "n_heads", n_heads, f"a divisor of D = {D}")
    fits = 1 <= T <= 12 and 1 <= D <= 48
    need(fits, "x", f"shape {shape}", "1 <= T <= 12 and 1 <= D <= 48")
    split = torch.unflatten(x, -1, (n_heads, -1)).transpose(-3, -2)
    canvas, K, gap = Canvas(), D // n_heads, 12.0
    cell = min(14.0, (340 - gap * (n_heads - 1)) / D)
    left = (canvas.width - cell * D) / 2
    apart = (canvas.width - cell * D - gap * (n_heads - 1)) / 2
    tall = cell * T

    def heads(x0: float, y: float, step: float) -> None:
        for h in range(n_heads):
            _grid(canvas, x0 + h * step, y, T, K, cell, PALETTE[h % 6])

    _tensor(canvas, 9, "x", "(B, T, D)", shape)
    heads(left, 24, cell * K)
    y = _step(canvas, 24 + tall, "split")
    _tensor(canvas, y, "heads", "(B, H, T, K)", shape_text(tuple(split.shape)))
    heads(apart, y + 15, cell * K + gap)
    y += 15 + tall
    for h in range(n_heads):
        middle = apart + h * (cell * K + gap) + cell * K / 2
        fits = text_width("head 0", SMALL) <= cell * K + gap
        name = f"head {h}" if fits else str(h)
        canvas.text(middle, y + 11, name, size=SMALL, colour=PALETTE[h % 6])
    y = _step(canvas, y + 22, "merge")
    _tensor(canvas, y, "merged", "(B, T, H·K)", shape)
    heads(left, y + 15, cell * K)
    return canvas.drawing(
        y + 15 + tall + 6,
        f"A tensor x of shape (B, T, D) = {shape}: its {D} columns are cut "
        f"into {n_heads} heads of {K} columns, (B, H, T, K) = "
        f"{shape_text(tuple(split.shape))}, each a matrix of its own, and put "
        "side by side again.",
    )


def _tensor(
    canvas: Canvas, y: float, name: str, letters: str, sizes: str
) -> None:
    wide = [text_width(w, SMALL, mono=True) for w in (name, letters, sizes)]
    space = text_width(" ", SMALL, mono=True)
    x = (canvas.width - sum(wide) - 2 * space) / 2
    paints = (INK, MUTED, PALETTE[0])
    words = zip((name, letters, sizes), wide, paints, strict=True)
    for word, width, colour in words:
        canvas.text(
            x,
            y,
            word,
            size=SMALL,
            mono=True,
            anchor="start",
            colour=colour,
            bold=colour == INK,
        )
        x += width + space


def _step(canvas: Canvas, y: float, label: str) -> float:
    """Draw an operation between two tensors; return the next one's height."""
    middle = canvas.width / 2
    canvas.arrow(middle, y + 5, middle, y + 23)
    canvas.box(middle, y + 37, 76, 28, label)
    canvas.arrow(middle, y + 51, middle, y + 69)
    return y + 80


def _grid(
    canvas: Canvas,
    x: float,
    y: float,
    rows: int,
    columns: int,
    cell: float,
    colour: str,
) -> None:
    canvas.rect(
        x, y, cell * columns, cell * rows, colour=colour, tint=0.2, corner=2
    )
    lines = "".join(
        f"M{number(x + cell * i)} {number(y)}v{number(cell * rows)}"
        for i in range(1, columns)
    ) + "".join(
        f"M{number(x)} {number(y + cell * j)}h{number(cell * columns)}"
        for j in range(1, rows)
    )
    if lines:
        canvas.path(lines, colour=colour, thick=0.75, opacity=0.5)


def gqa_sharing(n_heads: int, n_kv_heads: int) -> Drawing:
    """Draw which query heads read which key/value head.

    Raises ValueError where the key/value heads do not divide the heads, or
    there are more than 32.
    """
    whole("n_heads", n_heads)
    whole("n_kv_heads", n_kv_heads)
    divides = n_heads % n_kv_heads == 0
    need(divides, "n_kv_heads", n_kv_heads, f"a divisor of {n_heads}")
    need(n_heads <= 32, "n_heads", n_heads, "32 or fewer")
    canvas, share = Canvas(), n_heads // n_kv_heads
    step = (canvas.width - 16) / n_heads
    size = min(24.0, step - 2)
    fits = text_width(str(n_heads - 1), SMALL) <= size - 2
    canvas.text(8, 9, f"{n_heads} query heads", anchor="start", bold=True)
    for h in range(n_heads):
        colour = PALETTE[h // share % 6]
        x = 8 + step * (h + 0.5)
        kv = 8 + step * share * (h // share + 0.5)
        canvas.path(
            f"M{number(x)} {number(26 + size)}C{number(x)} "
            f"{number(52 + size)} {number(kv)} {number(46 + size)} "
            f"{number(kv)} {number(78 + size)}",
            colour=colour,
        )
        canvas.rect(
            x - size / 2, 26, size, size, colour=colour, corner=4, tint=0.2
        )
        if fits:
            canvas.text(x, 26 + size / 2, str(h), size=SMALL)
    top = 78 + size
    wide = min(step * share - 6, 96.0)
    for g in range(n_kv_heads):
        x = 8 + step * share * (g + 0.5)
        colour = PALETTE[g % 6]
        # its head's last few pixels, drawn over what arrives
        canvas.rect(
            x - wide / 2, top, wide, 26, colour=colour, corner=4, tint=0.2
        )
        label = next(
            (
                text
                for text in (f"key, value {g}", f"k, v {g}", str(g))
                if text_width(text, SMALL) <= wide - 4
            ),
            "",
        )
        if label:
            canvas.text(x, top + 13, label, size=SMALL)
    each = "one query head" if share == 1 else f"{share} query heads"
    canvas.text(
        8,
        top + 44,
        f"{n_kv_heads} key/value "
        f"{'head' if n_kv_heads == 1 else 'heads'}, each read by {each}",
        anchor="start",
        bold=True,
    )
    groups = "; ".join(
        f"heads {g * share} to {(g + 1) * share - 1} read {g}"
        if share > 1
        else f"head {g} reads {g}"
        for g in range(n_kv_heads)
    )
    return canvas.drawing(
        top + 44 + LINE,
        f"{n_heads} query heads above {n_kv_heads} key/value heads: {groups}.",
    )


def rope_pairs(K: int, layout: str = "halves") -> Drawing:
    """Draw which entries of a head of width K turn together.

    "halves" pairs i with i + K/2, as Hugging Face stores the weights;
    "neighbours" 2i with 2i + 1, as the paper writes it [su2021]. Raises
    ValueError for another layout, and a K that is odd or above 16.
    """
    whole("K", K, at_least=2)
    need(K % 2 == 0 and K <= 16, "K", K, "an even number up to 16")
    known = ("halves", "neighbours")
    need(layout in known, "layout", repr(layout), f"one of {known}")
    pairs = [
        (i, i + K // 2) if layout == "halves" else (2 * i, 2 * i + 1)
        for i in range(K // 2)
    ]
    canvas = Canvas()
    cell = min(32.0, (canvas.width - 16) / K)
    left = (canvas.width - cell * K) / 2
    high = 18 + 0.24 * cell * (pairs[0][1] - pairs[0][0])
    for i, (a, b) in enumerate(pairs):
        colour = PALETTE[i % 6]
        x, to = (left + cell * (at + 0.5) for at in (a, b))
        canvas.path(
            f"M{number(x)} {number(high)}C{number(x)} {number(-high / 4)} "
            f"{number(to)} {number(-high / 4)} {number(to)} {number(high)}",
            colour=colour,
        )
        for at in (a, b):
            canvas.rect(
                left + cell * at + 1,
                high,
                cell - 2,
                26,
                colour=colour,
                tint=0.2,
                corner=4,
            )
            middle = left + cell * (at + 0.5)
            canvas.text(middle, high + 13, str(at), size=SMALL)
    rule = {
        "halves": f"entry i turns with entry i + {K // 2}",
        "neighbours": "entry 2i turns with entry 2i + 1",
    }[layout]
    canvas.text(canvas.width / 2, high + 42, rule, size=SMALL, colour=MUTED)
    told = ", ".join(f"{a} with {b}" for a, b in pairs)
    return canvas.drawing(
        high + 42 + LINE,
        f"The {K} entries of a head; those that turn together are joined: "
        f"{told}.",
    )
