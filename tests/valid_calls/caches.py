"""Right calls of the static cache, the window cache and chunked prefill."""

import torch
from handmade.inference.cache import KVCache
from handmade.inference.static_cache import StaticCache
from handmade.inference.window_cache import WindowCache
from handmade.models.architecture import EQUAL_WIDTH

from valid_calls import call
from valid_calls.inference import kv
from valid_calls.models import ids, llama, mask


def filled(cache):
    """The cache, after the first token of `ids`."""
    with torch.no_grad():
        llama()(ids()[:, :1], cache=cache)
    return cache


CALLS = {
    "widgets.cache_memory.cache_memory": lambda: call(
        configs={"a": EQUAL_WIDTH["Llama"], "b": EQUAL_WIDTH["Mistral"]},
        preset="b",
        length=256,
        batch=2,
    ),
    "widgets.cache_memory.preset_of": lambda: call(
        name="a", config=EQUAL_WIDTH["Gemma 3"]
    ),
    "inference.chunked_prefill.chunked_prefill": lambda: call(
        model=llama().requires_grad_(False),
        ids=ids(),
        cache=KVCache(),
        chunk=2,
        attention_mask=mask(),
    ),
    "inference.static_cache.StaticCache": lambda: call(capacity=5),
    "inference.static_cache.StaticCache.update": lambda: call(
        StaticCache(5), layer=0, k=kv(), v=kv()
    ),
    "inference.static_cache.StaticCache.reorder": lambda: call(
        filled(StaticCache(5)), index=torch.tensor([1, 0])
    ),
    "inference.window_cache.WindowCache": lambda: call(window=3, full=[1]),
    "inference.window_cache.WindowCache.update": lambda: call(
        WindowCache(3), layer=0, k=kv(), v=kv()
    ),
}
