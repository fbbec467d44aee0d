"""Look inside a running model: names of modules in, their tensors out.

    with recording(model, ["norm", "blocks.0.attn"]) as seen:
        model(ids)
    seen["norm"]                            # what the module put out

A name is a module's path, "" being the whole model. Two things may follow:

    norm[1]      the second time it ran    norm[:]     every time it ran
    attn:1       a part of its output      pooler:*    every tensor in it

A part is a tuple's number or a dict's key, dotted where they are nested; of
an output with several parts, a name without one means the first tensor.
`parity` and the strips under a chapter's code are made with this.

Left out: changing what runs, and what happens between two modules.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from handmade import checks

SUFFIXES = re.compile(
    r"(?P<path>.*?)(\[(?P<run>\d+|:)\])?(:(?P<part>\*|\w+(\.\w+)*))?"
)


@dataclass(frozen=True)
class Name:
    """A name taken apart: a module's path, which run, which part."""

    path: str
    run: str | None = None  # a number, or ":" for every run
    part: str | None = None  # a dotted key, or "*" for every tensor

    @classmethod
    def parse(cls, name: str) -> "Name":
        """Take a name apart; raise ValueError where it is none."""
        want = "a module's path, such as 'norm', 'norm[1]' or 'attn:0'"
        checks.need(isinstance(name, str), "names", repr(name), want)
        found = SUFFIXES.fullmatch(name)
        if found is None:  # a line break
            raise ValueError(f"names: got {name!r}, want a module's path")
        return cls(found["path"], found["run"], found["part"])

    def __str__(self) -> str:
        run = "" if self.run is None else f"[{self.run}]"
        part = "" if self.part is None else f":{self.part}"
        return f"{self.path}{run}{part}"


class Recording(dict[str, Tensor]):
    """Name -> tensor, in the order in which the modules finished.

    ``norm[:]`` comes as ``norm[0]``, ``norm[1]``, and ``pooler:*`` as
    ``pooler:0``, ``pooler:1``: ``found`` tells which came of a name.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {name: [] for name in names}


@contextmanager
def recording(
    model: nn.Module, names: Iterable[str], *, copy: bool = False
) -> Iterator[Recording]:
    """Keep what the named modules put out while the block runs.

    The tensors are the run's own, gradients included; with ``copy`` they
    are cloned at once, for models that change a tensor in place later.
    Hooks are gone after the block, whatever happened in it.

    Raises ValueError for a name that is no module's, that did not run, that
    ran several times without saying which, or whose output has no such part.
    """
    checks.flag("copy", copy)
    asked = _parse(names, model)
    seen = Recording(asked)
    runs: dict[str, int] = {}
    handles = _hooks(model, asked, seen, runs, copy)
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
    for name, parsed in asked.items():
        if not seen.found[name]:
            times = runs.get(parsed.path, 0)
            ran = f"ran {times} times" if times > 1 else "ran once"
            raise ValueError(
                f"names: got {name!r}, want modules that run: this one "
                f"{ran if times else 'did not run'}"
            )


@torch.no_grad()
def record(
    model: nn.Module, inputs: Any, names: Iterable[str], *, copy: bool = False
) -> Recording:
    """Run the model once, in eval mode, and return name -> tensor.

    ``inputs`` is a tensor, a tuple or a dict of arguments. Modes are put
    back, module by module. ValueErrors as in ``recording``.
    """
    with eval_mode(model), recording(model, names, copy=copy) as seen:
        call(model, inputs)
    return seen


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put the model into eval mode; each module gets its own mode back."""
    checks.module("model", model)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def call(model: nn.Module, inputs: Any) -> Any:
    """Call a model with one tensor, a tuple or a dict of arguments."""
    checks.function("model", model, "a module")
    args, kwargs = arguments(inputs)
    return model(*args, **kwargs)


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return inputs as positional and as keyword arguments."""
    want = "a tensor, or a tuple or a dict of arguments"
    checks.kind("inputs", inputs, (Tensor, tuple, Mapping), want)
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def modules_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return path -> module; one that has two paths stands under both."""
    checks.module("model", model)
    return dict(model.named_modules(remove_duplicate=False))


def tensors_of(output: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield (part, tensor) of an output, however it is nested."""
    if isinstance(output, Tensor):
        yield prefix, output
        return
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(output, Mapping):  # transformers' outputs are mappings
        parts = output.items()
    elif isinstance(output, tuple | list):
        parts = enumerate(output)
    for key, value in parts:
        yield from tensors_of(value, f"{prefix}.{key}" if prefix else str(key))


def _parse(names: Iterable[str], model: nn.Module) -> dict[str, Name]:
    checks.several("names", names, "a list of names")
    paths = modules_of(model)
    asked = {}
    for name in names:
        parsed = Name.parse(name)
        if name in paths:  # a path that looks like a run or a part
            parsed = Name(name)
        if parsed.path not in paths:
            raise ValueError(f"names: {unknown(parsed.path, model)}")
        asked[name] = parsed
    if not asked:
        raise ValueError("names: got none, want at least one module's path")
    return asked


def unknown(path: str, model: nn.Module) -> str:
    """Say that a model has no such module, and which come close."""
    paths = [name for name in modules_of(model) if name]
    close = get_close_matches(path, paths, n=3, cutoff=0.5) or paths[:3]
    some = ", ".join(map(repr, close)) if close else "'', it has no others"
    kind = type(model).__name__
    return f"got {path!r}, want a module of {kind}, such as {some}"


def _hooks(
    model: nn.Module,
    asked: Mapping[str, Name],
    seen: Recording,
    runs: dict[str, int],
    copy: bool,
) -> list[RemovableHandle]:
    """Hang one hook on every module that is asked for."""
    wanted: dict[str, list[str]] = {}
    for name, parsed in asked.items():
        wanted.setdefault(parsed.path, []).append(name)

    def keep(path: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            run = runs[path] = runs.get(path, 0) + 1
            for name in wanted[path]:
                for key, tensor in _kept(name, asked[name], run - 1, output):
                    seen[key] = tensor.clone() if copy else tensor
                    seen.found[name].append(key)

        return hook

    modules = modules_of(model)
    return [modules[p].register_forward_hook(keep(p)) for p in wanted]


def _kept(
    name: str, asked: Name, run: int, output: Any
) -> list[tuple[str, Tensor]]:
    """Return (key, tensor) of what one run adds to the recording."""
    if asked.run is None and run > 0:
        raise ValueError(
            f"names: got {name!r}, which runs more than once, want "
            f"'{Name(asked.path, '0', asked.part)}' for one run or "
            f"'{Name(asked.path, ':', asked.part)}' for all"
        )
    if asked.run not in (None, ":", str(run)):
        return []
    shown = str(run) if asked.run == ":" else asked.run
    parts = dict(tensors_of(output))
    if not parts:
        raise ValueError(f"names: the output of {name!r} has no tensor")
    if asked.part == "*":
        return [
            (str(Name(asked.path, shown, part or "0")), tensor)
            for part, tensor in parts.items()
        ]
    if asked.part is None:
        tensor = next(iter(parts.values()))
    elif asked.part in parts:
        tensor = parts[asked.part]
    else:
        have = ", ".join(map(repr, parts))
        raise ValueError(f"names: got {name!r}, want one of its parts: {have}")
    return [(str(Name(asked.path, shown, asked.part)), tensor)]
