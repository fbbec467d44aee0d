"""Which modules of the package a page's cells come to import, and a hash.

A twin is stale when any of these changed, so the search follows imports
through the package, and counts the scripts and styles of a widget with it.
"""

import ast
import hashlib
from pathlib import Path

import handmade

PACKAGE = Path(handmade.__file__).parent


def module_files(name: str) -> list[Path]:
    """Return the files of module `handmade.x.y`: source, scripts, styles."""
    base = PACKAGE.joinpath(*name.split(".")[1:])
    source = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    if not source.exists():
        return []
    beside = [base.with_suffix(end) for end in (".js", ".css")]
    if base.parent.name == "widgets":
        beside += [base.with_name(f"shared{end}") for end in (".js", ".css")]
    return [source, *(path for path in beside if path.exists())]


def imported(source: str, page: str = "") -> set[str]:
    """Return the names of `handmade` modules that this code imports.

    `check` finds a page's exercises by name at run time, so a page that
    imports it depends on the exercises' module of the page's own name.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{a.name}" for a in node.names)
    if page and "handmade.exercises" in names:
        names.add(f"handmade.exercises.{page}")
    return {n for n in names if n.split(".")[0] == "handmade"}


def without_magics(source: str) -> str:
    """Blank out IPython's lines: they are no Python."""
    return "\n".join(
        "pass" if line.lstrip().startswith(("%", "!")) else line
        for line in source.split("\n")
    )


def hashes(source: str, page: str = "") -> dict[str, str]:
    """Return module -> hash for all that `source` imports, in the end."""
    found, waiting = {}, imported(without_magics(source), page)
    while waiting:
        name = waiting.pop()
        files = module_files(name)
        if name in found or not files:
            continue
        digest = hashlib.sha256()
        for file in files:
            # line ends are git's business, not a change
            digest.update(file.read_bytes().replace(b"\r\n", b"\n"))
        found[name] = digest.hexdigest()[:16]
        waiting |= imported(files[0].read_text(encoding="utf-8"))
    return dict(sorted(found.items()))
