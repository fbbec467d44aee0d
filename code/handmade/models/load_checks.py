"""What ``load`` and ``export`` refuse before they copy anything."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from handmade import checks


def check_weights(weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless it maps names to tensors."""
    if not isinstance(weights, Mapping):
        got = type(weights).__name__
        raise ValueError(f"weights: got a {got}, want a dict of tensors")
    for name, x in weights.items():
        if not isinstance(x, Tensor):
            got = type(x).__name__
            raise ValueError(
                f"weights: got a {got} as {name!r}, want a tensor"
            )


def check_load(
    model: nn.Module,
    table: Mapping[str, object],
    tied: Mapping[str, str] | None,
    ignored: Iterable[str],
    dtype: torch.dtype | None,
) -> None:
    """Raise ValueError on what ``load`` can make nothing of."""
    check_table(model, table)
    if tied is not None:
        checks.mapping("tied", tied, "a dict from name to name, or None")
    checks.several("ignored", ignored, "a list of patterns")
    for pattern in ignored:
        checks.text("ignored", pattern)
    if dtype is not None:
        checks.dtype("dtype", dtype)


def check_table(model: nn.Module, table: Mapping[str, object]) -> None:
    """Raise ValueError unless it maps patterns to patterns or rules."""
    checks.module("model", model)
    checks.mapping("table", table, "a dict from pattern to pattern or Rule")
    for pattern, entry in table.items():
        checks.text("table", pattern)
        if not isinstance(entry, str):
            check_rule("table", entry)


def check_rule(name: str, entry: object) -> None:
    """Raise ValueError unless it has what a rule of a table has."""
    needed = ("names", "cut", "join")
    rules = all(callable(getattr(entry, each, None)) for each in needed)
    got, want = f"a {type(entry).__name__}", "a pattern or a Rule"
    checks.need(rules, name, got, want)
