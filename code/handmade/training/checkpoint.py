"""Checkpoints of a run: whole or absent, checked, the last few kept.

A checkpoint is a folder, `step-00000100`: `state.safetensors` (weights, the
optimizer's moments, the states of both random generators), `state.json` (the
step, rates, settings) and a manifest with the sha256 of both. It is written
under another name, flushed to the disk and renamed, so that a run killed at
any moment leaves the one before it. Left out: sharded states, which the page
on scaling saves, and anything that would have to be unpickled.
"""

import json
import os
import re
import shutil
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from handmade import checks
from handmade.manifest import is_whole, write_manifest
from handmade.training.checkpoint_checks import (
    check_moments,
    check_settings,
    check_tensors,
)
from handmade.training.loop import Trainer

NAME = re.compile(r"step-(\d{8,})")
KEYS = {"step", "settings", "rates", "optimizer", "extra"}


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint's files hold; nothing of it is in a trainer yet."""

    folder: Path
    step: int
    settings: dict[str, Any]
    extra: dict[str, Any]
    rates: list[float]
    optimizer: dict[str, Any]
    tensors: dict[str, torch.Tensor]


def save_checkpoint(
    folder: Path | str,
    trainer: Trainer,
    settings: Mapping[str, Any],
    *,
    extra: Mapping[str, Any] | None = None,
    keep: int = 3,
) -> Path:
    """Write the trainer's state into `folder`, and return the new folder.

    `settings` is what made the run (it must be the same to go on), `extra`
    anything else that JSON can hold. Of all whole checkpoints the last
    `keep` stay; the others go only once the new one is whole. Raises
    ValueError for what JSON cannot hold, OSError naming the place where
    nothing can be written: earlier checkpoints are then as they were.
    """
    checks.path("folder", folder)
    checks.kind("trainer", trainer, Trainer, "a Trainer")
    checks.whole("keep", keep)
    text = _as_text(trainer, settings, extra or {})
    folder = Path(folder)
    target = folder / f"step-{trainer.step:08d}"
    temporary = folder / f".{target.name}.{uuid.uuid4().hex}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        temporary.mkdir()
        _write(temporary, _tensors(trainer), text)
        _swap(temporary, target)
    except (OSError, SafetensorError) as error:
        number = getattr(error, "errno", None)
        reason = getattr(error, "strerror", None) or str(error)
        said = (
            f"the checkpoint {target} cannot be written: {reason}. Earlier "
            "ones are as they were"
        )
        raise OSError(*[number] * (number is not None), said) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in _folders(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load_checkpoint(folder: Path | str) -> Checkpoint:
    """Read the newest whole checkpoint of `folder`.

    One that is damaged is named in a warning, and the one before it taken.
    Raises ValueError where none is whole.
    """
    checks.path("folder", folder)
    folder = Path(folder)
    found = _folders(folder)
    for candidate in found:
        try:
            return _read(candidate)
        except ValueError as error:
            warnings.warn(f"{error}; trying the one before", stacklevel=2)
    what = f"{len(found)} damaged ones" if found else "none"
    raise ValueError(f"{folder}: got {what}, want a whole checkpoint")


def restore(
    trainer: Trainer, checkpoint: Checkpoint, settings: Mapping[str, Any]
) -> None:
    """Put a checkpoint's state into a trainer made as at the run's start.

    Weights, moments, rates, step, the generator that draws batches and
    PyTorch's own: the next step is to the last bit the one that would have
    come. Raises ValueError where settings differ, naming them, and where a
    tensor is missing, unexpected or of another shape; the trainer is then
    as it was.
    """
    checks.kind("trainer", trainer, Trainer, "a Trainer")
    checks.kind("checkpoint", checkpoint, Checkpoint, "a Checkpoint")
    check_settings(checkpoint.folder, checkpoint.settings, settings)
    weights = _part(checkpoint, "model.")
    moments = _moments(checkpoint)
    check_tensors(checkpoint.folder, trainer.model.state_dict(), weights)
    had = len(checkpoint.optimizer["groups"])
    check_moments(checkpoint.folder, had, trainer.optimizer, moments)
    random_states = _part(checkpoint, "random.")
    trainer.model.load_state_dict(weights)
    groups = [
        group | {"params": old["params"]}
        for group, old in zip(
            checkpoint.optimizer["groups"],
            trainer.optimizer.state_dict()["param_groups"],
            strict=True,
        )
    ]
    state = {"state": moments, "param_groups": groups}
    trainer.optimizer.load_state_dict(state)
    trainer.peaks = list(checkpoint.rates)
    trainer.generator.set_state(random_states["draw"])
    torch.set_rng_state(random_states["torch"])
    if trainer.home.type == "cuda" and "cuda" in random_states:
        torch.cuda.set_rng_state(random_states["cuda"], trainer.home)
    trainer.step = checkpoint.step


def _tensors(trainer: Trainer) -> dict[str, torch.Tensor]:
    named = {
        f"model.{name}": x for name, x in trainer.model.state_dict().items()
    }
    for i, entries in trainer.optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                named[f"optimizer.{i}.{key}"] = value
    named["random.draw"] = trainer.generator.get_state()
    named["random.torch"] = torch.get_rng_state()
    if trainer.home.type == "cuda":  # dropout draws there
        named["random.cuda"] = torch.cuda.get_rng_state(trainer.home)
    # tied weights are one tensor with two names: each name gets its own copy
    return {name: x.detach().cpu().clone() for name, x in named.items()}


def _as_text(
    trainer: Trainer, settings: Mapping[str, Any], extra: Mapping[str, Any]
) -> str:
    checks.mapping("settings", settings, "a dict that JSON can hold")
    checks.mapping("extra", extra, "a dict that JSON can hold")
    state = trainer.optimizer.state_dict()
    plain = {
        str(i): {
            key: value
            for key, value in entries.items()
            if not isinstance(value, torch.Tensor)
        }
        for i, entries in state["state"].items()
    }
    groups = [
        {key: value for key, value in group.items() if key != "params"}
        for group in state["param_groups"]
    ]
    whole = {
        "step": trainer.step,
        "settings": dict(settings),
        "rates": trainer.peaks,
        "optimizer": {"groups": groups, "plain": plain},
        "extra": dict(extra),
    }
    try:
        return json.dumps(whole, indent=1)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"settings: got what JSON cannot hold ({error}), want numbers, "
            "texts, lists and dicts of them"
        ) from error


