"""A text as characters: there and back, two sides, windows."""

import pytest
import torch
from handmade.training.characters import (
    Alphabet,
    all_windows,
    draw_windows,
    shuffled_windows,
    sides,
)

TEXT = "to be, or not to be: that is the question\n"


def test_a_text_comes_back_as_it_was():
    alphabet = Alphabet.of(TEXT)
    ids = alphabet.encode(TEXT)
    assert ids.dtype == torch.int64
    assert ids.max() == len(alphabet) - 1
    assert alphabet.decode(ids) == TEXT
    assert Alphabet.of(TEXT[::-1]) == alphabet
    assert alphabet.encode("").shape == (0,)
    assert alphabet.decode(alphabet.encode("")) == ""


def test_unknown_characters_and_numbers_are_named():
    alphabet = Alphabet.of(TEXT)
    with pytest.raises(ValueError, match="text: got 'X', '€'"):
        alphabet.encode("be€X")
    with pytest.raises(ValueError, match="ids: got 99"):
        alphabet.decode(torch.tensor([0, 99]))
    for bad in ("", "aba"):
        with pytest.raises(ValueError, match="characters"):
            Alphabet(bad)
    with pytest.raises(ValueError, match="text: got none"):
        Alphabet.of("")


def test_the_sides_share_no_character():
    learned, held = sides(TEXT, 0.25)
    assert learned + held == TEXT
    assert len(held) == round(0.25 * len(TEXT))
    for share in (0.0, 1.0, 2.0):
        with pytest.raises(ValueError, match="both sides"):
            sides(TEXT, share)
    with pytest.raises(ValueError, match="both sides"):
        sides("", 0.1)


def test_every_place_of_the_text_is_drawn_and_none_beyond():
    ids = torch.arange(10)
    g = torch.Generator().manual_seed(0)
    rows = draw_windows(ids, 3, 500, g)
    assert rows.shape == (500, 4)
    assert (rows.diff(dim=1) == 1).all()
    assert sorted(set(rows[:, 0].tolist())) == [0, 1, 2, 3, 4, 5, 6]
    again = draw_windows(ids, 3, 500, torch.Generator().manual_seed(0))
    assert torch.equal(rows, again)


@pytest.mark.parametrize("n", [4, 5, 6, 7, 11, 40, 41, 42])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_pass_predicts_each_character_once(n, batch_size):
    ids, T = torch.arange(n), 3
    windows = max(1, (n - T) // T)
    passes = 6
    steps = -(-passes * windows // batch_size)
    rows = torch.cat(
        [
            shuffled_windows(ids, T, batch_size, step=step, seed=3)
            for step in range(steps)
        ]
    )
    assert rows.shape[1] == T + 1
    assert (rows.diff(dim=1) == 1).all()
    offsets, orders = set(), set()
    for part in rows[: passes * windows].split(windows):
        targets = part[:, 1:].flatten().sort().values
        assert targets.diff().eq(1).all(), "one twice, or a gap"
        # what a pass leaves out is less than two windows, at the ends
        assert n - 1 - len(targets) < 2 * T
        offsets.add(targets[0].item())
        orders.add(tuple(part[:, 0].tolist()))
    if windows > 5:
        assert len(offsets) > 1
        assert len(orders) == passes


def test_the_order_is_a_function_of_step_and_seed():
    ids = torch.arange(400)
    one = shuffled_windows(ids, 8, 4, step=5, seed=0)
    for step in (40, 5, 0):
        other = shuffled_windows(ids, 8, 4, step=step, seed=0)
        assert torch.equal(one, other) == (step == 5)
    assert not torch.equal(one, shuffled_windows(ids, 8, 4, step=5, seed=1))


@pytest.mark.parametrize("n", range(2, 15))
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_each_character_after_the_first_is_predicted_once(n, batch_size):
    rows = list(all_windows(torch.arange(n), 4, batch_size))
    targets = torch.cat([row[:, 1:].flatten() for row in rows])
    assert targets.tolist() == list(range(1, n))
    assert all((row.diff(dim=1) == 1).all() for row in rows)
    assert all(row.shape[0] <= batch_size for row in rows)


def test_a_text_shorter_than_a_window_is_refused():
    g = torch.Generator()
    for n in (0, 1, 3):
        with pytest.raises(ValueError, match=r"ids: got shape"):
            draw_windows(torch.arange(n), 3, 2, g)
        with pytest.raises(ValueError, match=r"ids: got shape"):
            shuffled_windows(torch.arange(n), 3, 2, step=0, seed=0)
    assert draw_windows(torch.arange(4), 3, 2, g).shape == (2, 4)
    with pytest.raises(ValueError, match="ids"):
        list(all_windows(torch.arange(1), 3, 2))
