"""Each row has a scale of its own: nothing hides behind something large."""

import math

import pytest
import torch
from handmade.gaps import FLOOR, largest_gap

INF, NAN = math.inf, math.nan


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_an_error_is_measured_on_its_own_tokens_scale():
    want = torch.ones(1, 4, 3)
    want[0, 0] = 22_452  # SmolLM2's first token
    got = want.clone()
    got[0, 2, 1] += 0.5
    gap = largest_gap(got, want)
    assert gap.index == (0, 2, 1)
    assert gap.difference == 0.5
    assert gap.scale == 1
    got[0, 0, 2] += 100  # larger, and less of its token
    assert largest_gap(got, want).index == (0, 2, 1)


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        ((2, 3, 5), 6),  # (B, T, D) and logits (B, T, V): a token
        ((2, 4, 3, 5), 24),  # (B, H, T, S): a head's query
        ((4, 5), 4),  # (B, D), pooled: a sequence
        ((5,), 1),  # a vector as a whole
    ],
)
def test_a_row_is_the_last_axis(shape, rows):
    torch.manual_seed(0)
    want = torch.rand(shape, dtype=torch.float64) + 1
    sizes = 2.0 ** torch.arange(rows).remainder(5)
    want = (want.reshape(rows, -1) * sizes[:, None]).reshape(shape)
    for row in range(rows):
        got = want.reshape(rows, -1).clone()
        largest = got[row].max().item()
        got[row, 1] += 1e-3 * largest
        gap = largest_gap(got.reshape(shape), want)
        assert gap.difference == pytest.approx(1e-3)
        assert gap.scale == pytest.approx(largest)


def test_a_number_by_itself_is_its_own_scale():
    gap = largest_gap(torch.tensor(2.2), torch.tensor(2.0))
    assert gap.difference == pytest.approx(0.1)
    assert gap.index == ()


def test_rows_of_zeros_stand_on_the_floor():
    want = tensor([4, -4], [0, 0], [4, 4])
    got = tensor([4, -4], [0, 1e-6], [4, 4])
    gap = largest_gap(got, want)
    assert gap.scale == FLOOR * 4
    assert gap.difference == pytest.approx(1e-6 / (FLOOR * 4))
    assert gap.index == (1, 1)


def test_an_outlier_does_not_raise_the_floor():
    want = tensor([1, 1], [0, 0], [1, 1], [1e9, 1])
    got = want + tensor([0, 0], [1e-6, 0], [0, 0], [0, 0])
    assert largest_gap(got, want).scale == FLOOR


def test_a_row_above_the_floor_is_its_own_scale():
    want = tensor([1, 1], [2 * FLOOR, 0], [1, 1])
    got = want + tensor([0, 0], [0, 1e-6], [0, 0])
    assert largest_gap(got, want).scale == 2 * FLOOR


def test_zeros_everywhere_have_scale_one():
    want = torch.zeros(2, 3)
    assert largest_gap(want, want).difference == 0
    assert largest_gap(want + 0.5, want).difference == 0.5


def test_the_smallest_numbers_have_a_scale_too():
    tiny = torch.full((2, 2), 5e-324, dtype=torch.float64)
    assert largest_gap(tiny, tiny).difference == 0
    assert largest_gap(2 * tiny, tiny).difference > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow(dtype):
    want = torch.full((1, 2), 3e4, dtype=dtype)
    assert largest_gap(-want, want).difference == 2


@pytest.mark.parametrize(
    ("got", "want", "difference"),
    [
        (INF, INF, 0),
        (-INF, -INF, 0),
        (INF, -INF, INF),
        (1.0, INF, INF),
        (INF, 1.0, INF),
        (1e308, INF, INF),
        (NAN, 1.0, INF),
        (1.0, NAN, INF),
        (NAN, NAN, INF),
        (NAN, INF, INF),
    ],
)
def test_infinities_and_nan(got, want, difference):
    want, got = tensor([1, want], [1, 1]), tensor([1, got], [1, 1])
    assert largest_gap(got, want).difference == difference
    if difference == INF:
        assert largest_gap(got, want).index == (0, 1)


def test_an_infinity_is_no_scale():
    want = tensor([INF, 1, 2], [1, 1, 1])
    got = tensor([INF, 1, 2.5], [1, 1, 1])
    gap = largest_gap(got, want)
    assert (gap.scale, gap.difference) == (2, 0.25)
    # nor is a row of nothing else: it stands on the floor
    want = tensor([-INF, -INF], [1, 1])
    assert largest_gap(want, want).difference == 0


def test_nan_is_equal_when_asked_and_to_nan_only():
    want, got = tensor([NAN, 1.0]), tensor([NAN, 1.0])
    assert largest_gap(got, want, nan_equal=True).difference == 0
    for wrong in (tensor([1.0, 1.0]), tensor([NAN, NAN]), tensor([INF, 1.0])):
        assert largest_gap(wrong, want, nan_equal=True).difference == INF


def test_only_what_is_chosen_counts_for_the_scale_too():
    want = tensor([1, 1], [100, 100], [0, 0])
    got = tensor([1, 1], [7, NAN], [0, 1e-3])
    chosen = torch.tensor([[True], [False], [True]])
    gap = largest_gap(got, want, chosen)
    assert gap.index == (2, 1)
    assert gap.scale == FLOOR  # the median of [1], not of [1, 100]
    assert largest_gap(want, want, chosen).index[0] != 1


@pytest.mark.parametrize(
    ("got", "want", "chosen"),
    [
        (torch.ones(2), torch.ones(3), None),
        (torch.ones(0, 3), torch.ones(0, 3), None),
        (torch.ones(2, 3), torch.ones(2, 3), torch.zeros(1, 1).bool()),
        (torch.ones(2).long(), torch.ones(2).long(), None),
        (torch.ones(2), torch.ones(2).long(), None),
        (torch.ones(2).long(), torch.ones(2), None),
    ],
)
def test_nothing_to_compare(got, want, chosen):
    with pytest.raises(ValueError, match=r"^(got|want)\b.*: got"):
        largest_gap(got, want, chosen)
