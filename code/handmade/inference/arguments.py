"""What the decoding loops check once, before the first step.

B batch · T prompt tokens

Everything that only numbers can tell stands here, so that a model's forward
pass need not look: ids out of range, masks with holes, a prompt that leaves
no room.
"""

from collections.abc import Iterable
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

from handmade import checks
from handmade.contracts import Cache, Decoder, device_of, limit
from handmade.inference.cache import KVCache
from handmade.inference.sampling import (
    check_generator,
    check_ids,
    check_penalty,
    check_probability,
    check_temperature,
    check_top_k,
    is_number,
)

DECODER = "what handmade.contracts.Decoder describes"
Ids = int | Iterable[int] | Tensor | None


class Prompt(NamedTuple):
    """The checked arguments that every loop needs, on the model's device."""

    ids: Tensor  # (B, T) int64
    mask: Tensor | None  # (B, T) int64; None where nothing is hidden
    eos: Tensor | None  # (n,) int64; None where nothing ends a text
    fill: int  # what follows the end
    cache: Cache | None


def check_prompt(
    model: Decoder,
    ids: Tensor,
    max_new_tokens: int,
    attention_mask: Tensor | None,
    eos_id: Ids,
    pad_id: int | None,
    cache: Cache | None,
    use_cache: bool,
    *,
    at_least: int = 0,
) -> Prompt:
    """Check what a loop is given; return it ready for use.

    Narrow ids are widened to int64. A mask that hides nothing becomes None,
    so that the model can take its unmasked path, except beside a cache of
    the caller's, which may have been filled with one.
    """
    checks.function("model", model, DECODER)
    checks.flag("use_cache", use_cache)
    check_ids(ids)
    if 0 in ids.shape:
        raise ValueError(
            f"ids: got shape {tuple(ids.shape)}, want at least one row of at "
            "least one token: begin with the beginning-of-text token"
        )
    check_int("max_new_tokens", max_new_tokens, at_least)
    vocab_size = limit(model, "vocab_size")
    eos = _each_id("eos_id", eos_id, vocab_size)
    pads = _each_id("pad_id", pad_id, vocab_size)
    if len(pads) > 1:
        raise ValueError(f"pad_id: got {pads}, want one id")
    ids = ids.to(device_of(model) or ids.device).long()
    _check_range(ids, vocab_size)
    mask = check_mask(ids, attention_mask, holes=cache is not None)
    _check_room(model, ids, mask, max_new_tokens)
    if cache is not None:
        _check_cache(cache, ids, use_cache)
    elif mask is not None and bool(mask.all()):
        mask = None
    return Prompt(
        ids,
        mask,
        torch.tensor(eos).to(ids.device) if eos else None,
        (pads or eos or [0])[0],
        KVCache() if cache is None and use_cache else cache,
    )


def check_options(
    temperature: float,
    repetition_penalty: float | None,
    generator: torch.Generator | None = None,
    *,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
) -> None:
    """Raise ValueError on a sampling option out of range or without effect."""
    check_generator(generator)
    given = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
    if is_number(temperature) and temperature == 0:
        for name, value in given.items():
            if value is not None:
                raise ValueError(
                    f"{name}: got {value!r}, want None: it has no effect on "
                    "greedy decoding; give temperature > 0 to sample"
                )
    else:
        check_temperature(temperature, "temperature")
    if top_k is not None:
        check_top_k(top_k, "top_k")
    if top_p is not None:
        check_probability("top_p", top_p)
    if min_p is not None:
        check_probability("min_p", min_p)
    if repetition_penalty is not None:
        check_penalty(repetition_penalty, "repetition_penalty")


def check_beams(
    num_beams: int,
    num_return_sequences: int,
    length_penalty: float,
    early_stopping: bool | str,
) -> None:
    """Raise ValueError on an argument of beam search out of range."""
    check_int("num_beams", num_beams, 1)
    check_int("num_return_sequences", num_return_sequences, 1)
    if num_return_sequences > num_beams:
        raise ValueError(
            f"num_return_sequences: got {num_return_sequences}, want at most "
            f"num_beams = {num_beams}: there are no other hypotheses"
        )
    if not is_number(length_penalty):
        raise ValueError(
            f"length_penalty: got {length_penalty!r}, want a finite number"
        )
    # by identity: 1 == True, and would then be taken for False
    if not (isinstance(early_stopping, bool) or early_stopping == "never"):
        raise ValueError(
            f"early_stopping: got {early_stopping!r}, want True, False or "
            "'never'"
        )


def check_candidates(n: int, num_beams: int, vocab_size: int) -> None:
    """Raise ValueError where a step has fewer continuations than it needs."""
    if n > num_beams * vocab_size:
        raise ValueError(
            f"num_beams: got {num_beams}, which needs {n} candidates a step, "
            f"want fewer: a vocabulary of {vocab_size} gives "
            f"{num_beams * vocab_size}"
        )


