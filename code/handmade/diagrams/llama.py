"""``model``: the Llama whole, from text to the next token."""

from collections.abc import Mapping
from typing import Any

from handmade.diagrams.block import back, branch, stream
from handmade.diagrams.svg import (
    ACCENT,
    INK,
    MUTED,
    PALETTE,
    PAPER,
    Canvas,
    Drawing,
)
from handmade.diagrams.writing import SMALL, number, text_width

# what is drawn, and what a link or a light may be asked for
PARTS = (
    "tokenizer",
    "embedding",
    "block",
    "norms",
    "attention",
    "rope",
    "multi-head",
    "grouped-query",
    "masks",
    "feedforward",
    "model",
    "sampling",
)
X = 52.0  # of the residual stream
MIDDLE, BROAD = 206.0, 220.0  # of the layers beside it
LOOP = 350.0  # of the line on which the next token comes back


def model(
    config: Any = None,
    links: Mapping[str, str] | None = None,
    lit: str | None = None,
) -> Drawing:
    """Draw the Llama, each part a link where ``links`` has its address.

    ``config`` gives the sizes (a ``LlamaConfig``); without one they are
    letters. ``lit`` names a part to fill. Raises ValueError for a part that
    is not drawn.
    """
    links = {} if links is None else links
    _check(links, lit)
    return _Model(config, links, lit).draw()


def _check(links: Mapping[str, str], lit: str | None) -> None:
    if not isinstance(links, Mapping):
        raise ValueError(f"links: got {links!r:.60}, want part -> address")
    for part, address in links.items():
        if part not in PARTS:
            raise ValueError(f"links: got {part!r}, want one of {PARTS}")
        if not isinstance(address, str):
            raise ValueError(f"links: got {address!r:.60}, want an address")
    if lit is not None and lit not in PARTS:
        raise ValueError(f"lit: got {lit!r:.60}, want one of {PARTS}")


