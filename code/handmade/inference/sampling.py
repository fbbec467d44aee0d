"""Turn next-token logits into a token: six pure functions and two verbs.

Every filter takes logits (B, V), returns new logits (B, V) and leaves its
argument untouched; a token that is cut gets -inf, so the next softmax gives
it probability zero. They compose by plain function calls, in any order, and
the order matters: `generate` uses that of transformers, which is repetition
penalty, temperature, top-k, top-p, min-p.

Left out on purpose: typical, eta and epsilon sampling, and a minimum number
of tokens to keep (here always one). Each is five lines in the same mould.

Shapes: B batch, T tokens seen so far, V vocabulary.
"""

import math

import torch
from torch import Tensor

from handmade import checks

CUT = float("-inf")


def temperature(logits: Tensor, t: float) -> Tensor:
    """Divide the logits by t: below 1 sharpens, above 1 flattens.

    softmax(z / t). Zero is not a temperature: it is `greedy`.

    Shape: (B, V) -> (B, V). Raises ValueError unless t is finite and > 0.
    Source: [ackley1985].
    """
    check_logits(logits)
    check_temperature(t)
    return logits / t


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k largest logits; what ties with the k-th stays as well.

    A k at or above V keeps everything.

    Shape: (B, V) -> (B, V). Raises ValueError unless k is an int >= 1.
    Source: [fan2018].
    """
    check_logits(logits)
    check_top_k(k)
    kth = logits.topk(min(k, logits.shape[-1])).values[..., -1:]
    return logits.masked_fill(logits < kth, CUT)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of likeliest tokens whose probability reaches p.

    The token that crosses p belongs to the set, so one always remains.
    Counted from the unlikely end: a token goes when it and all the less
    likely ones together hold at most 1 - p. Small numbers are summed first,
    which is how a float32 sum over 49,152 terms stays accurate.

    Shape: (B, V) -> (B, V). Raises ValueError unless 0 <= p <= 1.
    Source: [holtzman2020].
    """
    check_logits(logits)
    check_probability("p", p)
    ascending, order = logits.sort(dim=-1)
    tail = ascending.softmax(dim=-1).cumsum(dim=-1)
    cut = tail <= 1 - p
    cut[..., -1] = False
    # `cut` lives in sorted order: carry it back to the vocabulary's order
    cut = torch.empty_like(cut).scatter_(-1, order, cut)
    return logits.masked_fill(cut, CUT)


def min_p(logits: Tensor, p: float) -> Tensor:
    """Keep tokens at least p times as likely as the likeliest.

    The threshold moves with the model's confidence: p_i >= p * max_j p_j.

    Shape: (B, V) -> (B, V). Raises ValueError unless 0 <= p <= 1.
    Source: [nguyen2025].
    """
    check_logits(logits)
    check_probability("p", p)
    probs = logits.softmax(dim=-1)
    return logits.masked_fill(probs < p * probs.amax(-1, keepdim=True), CUT)


