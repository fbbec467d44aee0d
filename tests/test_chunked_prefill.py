"""A prompt in chunks: the numbers of one pass, in less memory at once."""

import pytest
import torch
from cache_models import (
    LEFT,
    VARIANTS,
    T,
    both,
    some_ids,
    tiny_llama,
)
from handmade.inference.bytes_written import BytesWritten
from handmade.inference.cache import KVCache
from handmade.inference.chunked_prefill import chunked_prefill
from handmade.inference.generate import generate, prefill
from handmade.inference.static_cache import StaticCache
from handmade.models.state_cache import StateCache
from test_window_cache import WINDOWED, cache_for
from torch.testing import assert_close


@pytest.mark.parametrize("kind", [*VARIANTS, "gpt2"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("chunk", [1, 3, 4, T, 99])
@torch.no_grad()
def test_chunks_equal_one_pass(kind, padded, chunk):
    pair, ids, mask = both(kind), some_ids(), LEFT if padded else None
    whole = KVCache()
    want = prefill(pair.ours, ids, whole, mask)
    caches = [KVCache(), StaticCache(T)]
    caches += [cache_for(pair)] if kind in WINDOWED else []
    for cache in caches:
        got = chunked_prefill(
            pair.ours, ids, cache, chunk=chunk, attention_mask=mask
        )
        assert_close(got, want, rtol=0, atol=1e-6)  # both end in float32
        assert cache.length == T
        for (k, v), (all_k, all_v) in zip(
            cache.layers, whole.layers, strict=True
        ):
            n = k.shape[-2]
            assert_close(k, all_k[..., T - n :, :], rtol=0, atol=1e-10)
            assert_close(v, all_v[..., T - n :, :], rtol=0, atol=1e-10)


@torch.no_grad()
def test_it_goes_on_where_a_cache_is():
    model, ids, cache = tiny_llama(), some_ids(), KVCache()
    mask = LEFT
    prefill(model, ids[:, :4], cache, mask[:, :4])
    got = chunked_prefill(
        model, ids[:, 4:], cache, chunk=3, attention_mask=mask
    )
    assert_close(got, prefill(model, ids, None, mask), rtol=0, atol=1e-6)
    # and generate takes what it left
    cache = StaticCache(T + 4)
    chunked_prefill(
        model, ids[:, :-1], cache, chunk=4, attention_mask=mask[:, :-1]
    )
    text = generate(
        model, ids, max_new_tokens=4, attention_mask=mask, cache=cache
    )
    want = generate(model, ids, max_new_tokens=4, attention_mask=mask)
    assert torch.equal(text, want)


@torch.no_grad()
def test_a_state_space_model_reads_in_chunks_too():
    pair, ids, cache = both("mamba"), some_ids(), StateCache()
    got = chunked_prefill(pair.ours, ids, cache, chunk=4)
    assert_close(got, pair.whole(ids)[:, -1].float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk", [5, 16, 80])
@torch.no_grad()
def test_the_largest_scores_are_those_of_one_chunk(chunk):
    model = tiny_llama()
    ids = torch.randint(61, (3, 80), generator=torch.Generator())
    model.config = type(model.config)(
        **{**vars(model.config), "max_seq_len": 99}
    )
    with BytesWritten() as written:
        chunked_prefill(model, ids, KVCache(), chunk=chunk)
    H, eight_bytes = 6, 8
    scores = 3 * H * chunk * 80 * eight_bytes
    keys = 3 * H * 80 * 10 * eight_bytes  # repeated for all heads
    assert written.largest == max(scores, keys)


@torch.no_grad()
def test_a_mask_that_is_not_extended_is_refused():
    model, ids, cache = tiny_llama(), some_ids(), KVCache()
    with pytest.raises(ValueError, match=r"attention_mask: got \(5, 4\)"):
        chunked_prefill(model, ids, cache, chunk=3, attention_mask=LEFT[:, :4])
    assert cache.length == 0
    for wrong in (0, -3, None, 2.5, True):
        with pytest.raises(ValueError, match="chunk: got"):
            chunked_prefill(model, ids, cache, chunk=wrong)
    with pytest.raises(ValueError, match="cache: got None, want"):
        chunked_prefill(model, ids, None, chunk=3)
    with pytest.raises(ValueError, match="ids: got no token"):
        chunked_prefill(model, ids[:, :0], cache, chunk=3)
    with pytest.raises(ValueError, match="cache: got 3 new tokens after 3"):
        chunked_prefill(model, ids, StaticCache(5), chunk=3)
