"""The static cache: the growing one's numbers, at addresses that stay."""

import dataclasses

import pytest
import torch
from cache_models import (
    ALL,
    LEFT,
    WITH_KEYS,
    B,
    T,
    both,
    in_steps,
    some_ids,
    tiny_llama,
)
from handmade.contracts import Cache
from handmade.inference.beam import beam_search
from handmade.inference.cache import KVCache
from handmade.inference.generate import generate
from handmade.inference.static_cache import StaticCache
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kv_cache import NOT_ROWS, CutShortError
from torch.testing import assert_close
from transformers.cache_utils import StaticCache as TheirStaticCache


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


STEPS = [(T,), (4, 7), (3, 1, 1, 5, 1), (1,) * T]


# --- every model, at every step -------------------------------------------


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("make", [KVCache, lambda: StaticCache(T)])
@torch.no_grad()
def test_cached_equals_uncached_at_every_step(kind, padded, steps, make):
    pair, ids = both(kind), some_ids()
    mask = LEFT if padded else None
    cache = pair.cache(make())
    assert isinstance(cache, Cache)
    got = in_steps(pair.step, ids, mask, cache, steps)
    assert cache.length == T
    # a Mamba scans in float32, whatever its dtype
    near = 1e-7 if kind == "mamba" else 1e-10
    assert_close(got, pair.whole(ids, mask), rtol=near, atol=near)


@pytest.mark.parametrize("kind", WITH_KEYS)
@pytest.mark.parametrize("padded", [False, True])
@torch.no_grad()
def test_every_step_is_that_of_their_static_cache(kind, padded):
    from transformers import EncoderDecoderCache

    if padded and kind == "t5":
        return  # theirs counts the padding: compared without it
    pair, ids = both(kind), some_ids()
    mask = LEFT if padded else None
    theirs = TheirStaticCache(pair.theirs.config, max_cache_len=T)
    if kind == "t5":
        of_text = TheirStaticCache(pair.theirs.config, max_cache_len=T)
        theirs = EncoderDecoderCache(theirs, of_text)
    steps = (4, 1, 1, 1, 2, 1, 1)
    want = in_steps(pair.their_step, ids, mask, theirs, steps)
    cache = pair.cache(StaticCache(T))
    got = in_steps(pair.step, ids, mask, cache, steps)
    real = slice(None) if mask is None else mask.bool()
    assert_close(got[real], want[real], rtol=0, atol=1e-8)


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    cuts=st.lists(st.integers(1, 8), max_size=6),
    spare=st.integers(0, 5),
)
@settings(max_examples=40, deadline=None)
def test_chunks_of_rows_of_unequal_length(model, lengths, cuts, spare):
    n = max(lengths)
    ids = some_ids(len(lengths), n)
    mask = torch.tensor([[0] * (n - m) + [1] * m for m in lengths])
    cache, at, got = StaticCache(n + spare), 0, []
    for cut in [*cuts, n]:
        chunk = ids[:, at : at + cut]
        if chunk.shape[1]:
            seen = mask[:, : at + chunk.shape[1]]
            got.append(model(chunk, seen, cache=cache))
            at += chunk.shape[1]
            assert cache.length == cache.kept == at
    real = mask.bool()
    want = model(ids, mask)
    assert_close(torch.cat(got, 1)[real], want[real], rtol=0, atol=1e-10)
    for row, m in enumerate(lengths):  # and each row is what it is alone
        alone = model(ids[row : row + 1, n - m :])[0]
        assert_close(want[row, n - m :], alone, rtol=0, atol=1e-10)


# --- memory ---------------------------------------------------------------


def addresses(cache):
    return [x.data_ptr() for pair in cache.memory for x in pair]


