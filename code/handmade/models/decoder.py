"""What every decoder works out before its first block.

B batch · T new tokens · S keys, cached ones included

Which keys a token may attend to, and at which position it stands: both
follow from the padding and from what a cache has seen. Nothing here looks at
the numbers in a tensor, so that a forward pass compiles, exports and runs on
the meta device; what only numbers can tell (ids out of range, masks of
something else than 0 and 1) the loops check once, before their first step.
"""

import torch

from handmade import checks
from handmade.blocks.masks import causal_mask, padding_mask
from handmade.blocks.rope import token_positions
from handmade.contracts import Cache


def mask_and_positions(
    ids: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    positions: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    cache: Cache | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what each new token may attend to, and where it stands.

    ids (B, T) -> bool mask (T, S) or (B, 1, T, S), positions (1 or B, T)

    By default the past, less the padding, and the number of real tokens
    before. A cache may have seen more than it has kept: positions count
    from the first, keys are the last.
    """
    T = ids.shape[1]
    past, kept = (0, 0) if cache is None else (cache.length, cache.kept)
    if mask is None:
        mask = causal_mask(T, kept + T, device=ids.device)
    if attention_mask is not None:
        mask = mask & padding_mask(attention_mask[:, past - kept :])
    if positions is None and attention_mask is not None:
        positions = token_positions(attention_mask)[:, past:]
    elif positions is None:
        positions = torch.arange(past, past + T, device=ids.device)[None]
    return mask, positions


def begin(
    config: object,
    ids: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    positions: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    cache: Cache | None = None,
    logits_to_keep: int | None = None,
) -> None:
    """Check the shapes of a decoder's call, and announce it to the cache.

    Raises ValueError on shapes and dtypes that do not fit each other, and on
    a text without padding that is longer than ``config.max_seq_len``.
    """
    checks.ids("ids", ids)
    if ids.ndim != 2 or ids.shape[1] == 0:
        raise ValueError(
            f"ids: got shape {tuple(ids.shape)}, want (B, T), T > 0"
        )
    B, T = ids.shape
    checks.cache("cache", cache)
    past, kept = (0, 0) if cache is None else (cache.length, cache.kept)
    # padding and packed documents may make a row longer than any text in it
    plain = attention_mask is None and positions is None
    longest = getattr(config, "max_seq_len", None)
    if plain and longest is not None and past + T > longest:
        raise ValueError(
            f"length of ids: got {T}, want 1 to {longest - past}: "
            "max_seq_len less what is cached"
        )
    if attention_mask is not None:
        checks.yes_or_no("attention_mask", attention_mask)
        _shaped("attention_mask", attention_mask, "(B, S)", (B, past + T))
    if positions is not None:
        checks.ids("positions", positions)
        rows = 1 if positions.shape[:1] == (1,) else B
        _shaped("positions", positions, "(B, T)", (rows, T))
    if mask is not None:
        _check_mask(mask, B, T, kept + T)
    if logits_to_keep is not None:
        checks.whole("logits_to_keep", logits_to_keep)
        if logits_to_keep > T:
            raise ValueError(
                f"logits_to_keep: got {logits_to_keep}, want 1 to {T}, the "
                "number of tokens given"
            )
    if cache is not None:
        cache.begin(B, masked=attention_mask is not None)


def _check_mask(mask: torch.Tensor, B: int, T: int, S: int) -> None:
    dtype = getattr(mask, "dtype", type(mask))
    if dtype != torch.bool:
        raise ValueError(
            f"mask: got {dtype}, want torch.bool, True where a token may "
            "attend"
        )
    if mask.ndim == 2:
        _shaped("mask", mask, "(T, S)", (T, S))
    else:
        rows = 1 if mask.shape[:1] == (1,) else B
        _shaped("mask", mask, "(B, 1, T, S)", (rows, 1, T, S))


def _shaped(
    name: str, x: torch.Tensor, axes: str, want: tuple[int, ...]
) -> None:
    if tuple(x.shape) != want:
        raise ValueError(f"{name}: got {tuple(x.shape)}, want {axes} = {want}")
