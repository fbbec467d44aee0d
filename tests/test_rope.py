"""Rotary positions against transformers, and the property they exist for."""

import pytest
import torch
from handmade.blocks.rope import (
    apply_rope,
    rope_angles,
    rotate_half,
    token_positions,
)


def test_equals_transformers():
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import (
        LlamaRotaryEmbedding,
        apply_rotary_pos_emb,
    )

    B, H, T, K = 2, 3, 7, 10
    positions = torch.randint(0, 900, (B, T))
    q, k = torch.randn(2, B, H, T, K)
    config = LlamaConfig(
        hidden_size=H * K,
        num_attention_heads=H,
        head_dim=K,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
    )
    cos, sin = LlamaRotaryEmbedding(config)(q, positions)
    want = apply_rotary_pos_emb(q, k, cos, sin)
    rope = rope_angles(positions, K, 5000.0)
    torch.testing.assert_close(rope, (cos, sin), rtol=0, atol=0)
    torch.testing.assert_close(
        (apply_rope(q, rope), apply_rope(k, rope)), want
    )


def test_by_hand():
    # one pair, position 1: turned by 1 radian
    x = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    got = apply_rope(x, rope_angles(torch.tensor([[1]]), 2))
    want = torch.tensor([1.0]).cos(), torch.tensor([1.0]).sin()
    torch.testing.assert_close(got.flatten(), torch.cat(want))


def test_only_the_distance_counts():
    # <R(s) q, R(t) k> depends on t - s alone
    K = 8
    q, k = torch.randn(2, 1, 1, 1, K, dtype=torch.float64)

    def score(s: int, t: int) -> float:
        q_at = apply_rope(q, rope_angles(torch.tensor([[s]]), K))
        k_at = apply_rope(k, rope_angles(torch.tensor([[t]]), K))
        return (q_at * k_at).sum().item()

    assert score(3, 10) == pytest.approx(score(40, 47), rel=1e-5)
    assert abs(score(3, 10) - score(3, 11)) > 1e-3


def test_lengths_are_kept():
    x = torch.randn(2, 3, 5, 6)
    turned = apply_rope(x, rope_angles(torch.arange(5)[None], 6))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(turned[:, :, 0], x[:, :, 0])


def test_four_quarter_turns():
    x = torch.randn(3, 6)
    torch.testing.assert_close(rotate_half(rotate_half(x)), -x)


def test_angles_stay_float32_and_the_dtype_is_kept():
    cos, _ = rope_angles(torch.arange(4)[None], 6)
    assert cos.dtype == torch.float32
    x = torch.randn(1, 2, 4, 6, dtype=torch.bfloat16)
    assert apply_rope(x, (cos, cos)).dtype == torch.bfloat16


def test_positions_of_padded_rows():
    mask = torch.tensor(
        [[1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]
    )
    want = [[0, 1, 2, 3], [0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert token_positions(mask).tolist() == want
    assert token_positions(mask.bool()).tolist() == want


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: rope_angles(torch.arange(3)[None], 5), "d_head: got 5"),
        (lambda: rope_angles(torch.arange(3)[None], 4, 0.0), "theta: got 0"),
        # tokens and heads swapped: (B, T, H, K) instead of (B, H, T, K)
        (
            lambda: apply_rope(
                torch.zeros(1, 5, 2, 4), rope_angles(torch.arange(5)[None], 4)
            ),
            "rope: got angles",
        ),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_equals_transformers_in_float64_with_gradients():
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    B, H, T, K = 2, 3, 7, 10
    rope = rope_angles(torch.randint(0, 900, (B, T)), K)
    rope = tuple(angle.double() for angle in rope)
    x = torch.randn(B, H, T, K, dtype=torch.float64)
    ours, theirs = (x.clone().requires_grad_() for _ in range(2))
    weight = torch.randn_like(x)
    got = apply_rope(ours, rope)
    want, _ = apply_rotary_pos_emb(theirs, theirs, *rope)
    (got * weight).sum().backward()
    (want * weight).sum().backward()
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-10)


def test_one_vector_everywhere_has_constant_diagonals():
    # the property of RoPE for all places, heads and pairs at once
    H, T, K = 3, 30, 8
    q, k = torch.randn(2, 1, H, 1, K, dtype=torch.float64)
    rope = rope_angles(torch.arange(T)[None], K)
    q, k = (apply_rope(x.expand(1, H, T, K), rope) for x in (q, k))
    scores = q @ k.mT
    moved = scores[..., 1:, 1:] - scores[..., :-1, :-1]
    assert moved.abs().max() < 1e-4
    assert (scores[..., 1:, :] - scores[..., :-1, :]).abs().max() > 0.1


def test_pairing_neighbours_is_the_same_after_renumbering():
    H, T, K = 2, 5, 8
    cos, sin = rope_angles(torch.arange(T)[None], K)
    q, k = torch.randn(2, 1, H, T, K)

    def neighbours(x):
        a, b = x[..., ::2], x[..., 1::2]
        c, s = cos[:, None, :, : K // 2], sin[:, None, :, : K // 2]
        return torch.stack((a * c - b * s, b * c + a * s), -1).flatten(-2)

    order = [*range(0, K, 2), *range(1, K, 2)]
    ours = apply_rope(q[..., order], (cos, sin)) @ (
        apply_rope(k[..., order], (cos, sin)).mT
    )
    metas = neighbours(q) @ neighbours(k).mT
    torch.testing.assert_close(ours, metas)
    mixed = apply_rope(q, (cos, sin)) @ apply_rope(k, (cos, sin)).mT
    assert (mixed - metas).abs().max() > 0.1
