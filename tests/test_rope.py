"""Rotary positions against transformers, and the property they exist for."""

import pytest
import torch
from handmade.blocks.rope import (
    RopeScaling,
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


AT = torch.arange(3)[None]
ANGLES = rope_angles(AT, 4)
TWO_ROWS = rope_angles(AT.expand(2, 3), 4)


def linear(**other):
    return RopeScaling(**{"kind": "linear", "factor": 2.5, **other})


def llama3(**other):
    numbers = {
        "kind": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_seq_len": 8192,
    }
    return RopeScaling(**{**numbers, **other})


SCALINGS = {
    "linear": linear(),
    "llama3": llama3(),
    "llama3, Llama 3.2": llama3(factor=32.0),
    "llama3, others": llama3(
        factor=3.0, low_freq_factor=2.0, original_max_seq_len=100
    ),
}


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS.keys())
@pytest.mark.parametrize("d_rope", [16, 64])
def test_scaled_angles_equal_transformers(scaling, d_rope):
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    numbers = {"factor": scaling.factor}
    if scaling.kind == "llama3":
        numbers["low_freq_factor"] = scaling.low_freq_factor
        numbers["high_freq_factor"] = scaling.high_freq_factor
        length = scaling.original_max_seq_len
        numbers["original_max_position_embeddings"] = length
    config = LlamaConfig(
        head_dim=d_rope,
        max_position_embeddings=131_072,
        rope_parameters={
            "rope_type": scaling.kind,
            "rope_theta": 500_000.0,
            **numbers,
        },
    )
    frequency, factor = ROPE_INIT_FUNCTIONS[scaling.kind](config, "cpu")
    assert factor == 1
    plain = 1 / 500_000.0 ** (torch.arange(0, d_rope, 2).float() / d_rope)
    assert torch.equal(scaling.slow(plain), frequency)
    assert not torch.equal(plain, frequency)
    positions = torch.randint(0, 100_000, (3, 40))
    want = LlamaRotaryEmbedding(config)(torch.zeros(1), positions)
    got = rope_angles(positions, d_rope, 500_000.0, scaling)
    assert got[0].dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_llama3_scaling_by_hand():
    # 64 tokens: a turn in 8 tokens is done 8 times (kept), one in 128 half
    # a time (slowed to an eighth), one in 64 / 2.5 between: s = 1/2
    turn = 2 * torch.pi / torch.tensor([8.0, 64 / 2.5, 128.0])
    got = llama3(original_max_seq_len=64).slow(turn) / turn
    torch.testing.assert_close(got, torch.tensor([1, 0.5 + 0.5 / 8, 1 / 8]))


@pytest.mark.parametrize("scaling", [None, *SCALINGS.values()])
def test_a_token_alone_has_the_angles_it_has_in_the_whole(scaling):
    at = torch.arange(900)[None]
    whole = rope_angles(at, 32, 10_000.0, scaling)
    for t in (0, 1, 99, 101, 899):
        alone = rope_angles(at[:, t : t + 1], 32, 10_000.0, scaling)
        for a, b in zip(alone, whole, strict=True):
            assert torch.equal(a, b[:, t : t + 1])


def test_narrow_angles_turn_the_first_axes_only():
    x = torch.randn(2, 3, 5, 10)
    rope = rope_angles(torch.arange(5)[None], 6)
    got = apply_rope(x, rope)
    assert torch.equal(got[..., 6:], x[..., 6:])
    assert torch.equal(got[..., :6], apply_rope(x[..., :6].clone(), rope))


def test_the_batch_of_the_angles_is_the_last_of_several():
    x = torch.randn(3, 2, 4, 5, 6)  # (A, B, H, T, K)
    rope = rope_angles(torch.randint(0, 99, (2, 5)), 6)
    got = apply_rope(x, rope)
    assert got.shape == x.shape
    assert torch.equal(got[1], apply_rope(x[1], rope))
    with pytest.raises(ValueError, match="rope: got angles"):
        apply_rope(x, rope_angles(torch.zeros(3, 5), 6))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: rope_angles(torch.arange(3)[None], 5), "d_head: got 5"),
        (lambda: rope_angles(torch.arange(3)[None], 4, 0.0), "theta: got 0"),
        (lambda: rope_angles(AT, 4, float("nan")), "theta: got nan"),
        (lambda: rope_angles(AT, 4, float("inf")), "theta: got inf"),
        (lambda: rope_angles(AT, 4, True), "theta: got True"),
        (lambda: rope_angles(AT.bool(), 4), "positions: got dtype torch.bool"),
        (lambda: rope_angles(AT, 4.0), "d_head: got 4.0"),
        # whole numbers would be cut off after the turn
        (
            lambda: apply_rope(torch.ones(1, 2, 3, 4).long(), ANGLES),
            "x: got dtype torch.int64",
        ),
        # wider than the head, another batch, no axis of heads
        (lambda: apply_rope(torch.ones(1, 2, 3, 2), ANGLES), "rope: got ang"),
        (
            lambda: apply_rope(torch.ones(3, 2, 3, 4), TWO_ROWS),
            "rope: got angles",
        ),
        (
            lambda: apply_rope(torch.ones(2, 3, 4), TWO_ROWS),
            "rope: got angles",
        ),
        (lambda: apply_rope(torch.ones(3, 4), ANGLES), "x: got shape"),
        (lambda: apply_rope(torch.ones(1, 2, 3, 4), None), "rope: got"),
        (
            lambda: apply_rope(torch.ones(1, 2, 3, 4), ANGLES[:1] * 3),
            "rope: got",
        ),
        (lambda: token_positions(torch.ones(2, 3)), "attention_mask: got dty"),
        (lambda: RopeScaling(kind="yarn", factor=2.0), "kind: got 'yarn'"),
        (lambda: linear(factor=0.0), "factor: got 0.0"),
        (lambda: linear(factor=float("nan")), "factor: got nan"),
        (lambda: linear(low_freq_factor=1.0), "low_freq_factor: got 1.0"),
        (lambda: llama3(low_freq_factor=None), "low_freq_factor: got None"),
        (lambda: llama3(high_freq_factor=1.0), "high_freq_factor: got 1.0"),
        (
            lambda: llama3(original_max_seq_len=64.5),
            "original_max_seq_len: got 64.5",
        ),
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


def test_angles_are_tensors_of_floats():
    x = torch.randn(1, 2, 3, 4)
    whole = torch.ones(1, 3, 4, dtype=torch.int64)
    for wrong in ((whole, whole), ([1.0], [0.0]), (None, None)):
        with pytest.raises(ValueError, match="rope: got"):
            apply_rope(x, wrong)
