"""Right calls of `handmade.inference`."""

import torch
from handmade.inference.cache import KVCache

from valid_calls import call
from valid_calls.models import ids, llama, mask


def logits():
    return torch.randn(2, 11)


def filled():
    """A cache that has read the first token of `ids`."""
    cache = KVCache()
    llama()(ids()[:, :1], cache=cache)
    return cache


def kv():
    return torch.randn(2, 1, 3, 4)


CALLS = {
    "inference.arguments.grow_mask": lambda: call(mask=mask(), length=7),
    "inference.beam.beam_search": lambda: call(
        model=llama(),
        ids=ids(),
        num_beams=2,
        max_new_tokens=2,
        attention_mask=mask(),
        eos_id=3,
        pad_id=0,
    ),
    "inference.cache.KVCache.begin": lambda: call(
        filled(), rows=2, masked=False
    ),
    "inference.cache.KVCache.update": lambda: call(
        KVCache(), layer=0, k=kv(), v=kv()
    ),
    "inference.cache.KVCache.reorder": lambda: call(
        filled(), index=torch.tensor([1, 0])
    ),
    "inference.generate.generate": lambda: call(
        model=llama(),
        ids=ids(),
        max_new_tokens=2,
        attention_mask=mask(),
        eos_id=3,
        pad_id=0,
        temperature=0.5,
        top_k=3,
        top_p=0.9,
        min_p=0.1,
        repetition_penalty=1.5,
    ),
    "inference.generate.prefill": lambda: call(
        model=llama(), ids=ids(), attention_mask=mask()
    ),
    "inference.generate.decode_one_token": lambda: call(
        model=llama(), token=ids()[:, 1:2], cache=filled()
    ),
    "inference.generate.choose": lambda: call(
        logits=logits(),
        ids=ids(),
        attention_mask=mask(),
        temperature=0.5,
        repetition_penalty=1.5,
        top_k=3,
        top_p=0.9,
        min_p=0.1,
    ),
    "inference.sampling.temperature": lambda: call(logits=logits(), t=0.5),
    "inference.sampling.top_k": lambda: call(logits=logits(), k=2),
    "inference.sampling.top_p": lambda: call(logits=logits(), p=0.5),
    "inference.sampling.min_p": lambda: call(logits=logits(), p=0.5),
    "inference.sampling.repetition_penalty": lambda: call(
        logits=logits(), ids=ids(), penalty=1.5, attention_mask=mask()
    ),
    "inference.sampling.greedy": lambda: call(logits=logits()),
    "inference.sampling.sample": lambda: call(logits=logits()),
}
