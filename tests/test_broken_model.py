"""The game: what it is given, what it says, and in which order."""

import pytest
import torch
from handmade.parity import ParityRow
from handmade.planted import BUGS, Round
from handmade.widgets.broken_model import bars, broken_model, pack
from script_helpers import run_script


def row(layer: str, difference: float) -> ParityRow:
    pattern = "blocks.{}" if layer.count(".") == 1 else "else"
    return ParityRow(
        layer, layer, pattern, torch.float32, difference, 1.0, (), (), ()
    )


def played(broken=1, *, where="blocks.1.ffn") -> Round:
    right = [row("blocks.0", 3e-7), row("blocks.1", 5.04e-7)]
    wrong = [right[0], row(where, 0.0599), row("blocks.1", 0.0234)]
    rows = (wrong, right) if broken == 0 else (right, wrong)
    return Round(bug=BUGS[0], answers=("x", "y"), rows=rows, broken=broken)


@pytest.mark.parametrize("broken", [0, 1])
def test_a_round_is_packed_in_the_order_of_its_answers(broken):
    packed = pack(played(broken))
    assert packed["broken"] == broken
    assert packed["answers"] == ["x", "y"]
    assert packed["bars"][broken] == [3e-7, 0.023]
    assert packed["bars"][1 - broken] == [3e-7, 5e-7]
    assert (packed["block"], packed["layer"]) == (2, "blocks.1.ffn")
    assert packed["place"] == "feed-forward layer"
    assert packed["difference"] == 0.06
    assert packed["tolerance"] == 1e-4


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match=r"round: got a bug in 'norm', want"):
        pack(played(where="norm"))
    with pytest.raises(ValueError, match=r"rounds: got none, want one"):
        broken_model([])
    with pytest.raises(ValueError, match=r"rounds: got an int, want one"):
        broken_model([played(), 3])
    with pytest.raises(ValueError, match=r"rows: got none of a block"):
        bars([row("norm", 0.1)])
    with pytest.raises(ValueError, match=r"difference: got inf, want a fin"):
        bars([row("blocks.0", float("inf"))])


def test_nothing_is_guessed_before_the_reader_does():
    (drawing,) = broken_model([played(), played(0)]).children
    assert (drawing.round, drawing.picked) == (0, -1)
    assert [each["broken"] for each in drawing.rounds] == [1, 0]


def test_the_bars_are_logarithmic_and_bounded():
    values = [0, 1e-12, 1e-8, 1e-4, 0.1, 1, 3.2]
    got = run_script(
        "broken_model", "return values.map(height);", values=values
    )
    assert got == pytest.approx([0, 0, 0, 0.5, 0.875, 1, 1])


def test_a_share_is_told_in_percent():
    body = "return values.map(share);"
    got = run_script("broken_model", body, values=[0.0599, 1e-4, 3.2, 5e-7])
    assert got == [f"{n}\u00a0%" for n in ("6", "0.01", "320", "0.00005")]


@pytest.mark.parametrize("broken", [0, 1])
def test_the_verdict_names_the_broken_one_and_its_place(broken):
    right, wrong = run_script(
        "broken_model",
        "return guesses.map((guess) => verdict(round, guess));",
        round=pack(played(broken)),
        guesses=[broken, 1 - broken],
    )
    letter, other = "AB"[broken], "AB"[1 - broken]
    assert right["found"]
    assert not wrong["found"]
    assert right["head"] == f"Yes, {letter} is the broken one."
    assert wrong["head"] == f"No, it is {letter}."
    assert right["where"] == wrong["where"]
    assert right["where"].startswith(f"{letter} leaves Hugging Face's")
    assert (
        "block 2, in its feed-forward layer: off by 6\u00a0%" in right["where"]
    )
    assert right["where"].endswith(f"{other} never does.")


def test_the_bars_speak_to_those_who_do_not_see_them():
    packed = pack(played())
    right, wrong = run_script(
        "broken_model",
        "return round.bars.map((bars) => spoken(bars, round.tolerance));",
        round=packed,
    )
    assert right == "2 blocks, none off by more than rounding"
    assert wrong == "2 blocks, off by more than rounding from block 2 on"
