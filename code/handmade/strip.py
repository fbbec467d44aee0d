"""Follow one token through a run: name, shape, and what happened to it.

A strip is made by hooks on the real modules, so it cannot say anything that
did not happen. It is the small table under a chapter's code.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Step:
    """One station: what it is called, its tensor, and what happened there."""

    name: str
    value: torch.Tensor
    what: str


class Strip:
    """Stations in the order the token passed them.

    Printing gives a plain table; in a notebook it is an HTML table.
    """

    def __init__(self, steps: list[Step]) -> None:
        if not steps:
            raise ValueError("steps: got none, want at least one Step")
        self.steps = steps

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (name, shape, what happened) of every station."""
        return [
            (step.name, str(list(step.value.shape)), step.what)
            for step in self.steps
        ]

    def __str__(self) -> str:
        rows = [("name", "shape", "what happened"), *self.rows()]
        wide = [max(len(row[i]) for row in rows) for i in (0, 1)]
        return "\n".join(
            f"{name:{wide[0]}}  {shape:{wide[1]}}  {what}"
            for name, shape, what in rows
        )

    __repr__ = __str__


def follow(
    model: nn.Module, inputs: tuple, stations: Mapping[str, str]
) -> Strip:
    """Run the model once and note what each named module put out.

    `stations` maps a module's path to what happens there, "" being the whole
    model; `inputs` are the arguments of the call. Stations come in the order
    their modules finish. Raises ValueError for a path that is no module or
    that did not run.
    """
    modules = dict(model.named_modules())
    for path in stations:
        if path not in modules:
            raise ValueError(
                f"stations: got {path!r}, want a module's path, such as "
                f"{', '.join(list(modules)[1:5])}"
            )
    seen: list[Step] = []

    def keep(path: str):
        def hook(module, args, output):
            tensor = output if torch.is_tensor(output) else output[0]
            name = path or type(model).__name__
            seen.append(Step(name, tensor.detach(), stations[path]))

        return hook

    handles = [
        modules[path].register_forward_hook(keep(path)) for path in stations
    ]
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    missing = set(stations) - {
        "" if step.name == type(model).__name__ else step.name for step in seen
    }
    if missing:
        raise ValueError(f"stations: {sorted(missing)} did not run")
    return Strip(seen)
