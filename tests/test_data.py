"""Data: splits, packing, document masks, order.

Packing is right when it changes nothing: a document in the middle of a row
must get the numbers it gets alone. That is tested through a real attention,
and by perturbation: change one document, and no other one moves.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from handmade.blocks.attention import attention
from handmade.blocks.masks import causal_mask
from handmade.text.data import (
    IGNORE,
    NOTHING,
    Packed,
    batches,
    document_mask,
    ngram_bits,
    order,
    pack,
    split,
)

WORKS = {f"work {i}": chr(97 + i) * (100 + 37 * i) for i in range(20)}


def documents(seed: int, n: int = 30, longest: int = 23) -> list[list[int]]:
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, longest + 1, (n,), generator=g).tolist()
    return [torch.randint(1, 99, (k,), generator=g).tolist() for k in lengths]


# -- split


@pytest.mark.parametrize("seed", range(5))
def test_split_holds_out_whole_works_of_about_the_share(seed):
    works = {f"work {i}": "x" * (100 + 7 * i) for i in range(1000)}
    train, held = split(works, 0.2, seed)
    assert train | held == works
    assert not set(train) & set(held)
    share = sum(map(len, held.values())) / sum(map(len, works.values()))
    assert 0.16 < share < 0.24  # 0.2, and three standard deviations


@pytest.mark.parametrize("seed", range(5))
def test_adding_a_work_moves_no_other(seed):
    train, held = split(WORKS, 0.3, seed)
    for title in WORKS:
        fewer = {t: text for t, text in WORKS.items() if t != title}
        now_train, now_held = split(fewer, 0.3, seed)
        assert set(now_train) == set(train) - {title}
        assert set(now_held) == set(held) - {title}
    assert set(held) <= set(split(WORKS, 0.6, seed)[1])


def test_split_depends_on_titles_and_seed_only():
    backwards = dict(reversed(WORKS.items()))
    assert split(WORKS, 0.3) == split(backwards, 0.3)
    held = {tuple(split(WORKS, 0.3, seed=seed)[1]) for seed in range(5)}
    assert len(held) == 5


def test_a_split_with_an_empty_side_is_an_error():
    with pytest.raises(ValueError, match="works: got 1"):
        split({"alone": "text"})
    with pytest.raises(ValueError, match="share: got 1"):
        split(WORKS, 1)


# -- the leak meter


def test_ngram_bits_follows_its_formula():
    # order 0, train "aab": p(a) = (2 + 5/256) / (3 + 5), p(c) = 5/256 / 8
    p_a, p_c = (2 + 5 / 256) / 8, (5 / 256) / 8
    want = -torch.tensor([p_a, p_c], dtype=torch.float64).log2().mean()
    assert ngram_bits("aab", "ac", order=0) == pytest.approx(want.item())


def test_ngram_bits_falls_where_the_text_was_seen():
    g = torch.Generator().manual_seed(0)
    text = bytes(torch.randint(97, 123, (4000,), generator=g).tolist())
    a, b = text[:2000].decode(), text[2000:].decode()
    assert ngram_bits(a, a) < 2 < 4 < ngram_bits(a, b)
    with pytest.raises(ValueError, match="held_out"):
        ngram_bits(a, "short", order=5)
    assert ngram_bits("déjà vu " * 9, "déjà vu") < 2  # bytes, any language


@pytest.mark.parametrize("order", range(8))
def test_ngram_bits_counts_each_order_exactly(order):
    """Against a dict of byte strings; the largest bytes overflow first."""
    g = torch.Generator().manual_seed(order)
    draw = torch.randint(0, 3, (2, 400), generator=g)
    train, asked = ("".join("ÿa\U0010ffff"[i] for i in row) for row in draw)
    seen, new = train.encode(), asked.encode()
    bits = 0.0
    for end in range(order, len(new)):
        p = 1 / 256
        for k in range(order + 1):
            context, whole = new[end - k : end], new[end - k : end + 1]
            ends = range(order, len(seen))
            n = sum(seen[e - k : e + 1] == whole for e in ends)
            of = sum(seen[e - k : e] == context for e in ends)
            p = (n + 5 * p) / (of + 5)
        bits -= math.log2(p)
    want = bits / (len(new) - order)
    assert ngram_bits(train, asked, order) == pytest.approx(want)


def test_an_order_that_int64_cannot_count_is_refused():
    for wrong in (-1, 8, 100):
        with pytest.raises(ValueError, match=f"order: got {wrong}, want"):
            ngram_bits("ab" * 99, "ab" * 99, wrong)


# -- pack


def test_documents_may_be_lists_arrays_or_tensors():
    given = [[1, 2, 3], [4]]
    for made in (tuple, np.array, torch.tensor):
        packed = pack([made(ids) for ids in given], 4)
        assert packed.ids.tolist() == [[1, 2, 3, 4]]
        assert packed.ids.dtype == torch.int64


@pytest.mark.parametrize("T", [7, 16, 23])
@pytest.mark.parametrize("seed", range(4))
def test_pack_loses_no_token_and_keeps_documents_whole(seed, T):
    given = documents(seed)
    packed = pack(given, T)
    pieces = []
    for ids, numbers in zip(packed.ids, packed.documents, strict=True):
        for number in range(int(numbers.max()) + 1):
            pieces.append(tuple(ids[numbers == number].tolist()))
    want = [tuple(d[i : i + T]) for d in given for i in range(0, len(d), T)]
    assert sorted(pieces) == sorted(want)
    assert packed.padding == (packed.documents == NOTHING).double().mean()


@pytest.mark.parametrize("seed", range(4))
def test_labels_and_positions_follow_their_definition(seed):
    packed = pack(documents(seed), 16)
    for row in range(len(packed.ids)):
        fields = (packed.ids, packed.labels, packed.documents)
        ids, labels, numbers = (x[row].tolist() for x in fields)
        for t, number in enumerate(numbers):
            inside = t + 1 < 16 and numbers[t + 1] == number != NOTHING
            assert labels[t] == (ids[t + 1] if inside else IGNORE)
            start = numbers.index(number)
            want = 0 if number == NOTHING else t - start
            assert packed.positions[row, t] == want


def test_best_fit_needs_few_rows():
    # halves and quarters fit without a gap, in whatever order they come
    given = [[1] * 8, [2] * 4, [3] * 16, [4] * 4, [5] * 12, [6] * 4]
    for permuted in itertools.permutations(given):
        assert pack(permuted, 16).padding == 0


def test_pack_says_what_is_wrong():
    with pytest.raises(ValueError, match="documents: got no token"):
        pack([[], []], 4)
    with pytest.raises(ValueError, match="T: got 0"):
        pack([[1]], 0)


# -- masks: packed equals separate


def layer(ids, positions, mask):
    """Rotate by position, attend, in float64: a real attention."""
    g = torch.Generator().manual_seed(1)
    table = torch.randn(99, 8, generator=g, dtype=torch.float64)
    angle = positions[..., None].double() * torch.tensor([1.0, 0.3]).double()
    x = table[ids].unflatten(-1, (2, 4))
    shift = torch.cat([angle.sin(), angle.cos()], -1)[..., None, :]
    q = (x + shift).transpose(1, 2)
    return attention(q, q, x.transpose(1, 2), mask).transpose(1, 2).flatten(2)


def run(packed: Packed):
    mask = document_mask(packed.documents)
    return layer(packed.ids, packed.positions, mask)


@pytest.mark.parametrize("seed", range(3))
def test_a_packed_document_gets_what_it_gets_alone(seed):
    packed = pack(documents(seed), 24)
    out = run(packed)
    for row in range(len(out)):
        for number in range(int(packed.documents[row].max()) + 1):
            here = packed.documents[row] == number
            ids = packed.ids[row][here][None]
            T = ids.shape[1]
            alone = layer(ids, torch.arange(T)[None], causal_mask(T))
            torch.testing.assert_close(
                out[row][here][None], alone, rtol=0, atol=1e-12
            )


def test_no_token_moves_another_document():
    packed = pack(documents(0), 24)
    before, numbers = run(packed), packed.documents
    for t in range(24):
        packed.ids[:, t] = (packed.ids[:, t] + 1) % 99
        moved = (run(packed) - before).abs().amax(-1) > 1e-12
        packed.ids[:, t] = (packed.ids[:, t] - 1) % 99
        at = torch.arange(24)
        may = (numbers == numbers[:, t : t + 1]) & (at >= t)
        may &= numbers != NOTHING
        assert not (moved & ~may).any()
        assert moved[:, t][numbers[:, t] != NOTHING].all()


def test_the_plain_causal_mask_does_leak():
    packed = pack(documents(0), 24)
    plain = layer(packed.ids, packed.positions, causal_mask(24))
    later = packed.documents > 0
    assert ((plain - run(packed)).abs().amax(-1) > 1e-3)[later].any()


def test_padding_sees_nothing_and_gets_zeros():
    packed = pack([[5, 6, 7]], 8)
    assert not document_mask(packed.documents)[0, 0, 3:].any()
    assert (run(packed)[0, 3:] == 0).all()


def test_document_mask_refuses_what_is_no_document_table():
    for wrong in (torch.zeros(3), torch.zeros(2, 3), torch.zeros(1, 1, 2)):
        with pytest.raises(ValueError, match="documents: got Tensor of shape"):
            document_mask(wrong)


# -- order and resume


def test_an_epoch_is_a_permutation_and_epochs_differ():
    orders = [
        tuple(order(50, seed=seed, epoch=epoch).tolist())
        for seed in range(3)
        for epoch in range(3)
    ]
    assert len(set(orders)) == 9
    assert all(sorted(o) == list(range(50)) for o in orders)
    # the same on any machine: a changed order would break every resume
    assert order(50)[:5].tolist() == [16, 40, 46, 38, 6]


@pytest.mark.parametrize("step", [0, 1, 3, 4, 5, 11])
def test_resuming_gives_the_same_batches(step):
    whole = list(itertools.islice(batches(18, 4, seed=3), 12))
    torch.rand(7)  # the global generator has no say
    resumed = batches(18, 4, seed=3, step=step)
    for want in whole[step:]:
        assert torch.equal(next(resumed), want)


def test_an_epoch_shows_no_row_twice():
    stream = batches(18, 4)
    for _ in range(3):
        seen = torch.cat([next(stream) for _ in range(4)])
        assert len(seen.unique()) == 16


def test_batches_says_what_is_wrong():
    with pytest.raises(ValueError, match="batch_size: got 5"):
        next(batches(4, 5))
    with pytest.raises(ValueError, match="step: got -1"):
        next(batches(4, 2, step=-1))
