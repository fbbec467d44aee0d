"""``moe_routing``: which token goes to which expert, and how strongly."""

from collections.abc import Sequence

from torch import Tensor

from handmade.checks import floats, need, several, text
from handmade.diagrams.svg import MUTED, PALETTE, Canvas, Drawing
from handmade.diagrams.writing import (
    LINE,
    SMALL,
    number,
    shape_text,
    text_width,
)

MOST = 24
ROW = 26


def moe_routing(
    weights: Tensor, tokens: Sequence[str] | None = None
) -> Drawing:
    """Draw a router's weights (N, E): a line is as thick as its weight.

    0 is no line. ``tokens`` are their N texts. Raises ValueError for weights
    that are not two axes of at most 24, negative or not finite, and for
    another number of texts.
    """
    floats("weights", weights)
    shape = shape_text(tuple(weights.shape))
    need(weights.ndim == 2, "weights", f"shape {shape}", "(N, E)")
    N, E = weights.shape
    fits = 1 <= N <= MOST and 1 <= E <= MOST
    need(fits, "weights", f"shape {shape}", f"1 to {MOST} each")
    table: list[list[float]] = weights.detach().double().tolist()
    finite = all(0 <= w < float("inf") for row in table for w in row)
    need(finite, "weights", "a negative or infinite one", "0 or more")
    texts = [f"token {n}" for n in range(N)] if tokens is None else tokens
    several("tokens", texts, f"{N} texts, one a row")
    for each in texts:
        text("tokens", each)
    need(len(texts) == N, "tokens", len(texts), f"{N}, one a row")
    return _draw(table, [_short(each) for each in texts])


def _short(text: str) -> str:
    """Cut a token's text to what its column holds; spaces can be seen."""
    text = text.replace(" ", "␣").replace("\n", "⏎")
    while text_width(text, SMALL, mono=True) > 92:
        text = text.removesuffix("…")[:-1] + "…"
    return text


def _draw(table: list[list[float]], texts: list[str]) -> Drawing:
    N, E = len(table), len(table[0])
    canvas = Canvas()
    height = ROW * max(N, E)
    rows = [height * (n + 0.5) / N for n in range(N)]
    places = [height * (e + 0.5) / E for e in range(E)]
    largest = max((w for row in table for w in row), default=0) or 1.0
    loads = [sum(row[e] > 0 for row in table) for e in range(E)]
    for e in range(E):
        for n in range(N):
            weight = table[n][e]
            if weight == 0:
                continue
            start, end = number(26 + rows[n]), number(26 + places[e])
            canvas.path(
                f"M104 {start}C170 {start} 170 {end} 236 {end}",
                colour=PALETTE[e % 6],
                thick=round(0.75 + 5 * weight / largest, 2),
                opacity=0.75,
                title=f"{texts[n]} → expert {e}: {weight:.2f}",
            )
    canvas.text(96, 9, "tokens", anchor="end", bold=True)
    canvas.text(236, 9, "experts", anchor="start", bold=True)
    for n in range(N):
        canvas.text(
            96, 26 + rows[n], texts[n], size=SMALL, mono=True, anchor="end"
        )
    for e in range(E):
        y = 26 + places[e]
        colour = PALETTE[e % 6] if loads[e] else MUTED
        canvas.rect(236, y - 11, 38, 22, colour=colour, dashed=not loads[e])
        canvas.text(255, y, str(e), size=SMALL)
        said = "1 token" if loads[e] == 1 else f"{loads[e]} tokens"
        canvas.text(282, y, said, size=SMALL, anchor="start", colour=MUTED)
    told = "; ".join(
        f"{text} to "
        + " and ".join(f"{e} ({w:.2f})" for e, w in enumerate(row) if w > 0)
        for text, row in zip(texts, table, strict=True)
        if any(row)
    )
    return canvas.drawing(
        26 + height + LINE / 2,
        f"{N} tokens, each with lines to the experts that it goes to, as "
        f"thick as their weight: {told or 'none goes anywhere'}.",
    )