@torch.no_grad()
def test_the_memory_stays_where_it_is_and_as_large_as_it_is(model):
    cache, ids = StaticCache(T), some_ids()
    model(ids[:, :1], cache=cache)
    first, held = addresses(cache), cache.nbytes
    assert held == 3 * 2 * B * 2 * T * 10 * 8
    assert held == sum(
        x.untyped_storage().nbytes() for pair in cache.memory for x in pair
    )
    for at in range(1, T):
        model(ids[:, at : at + 1], cache=cache)
        k, v = cache.layers[1]
        assert k.data_ptr() == cache.memory[1][0].data_ptr()
        assert k.shape == v.shape == (B, 2, at + 1, 10)
    assert (addresses(cache), cache.nbytes) == (first, held)
    cache.reorder(torch.tensor([4, 0, 0, 2, 1]))
    assert addresses(cache) == first
    assert repr(cache) == "StaticCache(3 layers, 11 of 11 tokens)"


@torch.no_grad()
def test_a_full_one_is_refused_and_nothing_is_written(model):
    cache, ids = StaticCache(8), some_ids()
    model(ids[:, :6], cache=cache)
    before = [x.clone() for pair in cache.memory for x in pair]
    with pytest.raises(
        ValueError,
        match=r"cache: got 3 new tokens after 6, want at most its capacity "
        "of 8 together",
    ):
        model(ids[:, 6:9], cache=cache)
    after = [x for pair in cache.memory for x in pair]
    assert all(map(torch.equal, after, before))
    assert cache.length == 6
    # what fits still goes on
    got = model(ids[:, 6:8], cache=cache)
    assert_close(got, model(ids[:, :8])[:, 6:], rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="cache: got 1 new tokens after 8"):
        model(ids[:, 8:9], cache=cache)


def test_a_first_pass_that_is_too_long_allots_nothing(model):
    cache = StaticCache(4)
    with torch.no_grad(), pytest.raises(ValueError, match="after 0, want"):
        model(some_ids(), cache=cache)
    assert (cache.memory, cache.length, cache.nbytes) == ([], 0, 0)


def test_what_wants_a_gradient_is_refused():
    k = torch.zeros(1, 2, 3, 4, requires_grad=True)
    with pytest.raises(ValueError, match="k: got one that wants a gradient"):
        StaticCache(4).update(0, k, k)
    with pytest.raises(ValueError, match="v: got one that wants a gradient"):
        StaticCache(4).update(0, k.detach(), k)
    with torch.no_grad():
        StaticCache(4).update(0, k, k)


# --- in the loops ---------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k in WITH_KEYS if k != "t5"])
def test_generate_and_beams_write_the_same(kind):
    pair, ids = both(kind, torch.float32), some_ids(length=6)
    mask = LEFT[:, [0, 1, 2, 3, 9, 10]]
    cache = StaticCache(10)
    given = {"attention_mask": mask, "max_new_tokens": 5}
    got = generate(pair.ours, ids, cache=cache, **given)
    assert torch.equal(got, generate(pair.ours, ids, **given))
    assert cache.length == 10
    with torch.no_grad():  # filled in inference mode, gone on with outside
        mask = torch.cat((mask, mask.new_ones(B, 5)), 1)
        want = pair.ours(got, mask)[:, -1]
        more = StaticCache(11)
        generate(pair.ours, ids, cache=more, **given)
        step = pair.ours(got[:, -1:], mask, cache=more)[:, -1]
        assert_close(step, want)


@torch.no_grad()
def test_reordered_rows_go_on(model):
    ids = some_ids()
    for order in ([3, 0, 0], [4, 3, 3, 1, 0], [2, 2, 1, 0, 4, 4, 3], [1]):
        order, cache = torch.tensor(order), StaticCache(T)
        model(ids[:, :6], cache=cache)
        cache.reorder(order)
        assert cache.memory[0][0].shape[-2] == T
        got = model(ids[order, 6:], cache=cache)
        assert_close(got, model(ids[order])[:, 6:], rtol=0, atol=1e-10)
    for wrong in NOT_ROWS:
        with pytest.raises(ValueError, match="index: got"):
            StaticCache(3).reorder(wrong)


