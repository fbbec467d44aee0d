"""Continue a prompt token by token: prefill once, then decode one at a time.

The loop needs a model that is called as `handmade.contracts.Decoder` is, and
nothing else from it. Tensors for the ids and the mask are allotted once,
at their final length, and written in place; a step asks of Python only which
filters are on, and of the device only whether it may go on.

Left out on purpose: streaming, stop strings, and padding on the right, which
is refused: a row that ends in padding has no last token to continue.

Shapes: B batch, T prompt tokens, S tokens so far, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from handmade import checks
from handmade.contracts import Cache, Decoder
from handmade.inference import sampling
from handmade.inference.arguments import (
    Ids,
    check_options,
    check_pass,
    check_prompt,
    grow_mask,
)
from handmade.inference.outputs import check_finite, check_output


@torch.inference_mode()
def generate(
    model: Decoder,
    ids: Tensor,
    *,
    max_new_tokens: int,
    attention_mask: Tensor | None = None,
    eos_id: Ids = None,
    pad_id: int | None = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
    cache: Cache | None = None,
) -> Tensor:
    """Return the prompt and up to max_new_tokens tokens after it.

    temperature 0 is greedy; above 0 tokens are drawn after the filters that
    are given, in the order repetition penalty, temperature, top-k, top-p,
    min-p. Logits are filtered in float32 whatever the model's dtype. A row
    that produced eos_id (one id or several) is finished and gets pad_id,
    by default the first eos_id; when all rows are finished the loop ends.
    Padding in the prompt stands on the left, with attention_mask 0. A cache
    given by the caller goes on where it is: ids and mask are then the whole
    text, of which it has seen the beginning, and it is left with all but the
    last token of what is returned.

    Shape: ids (B, T) -> (B, T + new) int64, new <= max_new_tokens, on the
    model's device. Raises ValueError on an argument that is out of range, of
    another shape, or without effect (a sampling filter while temperature is
    0), on a text that would outgrow the model, and on logits without a
    finite largest number.
    """
    options: Any = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
    check_options(temperature, repetition_penalty, generator, **options)
    ids, mask, eos, fill, cache = check_prompt(
        model, ids, max_new_tokens, attention_mask,
        eos_id, pad_id, cache, use_cache,
    )  # fmt: skip
    B, T = ids.shape
    out = ids.new_full((B, T + max_new_tokens), fill)
    out[:, :T] = ids
    if mask is not None:
        mask = grow_mask(mask, T + max_new_tokens)
    finished = torch.zeros(B, dtype=torch.bool, device=ids.device)

    for S in range(T, T + max_new_tokens):
        seen = None if mask is None else mask[:, :S]
        if cache is None:
            logits = prefill(model, out[:, :S], None, seen)
        elif S == T:
            logits = prefill(model, out[:, cache.length : T], cache, seen)
        else:
            logits = decode_one_token(model, out[:, S - 1 : S], cache, seen)
        check_finite(logits, step=S - T + 1)
        token = choose(
            logits,
            out[:, :S],
            seen,
            temperature,
            repetition_penalty,
            generator,
            **options,
        )
        if eos is None:
            out[:, S] = token
            continue
        out[:, S] = token.where(~finished, fill)
        finished |= torch.isin(token, eos)
        if finished.all():
            return out[:, : S + 1]
    return out


def prefill(
    model: Decoder,
    ids: Tensor,
    cache: Cache | None = None,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Run the whole prompt at once, filling the cache.

    Returns the logits after its last token, in float32. The others, which
    predict tokens that the prompt already contains, are not asked for.

    Shape: ids (B, T) -> (B, V). Raises ValueError where the model gives
    another shape, or leaves the cache as it was.
    """
    check_pass(model, "ids", ids, cache)
    before = 0 if cache is None else cache.length
    logits = model(ids, attention_mask, cache=cache, logits_to_keep=1)
    check_output(logits, ids, cache, before)
    return logits[:, -1].float()


def decode_one_token(
    model: Decoder,
    token: Tensor,
    cache: Cache,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Run one new token a row against the cache; the mask covers all S.

    Shape: token (B, 1) -> (B, V), the logits of the token to come.
    """
    _check_step(model, token, cache)
    return prefill(model, token, cache, attention_mask)


def choose(
    logits: Tensor,
    ids: Tensor,
    attention_mask: Tensor | None,
    temperature: float,
    repetition_penalty: float | None,
    generator: torch.Generator | None = None,
    *,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Tensor:
    """Apply the filters that are on, then take or draw a token.

    Shape: logits (B, V), ids (B, S) -> (B,). Raises ValueError as
    `generate` does.
    """
    _check_choice(logits, ids, attention_mask)
    check_options(
        temperature,
        repetition_penalty,
        generator,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
    )
    if repetition_penalty is not None:
        logits = sampling.repetition_penalty(
            logits, ids, repetition_penalty, attention_mask=attention_mask
        )
    if temperature == 0:
        return sampling.greedy(logits)
    logits = sampling.temperature(logits, temperature)
    if top_k is not None:
        logits = sampling.top_k(logits, top_k)
    if top_p is not None:
        logits = sampling.top_p(logits, top_p)
    if min_p is not None:
        logits = sampling.min_p(logits, min_p)
    return sampling.sample(logits, generator=generator)


def _check_step(model: Decoder, token: Tensor, cache: Cache) -> None:
    checks.need(cache is not None, "cache", None, "what the prompt filled")
    check_pass(model, "token", token, cache)


def _check_choice(
    logits: Tensor, ids: Tensor, attention_mask: Tensor | None
) -> None:
    sampling.check_logits(logits)
    sampling.check_ids(ids)
    if attention_mask is not None:
        checks.yes_or_no("attention_mask", attention_mask)
