"""Masks: which query may look at which key.

T queries and S keys, the queries being the last T of S positions: query t
sits at position S - T + t, so it may attend to key s exactly where
s <= S - T + t.
"""

import pytest
import torch
from handmade.blocks.attention import attention
from handmade.blocks.masks import causal_mask, padding_mask
from torch.nn.attention.bias import causal_lower_right


@pytest.mark.parametrize(("T", "S"), [(5, 5), (3, 7), (1, 6), (1, 1), (0, 3)])
def test_causal_follows_its_definition(T, S):
    mask_TS = causal_mask(T, S)
    assert mask_TS.dtype == torch.bool
    assert mask_TS.shape == (T, S)
    for t in range(T):
        for s in range(S):
            assert mask_TS[t, s] == (s <= S - T + t)


def test_causal_defaults_to_as_many_keys_as_queries():
    assert torch.equal(causal_mask(4), causal_mask(4, 4))


def test_causal_equals_pytorchs_lower_right_bias():
    x = torch.randn(1, 1, 7, 4, dtype=torch.float64)
    q = x[..., -3:, :]
    want = torch.nn.functional.scaled_dot_product_attention(
        q, x, x, attn_mask=causal_lower_right(3, 7)
    )
    torch.testing.assert_close(
        attention(q, x, x, causal_mask(3, 7)), want, rtol=0, atol=1e-12
    )


def test_more_queries_than_keys_is_an_error():
    with pytest.raises(ValueError, match="T: got 5"):
        causal_mask(5, 3)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool])
def test_padding_hides_the_padding_keys(dtype):
    mask = padding_mask(torch.tensor([[0, 1, 1], [1, 1, 0]]).to(dtype))
    assert mask.shape == (2, 1, 1, 3)
    assert mask.dtype == torch.bool
    assert mask[:, 0, 0].tolist() == [[False, True, True], [True, True, False]]


@pytest.mark.parametrize(
    "wrong", [torch.ones(3), torch.ones(2, 1, 1, 3), torch.ones(2, 3)]
)
def test_padding_wants_a_table_of_yes_and_no(wrong):
    with pytest.raises(ValueError, match="attention_mask"):
        padding_mask(wrong)


def test_masks_combine():
    both = causal_mask(3) & padding_mask(torch.tensor([[0, 1, 1]]))
    assert both.shape == (1, 1, 3, 3)
    assert both[0, 0].tolist() == [
        [False, False, False],
        [False, True, False],
        [False, True, True],
    ]


@pytest.mark.parametrize("t", range(1, 5))
def test_no_output_before_a_changed_token_moves(t):
    """Perturbation: y_0 … y_{t-1} must not depend on x_t."""
    x = torch.randn(5, 4, dtype=torch.float64)
    changed = x.clone()
    changed[t] += 1
    before = attention(x, x, x, causal_mask(5))
    after = attention(changed, changed, changed, causal_mask(5))
    assert torch.equal(before[:t], after[:t])
    assert not torch.allclose(before[t:], after[t:])


def test_padding_does_not_change_the_tokens():
    x = torch.randn(1, 2, 4, 6, dtype=torch.float64)
    junk = torch.randn(1, 2, 3, 6, dtype=torch.float64)
    right = torch.cat([x, junk], dim=2)
    left = torch.cat([junk, x], dim=2)
    want = attention(x, x, x)
    mask = padding_mask(torch.tensor([[1, 1, 1, 1, 0, 0, 0]]))
    got = attention(right, right, right, mask)[..., :4, :]
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    got = attention(left, left, left, mask.flip(-1))[..., 3:, :]
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
