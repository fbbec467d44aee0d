"""What `handmade.inference.speculative` refuses, and in which words.

R rows · W tokens of the longest · n drafted tokens · V vocabulary
"""

from typing import Any

import torch
from torch import Tensor

from handmade import checks
from handmade.contracts import device_of, limit
from handmade.inference.arguments import check_int, check_mask, check_options
from handmade.inference.cache import KVCache
from handmade.inference.sampling import check_generator, check_logits


def check_drop(cache: KVCache, drop: Tensor) -> None:
    """Raise ValueError unless drop is 0 to length, a number a row."""
    checks.ids("drop", drop)
    rows = len(cache.layers[0][0]) if cache.layers else None
    if drop.ndim != 1 or (rows is not None and len(drop) != rows):
        raise ValueError(
            f"drop: got shape {tuple(drop.shape)}, want (R,), one number for "
            f"each of the cache's rows, {rows or 'of which there are none'}"
        )
    if not cache.layers:
        raise ValueError("drop: got some, want a cache that has read a text")
    check_flush_range(drop, cache.length)


def check_flush_range(drop: Tensor, most: int) -> None:
    """Raise ValueError unless every number is in [0, most]."""
    low, high = (int(d) for d in drop.aminmax())
    if low < 0 or high > most:
        raise ValueError(
            f"drop: got {low} to {high}, want 0 to {most}: no more than "
            "there is"
        )


def check_flush(x: Tensor, drop: Tensor, axis: int) -> None:
    """Raise ValueError unless drop says something of each row of x."""
    checks.numbers("x", x)
    checks.need(x.ndim > 1, "x", f"shape {tuple(x.shape)}", "(R, W, ...)")
    checks.whole("axis", axis)
    checks.need(axis < x.ndim, "axis", axis, f"one of x, below {x.ndim}")
    checks.ids("drop", drop)
    if drop.shape != x.shape[:1] or not len(drop):
        raise ValueError(
            f"drop: got shape {tuple(drop.shape)}, want ({len(x)},), one "
            "number a row of x"
        )
    check_flush_range(drop, x.shape[axis])


def check_law(
    logits: Tensor,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
) -> None:
    """Raise ValueError on what is no logits, and on a wrong option."""
    check_logits(logits)
    check_options(temperature, None, top_k=top_k, top_p=top_p, min_p=min_p)


def check_verify(
    p: Tensor,
    q: Tensor | None,
    drafted: Tensor,
    generator: torch.Generator | None,
) -> None:
    """Raise ValueError unless the laws are those of the drafted tokens."""
    checks.floats("p", p)
    checks.ids("drafted", drafted)
    checks.need(
        drafted.ndim == 2, "drafted", f"shape {tuple(drafted.shape)}", "(R, n)"
    )
    R, n = drafted.shape
    if p.ndim != 3 or p.shape[:2] != (R, n + 1) or not p.shape[2]:
        raise ValueError(
            f"p: got shape {tuple(p.shape)}, want (R, n + 1, V) = "
            f"({R}, {n + 1}, V): a law for each drafted token and one more"
        )
    V = p.shape[2]
    if q is not None:
        checks.floats("q", q)
        if q.shape != (R, n, V):
            raise ValueError(
                f"q: got shape {tuple(q.shape)}, want (R, n, V) = "
                f"({R}, {n}, {V}): the draft's vocabulary is the target's"
            )
    check_range("drafted", drafted, V)
    check_generator(generator)


def check_range(name: str, ids: Tensor, vocab_size: int) -> None:
    """Raise ValueError unless every id is one of the vocabulary."""
    if not ids.numel():
        return
    low, high = (int(i) for i in ids.aminmax())
    if low < 0 or high >= vocab_size:
        raise ValueError(
            f"{name}: got {low} to {high}, want 0 to {vocab_size - 1}"
        )


def check_propose(ids: Tensor, attention_mask: Tensor | None, n: int) -> None:
    """Raise ValueError on what nobody can go on from."""
    checks.ids("ids", ids)
    got = f"shape {tuple(ids.shape)}"
    checks.need(ids.ndim == 2 and 0 not in ids.shape, "ids", got, "(R, W)")
    check_mask(ids, attention_mask)
    check_int("n", n, 0)


def check_text(text: list[int], n: int) -> None:
    """Raise ValueError unless text is a list of ids."""
    checks.kind("text", text, list, "a list of ids")
    for token in text:
        check_int("text", token, 0)
    check_int("n", n, 0)


def check_draft(
    target: object, draft: Any, ids: Tensor, most: int, is_drafter: bool
) -> None:
    """Raise ValueError on a draft that does not fit its target."""
    if is_drafter:
        return
    checks.function("draft", draft, "a Decoder or a Drafter")
    sizes = limit(draft, "vocab_size"), limit(target, "vocab_size")
    if None not in sizes and sizes[0] != sizes[1]:
        raise ValueError(
            f"draft: got one with vocab_size = {sizes[0]}, want the target's "
            f"{sizes[1]}: an id must mean the same token to both"
        )
    where = device_of(draft)
    if where is not None and where != ids.device:
        raise ValueError(
            f"draft: got one on {where}, want the target's {ids.device}"
        )
    longest = limit(draft, "max_seq_len")
    if longest is not None and most > longest:
        raise ValueError(
            f"draft: got one with max_seq_len = {longest}, want {most}, the "
            "longest row with its new tokens"
        )


def check_proposal(
    target: object, drafted: Tensor, q: Tensor | None, rows: int, n: int
) -> None:
    """Raise ValueError where a drafter guesses too many tokens, or others."""
    checks.ids("drafted", drafted)
    got = tuple(drafted.shape)
    if drafted.ndim != 2 or got[0] != rows or got[1] > n:
        raise ValueError(
            f"drafted: got shape {got}, want ({rows}, m), m <= n = {n}"
        )
    vocab_size = limit(target, "vocab_size")
    if vocab_size is not None:
        check_range("drafted", drafted, vocab_size)
    if q is not None:
        checks.floats("q", q)


def check_read(
    logits: Tensor, ids: Tensor, cache: KVCache | None, keep: int
) -> None:
    """Raise ValueError unless a pass gave (R, keep, V), and was cached."""
    checks.floats("logits", logits)
    want = (ids.shape[0], keep)
    if logits.ndim != 3 or logits.shape[:2] != want or not logits.shape[2]:
        raise ValueError(
            f"logits: got shape {tuple(logits.shape)} from the model, want "
            f"(R, logits_to_keep, V) = ({want[0]}, {want[1]}, V)"
        )
    if cache is not None and cache.length != ids.shape[1]:
        raise ValueError(
            f"cache: got {cache.length} tokens in it after a pass, want "
            f"{ids.shape[1]}: the model does not use its cache "
            "(use_cache=False does without)"
        )
