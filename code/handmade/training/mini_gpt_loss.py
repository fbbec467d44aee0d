"""What the capstone loses: in a step, and on the side it has not seen.

B batch · T tokens of a window

Left out: bits, and perplexity, which is e to the loss.
"""

from collections.abc import Iterator

import torch
from torch.nn import functional as F

from handmade import checks


def character_loss(
    model: torch.nn.Module,
    ids: torch.Tensor,
    judged: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean cross-entropy in nats a character, (B, T + 1) ids -> scalar.

    Where `judged`, bool (B, T), is given, of the targets it marks alone.
    """
    checks.module("model", model)
    checks.ids("ids", ids, axes=2)
    targets = ids[:, 1:]
    logits = model(ids[:, :-1])
    if judged is not None:
        _check_judged(judged, targets)
        logits, targets = logits[judged], targets[judged]
        return F.cross_entropy(logits, targets)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def judged_count(
    ids: torch.Tensor, judged: torch.Tensor | None = None
) -> float:
    """Return how many characters a loss is the mean of."""
    checks.ids("ids", ids, axes=2)
    if judged is None:
        return float(ids[:, 1:].numel())
    _check_judged(judged, ids[:, 1:])
    return judged.sum().item()


def half_windows(
    ids: torch.Tensor, T: int, batch_size: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield overlapping windows and what is judged in each.

    (B, T + 1) ids, and bool (B, T): each character after the first is judged
    once, after at least T // 2 others, save those of the first window. Judged
    in windows side by side, the first ones of each would be guessed from next
    to nothing. Raises ValueError for a text of less than two characters.
    """
    checks.ids("ids", ids, axes=1)
    checks.whole("T", T)
    checks.whole("batch_size", batch_size)
    checks.need(len(ids) > 1, "ids", f"{len(ids)} characters", "two or more")
    targets = len(ids) - 1
    T = min(T, targets)
    last = targets - T
    starts = torch.tensor([*range(0, last, max(1, T // 2)), last])
    known = torch.cat((starts.new_zeros(1), starts[:-1] + T))
    rows = ids[starts[:, None] + torch.arange(T + 1)]
    judged = starts[:, None] + torch.arange(T) >= known[:, None]
    yield from zip(
        rows.split(batch_size), judged.split(batch_size), strict=True
    )


def _check_judged(judged: torch.Tensor, targets: torch.Tensor) -> None:
    got = getattr(judged, "dtype", type(judged).__name__)
    checks.need(got == torch.bool, "judged", got, "a tensor of bool")
    got, want = tuple(judged.shape), tuple(targets.shape)
    checks.need(got == want, "judged", got, f"(B, T) = {want}")
    checks.need(bool(judged.any()), "judged", "none", "one at least")
