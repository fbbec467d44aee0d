"""Embeddings: a lookup is a one-hot product, its gradient a scatter-add."""

import pytest
import torch
from handmade.text.embeddings import lookup, nearest, without_common_direction
from torch import nn

V, D = 11, 6


def table() -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randn(V, D, generator=g, dtype=torch.float64) + 0.7


@pytest.mark.parametrize(
    "ids",
    [[3], [[1, 2, 1], [0, 10, 1]], [[[4, 4], [4, 4]]], [[], []]],
    ids=["one", "batch", "three axes", "empty"],
)
def test_lookup_is_the_one_hot_product_gradient_too(ids):
    ids = torch.tensor(ids, dtype=torch.int64)
    ours, theirs = table().requires_grad_(), table().requires_grad_()
    out = lookup(ours, ids)
    want = nn.functional.one_hot(ids, V).double() @ theirs
    torch.testing.assert_close(out, want, rtol=0, atol=1e-12)
    weights = torch.arange(out.numel()).double().view_as(out)
    (out * weights).sum().backward()
    (want * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-12)


def test_gradcheck():
    ids = torch.tensor([[1, 1, 4]])
    start = table().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: lookup(t, ids), start)


@pytest.mark.parametrize("ids", [[11], [-1], [0, 99]])
def test_an_id_outside_the_table_is_an_error(ids):
    with pytest.raises(ValueError, match="want 0 to 10"):
        lookup(table(), torch.tensor(ids))


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
def test_narrow_ids_are_widened(dtype):
    ids = torch.tensor([2, 0], dtype=dtype)
    assert torch.equal(lookup(table(), ids), table()[[2, 0]])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float32])
def test_ids_that_torch_takes_for_a_mask_are_refused(dtype):
    ids = torch.ones(V).to(dtype)
    with pytest.raises(ValueError, match=r"ids: got Tensor .*want"):
        lookup(table(), ids)


def test_nearest_reads_no_row_from_the_end():
    for token in (-1, V):
        with pytest.raises(ValueError, match=f"token: got {token}, want"):
            nearest(table(), token)


def test_the_common_direction_is_gone():
    start = table()
    u = start.mean(0) / start.mean(0).norm()
    left = without_common_direction(start)
    assert (left @ u).abs().max() < 1e-12
    # and nothing else is: what was removed is along u
    removed = start - left
    torch.testing.assert_close(removed, (removed @ u)[:, None] * u)


def test_nearest_sorts_by_cosine_and_leaves_the_token_out():
    start = table()
    start[4] = 3 * start[2]  # the same direction
    found = nearest(start, 2, k=V - 1)
    assert found[0] == 4
    assert sorted([*found, 2]) == list(range(V))
    cosine = torch.cosine_similarity(start[found], start[2][None])
    assert (cosine.diff() <= 0).all()
    with pytest.raises(ValueError, match="k: got 11"):
        nearest(start, 0, k=V)
