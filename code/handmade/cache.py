"""A folder of derived files that is either whole or absent.

Converted weights are too large to hash at every start (half a gigabyte takes
a second), so each folder keeps a manifest: size, time stamp and sha256 of
every file. A file whose size and stamp are as recorded is taken as whole; one
whose stamp moved is hashed once more, and the new stamp recorded; anything
else is rebuilt.

Left out: eviction and versions. A folder's name carries the version of what
it was made from, and the whole cache may be deleted at any time.
"""

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

MANIFEST = "manifest.json"


def cache_folder() -> Path:
    """Return the root of the cache: `HANDMADE_CACHE`, else the platform's."""
    override = os.environ.get("HANDMADE_CACHE")
    if override:
        return Path(override).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("handmade", appauthor=False)


def sha256(path: Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: str, mend: str) -> Path:
    """Return `path` if its contents are the expected ones.

    Raises ValueError naming the file, both hashes and how to mend it.
    """
    found = sha256(path)
    if found != expected:
        raise ValueError(
            f"{path} is damaged or of another version: its sha256 is "
            f"{found}, expected {expected}. {mend}"
        )
    return path


def write_whole(path: Path, write: Callable[[Path], None]) -> Path:
    """Call `write(temporary)`, then rename: `path` is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def cached_folder(name: str, build: Callable[[Path], None]) -> Path:
    """Return the cache's folder `name`, building it if it is not whole.

    `build(folder)` fills an empty folder. Two processes that start together
    build it once: the second waits, then finds it whole. A process that is
    killed leaves only a temporary folder, which the next build removes.
    """
    folder = cache_folder() / name
    if _is_whole(folder):
        return folder
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{name}.lock")):
        if _is_whole(folder):  # another process built it while we waited
            return folder
        for stale in folder.parent.glob(f".{name}.*.tmp"):
            shutil.rmtree(stale, ignore_errors=True)
        temporary = folder.with_name(f".{name}.{uuid.uuid4().hex}.tmp")
        temporary.mkdir()
        try:
            build(temporary)
            _write_manifest(temporary)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _write_manifest(folder: Path) -> None:
    entries = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        stat = path.stat()
        entries[path.relative_to(folder).as_posix()] = {
            "size": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "sha256": sha256(path),
        }
    _save_manifest(folder, entries)


def _save_manifest(folder: Path, entries: dict) -> None:
    text = json.dumps(entries, indent=1)
    write_whole(
        folder / MANIFEST, lambda path: path.write_text(text, encoding="utf-8")
    )


def _is_whole(folder: Path) -> bool:
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        entries = json.loads(text)
    except (OSError, ValueError):
        return False
    stamps = {}
    for name, entry in entries.items():
        stamps[name] = _whole_stamp(folder / name, entry)
        if stamps[name] is None:
            return False
    if any(stamps[name] != e["mtime_ns"] for name, e in entries.items()):
        # copied or restored from a backup: hash it this one time
        for name, entry in entries.items():
            entry["mtime_ns"] = stamps[name]
        with contextlib.suppress(OSError):  # a cache that we may only read
            _save_manifest(folder, entries)
    return bool(entries)


def _whole_stamp(path: Path, entry: dict) -> int | None:
    """Return the file's time stamp, or None if it is not as recorded."""
    try:
        stat = path.stat()
    except OSError:
        return None
    if stat.st_size != entry["size"]:
        return None
    same = stat.st_mtime_ns == entry["mtime_ns"]
    return (
        stat.st_mtime_ns if same or sha256(path) == entry["sha256"] else None
    )
