"""Variants with a cache say what they say without, past every window."""

import pytest
import torch
from handmade.inference.cache import KVCache
from handmade.inference.generate import generate
from handmade.models.variants import Variant
from torch.testing import assert_close
from variant_helpers import (
    LEFT,
    MASKS,
    MODELS,
    WINDOW,
    B,
    T,
    hf_model,
    some_ids,
)

each_model = pytest.mark.parametrize("kind", MODELS)


# --- with a cache ---------------------------------------------------------


@each_model
@pytest.mark.parametrize("padding", MASKS)
@pytest.mark.parametrize("steps", [(11,), (4, 7), (3, 1, 1, 5, 1), (1,) * 11])
def test_cached_equals_uncached(kind, padding, steps):
    model = Variant.from_hf(hf_model(kind, torch.float64))
    ids, mask, cache = some_ids(), MASKS[padding], KVCache()
    want, got, at = model(ids, mask), [], 0
    for step in steps:
        seen = None if mask is None else mask[:, : at + step]
        got.append(model(ids[:, at : at + step], seen, cache=cache))
        at += step
    assert cache.length == T
    assert torch.cat(got, dim=1).isfinite().all()
    assert_close(torch.cat(got, dim=1), want)


@each_model
def test_the_cache_can_be_reordered(kind):
    model, ids = Variant.from_hf(hf_model(kind, torch.float64)), some_ids()
    order, cache = torch.tensor([3, 0, 0]), KVCache()
    model(ids[:, :6], cache=cache)
    cache.reorder(order)
    got = model(ids[order, 6:], cache=cache)
    assert_close(got, model(ids[order])[:, 6:])


def numbers(cache) -> int:
    return sum(k.numel() + v.numel() for k, v in cache.layers)


@each_model
def test_what_a_cache_keeps(kind):
    model, cache = Variant.from_hf(hf_model(kind)), KVCache()
    model(some_ids(), cache=cache)
    c = model.config
    each = 2 * c.n_kv_heads * c.d_head
    if kind == "deepseek_v3":  # the latent, and what turns, of one head
        each = c.latent.kv_rank + c.latent.d_rope
        assert {k.shape for k, _ in cache.layers} == {(B, 1, T, 14)}
        assert {v.shape for _, v in cache.layers} == {(B, 1, T, 4)}
    assert numbers(cache) == c.n_layers * B * T * each


@each_model
def test_under_autocast_a_cache_keeps_what_is_narrow(kind):
    model, cache = Variant.from_hf(hf_model(kind)), KVCache()
    ids = some_ids()
    with torch.autocast("cpu", torch.bfloat16):
        want = model(ids, LEFT)
        first = model(ids[:, :5], LEFT[:, :5], cache=cache)
        second = model(ids[:, 5:], LEFT, cache=cache)
    assert {x.dtype for pair in cache.layers for x in pair} == {torch.bfloat16}
    assert want.dtype == torch.bfloat16
    assert_close(torch.cat((first, second), 1), want)


class Window(KVCache):
    """Keep what a window of the next token can reach, and count all."""

    def __init__(self, window):
        super().__init__()
        self.window, self.seen = window, 0

    @property
    def length(self):
        return self.seen

    @property
    def kept(self):
        return self.layers[0][0].shape[-2] if self.layers else 0

    def begin(self, rows, *, masked):
        self.masked, self.filled = masked, 0

    def update(self, layer, k, v):
        if layer < len(self.layers):
            old = self.layers[layer]
            k, v = (torch.cat(x, -2) for x in zip(old, (k, v), strict=True))
        else:
            self.layers.append((k, v))
        self.new = (layer, k, v)
        self.held = getattr(self, "held", {})
        self.held[layer] = (k, v)
        return k, v

    def forget(self, tokens):
        """After a pass: drop the keys that no later query can reach."""
        self.seen += tokens
        self.layers = [
            tuple(x[..., -(self.window - 1) :, :] for x in self.held[i])
            for i in range(len(self.layers))
        ]


@pytest.mark.parametrize("kind", ["mistral", "mixtral"])
@pytest.mark.parametrize("padding", MASKS)
def test_a_cache_of_one_window_is_enough_for_sliding_layers(kind, padding):
    model = Variant.from_hf(hf_model(kind, torch.float64))
    ids, mask, cache = some_ids(), MASKS[padding], Window(WINDOW)
    got, at = [], 0
    for step in (5, 1, 1, 3, 1):
        seen = None if mask is None else mask[:, : at + step]
        got.append(model(ids[:, at : at + step], seen, cache=cache))
        cache.forget(step)
        at += step
    assert (cache.length, cache.kept) == (T, WINDOW - 1)
    assert_close(torch.cat(got, dim=1), model(ids, mask))


@each_model
@pytest.mark.parametrize("padded", [False, True])
def test_greedy_text_is_that_of_transformers(kind, padded):
    theirs = hf_model(kind, seed=4)
    ours, ids = Variant.from_hf(theirs), some_ids()
    mask = LEFT if padded else torch.ones_like(LEFT)
    want = theirs.generate(
        ids, attention_mask=mask, max_new_tokens=9, do_sample=False,
        eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    got = generate(ours, ids, attention_mask=mask, max_new_tokens=9)
    assert torch.equal(got, want)


COMPILED = ["mistral", "gemma3_text", "deepseek_v3"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMPILED)
def test_it_compiles_into_one_graph(kind):
    torch._dynamo.reset()
    model = Variant.from_hf(hf_model(kind, torch.float64))
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert_close(compiled(some_ids(), LEFT), model(some_ids(), LEFT))
    torch._dynamo.reset()
