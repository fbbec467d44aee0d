"""The fake device computes what the CPU does, and refuses what CUDA would."""

import pytest
import torch
from second_device import (
    NAME,
    DeviceMixupError,
    Second,
    registered,
    second_device,
)
from torch import nn
from torch.nn import functional as F


def inner(tensor):
    assert isinstance(tensor, Second), tensor
    assert tensor.device == registered()
    return tensor.inner


def test_numbers_are_the_cpus():
    x = torch.randn(3, 4)
    with second_device():
        y = (x.to(NAME) @ x.to(NAME).mT).softmax(-1)
        assert y.sum().item() == pytest.approx(3)
        assert y[0, 0].tolist() == pytest.approx(
            float((x @ x.T).softmax(-1)[0, 0])
        )
    torch.testing.assert_close(inner(y), (x @ x.T).softmax(-1))


def test_factories_follow_their_device():
    with second_device():
        for made in (
            torch.zeros(2, device=NAME),
            torch.arange(3, device=registered()),
            torch.tensor([1.0, 2.0], device=NAME),
            torch.zeros(2, device=NAME).new_ones(3),
            torch.zeros_like(torch.ones(2, device=NAME)),
            torch.ones(2).to(NAME),
            torch.as_tensor([1, 2], device=NAME),
            torch.zeros(2, device=NAME).new_tensor([1, 2]),
        ):
            assert made.device == registered()
        assert torch.arange(3).device.type == "cpu"
        assert torch.ones(2, device=NAME).cpu().device.type == "cpu"


MIXUPS = {
    "a sum": lambda x: x + torch.ones(3),
    "a product": lambda x: x @ torch.ones(3, 3),
    "a mask": lambda x: x.masked_fill(torch.ones(3).bool(), 0),
    "where": lambda x: torch.where(torch.ones(3).bool(), x, x),
    "cat": lambda x: torch.cat([x, torch.ones(2, 3)]),
    "an index": lambda x: x[torch.tensor([0, 1])],
    "in place": lambda x: x.add_(torch.ones(3)),
    "into the CPU's": lambda x: torch.ones(2, 3).add_(x),
    "a layer": lambda x: nn.Linear(3, 2)(x),
    "an embedding": lambda x: F.embedding(torch.tensor([0]), x),
    "isin": lambda x: torch.isin(x, torch.tensor([1.0, 2.0])),
    "a generator": lambda x: torch.rand(
        2, device=x.device, generator=torch.Generator()
    ),
    "sampling": lambda x: x.abs().multinomial(1, generator=torch.Generator()),
}


@pytest.mark.parametrize("what", MIXUPS)
def test_mixups_raise(what):
    with second_device():
        x = torch.ones(2, 3).to(NAME)
        with pytest.raises(DeviceMixupError):
            MIXUPS[what](x)


def test_numbers_may_join():
    with second_device():
        x = torch.ones(2, 3).to(NAME)
        assert inner(x * torch.tensor(2.0)).eq(2).all()
        assert inner(x + 1).eq(2).all()


def test_training_is_the_cpus():
    def trained(device):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
        x, y = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
        model, x, y = model.to(device), x.to(device), y.to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
        return [p.detach() for p in model.parameters()]

    want = trained("cpu")
    with second_device():
        got = trained(NAME)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(inner(a), b)


def test_outside_the_block_nothing_is_second():
    with second_device():
        pass
    assert not torch.__future__.get_swap_module_params_on_conversion()
    assert nn.Linear(2, 2)(torch.ones(1, 2)).device.type == "cpu"


def test_tied_parameters_stay_tied_and_the_same():
    model = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 4, bias=False))
    model[1].weight = model[0].weight
    weight = model[0].weight
    with second_device():
        model.to(NAME)
        assert model[0].weight is model[1].weight is weight
        assert weight.device == registered()
        model.to("cpu")
        assert model[0].weight is model[1].weight is weight
    assert weight.device.type == "cpu"
