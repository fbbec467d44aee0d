"""The window cache: what a windowed mask leaves of a whole cache, and no more.

For our Llama, which is told its window by ``mask=``, and for the models that
have windows of their own, in all layers or in some.
"""

import pytest
import torch
from cache_models import LEFT, B, T, both, in_steps, some_ids, tiny_llama
from handmade.blocks.masks import sliding_window_mask
from handmade.contracts import Cache
from handmade.inference.cache import KVCache
from handmade.inference.generate import generate
from handmade.inference.window_cache import WindowCache
from handmade.models.architecture import costs
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kv_cache import NOT_ROWS, CutShortError
from torch.testing import assert_close
from transformers.cache_utils import DynamicCache
from transformers.cache_utils import StaticCache as TheirStaticCache
from variant_helpers import WINDOW

STEPS = [(T,), (4, 7), (3, 1, 1, 5, 1), (1,) * T]
# where all layers have a window, and where some do
EVERY = ["mistral", "mixtral"]
SOME = ["gemma3_text", "qwen2", "qwen3"]
WINDOWED = [*EVERY, *SOME]


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


def cache_for(pair) -> WindowCache:
    kinds = pair.ours.config.layer_kinds
    full = [i for i, kind in enumerate(kinds) if kind == "full"]
    return WindowCache(pair.ours.config.window, full=full)


# --- models with windows of their own -------------------------------------


@pytest.mark.parametrize("kind", WINDOWED)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("steps", STEPS)
@torch.no_grad()
def test_cached_equals_uncached_at_every_step(kind, padded, steps):
    pair, ids, mask = both(kind), some_ids(), LEFT if padded else None
    cache = cache_for(pair)
    assert isinstance(cache, Cache)
    got = in_steps(pair.step, ids, mask, cache, steps)
    want = pair.whole(ids, mask)
    assert_close(got, want, rtol=0, atol=1e-10)
    assert cache.length == T
    assert cache.kept == (WINDOW - 1 if kind in EVERY else T)
    long = [k.shape[-2] for k, _ in cache.layers]
    assert long == [
        WINDOW - 1 if each == "sliding" else T
        for each in pair.ours.config.layer_kinds
    ]


