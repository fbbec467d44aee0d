"""What of the package a browser gets: one small archive for all live pages.

It holds the modules that live pages come to import and that need nothing but
Python's own library, the exercises they check, and `in_browser`, which runs
the cells. Of a module that needs more it says what: it can be imported, and
what uses it is told.
"""

import ast
import hashlib
import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

from bookbinder import imports, live_cells

RUNNER = Path(__file__).with_name("in_browser.py")
ABSENT = "absent.json"
EARLIEST = (1980, 1, 1, 0, 0, 0)


def modules(cells: Iterable[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Return (module -> file, absent module -> what it needs)."""
    first, named = set[str](), set[str]()
    for cell in cells:
        imported, strings = imports.of_cell(cell)
        first |= imported
        named |= strings
    first |= imports.exercises(named)
    present: dict[str, Path] = {}
    absent: dict[str, str] = {}
    waiting = sorted(imports.ours(first))
    while waiting:
        name = waiting.pop()
        path = imports.module_file(name)
        if path is None or name in present or name in absent:
            continue
        if need := live_cells.of_module(name):
            absent[name] = need
            continue
        present[name] = path
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = imports.ours(imports.imported(tree))
        # the folders that a module stands in
        parts = name.split(".")
        found |= {".".join(parts[:i]) for i in range(1, len(parts))}
        waiting += sorted(found)
    return present, absent


def archive(cells: Iterable[str]) -> bytes:
    """Return the archive: the same bytes for the same modules."""
    present, absent = modules(cells)
    files = {
        path.relative_to(imports.PACKAGE.parent).as_posix(): path.read_bytes()
        for path in present.values()
    }
    files[RUNNER.name] = RUNNER.read_bytes()
    files[ABSENT] = json.dumps(absent, indent=0, sort_keys=True).encode()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, EARLIEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content.replace(b"\r\n", b"\n"))
    return made.getvalue()


def name_of(content: bytes) -> str:
    """Return the archive's file name, which changes when it does."""
    return f"handmade-{hashlib.sha256(content).hexdigest()[:8]}.zip"