def repetition_penalty(
    logits: Tensor,
    ids: Tensor,
    penalty: float,
    *,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Make every token already in ids less likely, once, however often seen.

    z / penalty where z >= 0, z * penalty where z < 0: dividing a negative
    logit would raise it. 1 changes nothing, below 1 rewards repetition.
    Padding, where attention_mask is 0, does not count as seen.

    Shape: (B, V), ids (B, T) -> (B, V). Raises ValueError on penalty <= 0,
    on ids that are not (B, T) integers in [0, V), on another mask shape.
    Source: [keskar2019].
    """
    check_logits(logits)
    check_penalty(penalty)
    _check_seen(logits, ids, attention_mask)
    B, V = logits.shape
    ids = ids.long()  # V itself need not fit a narrow dtype
    if attention_mask is not None:
        ids = ids.where(attention_mask.bool(), V)
    # one column more than the vocabulary, where padding lands and is dropped
    seen = logits.new_zeros(B, V + 1, dtype=torch.bool)
    seen = seen.scatter_(1, ids, True)[:, :V]
    weaker = torch.where(logits < 0, logits * penalty, logits / penalty)
    return torch.where(seen, weaker, logits)


def greedy(logits: Tensor) -> Tensor:
    """Take the likeliest token: argmax over V, the first one among equals.

    Shape: (B, V) -> (B,) int64.
    """
    check_logits(logits)
    return logits.argmax(dim=-1)


def sample(
    logits: Tensor, *, generator: torch.Generator | None = None
) -> Tensor:
    """Draw one token a row from softmax(logits).

    Without a generator the global one is used, as torch.manual_seed sets it.
    One that lives elsewhere draws there: from the same seed a generator of
    the CPU gives the same tokens wherever the model is.

    Shape: (B, V) -> (B,) int64. Raises ValueError where a row has no finite
    maximum (nan, +inf, or everything cut).
    """
    check_logits(logits)
    check_generator(generator)
    _check_drawable(logits)
    probs = logits.softmax(-1)
    if generator is not None and generator.device.type != probs.device.type:
        probs = probs.to(generator.device)
    drawn = probs.multinomial(1, generator=generator)[:, 0]
    return drawn.to(logits.device)


def _check_drawable(logits: Tensor) -> None:
    if logits.dim() != 2:
        raise ValueError(
            f"logits: got shape {tuple(logits.shape)}, want (B, V)"
        )
    if not bool(logits.amax(-1).isfinite().all()):
        raise ValueError(
            "logits: got a row with nan, +inf or nothing but -inf, want a "
            "finite maximum in every row to sample from"
        )


def _check_seen(
    logits: Tensor, ids: Tensor, attention_mask: Tensor | None
) -> None:
    if logits.dim() != 2:
        raise ValueError(
            f"logits: got shape {tuple(logits.shape)}, want (B, V)"
        )
    B, V = logits.shape
    check_ids(ids)
    if ids.shape[0] != B:
        raise ValueError(f"ids: got {ids.shape[0]} rows, want {B} as logits")
    if ids.numel() and (int(ids.amin()) < 0 or int(ids.amax()) >= V):
        raise ValueError(
            f"ids: got {int(ids.amin())} to {int(ids.amax())}, want them in "
            f"[0, {V}), the logits' vocabulary"
        )
    if attention_mask is None:
        return
    checks.yes_or_no("attention_mask", attention_mask)
    if attention_mask.shape != ids.shape:
        raise ValueError(
            f"attention_mask: got shape {tuple(attention_mask.shape)}, want "
            f"that of ids, {tuple(ids.shape)}"
        )


def check_logits(logits: Tensor) -> None:
    """Raise ValueError unless logits is a float tensor (..., V), V > 0."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        got = getattr(logits, "dtype", type(logits).__name__)
        raise ValueError(f"logits: got {got}, want a tensor of floats")
    if logits.dim() == 0 or logits.shape[-1] == 0:
        raise ValueError(
            f"logits: got shape {tuple(logits.shape)}, want (B, V), V > 0"
        )


def check_ids(ids: Tensor) -> None:
    """Raise ValueError unless ids is a tensor (B, T) of whole numbers."""
    got = getattr(ids, "dtype", type(ids).__name__)
    whole = isinstance(ids, Tensor) and not (
        ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool
    )
    if not whole:
        raise ValueError(f"ids: got {got}, want a tensor of whole numbers")
    if ids.dim() != 2:
        raise ValueError(f"ids: got shape {tuple(ids.shape)}, want (B, T)")


def check_generator(generator: torch.Generator | None) -> None:
    """Raise ValueError unless it is one of torch's, or None."""
    if not isinstance(generator, torch.Generator | None):
        raise ValueError(
            f"generator: got a {type(generator).__name__}, want a "
            "torch.Generator or None"
        )


def check_temperature(t: float, name: str = "t") -> None:
    """Raise ValueError unless t is a finite number above zero."""
    if not is_number(t) or not t > 0:
        raise ValueError(
            f"{name}: got {t!r}, want a finite number > 0; for the likeliest "
            "token use greedy"
        )


def check_top_k(k: int, name: str = "k") -> None:
    """Raise ValueError unless k is an int of at least one."""
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise ValueError(f"{name}: got {k!r}, want an int >= 1")


def check_probability(name: str, p: float) -> None:
    """Raise ValueError unless p is a number in [0, 1]."""
    if not is_number(p) or not 0 <= p <= 1:
        raise ValueError(f"{name}: got {p!r}, want a number in [0, 1]")


def check_penalty(penalty: float, name: str = "penalty") -> None:
    """Raise ValueError unless penalty is a finite number above zero."""
    if not is_number(penalty) or not penalty > 0:
        raise ValueError(f"{name}: got {penalty!r}, want a finite number > 0")


def is_number(x: object) -> bool:
    """Tell a finite int or float from all else, bool included."""
    if isinstance(x, bool) or not isinstance(x, int | float):
        return False
    return math.isfinite(x)
