"""One right call of each public function, class and method of `handmade`.

`CALLS` maps a name, such as "blocks.rope.rope_angles", to a function that
makes the arguments anew for each case, with a folder of its own if it asks
for one. `test_every_argument` spoils them one at a time, so a function that
is not here is one whose refusals nobody has seen.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Call:
    """Arguments by name, whose method it is, and what to do with the result.

    `then` is for what works only when it is used: a context, a generator.
    `fails` is what a right call says where something else is lacking.
    """

    given: dict[str, Any]
    on: Any = None
    then: Callable[[Any], object] = lambda result: result
    fails: str = ""


def call(on=None, *, then=lambda result: result, fails="", **given) -> Call:
    return Call(given, on, then, fails)


CALLS: dict[str, Callable[..., Call]] = {}
for part in pkgutil.iter_modules(__path__):
    calls = importlib.import_module(f"{__name__}.{part.name}").CALLS
    if twice := CALLS.keys() & calls.keys():
        raise ValueError(f"{part.name}: {sorted(twice)} have a call already")
    CALLS |= calls
