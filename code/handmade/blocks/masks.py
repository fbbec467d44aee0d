"""Masks: which query may look at which key.

B batch · T query tokens · S key/value tokens

Every mask here is bool with True meaning "may attend", so masks combine:
``causal_mask(T) & padding_mask(attention_mask_BS)``. The queries are the
last T of S positions, as in decoding with a cache. Left out: masks between
packed documents (``handmade.text.data`` makes them with its batches), and
block-sparse kernels, which skip hidden blocks instead of filling in -inf.
"""

import torch

from handmade import checks

Device = torch.device | str | None


def causal_mask(
    T: int, S: int | None = None, device: Device = None
) -> torch.Tensor:
    """Allow each query the keys up to its own position, bool (T, S).

    The queries are the last T of S positions (S defaults to T): the corner
    is aligned bottom right, so the last query sees every key. That is what
    decoding with a cache needs, where S grows and T stays 1.
    Raises ValueError where there are more queries than keys.
    """
    S = T if S is None else S
    check_lengths(T, S)
    checks.device("device", device)
    ones_TS = torch.ones(T, S, dtype=torch.bool, device=device)
    return ones_TS.tril(diagonal=S - T)


def prefix_mask(
    T: int, prefix: int, S: int | None = None, device: Device = None
) -> torch.Tensor:
    """Let the first ``prefix`` tokens see each other, the rest the past.

    mask[t, s] = s < prefix or s <= S - T + t,  bool (T, S)

    Read in both directions, written in one: the prompt is known before the
    first token is generated, so nothing has to be hidden inside it.
    Raises ValueError on a negative prefix or more queries than keys.
    [raffel2020]
    """
    checks.whole("prefix", prefix, at_least=0)
    mask_TS = causal_mask(T, S, device)
    mask_TS[:, :prefix] = True
    return mask_TS


def sliding_window_mask(
    T: int, window: int, S: int | None = None, device: Device = None
) -> torch.Tensor:
    """Allow each query itself and the ``window - 1`` keys before it.

    mask[t, s] = 0 <= S - T + t - s < window,  bool (T, S)

    A window of S or more is the causal mask. Raises ValueError on a window
    below 1 (a query would see nothing) or more queries than keys.
    [beltagy2020, jiang2023]
    """
    checks.whole("window", window)
    causal_TS = causal_mask(T, S, device)
    S = causal_TS.shape[1]
    # the lower triangle, minus a lower triangle `window` steps further left
    return causal_TS & ~causal_TS.tril(diagonal=S - T - window)


def padding_mask(attention_mask_BS: torch.Tensor) -> torch.Tensor:
    """Hide the padding keys, (B, S) of 1 and 0 -> bool (B, 1, 1, S).

    Takes a tokenizer's ``attention_mask`` (1: a token, 0: padding).
    Raises ValueError on other shapes and on floats, which are scores to be
    added and not a yes or no.
    """
    checks.yes_or_no("attention_mask", attention_mask_BS)
    if attention_mask_BS.ndim != 2:
        raise ValueError(
            f"attention_mask: got shape {tuple(attention_mask_BS.shape)}, "
            "want (B, S)"
        )
    return attention_mask_BS.bool()[:, None, None, :]


def check_lengths(T: int, S: int) -> None:
    """Want whole numbers of queries and keys, and no fewer keys."""
    checks.whole("T", T, at_least=0)
    checks.whole("S", S, at_least=0)
    if T > S:
        raise ValueError(f"T: got {T} queries, want 0 <= T <= S = {S} keys")
