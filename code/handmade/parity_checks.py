"""What ``parity`` refuses before it runs anything."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from handmade import checks

Where = Tensor | Mapping[str, Tensor] | None


def check_models(
    ours: nn.Module,
    theirs: nn.Module,
    inputs: Any,
    their_inputs: Any,
    nan_equal: bool,
) -> None:
    """Raise ValueError on what is no pair of models with inputs."""
    checks.module("ours", ours)
    checks.module("theirs", theirs)
    given = {"inputs": inputs, "their_inputs": their_inputs}
    want = "a tensor, or a tuple or a dict of arguments"
    for name, value in given.items():
        if value is not None or name == "inputs":
            checks.kind(name, value, (Tensor, tuple, Mapping), want)
    checks.flag("nan_equal", nan_equal)


def check_where(where: Where, layers: Mapping[str, str]) -> None:
    """Raise ValueError unless masks (B, T) choose some token."""
    masks: Any = where if isinstance(where, Mapping) else {"": where}
    if isinstance(where, Mapping) and (not where or where.keys() - layers):
        raise ValueError(
            f"where: got {[*where]}, want masks for some of {[*layers]}"
        )
    for mask in masks.values():
        if mask is None:
            continue
        bad = not isinstance(mask, Tensor) or mask.dtype != torch.bool
        if bad or mask.ndim != 2:
            raise ValueError(
                f"where: got {_described(mask)}, want bool (B, T)"
            )
        if not mask.any():
            raise ValueError("where: got no token to compare, want some")


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {value.dtype}"
    return type(value).__name__
