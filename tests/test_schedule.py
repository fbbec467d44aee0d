"""Schedules: their ends, their shape, and PyTorch's own beside them."""

import itertools
import math

import pytest
import torch
from handmade.training.schedule import warmup_cosine, warmup_linear


def test_the_cosine_is_that_of_pytorch():
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, 20, eta_min=0.1
    )
    ours = warmup_cosine(20, lowest=0.1)
    for step in range(20):
        assert ours(step) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()
    assert ours(20) == pytest.approx(0.1)
    assert ours(1000) == pytest.approx(0.1)


@pytest.mark.parametrize("kind", [warmup_cosine, warmup_linear])
def test_it_rises_for_as_many_steps_as_asked_then_falls(kind):
    factor = kind(30, warmup=10)
    rise = [factor(step) for step in range(10)]
    assert rise == pytest.approx([(s + 1) / 10 for s in range(10)])
    fall = [factor(step) for step in range(10, 31)]
    assert fall[0] == 1
    assert fall[-1] == pytest.approx(0, abs=1e-12)
    assert all(a > b for a, b in itertools.pairwise(fall))


def test_the_line_stays_flat_as_long_as_asked():
    factor = warmup_linear(100, flat=0.4, lowest=0.2)
    assert factor(0) == factor(40) == 1
    assert factor(70) == pytest.approx(0.6)
    assert factor(100) == factor(500) == pytest.approx(0.2)


def test_what_makes_no_schedule_is_refused():
    for kind in (warmup_cosine, warmup_linear):
        for steps, options, said in (
            (0, {}, "steps"),
            (10, {"warmup": 10}, "warmup"),
            (10, {"lowest": 1.5}, "lowest"),
            (10, {"lowest": math.nan}, "lowest"),
        ):
            with pytest.raises(ValueError, match=said):
                kind(steps, **options)
    with pytest.raises(ValueError, match="flat"):
        warmup_linear(10, flat=1.0)
