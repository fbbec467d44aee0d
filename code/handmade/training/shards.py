"""Checkpoints that many processes write, each its own part.

The same folder as `handmade.training.checkpoint` makes, but for the tensors:
`shard-00001-of-00002.safetensors` holds what that process has of each, and
`shard-00001-of-00002.json` where it lies in the whole. Whoever reads puts the
whole together first, so two processes can go on from two, one or three.
Left out: reading only one's own part, which a model that fits into no host's
memory needs.
"""

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from handmade import checks
from handmade.manifest import is_whole, write_manifest
from handmade.training.checkpoint import (
    KEYS,
    Checkpoint,
    _as_text,
    _flush,
    _folders,
    _read,
    _swap,
    _sweep,
    _tensors,
    restore,
)
from handmade.training.loop import Trainer

Place = dict[str, Any]  # a part's: the whole shape, the axis cut, its start


def save_shards(
    folder: Path | str,
    trainer: Trainer,
    settings: Mapping[str, Any],
    *,
    keep: int = 3,
) -> Path:
    """Write what this process holds; all processes call it together.

    The new folder gets its name when all parts are on the disk: whole or
    absent. Raises OSError in every process where one cannot write; earlier
    checkpoints are then as they were.
    """
    checks.path("folder", folder)
    checks.kind("trainer", trainer, Trainer, "a Trainer")
    checks.whole("keep", keep)
    text = _as_text(trainer, settings, {})
    rank, size = rank_and_size()
    folder = Path(folder)
    target = folder / f"step-{trainer.step:08d}"
    temporary = folder / f".{target.name}.tmp"
    _together(rank == 0, target, lambda: _begin(folder, temporary))
    parts, places = _own_parts(_tensors(trainer), rank)
    name = f"shard-{rank:05d}-of-{size:05d}"
    _together(True, target, lambda: _write(temporary / name, parts, places))
    _together(
        rank == 0, target, lambda: _end(folder, temporary, target, text, keep)
    )
    return target


def load_shards(folder: Path | str) -> Checkpoint:
    """Read the newest whole checkpoint, its parts put together.

    One that a single process wrote will do too. One that is damaged is named
    in a warning, and the one before it taken. Raises ValueError where none
    is whole.
    """
    checks.path("folder", folder)
    folder = Path(folder)
    found = _folders(folder)
    for candidate in found:
        try:
            if (candidate / "state.safetensors").exists():
                return _read(candidate)
            return _joined(candidate)
        except ValueError as error:
            warnings.warn(f"{error}; trying the one before", stacklevel=2)
    what = f"{len(found)} damaged ones" if found else "none"
    raise ValueError(f"{folder}: got {what}, want a whole checkpoint")


def restore_shards(
    trainer: Trainer, checkpoint: Checkpoint, settings: Mapping[str, Any]
) -> None:
    """Put a checkpoint into a trainer whose model may be cut.

    Each process keeps its own part of each tensor. Raises ValueError as
    `restore` does.
    """
    checks.kind("trainer", trainer, Trainer, "a Trainer")
    checks.kind("checkpoint", checkpoint, Checkpoint, "a Checkpoint")
    owners: dict[str, Any] = {
        f"model.{name}": x for name, x in trainer.model.state_dict().items()
    }
    groups = trainer.optimizer.param_groups
    parameters = [p for group in groups for p in group["params"]]
    cut = {}
    for name, x in checkpoint.tensors.items():
        kind, _, rest = name.partition(".")
        owner = owners.get(name)
        if kind == "optimizer" and int(rest.split(".")[0]) < len(parameters):
            owner = parameters[int(rest.split(".")[0])]
        cut[name] = _cut_as(x, owner)
    restore(trainer, replace(checkpoint, tensors=cut), settings)


def rank_and_size() -> tuple[int, int]:
    """Return this process's number, and how many there are: (0, 1) alone."""
    if not dist.is_initialized():
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def _cut_as(x: torch.Tensor, owner: Any) -> torch.Tensor:
    """Keep of a whole tensor what this process has of its owner."""
    if not isinstance(owner, DTensor) or x.shape != owner.shape:
        return x
    return distribute_tensor(
        x.to(owner.device),
        owner.device_mesh,
        owner.placements,
        src_data_rank=None,  # every process has read it
    )


