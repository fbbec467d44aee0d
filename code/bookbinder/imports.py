"""Which modules of the package a page's cells come to import, and a hash.

A twin is stale when any of these changed, so the search follows imports
through the package, and counts the scripts and styles of a widget with it.
"""

import ast
import hashlib
from pathlib import Path

import handmade
from handmade.exercises import find
from IPython.core.inputtransformer2 import TransformerManager

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


def imported(tree: ast.Module) -> set[str]:
    """Return the names of `handmade` modules that this code imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{a.name}" for a in node.names)
    return {n for n in names if n.split(".")[0] == "handmade"}


def exercises(tree: ast.Module) -> set[str]:
    """Return the modules of the exercises that this code names.

    `check("causal-mask", fn)` finds the exercise at run time.
    """
    named = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    found = find.modules(PACKAGE / "exercises")
    return {module for module, names in found.items() if named & set(names)}


def parse(cell: str) -> ast.Module:
    """Parse a cell, magics included; one that shows a SyntaxError is empty."""
    try:
        return ast.parse(TransformerManager().transform_cell(cell))
    except SyntaxError:
        return ast.parse("")


def hashes(cells: list[str]) -> dict[str, str]:
    """Return module -> hash for all that the cells import, in the end."""
    trees = [parse(cell) for cell in cells]
    waiting = set().union(*map(imported, trees))
    if "handmade.exercises" in waiting:
        waiting.update(*map(exercises, trees))
    found = {}
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
        waiting |= imported(ast.parse(files[0].read_text(encoding="utf-8")))
    return dict(sorted(found.items()))
