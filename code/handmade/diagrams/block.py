"""``norm_placement``: the residual stream, straight or normed each time."""

from handmade.diagrams.svg import ACCENT, PALETTE, PAPER, Canvas, Drawing
from handmade.diagrams.writing import number

STREAM = 3.5
LOW = 372  # where both streams end


def norm_placement() -> Drawing:
    """Draw a pre-norm and a post-norm block side by side.

    The thick line is the residual stream: before the norms were moved it
    passes through every one of them.
    """
    canvas = Canvas()
    _pre(canvas, 34)
    _post(canvas, 34 + 184)
    return canvas.drawing(
        LOW + 10,
        "Two blocks side by side. Pre-norm: the residual stream is a straight "
        "line; attention and the feed-forward layer each read it through a "
        "norm and add to it. Post-norm: attention reads the stream itself, "
        "is added, and a norm stands in the stream; so it does after the "
        "feed-forward layer.",
    )


def _pre(canvas: Canvas, x: float) -> None:
    canvas.text(x - 20, 9, "pre-norm", anchor="start", bold=True)
    canvas.text(x, 34, "x", mono=True, bold=True)
    y = 44.0
    for layer in ("attention", "feed-forward"):
        stream(canvas, x, y, y + 148)
        branch(canvas, x, y + 12, x + 78, y + 32)
        canvas.box(x + 78, y + 46, 92, 28, "norm", colour=PALETTE[1])
        canvas.arrow(x + 78, y + 60, x + 78, y + 80)
        canvas.box(x + 78, y + 94, 92, 28, layer)
        back(canvas, x + 78, y + 108, x, y + 136)
        y += 148
    stream(canvas, x, y, LOW, head=True)


def _post(canvas: Canvas, x: float) -> None:
    canvas.text(x - 20, 9, "post-norm", anchor="start", bold=True)
    canvas.text(x, 34, "x", mono=True, bold=True)
    y = 44.0
    for layer in ("attention", "feed-forward"):
        stream(canvas, x, y, y + 116)
        branch(canvas, x, y + 12, x + 78, y + 32)
        canvas.box(x + 78, y + 46, 92, 28, layer)
        back(canvas, x + 78, y + 60, x, y + 92)
        canvas.box(x, y + 130, 60, 28, "norm", colour=PALETTE[1])
        y += 144
    stream(canvas, x, y, LOW, head=True)


def stream(
    canvas: Canvas, x: float, y: float, to: float, *, head: bool = False
) -> None:
    """Draw a piece of the residual stream, thick as nothing else is."""
    end = to - 8 if head else to
    canvas.path(
        f"M{number(x)} {number(y)}V{number(end)}", colour=ACCENT, thick=STREAM
    )
    if head:
        canvas.head(x, to, colour=ACCENT, scale=1.6)


def branch(canvas: Canvas, x: float, y: float, to_x: float, to: float) -> None:
    """Draw a copy of the stream that leaves it to the right."""
    canvas.path(
        f"M{number(x)} {number(y)}H{number(to_x - 10)}"
        f"Q{number(to_x)} {number(y)} {number(to_x)} {number(y + 10)}"
        f"V{number(to - 5)}"
    )
    canvas.head(to_x, to)


def back(canvas: Canvas, x: float, y: float, to_x: float, to: float) -> None:
    """Draw what a layer says on its way into the stream's sum."""
    canvas.path(
        f"M{number(x)} {number(y)}V{number(to - 10)}"
        f"Q{number(x)} {number(to)} {number(x - 10)} {number(to)}"
        f"H{number(to_x + 15)}"
    )
    _plus(canvas, to_x, to)
    canvas.head(to_x + 10, to, "left")


def _plus(canvas: Canvas, x: float, y: float) -> None:
    """Draw a sum that stands in the stream."""
    canvas.parts.append(
        f'<circle cx="{number(x)}" cy="{number(y)}" r="10" fill="{PAPER}" '
        f'stroke="{ACCENT}" stroke-width="1.25"/>'
    )
    canvas.text(x, y, "+", size=16)
