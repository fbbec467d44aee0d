"""Learned and sinusoidal positions, and what attention is without them.

Without positions attention is permutation equivariant: with P a reordering
of the rows, softmax((PX)(PX)^T) PX = P softmax(XX^T) P^T P X = P attn(X).
Sinusoidal vectors: p_s . p_t = sum_i cos((s - t) w_i), the distance alone.
"""

import pytest
import torch
from handmade.blocks.feedforward import SwiGLU
from handmade.blocks.masks import causal_mask
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import RMSNorm
from handmade.blocks.positions import LearnedPositions, sinusoidal_positions
from torch import nn
from torch.testing import assert_close


def test_sinusoidal_by_hand():
    got = sinusoidal_positions(torch.tensor([0, 1]), 4)
    one, slow = torch.tensor(1.0), torch.tensor(0.01)
    want = torch.tensor(
        [[0, 1, 0, 1], [one.sin(), one.cos(), slow.sin(), slow.cos()]]
    )
    assert_close(got, want)


def test_sinusoidal_equals_transformers():
    from transformers.models.marian.modeling_marian import (
        MarianSinusoidalPositionalEmbedding,
    )

    marian = MarianSinusoidalPositionalEmbedding(700, 22)
    halves = marian.create_weight()  # all sines, then all cosines
    positions = torch.randint(0, 700, (3, 5))
    want = halves[positions].unflatten(-1, (2, -1)).mT.flatten(-2)
    assert_close(sinusoidal_positions(positions, 22), want)


def test_only_the_distance_counts_and_a_shift_is_one_matrix():
    p = sinusoidal_positions(torch.arange(80), 16).double()
    dots = p @ p.T
    for distance in (0, 1, 7, 50):
        along = dots.diagonal(distance)
        assert along.max() - along.min() < 1e-5
    shift = torch.linalg.lstsq(p[:-9], p[9:]).solution
    assert_close(p[:-9] @ shift, p[9:], rtol=0, atol=1e-4)


def test_far_positions_keep_their_digits():
    far = 2_000_000
    got = sinusoidal_positions(torch.tensor([far]), 2)[0, 0]
    assert got.item() == pytest.approx(torch.tensor(far).double().sin().item())


def test_learned_is_an_embedding_with_its_gradient():
    ours = LearnedPositions(9, 6).double()
    theirs = nn.Embedding(9, 6, dtype=torch.float64)
    theirs.weight.data.copy_(ours.weight.data)
    positions = torch.tensor([[0, 3, 3], [8, 1, 0]])
    weight = torch.randn(2, 3, 6, dtype=torch.float64)
    for table in (ours, theirs):
        (table(positions) * weight).sum().backward()
    assert_close(ours(positions), theirs(positions), rtol=0, atol=0)
    assert_close(ours.weight.grad, theirs.weight.grad, rtol=0, atol=1e-14)
    untouched = [2, 4, 5, 6, 7]
    assert ours.weight.grad[untouched].eq(0).all()


def test_narrow_positions_are_looked_up_not_masked():
    table, at = LearnedPositions(9, 6), torch.tensor([[3, 0, 8]])
    assert torch.equal(table(at.int()), table(at))


def test_nothing_asked_nothing_given():
    assert LearnedPositions(4, 6)(torch.zeros(2, 0).long()).shape == (2, 0, 6)


def encoder_layer(x, attn, ffn, norm, mask=None):
    x = x + attn(norm(x), mask=mask)
    return x + ffn(norm(x))


def test_attention_without_positions_is_permutation_equivariant():
    T, D = 7, 12
    parts = (
        MultiHeadAttention(D, 3).double(),
        SwiGLU(D, 20).double(),
        RMSNorm(D).double(),
    )
    x = torch.randn(2, T, D, dtype=torch.float64)
    order = torch.randperm(T)
    plain = encoder_layer(x, *parts)
    moved = encoder_layer(x[:, order], *parts)
    assert_close(moved, plain[:, order], rtol=0, atol=1e-12)
    bare = parts[0]
    assert_close(
        bare(x[:, order]), bare(x)[:, order], rtol=0, atol=1e-12
    )  # fmt: skip


@pytest.mark.parametrize("how", ["mask", "learned", "sinusoidal"])
def test_a_mask_or_positions_break_it(how):
    T, D = 7, 12
    attn = MultiHeadAttention(D, 3).double()
    x = torch.randn(2, T, D, dtype=torch.float64)
    order = torch.arange(T).flip(0)
    mask = causal_mask(T) if how == "mask" else None
    p = 0
    if how == "learned":
        p = LearnedPositions(T, D).double()(torch.arange(T))
    elif how == "sinusoidal":
        p = sinusoidal_positions(torch.arange(T), D).double()
    gap = (
        attn(x[:, order] + p, mask=mask) - attn(x + p, mask=mask)[:, order]
    ).abs()  # fmt: skip
    assert gap.max() > 1e-2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: sinusoidal_positions(torch.arange(3), 5), "d_model: got 5"),
        (lambda: sinusoidal_positions(torch.arange(3), 0), "d_model: got 0"),
        (
            lambda: sinusoidal_positions(torch.arange(3), 4, -1.0),
            "theta: got -1",
        ),
        (
            lambda: LearnedPositions(4, 6)(torch.tensor([1, 0]).bool()),
            "positions: got dtype torch.bool",
        ),
        (
            lambda: LearnedPositions(4, 6)(torch.tensor([1, 0]).byte()),
            "positions: got dtype torch.uint8",
        ),
        (lambda: LearnedPositions(4, 6)([1, 0]), "positions: got a list"),
        (lambda: LearnedPositions(4, 6, std=float("nan")), "std: got nan"),
        (lambda: LearnedPositions(0, 6), "max_seq_len: got 0"),
        (
            lambda: sinusoidal_positions(torch.arange(3), 4, float("nan")),
            "theta: got nan",
        ),
        (
            lambda: sinusoidal_positions(torch.arange(3), 4, float("inf")),
            "theta: got inf",
        ),
        (lambda: sinusoidal_positions(3, 4), "positions: got an int"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


@pytest.mark.parametrize("at", [-1, -3, 4, 9])
def test_a_position_off_the_table_is_named(at):
    table = LearnedPositions(4, 2)
    with pytest.raises(ValueError, match=rf"positions: got {at}, want 0 to 3"):
        table(torch.tensor([0, at, 1]))


def test_one_number_cannot_hold_a_sine_and_a_cosine():
    with pytest.raises(ValueError, match="d_model: got 1"):
        sinusoidal_positions(torch.arange(3), 1)
