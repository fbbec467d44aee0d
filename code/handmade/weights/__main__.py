"""`python -m handmade.weights`: make ready what later works offline.

A module here that has a function of its own name, which asks for nothing,
is a checkpoint: a new one is found, not registered.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator

from handmade import weights


def checkpoints() -> Iterator[Callable[[], object]]:
    """Yield each checkpoint's function."""
    for found in pkgutil.iter_modules(weights.__path__):
        if found.name.startswith("_"):
            continue
        module = importlib.import_module(f"{weights.__name__}.{found.name}")
        function = getattr(module, found.name, None)
        if callable(function) and not inspect.signature(function).parameters:
            yield function


def prepare() -> None:
    """Make everything ready that later works offline, telling each step."""
    for make in checkpoints():
        print(f"preparing {make.__name__} ...", flush=True)
        make()
    print("ready: everything else works offline", flush=True)


if __name__ == "__main__":
    prepare()
