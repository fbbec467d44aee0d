"""Explorable: two answers, one from a broken model; guess, then see where.

A guess lights one bar a block: how far each model is from Hugging Face's
there. What was planted, and the place where it first shows, come as data.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

import traitlets

from handmade.checks import kind, need
from handmade.parity import ParityRow
from handmade.planted import Round
from handmade.tolerances import TOLERANCES
from handmade.widgets.base import (
    Explorable,
    Explorer,
    assets,
    check_labels,
    explorer,
)

# a part of a block, in words
PLACES = {
    "attn_norm": "norm before attention",
    "attn": "attention",
    "ffn_norm": "norm before the feed-forward layer",
    "ffn": "feed-forward layer",
}
IN_A_BLOCK = re.compile(r"blocks\.(\d+)\.(\w+)")


class BrokenModel(Explorable):
    """A game of a few rounds; `picked` is the reader's guess, -1 for none."""

    _esm, _css = assets("broken_model")
    sets = ("round", "picked")
    rounds = traitlets.List().tag(sync=True)
    round = traitlets.Int(0).tag(sync=True)
    picked = traitlets.Int(-1).tag(sync=True)


def broken_model(rounds: Iterable[Round]) -> Explorer:
    """Return the game, one round after the other."""
    want = "one or more of handmade.planted.Round"
    kind("rounds", rounds, Iterable, want)
    listed = list(rounds)
    need(bool(listed), "rounds", "none", want)
    for each in listed:
        kind("rounds", each, Round, want)
    return explorer(BrokenModel(rounds=[pack(each) for each in listed]))


def pack(played: Round) -> dict[str, Any]:
    """Return a round as the drawing reads it.

    Raises ValueError where the bug shows outside of the blocks only.
    """
    kind("played", played, Round, "a handmade.planted.Round")
    bug, first = played.bug, played.first_wrong()
    place = IN_A_BLOCK.fullmatch(first.layer)
    if place is None or place[2] not in PLACES:
        raise ValueError(f"round: got a bug in {first.layer!r}, want a block")
    texts = [bug.question, *played.answers, bug.says, bug.page, bug.title]
    check_labels("round", texts)
    return {
        "question": bug.question,
        "answers": list(played.answers),
        "broken": played.broken,
        "bars": [bars(rows) for rows in played.rows],
        "tolerance": TOLERANCES[first.dtype],
        "layer": first.layer,
        "block": int(place[1]) + 1,
        "place": PLACES[place[2]],
        "difference": shown(first.difference),
        "says": bug.says,
        "page": bug.page,
        "title": bug.title,
    }


def bars(rows: Iterable[ParityRow]) -> list[float]:
    """Return how far a model is off after each block, in their order."""
    found = [row.difference for row in rows if row.pattern == "blocks.{}"]
    need(bool(found), "rows", "none of a block", "those of `blocks.{}`")
    return [shown(difference) for difference in found]


def shown(difference: float) -> float:
    """Round to the digits that a bar can show."""
    finite = math.isfinite(difference) and difference >= 0
    need(finite, "difference", difference, "a finite number >= 0")
    return float(f"{difference:.2g}")
