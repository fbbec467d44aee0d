"""Read a checkpoint of safetensors files: all that it promises, or nothing.

A large checkpoint is cut into shards. An index says which file holds which
tensor:

    {"weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}

What the index promises is compared with what the files hold before the first
tensor is handed out. Left out: files of pickle, which can run code, and the
index's ``metadata``, whose sums nobody reads and many files have wrong.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from handmade import checks
from handmade.checks import need

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def read_shards(folder: str | Path) -> dict[str, Tensor]:
    """Return name -> tensor of a whole checkpoint, mapped from its files.

    A mapped tensor is a view of its file: its numbers come from the disk when
    they are used, and what copies them makes the only copy.
    Raises ValueError as ``shard_files`` does.
    """
    found: dict[str, Tensor] = {}
    for file, names in shard_files(folder).items():
        with _opened(file) as shard:
            for name in names:
                found[name] = shard.get_tensor(name)
    return found


def shard_files(folder: str | Path) -> dict[Path, list[str]]:
    """Return file -> names of its tensors, checked but not read.

    ``model.safetensors`` comes before an index, as in transformers.
    Raises ValueError where there is neither, where the index names a tensor
    twice or a file outside the folder, where a file is missing or damaged,
    and where a file holds other tensors than the index says.
    """
    checks.path("folder", folder)
    folder = Path(folder)
    if (folder / SINGLE).is_file():
        with _opened(folder / SINGLE) as shard:
            return {folder / SINGLE: list(shard.keys())}
    if not (folder / INDEX).is_file():
        raise ValueError(f"folder: {_found(folder)}, want {SINGLE} or {INDEX}")
    weight_map = _read_index(folder / INDEX)
    promised: dict[str, list[str]] = {}
    for name, file in sorted(weight_map.items()):
        promised.setdefault(file, []).append(name)
    promised = dict(sorted(promised.items()))
    for file, names in promised.items():
        with _opened(folder / file) as shard:
            _check_shard(file, set(names), set(shard.keys()), weight_map)
    return {folder / file: names for file, names in promised.items()}


def _read_index(path: Path) -> dict[str, str]:
    """Return tensor -> file of an index, each file's name a plain one."""
    try:
        index = json.loads(
            path.read_text(encoding="utf-8"), object_pairs_hook=_once
        )
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{INDEX}: got {error}, want JSON") from error
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    mapped = isinstance(weight_map, dict) and weight_map
    need(bool(mapped), f"{INDEX} weight_map", f"{weight_map!r:.60}", "names")
    assert isinstance(weight_map, dict)
    for name, file in weight_map.items():
        # the name comes from a stranger: it must not lead out of the folder
        plain = isinstance(file, str) and file.endswith(".safetensors")
        plain = plain and _is_plain(file)
        want = "the name of a .safetensors file in the folder"
        need(plain, f"{INDEX} {name}", f"{file!r:.60}", want)
    return weight_map


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of JSON's pairs; json itself keeps the last of two."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            got = f"{key!r} twice ({found[key]!r:.60} and {value!r:.60})"
            raise ValueError(f"{INDEX}: got {got}, want each name once")
        found[key] = value
    return found


def _is_plain(file: str) -> bool:
    # the same on every system: "C:x" and "a\\b" lead elsewhere on Windows
    kinds = (PurePosixPath(file), PureWindowsPath(file))
    return all(path.name == file for path in kinds)


def _check_shard(
    file: str,
    promised: set[str],
    held: set[str],
    index: Mapping[str, str],
) -> None:
    missing = sorted(promised - held)
    if missing:
        got = f"no {', '.join(missing[:3])}"
        raise ValueError(f"{file}: {_some(got, missing)}, want all of {INDEX}")
    for name in sorted(held - promised):
        where = index.get(name)
        want = f"it in {where} alone" if where else f"what {INDEX} names"
        raise ValueError(f"{file}: got {name}, want {want}")


def _some(got: str, names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"got {got}{more}"


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open a safetensors file; what cannot be read is a ValueError."""
    want = "a whole safetensors file"
    need(file.is_file(), file.name, "no such file", want)
    try:
        # reads the header alone, and compares it with the file's size
        shard = safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file.name}: got {error}, want {want}") from error
    with shard:
        yield shard


def _found(folder: Path) -> str:
    """Say what a folder holds instead of safetensors."""
    if not folder.is_dir():
        return f"got {str(folder)!r}, which is none"
    pickles = sorted(
        path.name
        for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt")
        for path in folder.glob(pattern)
    )
    if pickles:
        return f"got {pickles[0]}, a pickle, which can run code"
    return f"got {sorted(path.name for path in folder.iterdir())[:5]}"
