"""Pages: who holds which, what is found again, and rows at unequal places."""

import pytest
import torch
from handmade.contracts import Cache
from handmade.inference.page_pool import PagePool, page_names
from handmade.inference.paged_cache import PagedCache, paged_pass
from handmade.models.gpt2 import GPT2, GPT2Config
from handmade.models.llama import Llama, LlamaConfig
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

V = 41
SIZES = {
    "vocab_size": V, "d_model": 24, "n_layers": 3, "n_heads": 6,
    "n_kv_heads": 2, "d_ff": 40, "max_seq_len": 64, "d_head": 10,
}  # fmt: skip


def drawn(model):
    torch.manual_seed(0)
    model = model.double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(0, 0.3)
    return model


@pytest.fixture(scope="module")
def model() -> Llama:
    return drawn(Llama(LlamaConfig(**SIZES)))


def texts(*lengths: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randint(V, (n,), generator=generator).tolist() for n in lengths
    ]


def alone(model, ids: list[int]) -> torch.Tensor:
    return model(torch.tensor([ids]))[0, -1]


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    page_size=st.integers(1, 7),
    last=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=20, deadline=None)
def test_rows_at_unequal_places_are_each_row_alone(
    model, lengths, page_size, last, seed
):
    """Every row is read alone, all but its last tokens; those in one pass.

    The pages are dealt out in an order that has nothing to do with the rows.
    """
    rows = texts(*[n + last for n in lengths], seed=seed)
    needed = [-(-len(row) // page_size) for row in rows]
    n_pages = sum(needed) + 2
    order = torch.randperm(
        n_pages, generator=torch.Generator().manual_seed(seed)
    ).tolist()
    tables = [[order.pop() for _ in range(n)] for n in needed]
    cache = PagedCache(n_pages, page_size)
    for row, table, n in zip(rows, tables, lengths, strict=True):
        got = paged_pass(model, cache, [table], [0], [row[:n]])
        assert_close(got[0], alone(model, row[:n]), rtol=1e-10, atol=1e-10)
    new = [row[n:] for row, n in zip(rows, lengths, strict=True)]
    got = paged_pass(model, cache, tables, lengths, new)
    want = torch.stack([alone(model, row) for row in rows])
    assert_close(got, want, rtol=1e-10, atol=1e-10)
    assert cache.nbytes == 2 * 3 * n_pages * page_size * 2 * 10 * 8


def test_pages_serve_learned_positions_too():
    model = drawn(
        GPT2(
            GPT2Config(
                vocab_size=V, d_model=12, n_layers=2, n_heads=3, d_ff=20,
                max_seq_len=16,
            )
        )
    )  # fmt: skip
    cache = PagedCache(6, 4)
    a, b = texts(9, 3)
    paged_pass(model, cache, [[4, 0, 5]], [0], [a[:8]])
    paged_pass(model, cache, [[2]], [0], [b[:2]])
    got = paged_pass(model, cache, [[4, 0, 5], [2]], [8, 2], [a[8:], b[2:]])
    want = torch.stack([alone(model, a), alone(model, b)])
    assert_close(got, want, rtol=1e-10, atol=1e-10)


@torch.inference_mode()
def test_what_stands_in_other_pages_is_not_seen(model):
    """Page 0 fills up the short rows' tables, and is somebody's."""
    a, b = texts(3, 9)
    cache = PagedCache(4, 4)
    paged_pass(model, cache, [[3]], [0], [a[:2]])
    paged_pass(model, cache, [[1, 2, 0]], [0], [b[:8]])
    want = paged_pass(model, cache, [[3], [1, 2, 0]], [2, 8], [a[2:], b[8:]])
    for k, v in cache.layers:
        k[0], v[0] = 7.0, 7.0
        k[3, :, 3:], v[3, :, 3:] = -5.0, -5.0
    got = paged_pass(model, cache, [[3], [1, 2, 0]], [2, 8], [a[2:], b[8:]])
    assert_close(got, want, rtol=0, atol=0)


def test_it_is_a_cache_of_the_contract():
    cache = PagedCache(3)
    assert isinstance(cache, Cache)
    assert (cache.length, cache.kept, cache.nbytes) == (0, 0, 0)
    cache.select([[0], [1, 2]], [3, 16])
    assert (cache.length, cache.kept) == (16, 16)
    cache.reorder(torch.tensor([0]))
    assert (cache.length, cache.tables.tolist()) == (3, [[0, 0]])


def test_a_cache_refuses_what_would_be_written_in_the_wrong_place():
    cache = PagedCache(3, 4)
    k = torch.zeros(1, 2, 1, 5)
    with pytest.raises(ValueError, match="page 1 at the end of two rows"):
        cache.select([[0, 1], [1]], [4, 0])
    cache.select([[0, 1], [0, 2]], [4, 4])  # sharing what is full is right
    with pytest.raises(ValueError, match="tables: got page 3"):
        cache.select([[3]], [0])
    with pytest.raises(ValueError, match="past: got 1 numbers"):
        cache.select([[0], [1]], [0])
    cache.select([[0]], [4])
    with pytest.raises(ValueError, match="k: got 1 new keys a row, want at m"):
        cache.update(0, k, k)
    # the longest row has room, a shorter one has not
    cache.select([[0, 1], [2]], [4, 4])
    with pytest.raises(ValueError, match="k: got 1 new keys a row, want at m"):
        cache.update(0, k.expand(2, -1, -1, -1), k.expand(2, -1, -1, -1))
    cache.select([[0]], [0])
    with pytest.raises(ValueError, match="masked: got an attention_mask"):
        cache.begin(1, masked=True)
    with pytest.raises(ValueError, match="rows: got 2, want the 1"):
        cache.begin(2, masked=False)
    with pytest.raises(ValueError, match="layer: got 1, want at most 0"):
        cache.update(1, k, k)
    cache.update(0, k, k)
    with pytest.raises(ValueError, match=r"k: got 2 heads of width 5, .*64"):
        cache.update(0, k.double(), k.double())
    with pytest.raises(ValueError, match=r"index: got .0, 0., want"):
        cache.reorder(torch.tensor([0, 0]))
    with pytest.raises(ValueError, match=r"ids: got rows of \[1, 2\] tokens"):
        paged_pass(drawn, cache, [[0], [1]], [0, 0], [[1], [2, 3]])


def test_a_page_is_free_when_its_last_holder_goes():
    pool = PagePool(4, 2)
    table = pool.take(2)
    pool.keep([5, 6, 7, 8], table)
    assert pool.find([5, 6, 7, 8, 9]) == table
    assert [pool.holders[page] for page in table] == [2, 2]
    pool.give_back(table)
    assert not {*table} & {*pool.free}
    assert not {*table} & {*pool.take(2)}
    with pytest.raises(ValueError, match="count: got 1, want at most the 0"):
        pool.take(1)
    pool.give_back(table)
    assert {*pool.free} == {*table}
    with pytest.raises(ValueError, match="want pages that are held"):
        pool.give_back(table[:1])


def test_a_free_page_is_found_until_it_is_taken():
    pool = PagePool(3, 2)
    table = pool.take(3)
    ids = [1, 2, 3, 4, 5, 6]
    pool.keep(ids, table)
    pool.give_back(table)
    # the end is overwritten first, the beginning stays
    assert pool.take(1) == table[2:]
    assert pool.find([*ids, 7]) == table[:2]
    pool.give_back(table[:2])
    assert pool.take(1) == [table[1]]
    assert pool.find([*ids, 7]) == table[:1]


def test_only_the_same_past_has_the_same_name():
    names = page_names([1, 2, 3, 4, 5], 2)
    assert len(names) == 2
    assert page_names([9, 2, 3, 4], 2)[1] != names[1]
    assert page_names([1, 2, 3, 4], 2) == names
    assert page_names([12, 3], 2) != page_names([1, 23], 2)


def test_the_last_token_is_never_found():
    pool = PagePool(3, 2)
    table = pool.take(2)
    pool.keep([1, 2, 3, 4], table)
    assert pool.find([1, 2, 3, 4]) == table[:1]
    assert pool.find([1, 2]) == []
    assert pool.find([]) == []


def test_a_text_that_stands_twice_keeps_its_first_place():
    pool = PagePool(4, 2)
    first, second = pool.take(2), pool.take(2)
    pool.keep([1, 2], first)
    pool.keep([1, 2, 3, 4], second)
    assert pool.find([1, 2, 3, 4, 5]) == [first[0], second[1]]


def test_pages_needed():
    pool = PagePool(4, 8)
    assert [pool.needed(n) for n in (0, 1, 8, 9, 16)] == [0, 1, 1, 2, 2]
