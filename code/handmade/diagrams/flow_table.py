"""Read the table of a data flow, and hold its letters to real sizes."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod

from handmade.diagrams.columns import Edge
from handmade.diagrams.layered import levels
from handmade.diagrams.writing import shape_text

TENSOR = re.compile(r"\s*([^\s(),][^(),]*?)\s*(?:\s\(([^()]*)\))?\s*(?:,|$)")


@dataclass(frozen=True)
class Op:
    """An operation: each that is written is one of its own."""

    label: str
    line: int
    place: int


@dataclass
class Flow:
    """What a table says: nodes in the order they came, and edges."""

    shapes: dict[str, tuple[str, ...] | None] = field(default_factory=dict)
    lines: list[list[list[str] | Op]] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    nodes: list[str | Op] = field(default_factory=list)


def parse(table: str) -> Flow:
    """Read a table; ValueErrors name the line."""
    if not isinstance(table, str):
        raise ValueError(f"table: got {table!r:.60}, want lines in a str")
    written = [
        (n, [part.strip() for part in line.split("->")])
        for n, line in enumerate(table.strip().splitlines(), 1)
        if line.strip()
    ]
    if not written:
        raise ValueError("table: got no line, want 'x -> operation -> y'")
    found = Flow()
    for n, parts in written:
        if len(parts) < 2 or not all(parts):
            raise _bad(n, "->".join(parts), "parts with -> between them")
        for part in (parts[0], parts[-1], *(p for p in parts if " (" in p)):
            _declare(n, part, found)
    for n, parts in written:
        line = [_part(n, i, part, found) for i, part in enumerate(parts)]
        found.lines.append(line)
        for upper, lower in pairwise(line):
            _join(n, upper, lower, found)
        for one in line:
            for node in one if isinstance(one, list) else [one]:
                if node not in found.nodes:
                    found.nodes.append(node)
        try:
            levels(found.nodes, found.edges)
        except ValueError as error:
            raise ValueError(f"table, line {n}: {error}") from None
    return found


def _bad(line: int, got: object, want: str) -> ValueError:
    return ValueError(f"table, line {line}: got {got!r}, want {want}")


def _tensors(n: int, part: str) -> Iterator[tuple[str, str | None]]:
    """Yield (name, shape) of `q (B,T,D), k`."""
    at = 0
    while at < len(part):
        one = TENSOR.match(part, at)
        if one is None:
            raise _bad(n, part, "names such as 'q (B,T,D), k'")
        yield one[1], one[2]
        at = one.end()


def _declare(n: int, part: str, found: Flow) -> None:
    for name, shape in _tensors(n, part):
        axes = found.shapes.setdefault(name, None)
        if shape is None:
            continue
        new = tuple(axis.strip() for axis in shape.split(",") if axis.strip())
        for axis in new:
            if _factors(axis) is None:
                raise _bad(n, f"{name} ({shape})", "axes like T, 4 or H*K")
        if axes is not None and axes != new:
            raise _bad(n, f"{name} {shape_text(new)}", shape_text(axes))
        found.shapes[name] = new


def _part(n: int, place: int, part: str, found: Flow) -> list[str] | Op:
    if part not in found.shapes and " (" not in part:
        names = [name.strip() for name in part.split(",")]
        if not all(name in found.shapes for name in names):
            return Op(part, n, place)
    return [name for name, _ in _tensors(n, part)]


def _join(
    n: int, upper: list[str] | Op, lower: list[str] | Op, found: Flow
) -> None:
    origins = {b for _, b in found.edges}
    for name in lower if isinstance(lower, list) else ():
        if name in origins:
            raise _bad(n, f"a second origin of {name!r}", "one")
    for a in upper if isinstance(upper, list) else [upper]:
        for b in lower if isinstance(lower, list) else [lower]:
            if (a, b) in found.edges:
                raise _bad(n, f"{a!r} twice", "each once")
            found.edges.append((a, b))


def _factors(axis: str) -> list[str] | None:
    """Take `H*K`, `H·K` or `2F` apart; None for anything else."""
    found = []
    for factor in re.split(r"[*·]", axis.replace(" ", "")):
        one = re.fullmatch(r"(\d*)([^\W\d]\w*)?", factor)
        if one is None or not factor:
            return None
        found += [part for part in one.groups() if part]
    return found


def check(
    axes: Mapping[str, tuple[str, ...] | None],
    sizes: Mapping[str, tuple[int, ...]],
) -> None:
    """Hold letters to sizes: one letter, one size. Raises ValueError."""
    known: dict[str, tuple[int, str]] = {}
    products = []
    for name, shape in sizes.items():
        if name not in axes:
            raise ValueError(f"shapes: got {name!r}, want one of {list(axes)}")
        letters = axes[name]
        if letters is None:
            continue
        if len(letters) != len(shape):
            raise ValueError(
                f"shapes: got {name} of {shape_text(shape)}, want "
                f"{shape_text(letters)}"
            )
        for axis, size in zip(letters, shape, strict=True):
            if not axis[0].isdigit() and len(_factors(axis) or ()) == 1:
                first, where = known.setdefault(axis, (size, name))
                if first != size:
                    raise ValueError(
                        f"shapes: got {axis} = {size} in {name}, want "
                        f"{first} as in {where}"
                    )
            else:
                products.append((name, axis, size))
    for name, axis, size in products:
        factors = _factors(axis) or []
        if all(f.isdigit() or f in known for f in factors):
            want = prod(
                int(f) if f.isdigit() else known[f][0] for f in factors
            )
            if want != size:
                raise ValueError(
                    f"shapes: got {axis} = {size} in {name}, want {want}"
                )
