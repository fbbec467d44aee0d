"""Which module of ours is which of theirs: patterns with ``{}`` spelled out.

"blocks.{}.experts.{}" stands for every pair of numbers that makes a path;
both models must have the same ones.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import nn

from handmade.record import Name, modules_of, unknown


def paired(
    layers: Mapping[str, str], ours: nn.Module, theirs: nn.Module
) -> Iterator[tuple[str, str, str]]:
    """Yield (our name, their name, pattern), every ``{}`` filled in."""
    if not isinstance(layers, Mapping) or not layers:
        raise ValueError(
            f"layers: got {layers!r}, want our paths mapped to theirs"
        )
    for pattern, their_pattern in layers.items():
        if pattern.count("{}") != their_pattern.count("{}"):
            both = f"{pattern!r} and {their_pattern!r}"
            raise ValueError(f"layers: got {both}, want as many {{}} in both")
        sides = ((pattern, ours), (their_pattern, theirs))
        numbers = [_numbers(each, model) for each, model in sides]
        known = numbers[0] | numbers[1]
        for each in sorted(known) or [None]:
            for (text, model), have in zip(sides, numbers, strict=True):
                if each not in have:
                    path = Name.parse(_filled(text, each)).path
                    raise ValueError(f"layers: {unknown(path, model)}")
            yield *(_all_runs(_filled(t, each)) for t, _ in sides), pattern


def _numbers(pattern: str, model: nn.Module) -> set[tuple[int, ...]]:
    """Return the numbers that, for ``{}``, make paths of the model."""
    path = Name.parse(pattern).path
    parts = map(re.escape, path.split("{}"))
    shape = re.compile(r"(0|[1-9]\d*)".join(parts))
    found = map(shape.fullmatch, modules_of(model))
    return {tuple(map(int, match.groups())) for match in found if match}


def _filled(pattern: str, numbers: tuple[int, ...] | None) -> str:
    for number in numbers or ():
        pattern = pattern.replace("{}", str(number), 1)
    return pattern


def _all_runs(name: str) -> str:
    parsed = Name.parse(name)
    return str(replace(parsed, run=":") if parsed.run is None else parsed)
