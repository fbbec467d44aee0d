"""What a page's outputs depend on, and what of it is no longer the same.

cells     their text, and whether they may raise
code      module -> hash of its syntax tree, for all that the cells reach
files     what the cells opened while they ran: data files of the project by
          hash, folders of the cache and checkpoints of the hub by name
versions  torch, transformers and, where imported, tokenizers

Everything else only shows: prose, source that a page includes, the script
and style of an explorable. It is refreshed without running a cell.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nbformat
from handmade.cache import cache_folder
from handmade.experiments.core import digest
from packaging.requirements import InvalidRequirement, Requirement

from bookbinder import imports
from bookbinder.book import Book

ALWAYS = ("torch", "transformers")
WHERE_IMPORTED = ("tokenizers",)
# torch stands alone: it is the one package without a hash
REQUIREMENTS = ("requirements.txt", "requirements-torch.txt")
# tags that change what a cell computes; all others only show
TAGS = {"raises-exception", "skip-execution"}
RESULTS = "package/experiments/results/"
# shown beside outputs or compiled: no data
NO_DATA = {".py", ".pyc", ".js", ".css", ".ipynb", ".so"}


def cells_hash(cells: list[nbformat.NotebookNode]) -> str:
    """Return the hash of the code cells: text, and tags that matter."""
    said = [
        (cell.source.strip(), sorted(TAGS & {*cell.metadata.get("tags", ())}))
        for cell in cells
    ]
    return _hash(json.dumps(said, ensure_ascii=False).encode())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def pins(book: Book) -> dict[str, str]:
    """Return package -> version that the requirements ask for exactly."""
    files = [book.root / name for name in REQUIREMENTS]
    lines = [
        line
        for path in files
        if path.exists()
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    found = {}
    for line in lines:
        try:
            # hashes may follow, on this line or the next
            one = Requirement(re.split(r"#| --|\\", line)[0].strip())
        except InvalidRequirement:
            continue  # an option, a hash, a comment
        exact = [s.version for s in one.specifier if s.operator == "=="]
        if exact:
            found[one.name.lower()] = exact[0]
    return found


def installed(name: str) -> str:
    """Return a package's version without the build: 2.13.0, not +cpu."""
    try:
        return version(name).split("+")[0]
    except PackageNotFoundError:
        return "none"


def versions(book: Book, cells: list[str]) -> dict[str, str]:
    """Return what the page should run with: the pins, else what is here."""
    wanted = [*ALWAYS]
    reached = imports.others(cells)
    wanted += [name for name in WHERE_IMPORTED if name in reached]
    pinned = pins(book)
    return {name: pinned.get(name) or installed(name) for name in wanted}


def refuse_other_versions(book: Book, wanted: dict[str, str]) -> None:
    """Raise ValueError where what is installed is not what is pinned."""
    for name, pinned in wanted.items():
        if installed(name) != pinned:
            raise ValueError(
                f"{name}: got {installed(name)} installed, want {pinned} as "
                "in the requirements: run `make setup`, then sync"
            )


def opened_files(book: Book, paths: Iterable[str]) -> dict[str, str]:
    """Return what of the opened paths is data: name -> hash.

    A file of the project or the package by its contents; a folder of the
    cache, or a checkpoint of the hub, by its name, which holds its version.
    """
    found = {}
    for path in map(Path, paths):
        if name := data_name(book, path):
            found[name] = file_hash(book, name)
    return dict(sorted(found.items()))


def data_name(book: Book, path: Path) -> str | None:
    """Name a data file, as `package/x.json`, `cache/x` or `hub/x@y`."""
    hub = re.search(r"models--(.+?)/snapshots/(\w+)/", path.as_posix())
    if hub:
        return f"hub/{hub[1].replace('--', '/')}@{hub[2]}"
    if path.is_relative_to(cache_folder()):
        parts = path.relative_to(cache_folder()).parts
        return None if parts[0].startswith(".") else cache_name(parts[0])
    if path.suffix in NO_DATA or path.is_relative_to(sys.prefix):
        return None
    if path.is_relative_to(imports.PACKAGE):
        name = path.relative_to(imports.PACKAGE).as_posix()
        return f"package/{name}" if path.is_file() else None
    if not (path.is_relative_to(book.root) and path.is_file()):
        return None
    inside = path.relative_to(book.root)
    hidden = any(part.startswith((".", "_")) for part in inside.parts)
    return None if hidden else inside.as_posix()


def cache_name(entry: str) -> str:
    """Name what stands in the cache: its lock goes with the folder."""
    return f"cache/{entry.removesuffix('.lock')}"


def file_hash(book: Book, name: str) -> str:
    """Return the present hash of a data file; "" where the name says all."""
    kind, _, rest = name.partition("/")
    if kind in ("cache", "hub"):
        return ""
    path = imports.PACKAGE / rest if kind == "package" else book.root / name
    try:
        if name.startswith(RESULTS):  # the same numbers from newer code
            return digest(json.loads(path.read_text(encoding="utf-8")))
        # line ends are git's business, not a change
        return _hash(path.read_bytes().replace(b"\r\n", b"\n"))
    except OSError:
        return "gone"
    except ValueError:
        return "damaged"


def of_page(
    book: Book, cells: list[nbformat.NotebookNode], files: dict[str, str]
) -> dict:
    """Return the fingerprint of code cells that opened `files`."""
    sources = [cell.source for cell in cells]
    return {
        "cells": cells_hash(cells),
        "code": imports.hashes(sources),
        "files": {name: file_hash(book, name) for name in files},
        "versions": versions(book, sources),
    }


def changes(stored: dict, wanted: dict) -> list[str]:
    """Say what differs: the page has to run where this is not empty."""
    if stored.get("cells") != wanted["cells"]:
        return ["its code cells changed"]
    said = []
    for kind in ("code", "files", "versions"):
        old, new = stored.get(kind, {}), wanted[kind]
        for name in sorted(old | new):
            before, now = old.get(name), new.get(name)
            if before != now and kind == "versions":
                said.append(f"{name} {before or 'none'} -> {now or 'none'}")
            elif before != now:
                said.append(name)
    return [f"changed: {', '.join(said)}"] if said else []
