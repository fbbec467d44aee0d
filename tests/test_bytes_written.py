"""What PyTorch writes, counted: new tensors and places, never views."""

import torch
from cache_models import some_ids, tiny_llama
from handmade.inference.bytes_written import BytesWritten
from handmade.inference.cache import KVCache
from handmade.inference.static_cache import StaticCache


def test_a_view_writes_nothing_and_the_rest_what_it_returns():
    x = torch.zeros(6, 4, dtype=torch.float64)
    with BytesWritten() as written:
        x.view(24)[3:].unsqueeze(0).expand(5, -1)
        x.mT.split(2)
    assert (written.total, written.largest) == (0, 0)
    with BytesWritten() as written:
        torch.cat((x, x))
        x[1:3] = 7.0
        x.mul_(2)
        x.topk(2)
    assert written.by_name["cat"] == 2 * 6 * 4 * 8 == written.largest
    assert written.by_name["fill_"] == 2 * 4 * 8
    assert written.by_name["mul_"] == 6 * 4 * 8
    assert written.by_name["topk"] == 2 * 6 * 2 * 8  # values and places
    x.clone()
    assert written.total == (48 + 8 + 24 + 24) * 8


@torch.no_grad()
def test_a_growing_cache_writes_its_past_at_each_step():
    model, ids = tiny_llama(), some_ids(2, 30)
    token = 3 * 2 * 2 * 2 * 10 * 8  # layers, k and v, B, G, K, float64
    counts = {}
    for cache in (KVCache(), StaticCache(30)):
        model(ids[:, :20], cache=cache)
        with BytesWritten() as written:
            for at in range(20, 30):
                model(ids[:, at : at + 1], cache=cache)
        counts[type(cache)] = written.by_name
    grows, static = counts[KVCache], counts[StaticCache]
    copied = token * sum(range(21, 31))
    # what both concatenate besides, the rotations, is the same
    assert grows["cat"] - static["cat"] == copied
    assert static["copy_"] - grows["copy_"] == 10 * token
