"""What the claims of a page prove: each is negated, and has to raise then."""

import ast
import dis
import re
from collections.abc import Callable
from types import CodeType

from nbformat import NotebookNode
from nbval.plugin import coalesce_streams

NEGATED = re.compile(r"\nnegated: (\[.*\])\n")
PROOFS = {"assert_close", "parity"}
# `assert x` becomes `assert not x`; what raises by itself has to go through
ASSERT = """\
try:
    assert not condition
except AssertionError:
    _negated.append({number})
"""
CALL = """\
statement
_negated.append({number})
"""


def proofs(source: str) -> list[ast.stmt]:
    """Return the statements of a cell that hold something."""
    return [n for n in ast.walk(ast.parse(source)) if is_proof(n)]


def is_proof(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return True
    return isinstance(node, ast.Expr | ast.Assign) and any(
        isinstance(part, ast.Call) and _name(part.func) in PROOFS
        for part in ast.walk(node)
    )


def is_empty(statement: ast.stmt) -> bool:
    """True where a proof would hold whatever the page computes."""
    if isinstance(statement, ast.Assert):
        # assert (x, "message") holds, too
        if isinstance(statement.test, ast.Tuple | ast.Constant):
            return True
        kinds = ast.Name | ast.Call | ast.Attribute
        return not any(isinstance(n, kinds) for n in ast.walk(statement.test))
    return any(
        isinstance(part, ast.Call)
        and _name(part.func) in PROOFS
        and len(part.args) > 1
        and ast.dump(part.args[0]) == ast.dump(part.args[1])
        for part in ast.walk(statement)
    )


def negated(source: str) -> str:
    """Return the cell with each proof negated; it prints which raised.

    What the cell shows, its last expression's value, it still shows.
    """
    tree = ast.parse(source)
    shows = tree.body and isinstance(tree.body[-1], ast.Expr)
    if shows:
        name = ast.Name("_shown", ast.Store())
        tree.body[-1] = ast.Assign([name], tree.body[-1].value)
    tree = _Negate().visit(tree)
    code = ast.unparse(ast.fix_missing_locations(tree))
    said = 'print("\\nnegated:", sorted(set(_negated)))'
    return "\n".join(["_negated = []", code, said, *["_shown"] * bool(shows)])


def turned(item) -> Callable[[], None]:
    """Have an item of nbval's run its claim negated; return what judges it.

    What raises where it is negated has held: nothing runs twice. What the
    cell prints of its own is compared as ever. The judge raises
    AssertionError where a proof held negated, or never ran.
    """
    source, compare = item.cell.source, item.compare_outputs

    def without(outputs, *others, **named):
        ours = [dict(output) for output in coalesce_streams(outputs)]
        for output in ours:
            if "text" in output:
                output["text"] = NEGATED.sub("", output["text"])
        ours = [o for o in ours if o.get("text", "something")]
        return compare([*map(NotebookNode, ours)], *others, **named)

    def judge() -> None:
        item.cell.source = source
        said = "".join(o.get("text", "") for o in item.test_outputs)
        (numbers,) = NEGATED.findall(said)
        wanted = [*range(len(proofs(source)))]
        assert ast.literal_eval(numbers) == wanted, (
            f"of {len(wanted)} proofs only {numbers} raised, negated:"
            f"\n{source}"
        )

    item.cell.source, item.compare_outputs = negated(source), without
    return judge


class _Negate(ast.NodeTransformer):
    def __init__(self) -> None:
        self.number = -1

    def visit(self, node: ast.AST):
        if not is_proof(node):
            return self.generic_visit(node)
        self.number += 1
        if isinstance(node, ast.Assert):
            (made,) = ast.parse(ASSERT.format(number=self.number)).body
            made.body[0].test.operand = node.test
            return made
        _, said = ast.parse(CALL.format(number=self.number)).body
        return [node, said]


def _name(node: ast.expr) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def bound(source: str) -> set[str]:
    """Return the names that a cell binds for those after it."""
    return _names(source)[0]


def read(source: str) -> set[str]:
    """Return the names that a cell expects from those above it."""
    return _names(source)[1]


def _names(source: str) -> tuple[set[str], set[str]]:
    try:
        code = compile(source, "<cell>", "exec")
    except SyntaxError:  # a magic, or a mistake that is shown
        return set(), set()
    made: set[str] = set()
    wanted: set[str] = set()
    for step in dis.get_instructions(code):
        if step.opname in ("STORE_NAME", "STORE_GLOBAL"):
            made.add(step.argval)
        elif step.opname == "LOAD_NAME" and step.argval not in made:
            wanted.add(step.argval)
    waiting = [code]
    while waiting:
        inner = [c for c in waiting.pop().co_consts if isinstance(c, CodeType)]
        waiting += inner
        for part in inner:
            wanted |= {
                step.argval
                for step in dis.get_instructions(part)
                if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
            } - made
    return made, wanted


def needed_later(sources: list[str], at: int) -> set[str]:
    """Return what cell `at` binds and one after it reads, not bound anew."""
    pending, needed = bound(sources[at]), set()
    for source in sources[at + 1 :]:
        needed |= pending & read(source)
        pending -= bound(source)
    return needed
