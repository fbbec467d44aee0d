"""Which module of ours is which of theirs: patterns with ``{}`` spelled out.

"blocks.{}.experts.{}" stands for every pair of numbers that makes a path;
both models must have the same ones.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import nn

from handmade import checks
from handmade.record import Name, modules_of, unknown


def paired(
    layers: Mapping[str, str], ours: nn.Module, theirs: nn.Module
) -> Iterator[tuple[str, str, str]]:
    """Yield (our name, their name, pattern), every ``{}`` filled in."""
    if not isinstance(layers, Mapping) or not layers:
        raise ValueError(
            f"layers: got {layers!r}, want our paths mapped to theirs"
        )
    checks.module("ours", ours)
    checks.module("theirs", theirs)
    for pattern, their_pattern in layers.items():
        if pattern.count("{}") != their_pattern.count("{}"):
            both = f"{pattern!r} and {their_pattern!r}"
            raise ValueError(f"layers: got {both}, want as many {{}} in both")
        ours_has = _numbers(pattern, ours)
        theirs_has = _numbers(their_pattern, theirs)
        # where neither has any, the pattern itself is named as missing
        for each in sorted(ours_has | theirs_has) or [()]:
            our, their = _filled(pattern, each), _filled(their_pattern, each)
            for name, model, has in (
                (our, ours, ours_has),
                (their, theirs, theirs_has),
            ):
                if each not in has:
                    path = Name.parse(name).path
                    raise ValueError(f"layers: {unknown(path, model)}")
            yield _all_runs(our), _all_runs(their), pattern


def _numbers(pattern: str, model: nn.Module) -> set[tuple[int, ...]]:
    """Return the numbers that, for ``{}``, make paths of the model."""
    path = Name.parse(pattern).path
    parts = map(re.escape, path.split("{}"))
    shape = re.compile(r"(0|[1-9]\d*)".join(parts))
    found = map(shape.fullmatch, modules_of(model))
    return {tuple(map(int, match.groups())) for match in found if match}


def _filled(pattern: str, numbers: tuple[int, ...]) -> str:
    for number in numbers:
        pattern = pattern.replace("{}", str(number), 1)
    return pattern


def _all_runs(name: str) -> str:
    parsed = Name.parse(name)
    return str(replace(parsed, run=":") if parsed.run is None else parsed)
