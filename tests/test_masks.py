"""Masks: which query may look at which key.

T queries and S keys, the queries being the last T of S positions: query t
sits at position S - T + t, so it may attend to key s exactly where
s <= S - T + t.
"""

import pytest
import torch
from handmade.blocks.attention import attention
from handmade.blocks.masks import (
    causal_mask,
    padding_mask,
    prefix_mask,
    sliding_window_mask,
)
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


SIZES = [(5, 5), (3, 7), (1, 6), (1, 1), (0, 3)]


@pytest.mark.parametrize(("T", "S"), SIZES)
@pytest.mark.parametrize("number", [1, 2, 4, 9])
def test_prefix_and_window_follow_their_definitions(T, S, number):
    prefix = prefix_mask(T, number, S)
    window = sliding_window_mask(T, number, S)
    for mask in (prefix, window):
        assert mask.dtype == torch.bool
        assert mask.shape == (T, S)
    for t in range(T):
        at = S - T + t
        for s in range(S):
            assert prefix[t, s] == (s <= at or s < number)
            assert window[t, s] == (0 <= at - s < number)


def test_the_ends_of_prefix_and_window_are_other_masks():
    assert torch.equal(prefix_mask(4, 0), causal_mask(4))
    assert prefix_mask(4, 4).all()
    assert torch.equal(sliding_window_mask(4, 4), causal_mask(4))
    assert torch.equal(sliding_window_mask(4, 1), torch.eye(4).bool())


def test_wrong_prefixes_and_windows_are_errors():
    with pytest.raises(ValueError, match="prefix: got -1"):
        prefix_mask(3, -1)
    with pytest.raises(ValueError, match="window: got 0"):
        sliding_window_mask(3, 0)
    for build in (prefix_mask, sliding_window_mask):
        with pytest.raises(ValueError, match=r"(prefix|window): got 2.5"):
            build(3, 2.5)
        with pytest.raises(ValueError, match=r"(prefix|window): got True"):
            build(3, True)
        with pytest.raises(ValueError, match="T: got 5"):
            build(5, 2, 3)


@pytest.mark.parametrize("window", [1, 3, 8])
@pytest.mark.parametrize(("T", "S"), [(6, 6), (2, 7), (1, 5)])
def test_window_equals_transformers(T, S, window):
    from transformers.masking_utils import sliding_window_causal_mask_function

    allowed = sliding_window_causal_mask_function(window)
    want = [
        [
            bool(allowed(0, 0, torch.tensor(q), torch.tensor(k)))
            for k in range(S)
        ]
        for q in range(S - T, S)
    ]
    assert sliding_window_mask(T, window, S).tolist() == want


@pytest.mark.parametrize(
    "mask", [prefix_mask(6, 3), sliding_window_mask(6, 2)]
)
def test_perturbation_finds_the_mask_and_nothing_else(mask):
    """Output t moves with input s exactly where mask[t, s]."""
    x = torch.randn(6, 4, dtype=torch.float64)
    before = attention(x, x, x, mask)
    for s in range(6):
        changed = x.clone()
        changed[s] += 1
        gap = (attention(changed, changed, changed, mask) - before).abs()
        assert torch.equal(gap.amax(-1) > 1e-9, mask[:, s])


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool])
def test_padding_hides_the_padding_keys(dtype):
    mask = padding_mask(torch.tensor([[0, 1, 1], [1, 1, 0]]).to(dtype))
    assert mask.shape == (2, 1, 1, 3)
    assert mask.dtype == torch.bool
    assert mask[:, 0, 0].tolist() == [[False, True, True], [True, True, False]]


@pytest.mark.parametrize(
    ("T", "S", "says"),
    [
        (2.0, 3, "T: got 2.0"),
        (-1, 3, "T: got -1"),
        (True, 3, "T: got True"),
        (2, "3", "S: got '3'"),
        (None, 3, "T: got None"),
        (torch.tensor(2), 3, "T: got tensor"),
    ],
)
def test_lengths_are_whole_numbers(T, S, says):
    with pytest.raises(ValueError, match=says):
        causal_mask(T, S)


def test_masks_are_made_where_they_are_wanted():
    for mask in (
        causal_mask(3, device="meta"),
        prefix_mask(3, 1, device="meta"),
        sliding_window_mask(3, 1, device="meta"),
        padding_mask(torch.ones(1, 3, dtype=torch.int64, device="meta")),
    ):
        assert mask.device.type == "meta"


@pytest.mark.parametrize(
    "wrong",
    [
        torch.ones(3),
        torch.ones(3).long(),
        torch.ones(2, 1, 1, 3),
        torch.ones(2, 1, 1, 3).long(),
        torch.ones(2, 3),
        [[1, 1, 0]],
        None,
    ],
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
