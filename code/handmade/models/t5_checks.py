"""What a T5 refuses before its first block, by the names of its call."""

import torch

from handmade import checks

OVERFLOWS = (
    "want float32 or bfloat16 (model.float(), model.bfloat16()): the "
    "feed-forward layers of trained T5s pass 65,504, the largest float16"
)


def check_text(ids: torch.Tensor, attention_mask: torch.Tensor | None) -> None:
    """Want texts to read, (B, S), and a mask of their shape."""
    _texts("ids", ids)
    if attention_mask is not None:
        checks.yes_or_no("attention_mask", attention_mask)
        _shaped("attention_mask", attention_mask, "(B, S)", tuple(ids.shape))


def check_written(
    ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    mask: torch.Tensor | None,
    rows: int,
    seen: tuple[int, int],
    logits_to_keep: int | None,
    prefix: str = "decoder_",
) -> None:
    """Want what is written so far, and masks over it and what was cached.

    ``rows`` is the number of texts read, ``seen`` the positions a cache has
    seen and the keys it has kept.
    """
    _texts(f"{prefix}ids", ids)
    B, T = ids.shape
    past, kept = seen
    fits = rows > 0 and B % rows == 0 if not prefix else rows == B
    want = f"a row for each of the {rows} texts"
    checks.need(fits, f"{prefix}ids", f"{B} rows", want)
    if attention_mask is not None:
        name = f"{prefix}attention_mask"
        checks.yes_or_no(name, attention_mask)
        _shaped(name, attention_mask, "(B, S)", (B, past + T))
    if mask is not None:
        dtype = getattr(mask, "dtype", type(mask))
        want = "torch.bool, True where a token may attend"
        checks.need(dtype == torch.bool, "mask", dtype, want)
        if mask.ndim == 2:
            _shaped("mask", mask, "(T, S)", (T, kept + T))
        else:
            rows = 1 if mask.shape[:1] == (1,) else B
            _shaped("mask", mask, "(B, 1, T, S)", (rows, 1, T, kept + T))
    if logits_to_keep is not None:
        checks.whole("logits_to_keep", logits_to_keep)
        want = f"1 to {T}, the number of tokens given"
        few = logits_to_keep <= T
        checks.need(few, "logits_to_keep", logits_to_keep, want)


def check_dtype(dtype: torch.dtype) -> None:
    """Refuse to compute in float16, which would overflow."""
    if dtype == torch.float16:
        raise ValueError(f"dtype: got {dtype}, {OVERFLOWS}")


def check_two_texts_cache(cache: object) -> None:
    """Want a cache that keeps what was read beside what is written."""
    checks.cache("cache", cache)
    if cache is not None and not hasattr(cache, "context"):
        raise ValueError(
            f"cache: got a {type(cache).__name__}, want an "
            "EncoderDecoderCache: it keeps the text that was read, too"
        )


def _texts(name: str, ids: torch.Tensor) -> None:
    checks.ids(name, ids)
    if ids.ndim != 2 or 0 in ids.shape:
        got = f"shape {tuple(ids.shape)}"
        raise ValueError(f"{name}: got {got}, want (B, T), neither of them 0")


def _shaped(
    name: str, x: torch.Tensor, axes: str, want: tuple[int, ...]
) -> None:
    if tuple(x.shape) != want:
        raise ValueError(f"{name}: got {tuple(x.shape)}, want {axes} = {want}")