class _Model:
    def __init__(
        self, config: Any, links: Mapping[str, str], lit: str | None
    ) -> None:
        self.canvas = Canvas()
        self.links, self.lit = links, lit
        self.size = _sizes(config)

    def draw(self) -> Drawing:
        c, size = self.canvas, self.size
        c.text(X, 10, "text", mono=True, bold=True)
        c.arrow(X, 20, X, 34)
        self.part("tokenizer", MIDDLE - 104, 34, 96, 28, "tokenizer", at=X)
        c.arrow(X, 62, X, 82)
        c.text(X, 92, "ids", mono=True, bold=True)
        self.note(X + 22, 92, "(B, T)")
        c.arrow(X, 102, X, 118)
        self.part("embedding", 4, 118, 96, 28, "embedding", at=X)
        self.note(110, 132, f"{size['V']} × {size['D']}")
        stream(c, X, 146, 182)
        self.note(X + 10, 164, "x (B, T, D)")
        y = self.block(182)
        stream(c, X, y, y + 24)
        self.part("norms", 4, y + 24, 96, 28, "norm", at=X, colour=PALETTE[1])
        stream(c, X, y + 52, y + 76)
        self.part("model", 4, y + 76, 96, 28, "lm_head", at=X)
        self.note(110, y + 90, f"{size['D']} × {size['V']}")
        c.arrow(X, y + 104, X, y + 124)
        c.text(X, y + 134, "logits", mono=True, bold=True)
        self.note(X + 32, y + 134, "(B, T, V)")
        c.arrow(X, y + 144, X, y + 160)
        self.part("sampling", 4, y + 160, 96, 28, "sampling", at=X)
        self.loop(y + 174)
        return c.drawing(y + 194, _alt(size))

    def block(self, y: float) -> float:
        """Draw one block in its frame; return the frame's lower end."""
        c, size = self.canvas, self.size
        low = y + 390
        lit = self.lit == "block"
        c.rect(
            4,
            y,
            332,
            low - y,
            colour=MUTED,
            tint=0,
            line=ACCENT if lit else MUTED,
            dashed=not lit,
            corner=10,
            thick=2 if lit else 1.25,
        )
        stream(c, X, y, low)
        with c.link(self.links.get("block"), here=lit):
            label = f"{size['N']} × block"
            wide = text_width(label) + 8
            c.rect(330 - wide, y + 6, wide, 20, colour=PAPER, tint=1, line="")
            c.text(
                326,
                y + 16,
                label,
                anchor="end",
                bold=True,
                colour=ACCENT if lit else INK,
            )
        branch(c, X, y + 18, MIDDLE, y + 38)
        self.part(
            "norms", 158, y + 38, 96, 28, "norm", at=MIDDLE, colour=PALETTE[1]
        )
        c.arrow(MIDDLE, y + 66, MIDDLE, y + 84)
        self.attention(y + 84)
        back(c, MIDDLE, y + 216, X, y + 240)
        branch(c, X, y + 262, MIDDLE, y + 282)
        self.part(
            "norms", 158, y + 282, 96, 28, "norm", at=MIDDLE, colour=PALETTE[1]
        )
        c.arrow(MIDDLE, y + 310, MIDDLE, y + 326)
        self.part(
            "feedforward",
            MIDDLE - BROAD / 2,
            y + 326,
            BROAD,
            28,
            f"SwiGLU {size['D']} → {size['F']} → {size['D']}",
            at=MIDDLE,
        )
        back(c, MIDDLE, y + 354, X, y + 374)
        return low

    def attention(self, y: float) -> None:
        """Draw attention as a box of the pages that take it apart."""
        c, size = self.canvas, self.size
        left = MIDDLE - BROAD / 2
        lit = self.lit == "attention"
        with c.link(self.links.get("attention"), here=lit):
            c.rect(left, y, BROAD, 132, thick=2 if lit else 1.25)
            if lit:
                c.rect(left, y, BROAD, 28, tint=1, line="")
            c.text(MIDDLE, y + 15, "attention", colour=PAPER if lit else INK)
        rows = (
            ("multi-head", f"{size['H']} query heads of {size['K']}"),
            ("grouped-query", f"{size['G']} key/value heads"),
            ("rope", "rotary positions"),
            ("masks", "causal mask"),
        )
        for i, (part, label) in enumerate(rows):
            self.chip(part, left + 8, y + 30 + 25 * i, BROAD - 16, label)

    def chip(
        self, part: str, x: float, y: float, width: float, label: str
    ) -> None:
        lit = self.lit == part
        with self.canvas.link(self.links.get(part), here=lit):
            self.canvas.rect(
                x,
                y,
                width,
                21,
                colour=ACCENT if lit else PAPER,
                tint=1,
                line=ACCENT,
                corner=4,
                thick=0.75,
            )
            self.canvas.text(
                x + width / 2,
                y + 10.5,
                label,
                size=SMALL,
                colour=PAPER if lit else INK,
            )

    def part(
        self,
        part: str,
        x: float,
        y: float,
        width: float,
        height: float,
        label: str,
        *,
        at: float,
        colour: str = ACCENT,
    ) -> None:
        lit = self.lit == part
        with self.canvas.link(self.links.get(part), here=lit):
            # first the paper: the stream shall not be seen through it
            self.canvas.rect(
                at - width / 2, y, width, height, colour=PAPER, tint=1, line=""
            )
            self.canvas.box(
                at,
                y + height / 2,
                width,
                height,
                label,
                colour=colour,
                lit=lit,
            )

    def note(self, x: float, y: float, words: str) -> None:
        self.canvas.text(
            x,
            y,
            words,
            size=SMALL,
            mono=True,
            anchor="start",
            colour=MUTED,
        )

    def loop(self, y: float) -> None:
        """Draw how the token that was drawn joins the ids."""
        c = self.canvas
        c.path(
            f"M100 {number(y)}H{LOOP - 10}Q{LOOP} {number(y)} {LOOP} "
            f"{number(y - 10)}V102Q{LOOP} 92 {LOOP - 10} 92H136"
        )
        c.head(131, 92, "left")
        c.text(224, y - 11, "one token more", size=SMALL, colour=MUTED)


def _sizes(config: Any) -> dict[str, str]:
    """Return letter -> what is written for it: a config's size, or itself."""
    names = {
        "V": "vocab_size",
        "D": "d_model",
        "N": "n_layers",
        "H": "n_heads",
        "G": "n_kv_heads",
        "K": "d_head",
        "F": "d_ff",
    }
    if config is None:
        return {letter: letter for letter in names}
    for name in names.values():
        if not isinstance(getattr(config, name, None), int):
            raise ValueError(
                f"config: got {config!r:.60} without {name}, want a "
                "LlamaConfig"
            )
    return {
        letter: f"{getattr(config, name):,}" for letter, name in names.items()
    }


def _alt(size: Mapping[str, str]) -> str:
    return f"""The Llama whole. Text becomes ids in the tokenizer, and ids
    vectors of width {size["D"]} in the embedding: the residual stream. Then
    {size["N"]} blocks: a norm and attention ({size["H"]} query heads of
    {size["K"]}, {size["G"]} key/value heads, rotary positions, a causal
    mask), added to the stream; a norm and SwiGLU, {size["D"]} to {size["F"]}
    to {size["D"]}, added to the stream. At the end a norm and lm_head give
    logits, of which sampling draws one token more, and the ids are one
    longer."""
