"""Refuse a checkpoint that is of another run, before any of it is used."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from handmade import checks


def check_settings(
    folder: Path, theirs: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Refuse a run of other settings, naming them."""
    checks.mapping("settings", settings, "a dict that JSON can hold")
    ours = json.loads(json.dumps(dict(settings)))  # tuples become lists
    differ = [
        f"{key} {theirs.get(key)!r} there, {ours.get(key)!r} here"
        for key in sorted(ours | theirs)
        if (key in ours, ours.get(key)) != (key in theirs, theirs.get(key))
    ]
    if differ:
        raise ValueError(
            f"settings: got a run other than {folder} is of "
            f"({'; '.join(differ[:3])}{' ...' * (len(differ) > 3)}), want "
            "the same"
        )


def check_tensors(
    folder: Path,
    want: Mapping[str, torch.Tensor],
    got: Mapping[str, torch.Tensor],
) -> None:
    """Refuse tensors that are missing, unexpected or misshapen."""
    odd = [f"{name} missing" for name in want if name not in got]
    odd += [f"{name} unexpected" for name in got if name not in want]
    odd += [
        f"{name} {got[name].dtype} {tuple(got[name].shape)} instead of "
        f"{x.dtype} {tuple(x.shape)}"
        for name, x in want.items()
        if name in got
        and (got[name].shape, got[name].dtype) != (x.shape, x.dtype)
    ]
    if odd:
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        raise ValueError(
            f"{folder}: got {', '.join(odd[:3])}{more}, want the trainer's "
            "own tensors"
        )


def check_moments(
    folder: Path,
    had: int,
    optimizer: torch.optim.Optimizer,
    moments: Mapping[int, Mapping[str, Any]],
) -> None:
    """Refuse another number of groups, and moments of other shapes."""
    groups = optimizer.param_groups
    n = len(groups)
    if n != had:
        raise ValueError(
            f"optimizer: got one of {n} groups, want {had} as in {folder}"
        )
    parameters = [p for group in groups for p in group["params"]]
    for i, entries in moments.items():
        for key, x in entries.items():
            fits = i < len(parameters) and (
                not isinstance(x, torch.Tensor)
                or x.ndim == 0
                or x.shape == parameters[i].shape
            )
            if not fits:
                raise ValueError(
                    f"optimizer: got other parameters than {key} of number "
                    f"{i} in {folder}, want the same"
                )
