"""The recall task, its two models, and the count of what has to wait."""

import pytest
import torch
from handmade.blocks.attention import attention
from handmade.blocks.why_attention import (
    KEYS,
    VALUES,
    AttentionRecall,
    RecurrentRecall,
    matrix_products,
    recall_batch,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_every_question_has_one_answer_and_all_are_asked():
    keys, values, asked, answers = recall_batch(9, 5, generator())
    for row in zip(keys, values, asked, answers, strict=True):
        keys_, values_, asked_, answers_ = (x.tolist() for x in row)
        assert len(set(keys_)) == 9
        assert sorted(asked_) == sorted(keys_)
        pairs = dict(zip(keys_, values_, strict=True))
        assert [pairs[key] for key in asked_] == answers_
    assert keys.max() < KEYS
    assert values.max() < VALUES


def test_batches_follow_the_generator():
    a, b = (recall_batch(4, 3, generator(7)) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("T", [0, KEYS + 1])
def test_more_pairs_than_keys_are_an_error(T):
    with pytest.raises(ValueError, match="T: got"):
        recall_batch(T, 1, generator())


@pytest.mark.parametrize("kind", [AttentionRecall, RecurrentRecall])
def test_no_question_depends_on_another_row(kind):
    model = kind(8)
    *inputs, _ = recall_batch(5, 3, generator())
    out = model(*inputs)
    assert out.shape == (3, 5, VALUES)
    one = model(*(x[1:2] for x in inputs))
    torch.testing.assert_close(one[0], out[1])


def test_only_the_recurrent_model_knows_an_order():
    *inputs, _ = recall_batch(5, 3, generator())
    turned = [inputs[0].flip(1), inputs[1].flip(1), inputs[2]]
    lookup, state = AttentionRecall(8), RecurrentRecall(8)
    torch.testing.assert_close(lookup(*turned), lookup(*inputs))
    assert not torch.allclose(state(*turned), state(*inputs))


# -- products and chains, on graphs whose counts are known


def leaf():
    return torch.randn(3, 3, requires_grad=True)


def test_a_product_of_products():
    a, b, c = leaf(), leaf(), leaf()
    assert matrix_products(a @ b) == (1, 1)
    assert matrix_products((a @ b) @ c) == (2, 2)
    # side by side: four products, none in a chain of more than two
    assert matrix_products((a @ b) @ (b @ c)) == (3, 2)
    assert matrix_products(a @ b + b @ c + c @ a) == (3, 1)
    assert matrix_products((a + b).tanh()) == (0, 0)


def test_a_shared_step_counts_once_and_branches_take_the_longer():
    a = leaf()
    once = a @ a
    assert matrix_products(once + once.tanh() + once @ a) == (2, 2)
    long = ((a @ a) @ a) @ a
    assert matrix_products(a @ a + long) == (4, 3)
    assert matrix_products(long + a @ a) == (4, 3)


@pytest.mark.parametrize("T", [2, 7])
def test_a_recurrence_waits_and_attention_does_not(T):
    w = leaf()
    h, xs = torch.zeros(1, 3), torch.randn(T, 1, 3)
    for x in xs:
        h = (x @ w + h @ w).tanh()
    assert matrix_products(h) == (2 * T, T)
    x = torch.randn(T, 3)
    assert matrix_products(attention(x @ w, x @ w, x @ w)) == (5, 3)


def test_a_tensor_without_a_graph_is_an_error():
    with pytest.raises(ValueError, match="y: got"):
        matrix_products(torch.ones(2))


def test_every_key_may_be_asked():
    keys, _, asked, _ = recall_batch(KEYS, 2, torch.Generator())
    for drawn in (keys, asked):
        assert torch.equal(drawn.sort().values[0], torch.arange(KEYS))