def _write(folder: Path, tensors: dict[str, torch.Tensor], text: str) -> None:
    save_file(tensors, folder / "state.safetensors")
    (folder / "state.json").write_text(text, encoding="utf-8")
    write_manifest(folder)
    for path in folder.iterdir():
        _flush(path)
    _flush(folder)


def _flush(path: Path) -> None:
    """Have the disk hold it before its name does: power may go any time."""
    if path.is_dir() and os.name == "nt":  # no handle on a folder there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _swap(temporary: Path, target: Path) -> None:
    if target.exists():  # the same step, saved once more
        aside = temporary.with_name(f"{temporary.name[:-4]}.old.tmp")
        os.rename(target, aside)
        os.rename(temporary, target)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        os.rename(temporary, target)
    _flush(target.parent)


def _sweep(folder: Path) -> None:
    """Remove what a killed run was writing."""
    for left in folder.glob(".step-*.tmp"):
        shutil.rmtree(left, ignore_errors=True)


def _folders(folder: Path) -> list[Path]:
    """Return the checkpoints' folders, the newest first."""
    if not folder.is_dir():
        return []
    found = [
        (int(match[1]), path)
        for path in folder.iterdir()
        if (match := NAME.fullmatch(path.name)) and path.is_dir()
    ]
    return [path for _, path in sorted(found, reverse=True)]


def _read(folder: Path) -> Checkpoint:
    """Read one checkpoint; ValueError names what is wrong with it."""
    if not is_whole(folder, hashed=True):
        raise ValueError(f"{folder}: got a damaged checkpoint, want a whole")
    try:
        text = (folder / "state.json").read_text(encoding="utf-8")
        state = json.loads(text)
        tensors = load_file(folder / "state.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(
            f"{folder}: got a checkpoint that does not load ({error}), want "
            "a whole one"
        ) from error
    got = sorted(state) if isinstance(state, dict) else type(state).__name__
    if got != sorted(KEYS):
        raise ValueError(
            f"{folder}: got {got} in state.json, want {sorted(KEYS)}"
        )
    return Checkpoint(folder=folder, tensors=tensors, **state)


def _part(checkpoint: Checkpoint, prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): x
        for name, x in checkpoint.tensors.items()
        if name.startswith(prefix)
    }


def _moments(checkpoint: Checkpoint) -> dict[int, dict[str, Any]]:
    moments: dict[int, dict[str, Any]] = {
        int(i): dict(entries)
        for i, entries in checkpoint.optimizer["plain"].items()
    }
    for name, x in _part(checkpoint, "optimizer.").items():
        i, _, key = name.partition(".")
        moments.setdefault(int(i), {})[key] = x
    return moments