@torch.no_grad()
def test_beam_search_with_a_static_cache(model):
    ids = some_ids(2, 4)
    given = {"num_beams": 3, "max_new_tokens": 6}
    want = beam_search(model, ids, **given)
    got = beam_search(model, ids, **given, cache=StaticCache(10))
    assert torch.equal(got.ids, want.ids)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3_text"])
def test_it_compiles_whole_and_not_again_for_every_length(kind):
    torch._dynamo.reset()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    pair, ids = both(kind), some_ids()
    compiled = torch.compile(pair.ours, backend=backend, fullgraph=True)
    pair = dataclasses.replace(pair, ours=compiled)
    cache = StaticCache(T)
    with torch.no_grad():
        steps = (3, *(1,) * (T - 3))
        got = in_steps(pair.step, ids, None, cache, steps)
        assert_close(got, both(kind).whole(ids), rtol=0, atol=1e-10)
    # the prompt, the first step, and all that follow (GPT-2: one more)
    assert len(graphs) <= 4 < len(steps)
    torch._dynamo.reset()


# --- what it notices ------------------------------------------------------


def test_layers_out_of_order():
    cache, k = StaticCache(5), torch.zeros(1, 2, 3, 4)
    with pytest.raises(ValueError, match="layer: got 1, want 0: layers enter"):
        cache.update(1, k, k)
    cache.begin(1, masked=False)
    cache.update(0, k, k)
    with pytest.raises(ValueError, match="layer: got 0, want 1: two modules"):
        cache.update(0, k, k)
    for wrong in (None, [1.0], k[0], k.long()):
        with pytest.raises(ValueError, match="k: got"):
            cache.update(1, wrong, k)
        with pytest.raises(ValueError, match="v: got"):
            cache.update(1, k, wrong)


@torch.no_grad()
def test_other_rows_shapes_and_dtypes(model):
    ids, cache = some_ids(3, 6), StaticCache(9)
    model(ids[:, :3], cache=cache)
    with pytest.raises(ValueError, match="ids: got 2 rows, want the cache's"):
        model(ids[:2, 3:], cache=cache)
    k = torch.zeros(3, 2, 1, 10)
    cache.begin(3, masked=False)
    with pytest.raises(ValueError, match=r"k: got .* torch.float32, want"):
        cache.update(0, k, k)
    for wrong in (k.double()[..., :4], k.double()[:1], k.double()[:, :1]):
        with pytest.raises(ValueError, match=r"k: got .*want to extend"):
            cache.update(0, wrong, wrong)
    with pytest.raises(ValueError, match=r"v: got .*want k's"):
        cache.update(0, k.double(), k.double().repeat(1, 1, 2, 1))


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("first", [True, False])
@torch.no_grad()
def test_a_pass_cut_short_is_noticed_at_the_next(model, at, first):
    ids, cache = some_ids(2, 6), StaticCache(9)
    if not first:
        model(ids[:, :3], cache=cache)

    def cut(*_):
        raise CutShortError

    hook = model.blocks[at].ffn.register_forward_hook(cut)
    with pytest.raises(CutShortError):
        model(ids[:, 3:5], cache=cache)
    hook.remove()
    want = "k: got 1 keys for layer" if first else "cache: got one whose last"
    with pytest.raises(ValueError, match=want):
        model(ids[:, 5:], cache=cache)


def test_a_mask_once_given_must_be_given(model):
    ids, mask, cache = some_ids(2, 6), torch.ones(2, 6).long(), StaticCache(6)
    mask[0, :2] = 0
    model(ids[:, :3], mask[:, :3], cache=cache)
    with pytest.raises(ValueError, match="attention_mask: got None, want"):
        model(ids[:, 3:], cache=cache)


@pytest.mark.parametrize("wrong", [0, -1, True, 2.0, None, "9"])
def test_a_capacity_is_a_whole_number(wrong):
    with pytest.raises(ValueError, match="capacity: got"):
        StaticCache(wrong)