@pytest.mark.parametrize("kind", WINDOWED)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("static", [False, True])
@torch.no_grad()
def test_every_step_is_that_of_their_sliding_caches(kind, padded, static):
    pair, ids, mask = both(kind), some_ids(), LEFT if padded else None
    config, steps = pair.theirs.config, (4, 1, 1, 1, 2, 1, 1)
    theirs = DynamicCache(config=config)
    if static:
        theirs = TheirStaticCache(config, max_cache_len=T)
    want = in_steps(pair.their_step, ids, mask, theirs, steps)
    got = in_steps(pair.step, ids, mask, cache_for(pair), steps)
    real = slice(None) if mask is None else mask.bool()
    assert_close(got[real], want[real], rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", WINDOWED)
@pytest.mark.parametrize("length", [1, 2, WINDOW - 1, WINDOW, T, 40])
@torch.no_grad()
def test_the_formula_is_the_bytes_held(kind, length):
    pair, cache = both(kind), None
    ids = some_ids(1, length)
    for steps in [(length,), (1,) * length]:
        cache = cache_for(pair)
        in_steps(pair.step, ids, None, cache, steps)
        want = costs(pair.ours.config, length, bytes_a_number=8).cache_bytes
        assert cache.nbytes == want
        # and nothing else is kept alive behind a slice
        assert want == sum(
            x.untyped_storage().nbytes() for p in cache.layers for x in p
        )


@pytest.mark.parametrize("kind", WINDOWED)
def test_greedy_text_past_the_window_is_that_of_transformers(kind):
    pair, ids = both(kind, torch.float32), some_ids(length=6)
    want = pair.theirs.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=9,
        do_sample=False, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    got = generate(pair.ours, ids, max_new_tokens=9, cache=cache_for(pair))
    assert torch.equal(got, want)


# --- any model, with a mask -----------------------------------------------


@given(
    window=st.integers(1, 13),
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    pad=st.integers(0, 4),
)
@settings(max_examples=60, deadline=None)
def test_it_equals_a_windowed_mask_over_the_whole(model, window, cuts, pad):
    n = sum(cuts)
    ids, mask = some_ids(2, n), torch.ones(2, n).long()
    mask[0, : min(pad, n - 1)] = 0
    want = model(ids, mask, mask=sliding_window_mask(n, window))
    cache, got, at = WindowCache(window), [], 0
    for cut in cuts:
        local = sliding_window_mask(cut, window, cache.kept + cut)
        seen, chunk = mask[:, : at + cut], ids[:, at : at + cut]
        got.append(model(chunk, seen, mask=local, cache=cache))
        at += cut
        assert (cache.length, cache.kept) == (at, min(at, window - 1))
    real = mask.bool()
    assert_close(torch.cat(got, 1)[real], want[real], rtol=0, atol=1e-10)


@torch.no_grad()
def test_a_window_that_holds_all_is_the_growing_cache(model):
    ids, wide, grows = some_ids(), WindowCache(T + 1), KVCache()
    for piece in ids.split(4, 1):
        want = model(piece, cache=grows)
        assert torch.equal(model(piece, cache=wide), want)
    for pair, other in zip(wide.layers, grows.layers, strict=True):
        assert all(map(torch.equal, pair, other))


def test_gradients_go_through_it(model):
    model = tiny_llama().requires_grad_(True)
    ids, mask = some_ids(), sliding_window_mask(T, WINDOW)
    model(ids, mask=mask).pow(2).sum().backward()
    want = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    cache, total = WindowCache(WINDOW), 0
    for piece in ids.split(4, 1):
        n = piece.shape[1]
        local = sliding_window_mask(n, WINDOW, cache.kept + n)
        total = total + model(piece, mask=local, cache=cache).pow(2).sum()
    total.backward()
    for p, grad in zip(model.parameters(), want, strict=True):
        assert_close(p.grad, grad, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("kind", WINDOWED)
@torch.no_grad()
def test_reordered_rows_go_on(kind):
    pair, ids = both(kind), some_ids()
    for order in ([3, 0, 0], [4, 3, 3, 1, 0, 0]):
        order, cache = torch.tensor(order), cache_for(pair)
        pair.step(ids[:, :6], None, cache)
        cache.reorder(order)
        got = pair.step(ids[order, 6:], None, cache)
        want = pair.whole(ids[order])[:, 6:]
        assert_close(got, want, rtol=0, atol=1e-10)
    for wrong in NOT_ROWS:
        with pytest.raises(ValueError, match="index: got"):
            WindowCache(3).reorder(wrong)


# --- what it notices ------------------------------------------------------


def test_layers_out_of_order_and_other_shapes():
    cache, k = WindowCache(3), torch.zeros(1, 2, 5, 4)
    with pytest.raises(ValueError, match="layer: got 1, want 0: layers enter"):
        cache.update(1, k, k)
    cache.begin(1, masked=True)
    cache.update(0, k, k)
    assert repr(cache) == "WindowCache(1 layers, 2 of 5 tokens)"
    with pytest.raises(ValueError, match="layer: got 0, want 1: two modules"):
        cache.update(0, k, k)
    with pytest.raises(ValueError, match="k: got 4 keys for layer 1, want 5"):
        cache.update(1, k[..., :4, :], k[..., :4, :])
    cache.update(1, k, k)
    with pytest.raises(ValueError, match="attention_mask: got None, want"):
        cache.begin(1, masked=False)
    with pytest.raises(ValueError, match="ids: got 2 rows, want the cache's"):
        cache.begin(2, masked=True)
    cache.begin(1, masked=True)
    for wrong in (k.double(), k[..., :3], k.repeat(2, 1, 1, 1)):
        with pytest.raises(ValueError, match=r"k: got .* want to extend"):
            cache.update(0, wrong, wrong)


@pytest.mark.parametrize("first", [True, False])
@torch.no_grad()
def test_a_pass_cut_short_is_noticed_at_the_next(model, first):
    ids, cache = some_ids(2, 6), WindowCache(3)
    if not first:
        model(ids[:, :3], cache=cache)

    def cut(*_):
        raise CutShortError

    hook = model.blocks[0].ffn.register_forward_hook(cut)
    with pytest.raises(CutShortError):
        model(ids[:, 3:5], cache=cache)
    hook.remove()
    want = "k: got 1 keys for layer" if first else "cache: got one whose last"
    with pytest.raises(ValueError, match=want):
        model(ids[:, 5:], cache=cache)


@pytest.mark.parametrize("wrong", [0, -1, True, 2.0, None, "9"])
def test_a_window_is_a_whole_number(wrong):
    with pytest.raises(ValueError, match="window: got"):
        WindowCache(wrong)
    with pytest.raises(ValueError, match="full: got"):
        WindowCache(3, full="01")
    with pytest.raises(ValueError, match="full: got -1"):
        WindowCache(3, full=[-1])


def test_what_is_held_does_not_grow_with_the_text():
    model, held = both("mistral").ours, set()
    for length in (3, 9, 40):
        cache = WindowCache(WINDOW)
        with torch.no_grad():
            model(some_ids(B, length), cache=cache)
        held.add(cache.nbytes)
    assert held == {3 * 2 * B * 2 * (WINDOW - 1) * 10 * 8}
