"""Read a long prompt in pieces, so that its scores need less memory at once.

B batch · T prompt tokens · V vocabulary · H query heads · n tokens a chunk

One pass over T tokens builds B H T T scores in every layer. With a cache the
prompt can come in chunks: each looks at the n T' scores of its own tokens
against the T' read so far, and leaves its keys for the next. The sum of the
work is the same, the largest piece of it is T / n times smaller.
"""

from torch import Tensor

from handmade import checks
from handmade.contracts import Cache, Decoder
from handmade.inference.arguments import check_pass
from handmade.inference.generate import prefill


def chunked_prefill(
    model: Decoder,
    ids: Tensor,
    cache: Cache,
    *,
    chunk: int,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Run a prompt ``chunk`` tokens at a time, filling the cache.

    Returns the logits after its last token, in float32, as ``prefill`` does.
    The mask covers what the cache has seen and the whole prompt.

    Shape: ids (B, T) -> (B, V). Raises ValueError as ``prefill`` does, and
    on a mask of another length.
    """
    past = _check(model, ids, cache, chunk, attention_mask)
    for start in range(0, ids.shape[1], chunk):
        stop = min(start + chunk, ids.shape[1])
        seen = None
        if attention_mask is not None:
            seen = attention_mask[:, : past + stop]
        logits = prefill(model, ids[:, start:stop], cache, seen)
    return logits


def _check(
    model: Decoder,
    ids: Tensor,
    cache: Cache,
    chunk: int,
    attention_mask: Tensor | None,
) -> int:
    """Return how many tokens the cache has seen before the prompt."""
    checks.need(cache is not None, "cache", None, "one that is filled")
    check_pass(model, "ids", ids, cache)
    checks.need(ids.shape[1] > 0, "ids", "no token", "one or more a row")
    checks.whole("chunk", chunk)
    past = cache.length
    if attention_mask is not None:
        checks.yes_or_no("attention_mask", attention_mask)
        got, want = (
            tuple(attention_mask.shape),
            (len(ids), past + ids.shape[1]),
        )
        checks.need(got == want, "attention_mask", got, f"(B, S) = {want}")
    return past
