"""Bytes counted: to the byte where they can be added up by hand."""

import pytest
import torch
from handmade.blocks.attention import attention
from handmade.inference.flash_attention import flash_attention
from handmade.inference.memory_count import MemoryCount


def test_views_and_writing_in_place_cost_nothing():
    before = torch.zeros(100)
    with MemoryCount() as count:
        before.add_(1)
        _ = before[:50].reshape(5, 10).T
        assert count.now == count.peak == 0
        x = before + 1
        assert count.now == 400
        y = x.double()
        assert count.now == 1200
        kept = y[:1]
        del y
        assert count.now == 1200  # a view keeps the whole memory alive
        del x, kept
        assert count.now == 0
    assert count.peak == 1200


def test_what_the_backward_pass_needs_is_counted_as_long_as_it_waits():
    x = torch.randn(25, requires_grad=True)
    with MemoryCount() as count:
        y = x.exp().sum()
        assert count.now == 100 + 4
        y.backward()
        assert count.now == 100 + 4  # x.grad, and y
    assert count.peak >= 204


def heads(T, device="cpu"):
    return [
        torch.randn(1, H, T, 8, device=device, requires_grad=True)
        for H in (4, 2, 2)
    ]


def peaks(attend, T, device="cpu"):
    """Return bytes: forward alone, waiting, and forward and backward."""
    q, k, v = heads(T, device)
    with MemoryCount() as count, torch.no_grad():
        attend(q, k, v)
    forward = count.peak
    with MemoryCount() as count:
        out = attend(q, k, v)
        waiting = count.now
        out.sum().backward()
    return forward, waiting, count.peak


def by_tiles(q, k, v):
    return flash_attention(q, k, v, causal=True, block_q=32, block_k=32)


@pytest.mark.parametrize("T", [96, 160])
def test_the_whole_matrix_to_the_byte(T):
    forward, _, _ = peaks(attention, T)
    # scores and weights, beside q scaled and keys and values repeated
    assert forward == 4 * (2 * 4 * T * T + 3 * 4 * T * 8)


def test_tiles_keep_out_and_one_number_a_query():
    for T in (96, 160):
        _, waiting, _ = peaks(by_tiles, T)
        assert waiting == 4 * (4 * T * 8 + 4 * T)


def test_quadratic_against_linear():
    """Second differences: none by tiles, constant with the matrix."""
    at = (96, 128, 160, 192)
    for i in range(3):
        whole, tiled = (
            torch.tensor([peaks(fn, T)[i] for T in at])
            for fn in (attention, by_tiles)
        )
        assert (whole.diff(n=2) > 4 * 4 * 32**2).all()
        assert not whole.diff(n=3).any()
        assert not tiled.diff(n=2).any()


def test_the_meta_device_counts_the_same_without_the_memory():
    for fn in (attention, by_tiles):
        assert peaks(fn, 96) == peaks(fn, 96, "meta")
    T = 2**17
    with MemoryCount() as count:
        attention(*heads(T, "meta"))
    assert count.peak > 2 * 4 * 4 * T**2
