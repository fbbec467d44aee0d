"""The folded solutions of a page, and what they need to run."""

import ast
import dis
import re
from dataclasses import dataclass
from types import CodeType

from bookbinder.book import Page

MARK = re.compile(r"^`{3,}\{solution-(start|end)\}", re.MULTILINE)


@dataclass(frozen=True)
class Solution:
    """A cell between solution-start and solution-end."""

    page: Page
    source: str
    before: tuple[str, ...]  # the sources of the code cells above it

    @property
    def names(self) -> list[str]:
        """The exercises that it checks."""
        return re.findall(r"\bcheck\(\s*\"([\w-]+)\"", self.source)

    def run(self) -> None:
        """Execute it, after only those statements above that it needs."""
        needed: list[ast.stmt] = []
        wanted: set[str] = set()
        own = _statements(self.source)
        above = [s for source in self.before for s in _statements(source)]
        for i, statement in reversed(list(enumerate([*above, *own]))):
            made = _made(statement)
            if made & wanted or i >= len(above):
                needed.insert(0, statement)
                wanted = (wanted - made) | _read(statement)
        code = _compile(needed)
        exec(code, {"__name__": self.page.name})


def solutions(page: Page) -> list[Solution]:
    """Return the cells of the page's solutions, in order."""
    found, before, inside = [], [], False
    for cell in page.read().cells:
        if cell.cell_type == "markdown":
            for mark in MARK.finditer(cell.source):
                inside = mark[1] == "start"
        elif cell.cell_type == "code":
            if inside:
                found.append(Solution(page, cell.source, tuple(before)))
            before.append(cell.source)
    return found


def _statements(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except SyntaxError:  # a cell with a magic, or one that shows a mistake
        return []


def _compile(statements: list[ast.stmt]) -> CodeType:
    module = ast.Module(statements, type_ignores=[])
    return compile(module, "<page>", "exec")


def _read(statement: ast.stmt) -> set[str]:
    """The names that a statement expects from those above it."""
    codes, read = [_compile([statement])], set()
    for code in codes:
        read |= {
            step.argval
            for step in dis.get_instructions(code)
            if step.opname in ("LOAD_NAME", "LOAD_GLOBAL")
        }
        codes += [c for c in code.co_consts if isinstance(c, CodeType)]
    if isinstance(statement, ast.FunctionDef):
        read.discard(statement.name)  # it calls itself
    return read


def _made(statement: ast.stmt) -> set[str]:
    """The names that a statement of a page binds."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        names = [alias.asname or alias.name for alias in statement.names]
        return {name.split(".")[0] for name in names}
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        return {
            node.id
            for node in ast.walk(statement)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
    return set()
