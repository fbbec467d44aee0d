"""Continue a prompt token by token: prefill once, then decode one at a time.

The loop needs a model with the signature

    model(ids (B, T), attention_mask=None, cache=None) -> logits (B, T, V)

and nothing else from it. Tensors for the ids and the mask are allotted once,
at their final length, and written in place; the only thing a step asks of
Python is which filters are on.

Left out on purpose: streaming, stop strings, and padding on the right, which
is refused: a row that ends in padding has no last token to continue.

Shapes: B batch, T prompt tokens, S tokens so far, V vocabulary.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from handmade.inference import sampling
from handmade.inference.cache import KVCache

Model = Callable[..., Tensor]


@torch.inference_mode()
def generate(
    model: Model,
    ids: Tensor,
    *,
    max_new_tokens: int,
    attention_mask: Tensor | None = None,
    eos_id: int | Iterable[int] | None = None,
    pad_id: int | None = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> Tensor:
    """Return the prompt and up to max_new_tokens tokens after it.

    temperature 0 is greedy; above 0 tokens are drawn after the filters that
    are given, in the order repetition penalty, temperature, top-k, top-p,
    min-p. Logits are filtered in float32 whatever the model's dtype. A row
    that produced eos_id (one id or several) is finished and gets pad_id,
    by default the first eos_id; when all rows are finished the loop ends.
    Padding in the prompt stands on the left, with attention_mask 0.

    Shape: ids (B, T) -> (B, T + new), new <= max_new_tokens.
    Raises ValueError on an argument that is out of range, of another shape,
    or without effect (a sampling filter while temperature is 0).
    """
    options = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
    check_options(temperature, repetition_penalty, **options)
    mask, eos, pad = check_prompt(
        ids, max_new_tokens, attention_mask, eos_id, pad_id
    )
    B, T = ids.shape
    out = ids.new_full((B, T + max_new_tokens), pad)
    out[:, :T] = ids
    if mask is not None:
        mask = grow_mask(mask, T + max_new_tokens)
    cache = KVCache() if use_cache else None
    finished = torch.zeros(B, dtype=torch.bool, device=ids.device)

    for S in range(T, T + max_new_tokens):
        seen = None if mask is None else mask[:, :S]
        if S == T:
            logits = prefill(model, out[:, :T], cache, seen)
        elif use_cache:
            logits = decode_one_token(model, out[:, S - 1 : S], cache, seen)
        else:
            logits = prefill(model, out[:, :S], None, seen)
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
        out[:, S] = token.where(~finished, pad)
        finished |= torch.isin(token, eos)
        if finished.all():
            return out[:, : S + 1]
    return out


def prefill(
    model: Model,
    ids: Tensor,
    cache: KVCache | None = None,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Run the whole prompt at once, filling the cache.

    Returns the logits after its last token, in float32: those of the other
    positions predict tokens that the prompt already contains.

    Shape: ids (B, T) -> (B, V).
    """
    logits = model(ids, attention_mask=attention_mask, cache=cache)
    return logits[:, -1].float()


def decode_one_token(
    model: Model,
    token: Tensor,
    cache: KVCache,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Run one new token a row against the cache; the mask covers all S.

    Shape: token (B, 1) -> (B, V), the logits of the token to come.
    """
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

    Shape: logits (B, V), ids (B, S) -> (B,).
    """
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


def check_options(
    temperature: float,
    repetition_penalty: float | None,
    *,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
) -> None:
    """Raise ValueError on a sampling option out of range or without effect."""
    given = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
    given = [name for name, value in given.items() if value is not None]
    if sampling.is_number(temperature) and temperature == 0:
        if given:
            raise ValueError(
                f"{given[0]} has no effect on greedy decoding: give "
                "temperature > 0 to sample, or leave it out"
            )
    else:
        sampling.check_temperature(temperature, "temperature")
    if top_k is not None:
        sampling.check_top_k(top_k, "top_k")
    if top_p is not None:
        sampling.check_probability("top_p", top_p)
    if min_p is not None:
        sampling.check_probability("min_p", min_p)
    if repetition_penalty is not None:
        sampling.check_penalty(repetition_penalty, "repetition_penalty")


def check_prompt(
    ids: Tensor,
    max_new_tokens: int,
    attention_mask: Tensor | None,
    eos_id: int | Iterable[int] | None,
    pad_id: int | None,
    *,
    at_least: int = 0,
) -> tuple[Tensor | None, Tensor | None, int]:
    """Check what every decoding loop needs; return mask, eos ids, fill id.

    A mask that hides nothing comes back as None, so the model can take its
    unmasked path; so do eos ids where there are none.
    """
    sampling.check_ids(ids)
    if 0 in ids.shape:
        raise ValueError(
            f"ids must hold a prompt of at least one token, got shape "
            f"{tuple(ids.shape)}: begin with the beginning-of-text token"
        )
    check_int("max_new_tokens", max_new_tokens, at_least)
    several = isinstance(eos_id, Iterable)
    eos = list(eos_id) if several else [] if eos_id is None else [eos_id]
    for each in eos:
        check_int("eos_id", each, 0)
    if pad_id is not None:
        check_int("pad_id", pad_id, 0)
    fill = pad_id if pad_id is not None else eos[0] if eos else 0
    ends = torch.tensor(eos, device=ids.device) if eos else None
    return check_mask(ids, attention_mask), ends, fill


def check_int(name: str, value: int, at_least: int) -> None:
    """Raise ValueError unless value is an int of at_least or more."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < at_least:
        raise ValueError(f"{name} must be an int >= {at_least}, got {value!r}")


def check_mask(ids: Tensor, attention_mask: Tensor | None) -> Tensor | None:
    """Raise ValueError unless the mask is 0s, then 1s, in every row."""
    if attention_mask is None:
        return None
    if attention_mask.shape != ids.shape:
        raise ValueError(
            f"attention_mask must have the shape of ids, {tuple(ids.shape)}, "
            f"got {tuple(attention_mask.shape)}"
        )
    mask = attention_mask.to(ids.device)
    real = mask.bool()
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError("attention_mask must hold only 0 and 1")
    if not real[:, -1].all():
        raise ValueError(
            "attention_mask hides the last token of a row: generation "
            "continues what stands last, so pad on the left "
            "(tokenizer.padding_side = 'left')"
        )
    if (real[:, :-1] & ~real[:, 1:]).any():
        raise ValueError(
            "attention_mask must be 0s followed by 1s in every row: "
            "there is padding between real tokens"
        )
    return None if real.all() else mask


def grow_mask(mask: Tensor, length: int) -> Tensor:
    """Extend a mask (B, T) by ones to (B, length): new tokens are real."""
    grown = mask.new_ones(len(mask), length)
    grown[:, : mask.shape[1]] = mask
    return grown
