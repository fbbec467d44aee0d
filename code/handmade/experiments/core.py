"""What an experiment is, and how its stored result is read.

An experiment takes longer than a page may. It is a module of this package
with a `PLAN` and a function `run(settings, steps, tell) -> Outcome`; its
result is `results/NAME.json`, read with `stored("NAME")`. Running, checking
and restamping are `python -m bookbinder experiments`.

Left out: dates and machines. The same code gives the same numbers.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import torch

from handmade import checks
from handmade.cache import check_sha256
from handmade.training.loop import Step

RESULTS = Path(__file__).with_name("results")
LARGEST = 5_000_000  # bytes of a checkpoint
Tell = Callable[[int, Step], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The runs of an experiment, and how closely a replay has to meet them.

    Each run's settings are a frozen dataclass with its seed in it. Its first
    `early` steps are stored loss by loss, with what is measured after them:
    a replay of so many steps shows whether changed code still computes the
    same. `loss` and `result` are how far a replay may be off (absolute),
    `whole` how far the result of a whole run may be; None where running it
    again takes too long. `checkpoint` is the run whose tensors are kept.
    """

    runs: Mapping[str, Any]
    early: int = 50
    loss: float = 1e-4
    result: float = 1e-3
    whole: float | None = None
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        checks.mapping("runs", self.runs, "a dict from name to settings")
        checks.whole("early", self.early)
        checks.number("loss", self.loss, at_least=0)
        checks.number("result", self.result, at_least=0)
        if self.whole is not None:
            checks.number("whole", self.whole, at_least=0)
        if self.checkpoint is not None:
            checks.text("checkpoint", self.checkpoint)
        if not self.runs or self.checkpoint not in {None, *self.runs}:
            raise ValueError(
                f"checkpoint: got {self.checkpoint!r}, want None or one of "
                f"the runs {list(self.runs)}, of which there is at least one"
            )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run gave: each step, what was measured, tensors to be kept."""

    log: list[Step]
    result: dict[str, Any]
    tensors: dict[str, torch.Tensor] | None = None


def stored(name: str) -> dict[str, Any]:
    """Read the stored result of an experiment, whole or not at all.

    Its keys: command, torch, seconds, settings (those that runs share), runs
    (name, settings of its own, seconds, early, log, result), checkpoint,
    code and digest. Raises ValueError where there is none, and where it is
    not as it was written.
    """
    checks.text("name", name)
    path = RESULTS / f"{name}.json"
    command = f"python -m bookbinder experiments run {name}"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"name: got {name!r}, which has no stored result, want one that "
            f"has, or run `{command}`"
        ) from None
    except ValueError as error:
        raise ValueError(
            f"{path.name}: got {error}, want JSON: run `{command}`"
        ) from error
    if not isinstance(found, dict) or found.get("digest") != digest(found):
        raise ValueError(
            f"{path.name}: got other contents than were written, want what "
            f"`{command}` wrote"
        )
    return found


def digest(result: Any) -> str:
    """Return a hash of a result: of all that is in it but the code's hash."""
    if isinstance(result, dict):
        left_out = {"code", "digest"}
        result = {k: v for k, v in result.items() if k not in left_out}
    text = json.dumps(result, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def results(name: str, plan: Plan) -> dict[str, dict[str, Any]]:
    """Return run -> what was measured, for each run of the plan.

    Raises ValueError where the stored runs had other settings.
    """
    checks.kind("plan", plan, Plan, "a Plan")
    found = stored(name)
    had = {
        run["name"]: found["settings"] | run["settings"]
        for run in found["runs"]
    }
    wanted = {run: as_json(settings) for run, settings in plan.runs.items()}
    if had != wanted:
        differs = [
            run for run in wanted | had if had.get(run) != wanted.get(run)
        ]
        raise ValueError(
            f"{name}.json: got other settings than the plan's for "
            f"{', '.join(differs[:3])}{' ...' * (len(differs) > 3)}, want "
            f"the same: run `{found['command']}`"
        )
    return {run["name"]: run["result"] for run in found["runs"]}


def checkpoint(name: str) -> dict[str, torch.Tensor]:
    """Return the tensors that an experiment kept.

    Raises ValueError where it kept none, or where they are not those.
    """
    from safetensors.torch import load_file

    kept = stored(name).get("checkpoint")
    if kept is None:
        raise ValueError(
            f"name: got {name!r}, which keeps no checkpoint, want one that "
            "does"
        )
    path = RESULTS / kept["file"]
    mend = f"Restore it, or run `{stored(name)['command']}`"
    if not path.is_file():
        raise ValueError(f"{path} is missing. {mend}")
    return load_file(check_sha256(path, kept["sha256"], mend))


def as_json(settings: Any) -> dict[str, Any]:
    """Return a run's settings as a file gives them back: tuples are lists."""
    made = is_dataclass(settings) and not isinstance(settings, type)
    kind = type(settings).__name__
    checks.need(made, "settings", f"a {kind}", "a dataclass's object")
    values: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return values
