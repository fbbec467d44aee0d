"""A folder of derived files that is either whole or absent.

Converted weights are too large to hash at every start (half a gigabyte takes
a second), so each folder keeps a manifest: size, time stamp and sha256 of
every file. A file whose size and stamp are as recorded is taken as whole; one
whose stamp moved is hashed once more, and the new stamp recorded; anything
else is rebuilt. Damage that keeps both is found when a file will not load:
``mended`` hashes then, and rebuilds once.

Left out: eviction and versions. A folder's name carries the version of what
it was made from, and the whole cache may be deleted at any time.
"""

import contextlib
import errno
import os
import re
import shutil
import socket
import stat
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from handmade.manifest import (
    is_whole,
    sha256,
    write_manifest,
    write_whole,
)

__all__ = ["cache_folder", "cached_folder", "check_sha256", "mended"]
__all__ += ["sha256", "write_whole"]
VARIABLE = "HANDMADE_CACHE"
NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
REFUSALS = {  # what a place says that takes no files, and not our own faults
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EFBIG,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    getattr(errno, "EDQUOT", errno.ENOSPC),
}


def cache_folder() -> Path:
    """Return the root of the cache: `HANDMADE_CACHE`, else the platform's.

    A relative path is resolved once, against the clone's root or else the
    present folder, and handed to child processes as resolved: every notebook
    runs in its own folder. Raises ValueError for a home that is not there.
    """
    asked = os.environ.get(VARIABLE)
    if not asked:
        from platformdirs import user_cache_path

        return user_cache_path("handmade", appauthor=False).absolute()
    try:
        folder = Path(asked).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"{VARIABLE}: got {asked!r}, want a folder of a known home"
        ) from error
    if not folder.is_absolute():
        folder = _anchor() / folder
        os.environ[VARIABLE] = str(folder)
    return folder


def _anchor() -> Path:
    """Return the folder that a relative path starts from."""
    clone = Path(__file__).resolve().parents[2]
    return clone if (clone / "_toc.yml").exists() else Path.cwd()


def check_sha256(path: Path, expected: str, mend: str) -> Path:
    """Return `path` if its contents are the expected ones.

    Raises ValueError naming the file, both hashes and how to mend it.
    """
    if not isinstance(expected, str) or not re.fullmatch(
        "[0-9a-f]{64}", expected
    ):
        raise ValueError(f"expected: got {expected!r}, want 64 hex digits")
    try:
        found = sha256(path)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}). {mend}"
        ) from error
    if found != expected:
        raise ValueError(
            f"{path} is damaged or of another version: its sha256 is "
            f"{found}, expected {expected}. {mend}"
        )
    return path


def cached_folder(name: str, build: Callable[[Path], object]) -> Path:
    """Return the cache's folder `name`, building it if it is not whole.

    `build(folder)` fills an empty folder. Two processes that start together
    build it once: the second waits, says for whom, then finds it whole. A
    process that is killed leaves only a temporary folder, which the next
    build removes. Raises ValueError for a name that is no single folder's,
    OSError, naming the place, where nothing can be written.
    """
    folder = _place(name)
    _check_build(build)
    if is_whole(folder):
        return folder
    with _telling(folder), _lock(folder):
        if not is_whole(folder):  # nobody built it while we waited
            _rebuild(folder, build)
    return folder


def mended(name: str, build: Callable[[Path], object]) -> bool:
    """Hash the folder `name`; rebuild it, and return True, if it is damaged.

    For a file that looks whole and will not load. Raises as
    ``cached_folder``.
    """
    folder = _place(name)
    _check_build(build)
    with _telling(folder), _lock(folder):
        if is_whole(folder, hashed=True):
            return False
        _rebuild(folder, build)
    return True


def _place(name: str) -> Path:
    # what is removed later is named by it: nothing else may ever be meant
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise ValueError(f"name: got {name!r}, want the name of one folder")
    return cache_folder() / name


def _check_build(build: object) -> None:
    if not callable(build):
        raise ValueError(
            f"build: got {build!r}, want a function that fills a folder"
        )


def _rebuild(folder: Path, build: Callable[[Path], object]) -> None:
    for stale in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(stale, ignore_errors=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        build(temporary)
        _share(temporary)
        write_manifest(temporary)
        if folder.is_symlink():
            folder.unlink()
        elif folder.is_dir():
            # moved aside first: ".." and a mount cannot be, so that only a
            # folder of this cache is ever removed
            aside = folder.with_name(f"{temporary.name[:-4]}.old.tmp")
            os.rename(folder, aside)
            shutil.rmtree(aside, ignore_errors=True)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _share(folder: Path) -> None:
    """Give every file the reader's own mode: safetensors writes 0600."""
    mode = stat.S_IMODE(folder.stat().st_mode) & 0o666  # as umask made it
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


@contextlib.contextmanager
def _telling(folder: Path) -> Iterator[None]:
    """Say in one sentence that a place takes no files, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.errno not in REFUSALS:
            raise
        at = error.filename2 or error.filename or folder
        raise OSError(
            error.errno,
            f"the cache folder {folder} cannot be made: {at}: "
            f"{os.strerror(error.errno)}. Free it, or set {VARIABLE} to a "
            "folder of yours with room",
        ) from error


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    owner = folder.with_name(f"{folder.name}.owner")
    try:
        lock.acquire(timeout=0.2)
    except Timeout:
        said = f"waiting for {_read_owner(owner)} to build {folder} ..."
        print(said, file=sys.stderr, flush=True)
        lock.acquire()
    try:
        with contextlib.suppress(OSError):  # a courtesy, no condition
            us = f"process {os.getpid()} on {socket.gethostname()}"
            owner.write_text(us, encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink()
        lock.release()


def _read_owner(path: Path) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(200) or "another process"
    except OSError:
        return "another process"
