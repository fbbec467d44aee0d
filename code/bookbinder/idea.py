"""Which lines of a page's code carry an idea, by their syntax tree.

Not an idea: imports, seeds, what is asserted, glued, compared or checked,
calls that only draw, print or set up a widget, and a name that stands alone
to be shown. A loop, a branch or a `with` is one where something inside is;
the head of a function or a class always is, and so is a comment. Blank lines
count for nothing.
"""

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field

from bookbinder import imports

SEEDS = {"manual_seed", "seed", "set_seed"}
PRINTS = {"print", "pprint", "display"}
# what these export proves, shows, or sets up what is shown
PLAIN = (
    "handmade.diagrams",
    "handmade.exercises",
    "handmade.notebook",
    "handmade.parity",
    "handmade.plots",
    "handmade.strip",
    "handmade.tables",
    "handmade.widgets",
    "ipywidgets",
    "torch.testing",
)
COMPOUND = (ast.For, ast.While, ast.If, ast.With, ast.Try)
NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Lines:
    """How many lines there are, and how many of them carry an idea."""

    all: int = 0
    idea: int = 0

    def __add__(self, other: "Lines") -> "Lines":
        return Lines(self.all + other.all, self.idea + other.idea)


@dataclass
class Names:
    """Where the names that a page's cells import come from."""

    origin: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, sources: Iterable[str]) -> "Names":
        found = {}
        for source in sources:
            for node in ast.walk(imports.parse(source)):
                if isinstance(node, ast.Import):
                    for alias in node.names:
                        head = alias.name.split(".")[0]
                        found[alias.asname or head] = (
                            alias.name if alias.asname else head
                        )
                elif isinstance(node, ast.ImportFrom):
                    for alias in node.names:
                        name = f"{node.module}.{alias.name}"
                        found[alias.asname or alias.name] = name
        return cls(found)

    def calls(self, call: ast.Call) -> str:
        """Return the whole name of what is called: torch.manual_seed."""
        parts, node = [], call.func
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ".".join(reversed(parts))
        first = self.origin.get(node.id, node.id)
        return ".".join([first, *reversed(parts)])


def called(call: ast.Call) -> str:
    """Return the last name of what is called: `seed` of random.seed(0)."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def is_import(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Import | ast.ImportFrom)


def is_seed(statement: ast.stmt) -> bool:
    """True for `torch.manual_seed(0)`, and for `_ = …` or `g = …` of it."""
    call = getattr(statement, "value", None)
    return isinstance(call, ast.Call) and called(call) in SEEDS


def count(source: str, names: Names) -> Lines:
    """Count the lines of one cell, or of an excerpt."""
    filled = {
        number
        for number, line in enumerate(source.split("\n"), 1)
        if line.strip()
    }
    plain: set[int] = set()
    _mark(imports.parse(source).body, names, plain)
    return Lines(len(filled), len(filled - plain))


def _mark(body: list[ast.stmt], names: Names, plain: set[int]) -> bool:
    """Note the lines without an idea; True if the body has no other."""
    nothing = True
    for statement in body:
        if isinstance(statement, NAMED):
            _mark(statement.body, names, plain)
            is_plain = False
        elif isinstance(statement, COMPOUND):
            inside = [_mark(part, names, plain) for part in _parts(statement)]
            is_plain = all(inside)
        else:
            is_plain = _is_plain(statement, names)
        if is_plain:
            assert statement.end_lineno is not None
            plain |= {*range(statement.lineno, statement.end_lineno + 1)}
        nothing = nothing and is_plain
    return nothing


def _parts(statement: ast.stmt) -> list[list[ast.stmt]]:
    """Return the bodies of a compound statement."""
    handlers = getattr(statement, "handlers", [])
    return [
        getattr(part, name, [])
        for part in (statement, *handlers)
        for name in ("body", "orelse", "finalbody")
    ]


def _is_plain(statement: ast.stmt, names: Names) -> bool:
    if is_import(statement) or is_seed(statement):
        return True
    if isinstance(statement, ast.Assert):
        return True
    if isinstance(statement, ast.Expr | ast.Assign):
        value = statement.value
        if isinstance(value, ast.ListComp):
            value = value.elt
        if isinstance(value, ast.Call):
            return is_plain_call(value, names)
        # a name that is there to be shown
        shown = isinstance(value, ast.Name | ast.Attribute)
        return shown and isinstance(statement, ast.Expr)
    return False


def is_plain_call(call: ast.Call, names: Names) -> bool:
    """True for a call that proves, shows or sets up what is shown."""
    name = names.calls(call)
    inside = any(name == p or name.startswith(f"{p}.") for p in PLAIN)
    return inside or name in PRINTS