def _own_parts(
    tensors: Mapping[str, torch.Tensor], rank: int
) -> tuple[dict[str, torch.Tensor], dict[str, Place]]:
    """Return what this process writes, and where each part lies.

    What all have whole, the first of them writes.
    """
    parts, places = {}, {}
    for name, x in tensors.items():
        place: Place = {"shape": list(x.shape), "axis": None, "start": 0}
        part = x
        if isinstance(x, DTensor):
            (placement,) = x.placements
            part = x.to_local().contiguous()
            if isinstance(placement, Shard):
                whole, n = x.shape[placement.dim], x.device_mesh.size()
                step = -(-whole // n)  # as torch.chunk cuts
                start = x.device_mesh.get_local_rank() * step
                place |= {"axis": placement.dim, "start": min(start, whole)}
        if part.numel() and (rank == 0 or place["axis"] is not None):
            parts[name], places[name] = part, place
    return parts, places


def _begin(folder: Path, temporary: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    temporary.mkdir()


def _write(
    path: Path, parts: dict[str, torch.Tensor], places: dict[str, Place]
) -> None:
    save_file(parts, path.with_suffix(".safetensors"))
    path.with_suffix(".json").write_text(json.dumps(places), encoding="utf-8")
    for suffix in (".safetensors", ".json"):
        _flush(path.with_suffix(suffix))


def _end(
    folder: Path, temporary: Path, target: Path, text: str, keep: int
) -> None:
    (temporary / "state.json").write_text(text, encoding="utf-8")
    write_manifest(temporary)
    _flush(temporary / "state.json")
    _flush(temporary)
    _swap(temporary, target)
    for old in _folders(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)


def _together(mine: bool, target: Path, act: Any) -> None:
    """Act where it is this process's turn; go on when all could."""
    failed: Exception | None = None
    if mine:
        try:
            act()
        except (OSError, SafetensorError) as error:
            failed = error
    fine = torch.tensor(float(failed is None))
    if dist.is_initialized():
        fine = fine.to("cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(fine, dist.ReduceOp.MIN)
    if not fine:
        shutil.rmtree(target.with_name(f".{target.name}.tmp"), True)
        reason = failed or "another process could not write"
        raise OSError(
            f"the checkpoint {target} cannot be written: {reason}. Earlier "
            "ones are as they were"
        ) from failed


def _joined(folder: Path) -> Checkpoint:
    """Put the parts of one checkpoint together, or say what is wrong."""
    if not is_whole(folder, hashed=True):
        raise ValueError(f"{folder}: got a damaged checkpoint, want a whole")
    wholes: dict[str, torch.Tensor] = {}
    missing: dict[str, int] = {}
    try:
        text = (folder / "state.json").read_text(encoding="utf-8")
        state = json.loads(text)
        for path in sorted(folder.glob("shard-*.json")):
            places = json.loads(path.read_text(encoding="utf-8"))
            parts = load_file(path.with_suffix(".safetensors"))
            for name, part in parts.items():
                _put(wholes, missing, name, part, places[name])
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"{folder}: got a checkpoint that does not load ({error!r}), "
            "want a whole one"
        ) from error
    left = [name for name, n in missing.items() if n]
    if left or not wholes:
        raise ValueError(f"{folder}: got no whole {left[:1]}, want all parts")
    got = sorted(state) if isinstance(state, dict) else type(state).__name__
    if got != sorted(KEYS):
        raise ValueError(
            f"{folder}: got {got} in state.json, want {sorted(KEYS)}"
        )
    return Checkpoint(folder=folder, tensors=wholes, **state)


def _put(
    wholes: dict[str, torch.Tensor],
    missing: dict[str, int],
    name: str,
    part: torch.Tensor,
    place: Place,
) -> None:
    """Lay a part where it belongs, and count what is still to come."""
    if name not in wholes:
        wholes[name] = part.new_empty(place["shape"])
        missing[name] = wholes[name].numel()
    here = wholes[name]
    if place["axis"] is not None:
        axis, start = place["axis"], place["start"]
        here = here.narrow(axis, start, part.shape[axis])
    here.copy_(part)
    missing[name] -= part.numel()
