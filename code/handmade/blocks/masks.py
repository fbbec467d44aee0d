"""Masks: which query may look at which key.

B batch · T query tokens · S key/value tokens

Every mask here is bool with True meaning "may attend", so masks combine
with ``&``: ``causal_mask(T) & padding_mask(attention_mask_BS)``. Left out:
prefix and sliding-window masks (the page on masks builds them).
"""

import torch


def causal_mask(
    T: int, S: int | None = None, device: torch.device | str | None = None
) -> torch.Tensor:
    """Allow each query the keys up to its own position, bool (T, S).

    The queries are the last T of S positions (S defaults to T): the corner
    is aligned bottom right, so the last query sees every key. That is what
    decoding with a cache needs, where S grows and T stays 1.
    Raises ValueError where there are more queries than keys.
    """
    S = T if S is None else S
    if not 0 <= T <= S:
        raise ValueError(f"T: got {T} queries, want 0 <= T <= S = {S} keys")
    ones_TS = torch.ones(T, S, dtype=torch.bool, device=device)
    return ones_TS.tril(diagonal=S - T)


def padding_mask(attention_mask_BS: torch.Tensor) -> torch.Tensor:
    """Hide the padding keys, (B, S) of 1 and 0 -> bool (B, 1, 1, S).

    Takes a tokenizer's ``attention_mask`` (1: a token, 0: padding).
    Raises ValueError on other shapes and on floats, which are scores to be
    added and not a yes or no.
    """
    if attention_mask_BS.ndim != 2 or attention_mask_BS.is_floating_point():
        raise ValueError(
            f"attention_mask: got shape {tuple(attention_mask_BS.shape)} and "
            f"dtype {attention_mask_BS.dtype}, want (B, S) of int or bool"
        )
    return attention_mask_BS.bool()[:, None, None, :]
