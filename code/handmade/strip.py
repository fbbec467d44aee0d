"""Follow one token through a run: name, shape, and what happened to it.

A strip's stations are the outputs of the real modules in one real run, so it
cannot say anything that did not happen. It is the small table under a
chapter's code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from handmade import checks
from handmade.record import record


@dataclass(frozen=True)
class Step:
    """One station: what it is called, its tensor, and what happened there.

    Raises ValueError where the value is no tensor.
    """

    name: str
    value: torch.Tensor
    what: str

    def __post_init__(self) -> None:
        checks.text("name", self.name)
        checks.kind("value", self.value, torch.Tensor, "the station's tensor")
        checks.text("what", self.what)


class Strip:
    """Stations in the order the token passed them; printed, a plain table.

    Raises ValueError where there is no station.
    """

    def __init__(self, steps: list[Step]) -> None:
        want = "at least one Step, in a list"
        checks.several("steps", steps, want)
        for step in steps:
            checks.kind("steps", step, Step, want)
        checks.need(len(steps) > 0, "steps", "none", want)
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
    model: nn.Module, inputs: Any, stations: Mapping[str, str]
) -> Strip:
    """Run the model once and note what each named module put out.

    ``stations`` maps a name, as in ``recording``, to what happens there, ""
    being the whole model; ``inputs`` are the arguments of the call, a tensor,
    a tuple or a dict. Stations come in the order their modules finish, and
    hold what they put out, also where a later one writes over it.
    Raises ValueError for a name that is no module's or that did not run.
    """
    checks.mapping("stations", stations, "a dict from name to what happens")
    seen = record(model, inputs, stations, copy=True)
    what = {
        key: stations[name] for name in seen.found for key in seen.found[name]
    }
    return Strip(
        [
            Step(key or type(model).__name__, tensor, what[key])
            for key, tensor in seen.items()
        ]
    )
