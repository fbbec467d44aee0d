"""Right calls of the engine, its pages and its requests."""

import time

import torch
from handmade.inference.arrivals import StaticBatch
from handmade.inference.engine import Engine, Request
from handmade.inference.page_pool import PagePool
from handmade.inference.paged_cache import PagedCache

from valid_calls import call
from valid_calls.models import llama


def request():
    return Request([1, 2, 3], 2)


def engine():
    return Engine(llama(), n_pages=4, page_size=4)


def running():
    filled = engine()
    filled.add(given := request())
    return filled, given


def pool():
    held = PagePool(5, 2)
    held.take(2)
    return held


def selected():
    cache = PagedCache(3, 4)
    cache.select([[0], [2, 1]], [1, 4])
    return cache


def kv():
    return torch.randn(2, 1, 3, 4)


def cancelling():
    filled, given = running()
    return call(filled, request=given)


CALLS = {
    "diagrams.paging.block_tables": lambda: call(
        tables={"a": [0, 2], "b": [1]}, tokens={"a": 5, "b": 3}, n_pages=4,
        page_size=4,
    ),
    "inference.engine.Request": lambda: call(
        ids=[1, 2], max_new_tokens=3, temperature=0.5, top_k=3, top_p=0.9,
        min_p=0.1, eos_ids=(4,), seed=5,
    ),
    "inference.engine.Engine": lambda: call(
        model=llama(), n_pages=4, page_size=4, max_batch=2, max_waiting=3,
        chunk=5,
    ),
    "inference.engine.Engine.add": lambda: call(engine(), request=request()),
    "inference.engine.Engine.cancel": cancelling,
    "inference.arrivals.StaticBatch": lambda: call(model=llama(), max_batch=2),
    "inference.arrivals.StaticBatch.add": lambda: call(
        StaticBatch(llama()), request=Request([1, 2], 2, temperature=0)
    ),
    "inference.arrivals.play": lambda: call(
        server=engine(), requests=[request()], arrivals=[0.5],
        now=time.process_time,
    ),
    "inference.arrivals.poisson": lambda: call(
        n=3, rate=2.0, generator=torch.Generator()
    ),
    "inference.page_pool.PagePool": lambda: call(n_pages=4, page_size=2),
    "inference.page_pool.PagePool.needed": lambda: call(pool(), tokens=3),
    "inference.page_pool.PagePool.take": lambda: call(pool(), count=1),
    "inference.page_pool.PagePool.find": lambda: call(pool(), ids=[1, 2, 3]),
    "inference.page_pool.PagePool.keep": lambda: call(
        pool(), ids=[1, 2, 3], table=[0, 1]
    ),
    "inference.page_pool.PagePool.give_back": lambda: call(
        pool(), table=[0, 1]
    ),
    "inference.page_pool.page_names": lambda: call(
        ids=[1, 2, 3], page_size=2
    ),
    "inference.paged_cache.PagedCache": lambda: call(n_pages=4, page_size=2),
    "inference.paged_cache.PagedCache.select": lambda: call(
        PagedCache(3, 4), tables=[[0], [2, 1]], past=[1, 4]
    ),
    "inference.paged_cache.PagedCache.begin": lambda: call(
        selected(), rows=2, masked=False
    ),
    "inference.paged_cache.PagedCache.update": lambda: call(
        selected(), layer=0, k=kv(), v=kv()
    ),
    "inference.paged_cache.PagedCache.reorder": lambda: call(
        selected(), index=torch.tensor([1, 0])
    ),
    "inference.paged_cache.paged_pass": lambda: call(
        model=llama(), cache=PagedCache(3, 4), tables=[[0], [2, 1]],
        past=[0, 0], ids=[[1, 2], [3, 4]],
    ),
}  # fmt: skip