def check_int(name: str, value: object, at_least: int) -> None:
    """Raise ValueError unless value is a whole number of at_least or more."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < at_least:  # type: ignore[operator]
        raise ValueError(
            f"{name}: got {value!r}, want a whole number >= {at_least}"
        )


def check_mask(
    ids: Tensor, attention_mask: Tensor | None, *, holes: bool = False
) -> Tensor | None:
    """Return the mask as int64, on the ids' device.

    Raises ValueError unless it is 0s, then 1s, in every row. ``holes`` allows
    0s between: in a conversation that goes on, they hide what was filled in
    after the end of an earlier answer.
    """
    if attention_mask is None:
        return None
    checks.yes_or_no("attention_mask", attention_mask)
    if attention_mask.shape != ids.shape:
        raise ValueError(
            f"attention_mask: got shape {tuple(attention_mask.shape)}, want "
            f"that of ids, {tuple(ids.shape)}"
        )
    mask = attention_mask.to(ids.device)
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError(
            "attention_mask: got other numbers, want only 0 and 1"
        )
    mask = mask.long()
    if not bool(mask[:, -1].all()):
        raise ValueError(
            "attention_mask: got 0 for the last token of a row, want 1: "
            "generation continues what stands last, so pad on the left "
            "(tokenizer.padding_side = 'left')"
        )
    if not holes and bool((mask[:, :-1] > mask[:, 1:]).any()):
        raise ValueError(
            "attention_mask: got padding between real tokens, want 0s, then "
            "1s, in every row"
        )
    return mask


def check_pass(
    model: Decoder, name: str, ids: Tensor, cache: Cache | None
) -> None:
    """Raise ValueError on what one pass of a model cannot be made of."""
    checks.function("model", model, DECODER)
    checks.ids(name, ids)
    checks.need(ids.ndim == 2, name, f"shape {tuple(ids.shape)}", "(B, T)")
    checks.cache("cache", cache)


def grow_mask(mask: Tensor, length: int) -> Tensor:
    """Extend a mask (B, T) by ones to (B, length): new tokens are real."""
    checks.yes_or_no("mask", mask)
    shape, want = tuple(mask.shape), f"(B, T), T <= length = {length}"
    checks.whole("length", length, at_least=0)
    fits = mask.ndim == 2 and shape[1] <= length
    checks.need(fits, "mask", f"shape {shape}", want)
    grown = mask.new_ones(len(mask), length)
    grown[:, : mask.shape[1]] = mask
    return grown


def _each_id(name: str, given: Ids, vocab_size: int | None) -> list[int]:
    """Read one id or several: int, NumPy integer, tensor, or a list."""
    tolist = getattr(given, "tolist", None)
    plain: Any = given if tolist is None else tolist()
    if plain is None:
        return []
    several = isinstance(plain, Iterable) and not isinstance(plain, str)
    found: list[Any] = list(plain) if several else [plain]
    for value in found:
        check_int(name, value, 0)
        if vocab_size is not None and value >= vocab_size:
            raise ValueError(
                f"{name}: got {value}, want one below the model's vocab_size "
                f"= {vocab_size}"
            )
    return [int(value) for value in found]


def _check_range(ids: Tensor, vocab_size: int | None) -> None:
    low, high = (int(x) for x in ids.aminmax())
    if low < 0 or (vocab_size is not None and high >= vocab_size):
        upper = "more" if vocab_size is None else vocab_size - 1
        raise ValueError(f"ids: got {low} to {high}, want 0 to {upper}")


def _check_room(
    model: Decoder, ids: Tensor, mask: Tensor | None, new: int
) -> None:
    longest = limit(model, "max_seq_len")
    # of the longest row the real tokens: padding takes no position
    T = ids.shape[1] if mask is None else int(mask.sum(1).max())
    if longest is not None and T + new > longest:
        raise ValueError(
            f"max_new_tokens: got {new} after a prompt of {T} tokens, want "
            f"no more than the model's max_seq_len = {longest} together"
        )


def _check_cache(cache: Cache, ids: Tensor, use_cache: bool) -> None:
    if not use_cache:
        raise ValueError("cache: got one, want None with use_cache=False")
    if not isinstance(cache, Cache):
        raise ValueError(
            f"cache: got a {type(cache).__name__}, want what "
            "handmade.contracts.Cache describes, such as KVCache()"
        )
    if cache.length >= ids.shape[1]:
        raise ValueError(
            f"ids: got {ids.shape[1]} tokens a row, want more than the "
            f"{cache.length} that the cache has seen: the whole text, of "
            "which the new tokens are the end"
        )
