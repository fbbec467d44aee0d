"""Sentence vectors against sums written out, and a search against sorting.

With mean pooling, sum the vectors of a text's tokens, padding excluded, and
divide by their number. Padding must change nothing, which side it is on,
and a mean that counts it must be seen to differ.
"""

import pytest
import torch
from handmade.models.bert import Bert, BertConfig
from handmade.models.sentences import (
    by_length,
    embed,
    first_token,
    mean_pool,
    search,
)
from torch.nn import functional as F

B, T, D = 4, 7, 6
LEFT = torch.tensor([[0] * n + [1] * (T - n) for n in (0, 3, 6, 1)])


def bert(**changes) -> Bert:
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 31, "d_model": 12, "n_layers": 2, "n_heads": 3,
        "d_ff": 20, "max_seq_len": 16,
    }  # fmt: skip
    model = Bert(BertConfig(**{**sizes, **changes})).double().eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.4)
    return model


def some_rows() -> list[list[int]]:
    generator = torch.Generator().manual_seed(2)
    lengths = [3, 9, 1, 5, 5, 12, 2, 9, 4]
    return [
        torch.randint(1, 31, (n,), generator=generator).tolist()
        for n in lengths
    ]


@pytest.mark.parametrize("mask", [LEFT, LEFT.flip(-1), LEFT.bool()])
def test_pooling_is_the_sum_written_out(mask):
    hidden = torch.randn(B, T, D, dtype=torch.float64)
    mean, first = mean_pool(hidden, mask), first_token(hidden, mask)
    for i in range(B):
        real = [hidden[i, t] for t in range(T) if mask[i, t]]
        torch.testing.assert_close(mean[i], sum(real) / len(real))
        assert torch.equal(first[i], real[0])


def test_a_mean_over_the_padding_is_another():
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(B, T, D, generator=g, dtype=torch.float64)
    right = mean_pool(hidden, LEFT)
    wrong = hidden.mean(1)
    assert torch.allclose(right[0], wrong[0])  # a row without padding
    assert ((right - wrong)[1:].abs().amax(-1) > 0.1).all()


def test_what_lies_in_the_padding_does_not_count():
    hidden = torch.randn(B, T, D)
    other = torch.where(LEFT.bool()[..., None], hidden, 99.0)
    assert torch.equal(mean_pool(hidden, LEFT), mean_pool(other, LEFT))
    nothing = mean_pool(hidden, torch.zeros_like(LEFT))
    assert nothing.eq(0).all()


@pytest.mark.parametrize("pool", [mean_pool, first_token])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_a_batch_says_what_each_row_says_alone(pool, batch_size):
    model, rows = bert(), some_rows()
    got = embed(model, rows, pool=pool, batch_size=batch_size)
    for vector, row in zip(got, rows, strict=True):
        hidden = model(torch.tensor([row]))
        one = pool(hidden, torch.ones(1, len(row)).long())
        torch.testing.assert_close(vector[None], F.normalize(one, dim=-1))
    torch.testing.assert_close(
        got.norm(dim=-1), torch.ones(len(rows)).double()
    )
    assert not got.requires_grad


def test_a_function_of_ones_own_is_a_model():
    table = torch.eye(31)
    got = embed(lambda ids, mask: table[ids], some_rows())
    assert got[2].argmax() == some_rows()[2][0]


def test_the_pad_id_is_anything():
    rows = some_rows()
    a, b = (embed(bert(), rows, pad_id=n) for n in (0, 30))
    assert torch.equal(a, b)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_rows_of_a_length_are_together(batch_size):
    rows = some_rows()
    batches = list(by_length(rows, batch_size))
    assert sorted(i for b in batches for i in b) == [*range(len(rows))]
    assert max(map(len, batches)) == min(batch_size, len(rows))
    lengths = [len(rows[i]) for batch in batches for i in batch]
    assert lengths == sorted(lengths, reverse=True)


def test_search_is_sorting_by_the_cosine():
    q, t = torch.randn(3, D), 5 * torch.randn(20, D)
    cosines, places = search(q, t, k=4)
    for i in range(3):
        want = torch.cosine_similarity(q[i][None], t)
        order = want.argsort(descending=True)[:4]
        assert places[i].tolist() == order.tolist()
        torch.testing.assert_close(cosines[i], want[order])


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (lambda: mean_pool(torch.randn(2, 3, 4), torch.ones(2, 4).long()),
         r"attention_mask: got \(2, 4\) with hidden \(2, 3, 4\)"),
        (lambda: first_token(torch.randn(2, 3), torch.ones(2, 3).long()),
         r"hidden: got shape \(2, 3\)"),
        (lambda: mean_pool(torch.randn(2, 3, 4), torch.ones(2, 3)),
         "attention_mask: got dtype torch.float32"),
        (lambda: embed(bert(), []), "rows: got none"),
        (lambda: embed(bert(), [[1], []]), "rows: got a text without a token"),
        (lambda: embed(bert(), [[1], [0.5]]), "rows: got 0.5"),
        (lambda: embed(bert(), ["abc"]), "rows: got the str 'abc'"),
        (lambda: embed(bert(), [[1] * 17]), "length of ids: got 17"),
        (lambda: embed(bert(), [[1]], batch_size=0), "batch_size: got 0"),
        (lambda: embed(bert(), [[1]], pool="mean"), "pool: got a str"),
        (lambda: search(torch.randn(2, 3), torch.randn(4, 5)),
         "texts: got width 5, want 3"),
        (lambda: search(torch.randn(2, 3), torch.randn(4, 3), k=5),
         "k: got 5, want 1 to 4"),
        (lambda: search(torch.randn(3), torch.randn(4, 3)), "queries: got"),
        (lambda: search(torch.randn(2, 3), torch.randn(4, 3).double()),
         "texts: got torch.float64, want torch.float32"),
    ],
)  # fmt: skip
def test_what_is_refused(fn, message):
    with pytest.raises(ValueError, match=message):
        fn()
