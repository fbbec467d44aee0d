"""Held-out characters are judged once each, after half a window of others."""

import pytest
import torch
from handmade.training.mini_gpt_loss import (
    character_loss,
    half_windows,
    judged_count,
)
from torch import nn
from torch.nn import functional as F


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 40])
@pytest.mark.parametrize("T", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_each_is_judged_once_and_after_half_a_window(n, T, batch_size):
    judged = []
    for ids, marks in half_windows(torch.arange(n), T, batch_size):
        assert len(ids) == len(marks) <= batch_size
        assert ids.shape[1] - 1 == marks.shape[1] == min(T, n - 1)
        assert (ids.diff(dim=1) == 1).all()
        assert judged_count(ids, marks) == marks.sum() > 0
        judged += ids[:, 1:][marks].tolist()
        for row, mark in zip(ids, marks, strict=True):
            before = mark.int().argmax().item() + 1
            assert row[0] == 0 or before > T // 2, "too little before it"
    assert judged == list(range(1, n))


class Counts(nn.Module):
    """A model that knows how far each place is from the window's begin."""

    def __init__(self, n):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Parameter(torch.randn(n, 20, dtype=torch.float64))

    def forward(self, ids):
        return self.table[: ids.shape[1]].expand(len(ids), -1, -1)


def test_the_loss_is_that_of_the_marked_alone():
    model = Counts(6)
    ids = torch.randint(20, (3, 7))
    marks = torch.rand(3, 6) < 0.5
    marks[0, 0] = True
    losses = F.cross_entropy(
        model(ids[:, :-1]).mT, ids[:, 1:], reduction="none"
    )
    near = {"rtol": 0, "atol": 1e-14}
    ours = character_loss(model, ids, marks)
    torch.testing.assert_close(ours, losses[marks].mean(), **near)
    torch.testing.assert_close(
        character_loss(model, ids), losses.mean(), **near
    )
    assert judged_count(ids) == 18


@pytest.mark.parametrize(
    ("judged", "says"),
    [
        (torch.ones(3, 6), "judged: got torch.float32, want a tensor of bool"),
        (torch.ones(3, 7).bool(), r"judged: got \(3, 7\)"),
        (torch.zeros(3, 6).bool(), "judged: got none"),
        ([True], "judged: got list"),
    ],
)
def test_wrong_marks_are_named(judged, says):
    ids = torch.zeros(3, 7, dtype=torch.int64)
    with pytest.raises(ValueError, match=says):
        character_loss(Counts(6), ids, judged)
    with pytest.raises(ValueError, match=says):
        judged_count(ids, judged)


def test_a_text_too_short_is_named():
    with pytest.raises(ValueError, match="ids: got 1 characters"):
        list(half_windows(torch.zeros(1, dtype=torch.int64), 3, 2))
