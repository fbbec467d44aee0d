"""Muon and the groups of AdamW, against PyTorch's own."""

import pytest
import torch
from handmade.training.optimizers import Muon, adamw_groups, orthogonal_part
from torch import nn


def draws(n=6, shape=(5, 3), seed=0):
    g = torch.Generator().manual_seed(seed)
    return [
        torch.randn(shape, generator=g, dtype=torch.float64) for _ in range(n)
    ]


def stepped(optimizer_of, start, grads):
    p = nn.Parameter(start.clone())
    optimizer = optimizer_of(p)
    for g in grads:
        p.grad = g.clone()
        optimizer.step()
    return p.detach()


def test_the_adamw_rule_is_torchs():
    start, *grads = draws()
    options = {"lr": 0.1, "weight_decay": 0.3, "betas": (0.8, 0.9)}
    ours = stepped(
        lambda p: Muon([{"params": [p], "rule": "adamw"}], **options),
        start,
        grads,
    )
    theirs = stepped(lambda p: torch.optim.AdamW([p], **options), start, grads)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_muon_is_torchs_but_for_its_bfloat16(shape, monkeypatch):
    # PyTorch rounds the iteration to bfloat16: given float64, it is ours
    start, *grads = draws(shape=shape)
    ours = stepped(
        lambda p: Muon([p], lr=0.1, weight_decay=0.3, momentum=0.9),
        start,
        grads,
    )
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda x: x)
    theirs = stepped(
        lambda p: torch.optim.Muon(
            [p], lr=0.1, weight_decay=0.3, momentum=0.9
        ),
        start,
        grads,
    )
    # its moving average weighs the gradient by 1 - momentum: a factor that
    # the orthogonal part does not see
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_the_orthogonal_part_has_singular_values_near_one():
    for shape in ((8, 8), (4, 9), (9, 4), (2, 6, 5)):
        g = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        u, s, vh = torch.linalg.svd(g.double(), full_matrices=False)
        ours = orthogonal_part(g.double())
        wide = s.amin(-1) > 0.05 * s.amax(-1)
        assert wide.all()
        core = u.mT @ ours @ vh.mT
        singular = core.diagonal(dim1=-2, dim2=-1)
        assert ((singular > 0.6) & (singular < 1.3)).all()
        off = core - torch.diag_embed(singular)
        assert off.abs().max() < 1e-9


def test_matrices_of_one_shape_are_stepped_as_each_alone():
    one, two, *grads = draws(4)
    together = [nn.Parameter(one.clone()), nn.Parameter(two.clone())]
    optimizer = Muon(together, lr=0.1)
    for p, g in zip(together, grads, strict=True):
        p.grad = g
    optimizer.step()
    for p, start, g in zip(together, (one, two), grads, strict=True):
        alone = stepped(lambda p: Muon([p], lr=0.1), start, [g])
        torch.testing.assert_close(p.detach(), alone, rtol=0, atol=1e-12)


def test_what_has_no_gradient_stays():
    p = nn.Parameter(torch.ones(3, 2))
    optimizer = Muon([p], weight_decay=0.5)
    optimizer.step()
    assert torch.equal(p, torch.ones(3, 2))
    p.grad = torch.ones(3, 2)
    assert optimizer.step(lambda: 7) == 7


def test_only_matrices_decay_and_each_parameter_stands_once():
    model = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 5))
    model[2].weight = model[0].weight  # tied
    frozen = nn.Linear(2, 2).requires_grad_(False)
    model.append(frozen)
    groups = adamw_groups(model, 0.1)
    shapes = [sorted(tuple(p.shape) for p in g["params"]) for g in groups]
    assert shapes == [[(5, 4)], [(4,), (4,), (5,)]]
    assert [g["weight_decay"] for g in groups] == [0.1, 0.0]
    assert len(adamw_groups(nn.Linear(2, 2, bias=False), 0.1)) == 1
    with pytest.raises(ValueError, match="no parameter"):
        adamw_groups(frozen, 0.1)


def test_what_is_no_matrix_is_refused_under_muon():
    for bad in (
        nn.Parameter(torch.ones(3)),
        nn.Parameter(torch.ones(2, 2, 2)),
    ):
        with pytest.raises(ValueError, match=r"params: got shape"):
            Muon([bad])
    with pytest.raises(ValueError, match="rule: got 'sgd'"):
        Muon([{"params": [nn.Parameter(torch.ones(2))], "rule": "sgd"}])
    for options in ({"momentum": 1.0}, {"lr": -1}, {"betas": (0.9,)}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Muon([nn.Parameter(torch.ones(2, 2))], **options)


def test_bfloat16_and_one_iteration_less_change_an_update_a_little():
    start, *grads = draws(shape=(12, 7))
    exact = stepped(lambda p: Muon([p], lr=0.1), start, grads)
    rounded = stepped(
        lambda p: Muon([p], lr=0.1, precision=torch.bfloat16, iterations=4),
        start,
        grads,
    )
    moved = (exact - start).norm()
    assert 0 < (exact - rounded).norm() < 0.4 * moved
    with pytest.raises(ValueError, match=r"precision: got torch.float16"):
        Muon([nn.Parameter(start)], precision=torch.float16)
