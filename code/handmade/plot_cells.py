"""Cells whose colour is a number: zero is the page, more is more colour."""

import base64
import hashlib
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from handmade.plot_axes import Array, written
from handmade.plot_svg import PAPER, Canvas, colour, number

Box = tuple[float, float, float, float]  # left, top, right, bottom
UNDER_TEXT = 0.55  # at most so much colour, or ink could not be read on it
MANY = 900  # cells, from which on a picture of them is smaller


def draw_cells(
    canvas: Canvas,
    box: Box,
    shares: Array,
    texts: Sequence[str],
    numbers: str,
) -> None:
    """Colour the cells; ``shares`` go from -1 to 1, NaN is no number."""
    left, top, right, bottom = box
    full = UNDER_TEXT if texts else 1.0
    shares = np.clip(np.nan_to_num(shares), -1, 1) * full
    if texts:
        paper = _outline(left, top, right, bottom)
        canvas.area(paper, colour("paper", PAPER))
    for name, part in (("c1", shares), ("c2", -shares)):
        part = np.maximum(part, 0)
        if part.size > MANY:
            _picture(canvas, box, part, name)
        else:
            _runs(canvas, box, part, name)
    edge = _outline(left, top, right, bottom)
    canvas.path(edge, colour("grid"), width=0.8)
    if not texts:
        return
    rows, columns = shares.shape
    ink = colour("ink", "#1a1a1a")
    canvas.marks.append(f'<g style="fill:{ink}" text-anchor="middle">')
    for k, text in enumerate(texts):
        i, j = divmod(k, columns)
        canvas.lines(
            left + (j + 0.5) * (right - left) / columns,
            top + (i + 0.5) * (bottom - top) / rows,
            [text],
        )
    canvas.marks.append("</g>")


def draw_scale(canvas: Canvas, box: Box, limit: float, signed: bool) -> None:
    """Draw what the colours mean, right of the cells."""
    _, top, right, bottom = box
    left, steps = right + 8, 32
    at = (np.arange(steps) + 0.5) / steps
    shares = 2 * at - 1 if signed else at
    height = min(bottom - top, 120)
    bar = (left, top, left + 9, top + height)
    for name, sign in (("c1", 1), ("c2", -1)):
        part = np.maximum(sign * shares[::-1, None], 0)
        _runs(canvas, bar, part, name)
    canvas.path(_outline(*bar), colour("grid"), width=0.8)
    ends = [(limit, top + 5), (-limit if signed else 0, top + height - 5)]
    if signed:
        ends.append((0.0, top + height / 2))
    for value, middle in ends:
        canvas.lines(left + 13, middle, [written(float(f"{value:.2g}"))])


def _outline(left: float, top: float, right: float, bottom: float) -> str:
    return (
        f"M{number(left)} {number(top)}H{number(right)}"
        f"V{number(bottom)}H{number(left)}z"
    )


def _runs(canvas: Canvas, box: Box, shares: Array, name: str) -> None:
    """Fill cells of the same colour together, neighbours as one."""
    left, top, right, bottom = box
    rows, columns = shares.shape
    xs = [number(x) for x in np.linspace(left, right, columns + 1)]
    ys = [number(y) for y in np.linspace(top, bottom, rows + 1)]
    steps = np.round(shares * 50).astype(int)
    found: dict[int, list[str]] = {}
    for i, row in enumerate(steps):
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        for start, end in zip(starts, [*starts[1:], columns], strict=True):
            if row[start]:
                d = f"M{xs[start]} {ys[i]}H{xs[end]}V{ys[i + 1]}H{xs[start]}z"
                found.setdefault(int(row[start]), []).append(d)
    for step, parts in sorted(found.items()):
        canvas.area("".join(parts), colour(name), step / 50, crisp=True)


def _picture(canvas: Canvas, box: Box, shares: Array, name: str) -> None:
    """Fill with one colour, as strongly as a small grey picture says."""
    if not shares.any():
        return
    left, top, right, bottom = box
    # four pixels a cell's side: not all browsers keep its edges sharp
    grey = np.kron(np.round(shares * 255), np.ones((4, 4))).astype(np.uint8)
    data = base64.b64encode(png(grey)).decode()
    id = "m" + hashlib.sha256(data.encode()).hexdigest()[:8]
    where = (
        f'x="{number(left)}" y="{number(top)}" '
        f'width="{number(right - left)}" height="{number(bottom - top)}"'
    )
    canvas.marks.append(
        f'<mask id="{id}"><image {where} preserveAspectRatio="none" '
        'style="image-rendering:pixelated" '
        f'href="data:image/png;base64,{data}"/></mask>'
        f'<rect {where} style="fill:{colour(name)}" mask="url(#{id})"/>'
    )


def png(grey: np.ndarray) -> bytes:
    """Return a PNG of grey bytes (rows, columns)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        size, check = len(data), zlib.crc32(body)
        return struct.pack(">I", size) + body + struct.pack(">I", check)

    rows, columns = grey.shape
    head = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in grey)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines, 9))
        + chunk(b"IEND", b"")
    )
