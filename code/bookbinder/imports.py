"""Which modules of the package a page's cells come to import, and a hash.

The search follows imports through the package, those inside functions too.
A module's hash is that of its syntax tree (`bookbinder.meaning`), so other
words in a docstring or a comment leave it as it is. A widget's script and
style are no part of it: they are shown, not computed with.
"""

import ast
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import handmade
from handmade.exercises import find
from IPython.core.inputtransformer2 import TransformerManager

from bookbinder.meaning import tree_hash

PACKAGE = Path(handmade.__file__).parent


def module_file(name: str) -> Path | None:
    """Return the source of module `handmade.x.y`, None if it is no module."""
    base = PACKAGE.joinpath(*name.split(".")[1:])
    source = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    return source if source.exists() else None


def imported(tree: ast.Module) -> set[str]:
    """Return the names of `handmade` modules that this code imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{a.name}" for a in node.names)
    return names


def ours(names: Iterable[str]) -> set[str]:
    """Return those of the names that are in the package."""
    return {name for name in names if name.split(".")[0] == "handmade"}


def strings(tree: ast.Module) -> set[str]:
    """Return the texts in this code: one may be an exercise's name."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def exercises(named: set[str]) -> set[str]:
    """Return the modules of the exercises that code names.

    `check("causal-mask", fn)` finds the exercise at run time.
    """
    found = find.modules(PACKAGE / "exercises")
    return {module for module, names in found.items() if named & set(names)}


def parse(cell: str) -> ast.Module:
    """Parse a cell, magics included; one that shows a SyntaxError is empty."""
    with suppress(SyntaxError):
        return ast.parse(cell)
    with suppress(SyntaxError):
        return ast.parse(TransformerManager().transform_cell(cell))
    return ast.parse("")


@cache
def of_cell(cell: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return all that a cell imports, and the texts in it."""
    tree = parse(cell)
    return frozenset(imported(tree)), frozenset(strings(tree))


@cache
def _read(path: Path, stamp: tuple[int, int]) -> tuple[str, frozenset[str]]:
    """Return a module's hash and its imports: once for as long as it stays.

    `stamp` is what makes a changed file another argument.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return tree_hash(tree), frozenset(imported(tree))


def read(path: Path) -> tuple[str, frozenset[str]]:
    """Return the hash of a module's tree and all that it imports."""
    stat = path.stat()
    return _read(path, (stat.st_mtime_ns, stat.st_size))


def reached(cells: list[str]) -> dict[str, str]:
    """Return module -> who imports it, "" for a cell: the whole closure."""
    first = set().union(*(of_cell(cell)[0] for cell in cells))
    if "handmade.exercises" in first:
        first |= exercises(set().union(*(of_cell(cell)[1] for cell in cells)))
    found: dict[str, str] = {}
    waiting = [(name, "") for name in sorted(ours(first))]
    while waiting:
        name, importer = waiting.pop(0)
        path = module_file(name)
        if name in found or path is None:
            continue
        found[name] = importer
        waiting += [(n, name) for n in sorted(ours(read(path)[1]))]
    return found


def hashes(cells: list[str]) -> dict[str, str]:
    """Return module -> hash for all that the cells import, in the end."""
    found = {}
    for name in sorted(reached(cells)):
        path = module_file(name)
        assert path is not None
        found[name] = read(path)[0]
    return found


def others(cells: list[str]) -> set[str]:
    """Return the packages that the cells, or what they reach, import."""
    names = set().union(*(of_cell(cell)[0] for cell in cells))
    for module in reached(cells):
        path = module_file(module)
        assert path is not None
        names |= read(path)[1]
    return {name.split(".")[0] for name in names}
