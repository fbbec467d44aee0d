"""``block_tables``: whose pages are where in a paged cache."""

from collections.abc import Mapping, Sequence

from handmade import checks
from handmade.diagrams.svg import INK, MUTED, PALETTE, Canvas, Drawing
from handmade.diagrams.writing import SMALL, text_width

WIDE, TALL, GAP = 28, 24, 4
LEFT = 2.0


def block_tables(
    tables: Mapping[str, Sequence[int]],
    tokens: Mapping[str, int],
    *,
    n_pages: int,
    page_size: int,
) -> Drawing:
    """Draw each text's pages in its order, and all pages in theirs.

    ``tables`` maps a text's name to its pages, ``tokens`` to how many tokens
    it has; each page is filled as far as they go. A page of several texts
    has a stripe of each one's colour, a free one a dashed line. Raises
    ValueError for pages that do not exist, more texts than colours, and
    tokens that do not end in a text's last page.
    """
    _check(tables, tokens, n_pages, page_size)
    canvas = Canvas()
    colours = dict(zip(tables, PALETTE, strict=False))
    names = max(text_width(name, SMALL) for name in tables) + 10
    across = int((canvas.width - LEFT - names) // (WIDE + GAP))
    y = 2.0
    for name, table in tables.items():
        canvas.text(
            LEFT, y + TALL / 2, name, size=SMALL, anchor="start",
            colour=colours[name],
        )  # fmt: skip
        for i, page in enumerate(table):
            row, column = divmod(i, across)
            x = LEFT + names + column * (WIDE + GAP)
            filled = min(1.0, tokens[name] / page_size - i)
            top = y + row * (TALL + GAP)
            _page(canvas, x, top, page, [colours[name]], filled)
        y += (TALL + GAP) * -(-len(table) // across) + 8
    y += 4
    canvas.text(LEFT, y + 6, "the pool", size=SMALL, anchor="start", bold=True)
    y += 20
    across = int((canvas.width - LEFT) // (WIDE + GAP))
    for page in range(n_pages):
        row, column = divmod(page, across)
        held = [
            colours[name] for name, table in tables.items() if page in table
        ]
        x, top = LEFT + column * (WIDE + GAP), y + row * (TALL + GAP)
        _page(canvas, x, top, page, held)
    y += (TALL + GAP) * -(-n_pages // across)
    told = "; ".join(
        f"{name} has {tokens[name]} tokens in pages "
        f"{', '.join(map(str, table))}"
        for name, table in tables.items()
    )
    return canvas.drawing(
        y,
        f"{n_pages} pages of {page_size} tokens: {told}. The others are free.",
    )


def _page(
    canvas: Canvas,
    x: float,
    y: float,
    page: int,
    colours: Sequence[str],
    filled: float = 1.0,
) -> None:
    for i, colour in enumerate(colours):
        canvas.rect(
            x, y + i * TALL / len(colours), WIDE * filled,
            TALL / len(colours), colour=colour, tint=0.22, line="", corner=0,
        )  # fmt: skip
    line = colours[0] if len(colours) == 1 else MUTED
    canvas.rect(
        x, y, WIDE, TALL, colour=line, tint=0, corner=3, dashed=not colours
    )
    ink = INK if colours else MUTED
    middle = x + WIDE / 2, y + TALL / 2
    canvas.text(*middle, str(page), size=SMALL, colour=ink)


def _check(
    tables: Mapping[str, Sequence[int]],
    tokens: Mapping[str, int],
    n_pages: int,
    page_size: int,
) -> None:
    checks.whole("n_pages", n_pages)
    checks.whole("page_size", page_size)
    checks.mapping("tables", tables, "a dict from name to pages")
    checks.mapping("tokens", tokens, "a dict from name to a number of tokens")
    if not 1 <= len(tables) <= len(PALETTE) - 1:
        raise ValueError(
            f"tables: got {len(tables)}, want 1 to {len(PALETTE) - 1}"
        )
    for name, table in tables.items():
        checks.several(f"tables: {name}", table, "a list of pages")
        for page in table:
            checks.whole(f"tables: {name}", page, at_least=0)
            fits = page < n_pages
            want = f"pages below {n_pages}"
            checks.need(fits, f"tables: {name}", page, want)
        count = checks.whole(f"tokens: {name}", tokens.get(name))
        if -(-count // page_size) != len(table):
            raise ValueError(
                f"tokens: got {count} of {name}, want as many as end in its "
                f"last page, the {len(table)}. of {page_size} tokens"
            )
