"""Hide tokens, so that a model can be asked what stood there.

B batch · T tokens

Left out: hiding whole words or spans, and a fixed number in each row.
"""

from collections.abc import Collection
from typing import Any

import torch

from handmade import checks
from handmade.text.data import IGNORE


def mask_tokens(
    ids: torch.Tensor,
    special_ids: Collection[int],
    *,
    mask_id: int,
    vocab_size: int,
    generator: torch.Generator,
    share: float = 0.15,
    hidden: float = 0.8,
    swapped: float = 0.1,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose tokens to predict, and spoil most of them, (B, T) -> twice.

    Each token that is not special (padding is) is chosen with probability
    `share`. Of the chosen, `hidden` become `mask_id`, `swapped` become any
    token of the vocabulary, and the rest stay. The labels are the ids where
    a token was chosen, and IGNORE elsewhere. [devlin2019]

    Drawn anew at each call: masking is dynamic as long as you call it for
    each batch. Raises ValueError where shares are none or add up to over 1.
    """
    _check(ids, special_ids, mask_id, vocab_size, generator)
    _check_shares(share, hidden, swapped)
    special = torch.isin(ids, ids.new_tensor([*special_ids]))
    drawn: dict[str, Any] = {
        "generator": generator,
        "device": generator.device,
    }
    chance, fate = torch.rand(2, *ids.shape, **drawn).to(ids.device)
    anything = torch.randint(vocab_size, ids.shape, **drawn).to(ids)
    chosen = (chance < share) & ~special
    swap = chosen & (fate >= hidden) & (fate < hidden + swapped)
    read = ids.masked_fill(chosen & (fate < hidden), mask_id)
    read = torch.where(swap, anything, read)
    return read, ids.masked_fill(~chosen, IGNORE)


def _check(
    ids: torch.Tensor,
    special_ids: Collection[int],
    mask_id: int,
    vocab_size: int,
    generator: torch.Generator,
) -> None:
    checks.ids("ids", ids)
    checks.whole("vocab_size", vocab_size)
    checks.whole("mask_id", mask_id, at_least=0)
    want = f"0 to {vocab_size - 1}"
    checks.need(mask_id < vocab_size, "mask_id", mask_id, want)
    checks.several("special_ids", special_ids, "a list of ids")
    for i in special_ids:
        checks.whole("special_ids", i, at_least=0)
    checks.generator("generator", generator)


def _check_shares(share: float, hidden: float, swapped: float) -> None:
    shares = {"share": share, "hidden": hidden, "swapped": swapped}
    for name, value in shares.items():
        checks.number(name, value, at_least=0)
        checks.need(value <= 1, name, value, "0 to 1")
    got = f"{hidden} and {swapped}"
    fits = hidden + swapped <= 1 + 1e-9
    checks.need(fits, "hidden and swapped", got, "a sum of at most 1")
