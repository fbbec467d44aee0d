"""Right calls of `handmade.inference.speculative` and its drafters."""

import torch
from handmade.inference.drafters import ModelDraft, PromptLookup
from handmade.inference.rewind_cache import RewindCache

from valid_calls import call
from valid_calls.models import ids, llama, mask


def filled():
    """A cache that has read `ids`."""
    cache = RewindCache()
    llama()(ids(), cache=cache)
    return cache


def drafted(n):
    """A draft that has read `ids` and guessed n tokens."""
    draft = ModelDraft(llama())
    draft.propose(ids(), None, n)
    return draft


def laws(n):
    return torch.randn(2, n, 11).softmax(-1)


def back():
    return torch.tensor([1, 0])


FILTERS = {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0.1}

CALLS = {
    "inference.rewind_cache.RewindCache.rewind": lambda: call(
        filled(), drop=back()
    ),
    "inference.rewind_cache.flush_right": lambda: call(
        x=ids(), drop=back(), axis=1
    ),
    "inference.drafters.law": lambda: call(
        logits=torch.randn(2, 11), **FILTERS
    ),
    "inference.drafters.ModelDraft": lambda: call(model=llama(), **FILTERS),
    "inference.drafters.ModelDraft.propose": lambda: call(
        ModelDraft(llama()), ids=ids(), attention_mask=mask(), n=2
    ),
    "inference.drafters.ModelDraft.rewind": lambda: call(
        drafted(2), drop=back()
    ),
    "inference.drafters.ModelDraft.reorder": lambda: call(
        drafted(2), index=back()
    ),
    "inference.drafters.PromptLookup": lambda: call(longest=2),
    "inference.drafters.PromptLookup.propose": lambda: call(
        PromptLookup(), ids=ids(), attention_mask=mask(), n=2
    ),
    "inference.drafters.PromptLookup.lookup": lambda: call(
        PromptLookup(), text=[1, 2, 1], n=2
    ),
    "inference.speculative.verify": lambda: call(
        p=laws(3), q=laws(2), drafted=ids()[:, :2]
    ),
    "inference.speculative.speculative_generate": lambda: call(
        target=llama(),
        draft=llama(),
        ids=ids(),
        n_draft=2,
        max_new_tokens=3,
        attention_mask=mask(),
        eos_id=3,
        pad_id=0,
        **FILTERS,
    ),
}
