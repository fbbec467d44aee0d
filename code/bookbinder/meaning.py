"""What a piece of Python means: its syntax tree, without the words in it.

Comments are not in the tree; docstrings are left out here. What remains is
written down by ourselves, because `ast.dump` differs from one Python to the
next: a field that is empty is not written, and so a field that a later
version adds changes nothing.
"""

import ast
import hashlib
from collections.abc import Iterator

# how a name is used is clear from where it stands; u"" means ""
SILENT = {"ctx", "kind", "type_comment"}
DOCUMENTED = (
    ast.Module,
    ast.ClassDef,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
)


def tree_hash(tree: ast.AST) -> str:
    """Return a hash of what the tree says, the same on every Python."""
    digest = hashlib.sha256()
    for part in _words(tree):
        digest.update(part.encode())
    return digest.hexdigest()[:16]


def _words(node: object) -> Iterator[str]:
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name, value in ast.iter_fields(node):
            if name == "body" and isinstance(node, DOCUMENTED):
                value = _without_docstring(value)
            if isinstance(node, ast.JoinedStr):
                value = [part for part in value if not _is_nothing(part)]
            # the value of a Constant may be None, and is then what it says
            empty = value is None and not isinstance(node, ast.Constant)
            if name not in SILENT and not empty and value != []:
                yield f" {name}="
                yield from _words(value)
        yield ")"
    elif isinstance(node, list):
        for item in node:
            yield from _words(item)
    else:
        # ascii: which letters print is another thing that versions change
        yield f"{type(node).__name__}:{node!a}"


def _is_nothing(part: ast.expr) -> bool:
    """True for the "" that Python 3.12 alone puts behind {x:{width}}."""
    return isinstance(part, ast.Constant) and part.value == ""


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    is_text = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    return body[1:] if is_text else body
