"""Rows of unequal length as one rectangle, and a mask that says what is what.

Left out: a length to fill up to, and cutting what is too long.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch


class Batch(NamedTuple):
    """Texts as one rectangle, both int64 (B, T); the mask is 0 at padding."""

    ids: torch.Tensor
    attention_mask: torch.Tensor


def fill_up(
    rows: Sequence[Sequence[int]], pad_id: int | None, side: str
) -> Batch:
    """Return rows filled with `pad_id` on a side to the longest's length.

    Raises ValueError without rows, and where one must be filled and there
    is nothing to fill it with.
    """
    if side not in ("left", "right"):
        raise ValueError(f"side: got {side!r}, want 'left' or 'right'")
    if not rows:
        raise ValueError("texts: got none, want at least one")
    lengths = [len(row) for row in rows]
    if pad_id is None and min(lengths) < max(lengths):
        raise ValueError(
            f"pad_id: got None, want the id that fills rows up: they have "
            f"{min(lengths)} to {max(lengths)} tokens"
        )
    ids = torch.full((len(rows), max(lengths)), pad_id or 0)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        start = 0 if side == "right" else max(lengths) - len(row)
        here = slice(start, start + len(row))
        ids[i, here] = torch.tensor(row, dtype=torch.int64)
        mask[i, here] = 1
    return Batch(ids, mask)
