"""The manifest of a folder: is each file as it was written?

Size, time stamp and sha256 of every file. Where size and stamp are as
recorded nothing is hashed. A manifest that is not of our making (another
shape, a name that leads out of the folder, a pipe) counts as none.
"""

import contextlib
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

MANIFEST = "manifest.json"
MANIFEST_BYTES = 2**20  # a real one has a few hundred

Entries = dict[str, dict[str, Any]]


def sha256(path: Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path | str, write: Callable[[Path], object]) -> Path:
    """Call `write(temporary)`, then rename: `path` is whole or absent."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_manifest(folder: Path) -> None:
    """Record every file of the folder as it is now."""
    entries: Entries = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        status = path.stat()
        entries[path.relative_to(folder).as_posix()] = {
            "size": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "sha256": sha256(path),
        }
    _save_manifest(folder, entries)


def _save_manifest(folder: Path, entries: Entries) -> None:
    text = json.dumps(entries, indent=1)
    write_whole(
        folder / MANIFEST, lambda path: path.write_text(text, encoding="utf-8")
    )


def _read_manifest(folder: Path) -> Entries:
    """Return the entries, or none of them if any is not of our making."""
    path = folder / MANIFEST
    try:
        status = path.stat()
        # not even opened: a pipe would wait for a writer for ever
        if not stat.S_ISREG(status.st_mode) or status.st_size > MANIFEST_BYTES:
            return {}
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(entries, dict):
        return {}
    ours = all(_is_entry(name, entry) for name, entry in entries.items())
    return entries if ours else {}


def _is_entry(name: str, entry: object) -> bool:
    kinds = {"size": int, "mtime_ns": int, "sha256": str}
    return (
        is_inside(name)
        and isinstance(entry, dict)
        and entry.keys() == kinds.keys()
        # a bool is an int, but no size
        and all(type(entry[key]) is kind for key, kind in kinds.items())
    )


def is_inside(name: str) -> bool:
    """Return whether a name, on any system, stays inside its folder."""
    path = PurePosixPath(name)
    return (
        bool(path.parts)
        and "\0" not in name
        and "\\" not in name
        and ".." not in path.parts
        and not path.is_absolute()
        and not PureWindowsPath(name).drive
    )


def is_whole(folder: Path, hashed: bool = False) -> bool:
    """Return whether all files are as the manifest says."""
    entries = _read_manifest(folder)
    stamps = {}
    for name, entry in entries.items():
        stamps[name] = _whole_stamp(folder / name, entry, hashed)
        if stamps[name] is None:
            return False
    if any(stamps[name] != e["mtime_ns"] for name, e in entries.items()):
        # copied or restored from a backup: hash it this one time
        for name, entry in entries.items():
            entry["mtime_ns"] = stamps[name]
        with contextlib.suppress(OSError):  # a cache that we may only read
            _save_manifest(folder, entries)
    return bool(entries)


def _whole_stamp(
    path: Path, entry: dict[str, Any], hashed: bool
) -> int | None:
    """Return the file's time stamp, or None if it is not as recorded."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != entry["size"]:
            return None
        same = status.st_mtime_ns == entry["mtime_ns"] and not hashed
        if same or sha256(path) == entry["sha256"]:
            return status.st_mtime_ns
    except (OSError, ValueError):  # ValueError: no name a file can have
        pass
    return None
