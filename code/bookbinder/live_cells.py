"""Which cells of a page can run in a reader's browser, and what others need.

There Python has its own library and the modules of the package that import
nothing else. A cell that imports more, or uses a name that was made with it,
needs that: it does not run there, and says what it needs. A module of the
package that is not there can still be imported; the cell that calls it needs
what the module needs. A page is live where no cell in sight needs anything.
Of another page those exercises are that need nothing, with what they use.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from bookbinder import imports

CALLED = {"torch": "PyTorch", "numpy": "NumPy"}
# what stands in for it is made by `in_browser`
STANDS_IN = {"IPython"}
KINDS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Cell:
    """A cell as the page shows it; `folded`: its code is not in sight."""

    source: str
    folded: bool = False


@dataclass(frozen=True)
class Plan:
    """Of each cell of a page what it needs; None: it is not for a browser."""

    needs: tuple[str | None, ...]
    whole: bool = True  # else the exercises
    imports: str = ""  # what runs first: imports of cells that do not run

    def running(self, cells: Iterable[Cell]) -> list[str]:
        """Return all the code that runs in a browser."""
        found = zip(cells, self.needs, strict=True)
        return [
            self.imports,
            *(c.source for c, need in found if need is not None),
        ]


def plan(cells: list[Cell]) -> Plan | None:
    """Say what of a page runs in a browser; None: nothing."""
    if is_live(cells):
        return Plan(tuple(needs(cells)))
    found = needs(cells, split=True)
    trees = [imports.parse(cell.source) for cell in cells]
    running: set[int] = set()
    waiting = [
        i
        for i, tree in enumerate(trees)
        if checked(tree) and not found[i] and not cells[i].folded
    ]
    while waiting:
        i = waiting.pop()
        if i not in running:
            running.add(i)
            waiting += _makers(trees, i)
    if not running:
        return None
    used = {
        name for i in running for name in _loaded(trees[i]) - _bound(trees[i])
    }
    brought = [
        line
        for i, tree in enumerate(trees)
        if i not in running
        for line in _lines(tree, used)
    ]
    return Plan(
        tuple(found[i] if i in running else None for i in range(len(cells))),
        whole=False,
        imports="\n".join(dict.fromkeys(brought)),
    )


def needs(cells: Iterable[Cell], *, split: bool = False) -> list[str]:
    """Return of each cell what it needs and a browser has not; "": nothing.

    With `split` the imports of a cell that does not run are run for it.
    """
    made_with: dict[str, str] = {}  # name -> what it needs
    found = []
    for cell in cells:
        tree = imports.parse(cell.source)
        need = _need(tree, made_with)
        brought = {name: _of_import(*what) for name, what in _imported(tree)}
        for name in _bound(tree):
            made_with[name] = brought.get(name) or need
            if split and name in brought:
                made_with[name] = brought[name]
        found.append(need)
    return found


def is_live(cells: list[Cell]) -> bool:
    """Whether a page has cells, and all in sight can run in a browser."""
    found = zip(cells, needs(cells), strict=True)
    return bool(cells) and not any(
        need for cell, need in found if not cell.folded
    )


def checked(tree: ast.AST) -> set[str]:
    """Return the exercises that code checks, by name."""
    return {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("check", "check.show")
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }


def _makers(trees: list[ast.Module], at: int) -> set[int]:
    """Return the cells that made, last, what a cell uses."""
    found = set()
    for name in _loaded(trees[at]) - _bound(trees[at]):
        for i in reversed(range(at)):
            if name in _bound(trees[i]) - {*dict(_imported(trees[i]))}:
                found.add(i)
                break
    return found


def _loaded(tree: ast.AST) -> set[str]:
    return {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def _lines(tree: ast.Module, used: set[str]) -> Iterator[str]:
    """Yield the imports of these names, one a line, that need nothing."""
    for name, (module, attribute) in _imported(tree):
        if name in used and not _of_import(module, attribute):
            known = attribute or module
            called = "" if name in (known, known.split(".")[0]) else name
            line = f"from {module} import {known}" if attribute else ""
            yield (line or f"import {module}") + (called and f" as {called}")


def _need(tree: ast.Module, made_with: dict[str, str]) -> str:
    """Return what a cell imports from outside, or uses that was made so."""
    brought = dict(_imported(tree))
    found = {
        need
        for module, attribute in brought.values()
        if not _ours(module) and (need := _of_import(module, attribute))
    }
    if named := checked(tree):
        found |= {of_module(one) for one in imports.exercises(named)}
    own = _bound(tree) - {*brought}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name) or node.id in own:
            continue
        if node.id in brought:
            found.add(_of_import(*brought[node.id]))
        else:
            found.add(made_with.get(node.id, ""))
    return said(found)


def said(needed: Iterable[str]) -> str:
    """Return one name for several needs: PyTorch brings the rest."""
    left = sorted({*needed} - {""})
    return "PyTorch" if "PyTorch" in left else " and ".join(left)


def _imported(tree: ast.AST) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield (name, (module, attribute)) for what code imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                yield alias.asname or top, (alias.name, "")
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield alias.asname or alias.name, (node.module, alias.name)


def _bound(tree: ast.AST) -> set[str]:
    """Return the names that code binds anywhere, arguments among them."""
    names = {name for name, _ in _imported(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, KINDS):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return names


def _ours(module: str) -> bool:
    return module.split(".")[0] == "handmade"


def _of_import(module: str, attribute: str) -> str:
    """Return what an imported name needs: a module's, or one in it."""
    inner = f"{module}.{attribute}"
    if attribute and _ours(module) and imports.module_file(inner):
        return of_module(inner)
    return of_module(module)


@cache
def of_module(name: str) -> str:
    """Return what importing a module needs; "" where a browser has it all."""
    return said(_closure(name, set()))


def _closure(name: str, seen: set[str]) -> Iterator[str]:
    if name in seen:
        return
    seen.add(name)
    top = name.split(".")[0]
    if not _ours(name):
        if top not in sys.stdlib_module_names | STANDS_IN:
            yield CALLED.get(top, top)
        return
    if parent := name.rpartition(".")[0]:
        yield from _closure(parent, seen)
    path = imports.module_file(name)
    if path is None:
        return  # a name in a module
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for module in at_once(tree):
        yield from _closure(module, seen)


def at_once(tree: ast.Module) -> set[str]:
    """Return what is imported when a module is: not inside its functions.

    Nor what stands under `if TYPE_CHECKING`, alone or with another condition:
    this is how a module says that it can do without.
    """
    found: set[str] = set()
    waiting: list[ast.AST] = [*tree.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= imports.imported(ast.Module([node], []))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(
            node.test
        ):
            waiting += node.orelse
        elif not isinstance(node, KINDS[:2]):
            waiting += ast.iter_child_nodes(node)
    return found
