"""What must not stand in a cell that a reader sees: found by its tree."""

import ast
import re
from collections.abc import Iterator

from bookbinder import imports
from bookbinder.idea import NAMED, Names

VERDICT = re.compile(r"\b(equal|same|true|identical|works?)\b", re.IGNORECASE)
# calls that answer yes or no
YES_NO = {"all", "any", "allclose", "bool", "equal", "isclose", "isinstance"}
MEASURED = re.compile(r"#.*\bmeasured\b|#.*\bseeds: ", re.IGNORECASE)


def problems(source: str, names: Names) -> Iterator[str]:
    """Yield what of a visible cell belongs into a fold, or nowhere."""
    tree = imports.parse(source)
    for node in outside_functions(tree.body):
        if isinstance(node, ast.Assert):
            yield f"asserts: {ast.unparse(node)}"
        elif isinstance(node, ast.Call):
            yield from _called(node, names)
        elif isinstance(node, ast.Try) and _is_for_exercises(node):
            yield "try … except ExerciseError, want check.show"
    yield from _verdicts(tree)
    yield from typed_results(source)


def typed_results(source: str) -> Iterator[str]:
    """Yield the results that a comment states, typed by hand."""
    for line in source.split("\n"):
        if found := MEASURED.search(line):
            yield f"typed by hand: {found[0]}"


def outside_functions(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield all nodes but those of functions: a test may be the idea."""
    waiting: list[ast.AST] = [*body]
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, NAMED):
            waiting += ast.iter_child_nodes(node)


def _called(call: ast.Call, names: Names) -> Iterator[str]:
    name = names.calls(call)
    last = name.rpartition(".")[2]
    if last in ("glue", "assert_close"):
        yield f"calls {last}"
    elif name.startswith(("handmade.widgets.", "ipywidgets.")):
        yield f"sets up a widget: {last}"


def _is_for_exercises(node: ast.Try) -> bool:
    return any(
        handler.type is not None and "ExerciseError" in ast.dump(handler.type)
        for handler in node.handlers
    )


def _verdicts(tree: ast.Module) -> Iterator[str]:
    judged: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _is_verdict(node.value, judged):
            judged |= {t.id for t in node.targets if isinstance(t, ast.Name)}
    for node in ast.walk(tree):
        is_print = isinstance(node, ast.Call) and (
            getattr(node.func, "id", "") == "print"
        )
        if is_print and _says_verdict(node, judged):
            yield f"prints a verdict: {ast.unparse(node)}"
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr) and _is_verdict(last.value, judged):
        yield f"shows a verdict: {ast.unparse(last)}"


def _says_verdict(call: ast.Call, judged: set[str]) -> bool:
    parts: list[ast.expr] = []
    for argument in call.args:
        if isinstance(argument, ast.JoinedStr):
            parts += argument.values
        else:
            parts.append(argument)
    values = [
        part.value if isinstance(part, ast.FormattedValue) else part
        for part in parts
    ]
    if any(_is_verdict(value, judged) for value in values):
        return True
    texts = [v.value for v in values if isinstance(v, ast.Constant)]
    # beside a number the word says what the number is of
    written = len(texts) == len(values)
    return written and any(VERDICT.search(str(text)) for text in texts)


def _is_verdict(value: ast.expr, judged: set[str]) -> bool:
    """True for what is yes or no, or a list of it."""
    if isinstance(value, ast.Compare):
        return True
    if isinstance(value, ast.BoolOp):
        return any(_is_verdict(v, judged) for v in value.values)
    if isinstance(value, ast.UnaryOp):
        return isinstance(value.op, ast.Not)
    if isinstance(value, ast.ListComp | ast.GeneratorExp):
        return _is_verdict(value.elt, judged)
    if isinstance(value, ast.List | ast.Tuple):
        return any(_is_verdict(v, judged) for v in value.elts)
    if isinstance(value, ast.Call):
        name = getattr(value.func, "attr", getattr(value.func, "id", ""))
        # (a > b).all().item() is one, too
        if name in ("item", "tolist"):
            return isinstance(value.func, ast.Attribute) and _is_verdict(
                value.func.value, judged
            )
        return name in YES_NO
    return isinstance(value, ast.Name) and value.id in judged
