"""Run an experiment, and store its result whole or not at all.

Finished runs are kept in a partial file until all are finished: who is
killed goes on where they were. The partial file is never read as a result.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from handmade.cache import check_sha256, sha256
from handmade.experiments import core
from handmade.training.loop import Step

from bookbinder.experiment_state import code_of, load, write, write_result

BLOCK = 50  # steps whose means make one entry of the log


def run(name: str, say: Callable[..., None] = print) -> Path:
    """Run what is not finished yet, then store the result, whole."""
    experiment, state = load(name), _resumed(name, say)
    plan, partial = experiment.PLAN, _partial(name)
    done = {record["name"] for record in state["runs"]}
    if done:
        say(f"{name}: {len(done)} of {len(plan.runs)} runs are kept")
    for number, (run_name, settings) in enumerate(plan.runs.items(), 1):
        if run_name in done:
            continue
        head = f"[{number}/{len(plan.runs)}] {run_name}"
        record, tensors = _one_run(experiment, run_name, settings, head)
        if run_name == plan.checkpoint:
            state["checkpoint"] = _keep(name, run_name, tensors)
        state["runs"].append(record)
        write(partial, state)
        say(f"{head}: {record['seconds']:.1f} s, {record['result']}")
    seconds = round(sum(record["seconds"] for record in state["runs"]), 1)
    path = write_result(name, {"seconds": seconds, **state})
    for other in core.RESULTS.glob(f"{name}-*.safetensors"):
        if other.name != (state["checkpoint"] or {}).get("file"):
            other.unlink()
    partial.unlink()
    return path


def _one_run(
    experiment: ModuleType, name: str, settings: Any, head: str
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Run the first steps, then the whole; they must agree to the last bit."""
    plan = experiment.PLAN
    early = experiment.run(settings, plan.early, _progress(head))
    _check_size(early.tensors)
    start = time.monotonic()
    whole = experiment.run(settings, None, _progress(head))
    seconds = time.monotonic() - start
    again = whole.log[: len(early.log)]
    for step, (one, two) in enumerate(zip(early.log, again, strict=True)):
        if one != two:
            raise ValueError(
                f"run: got {two} at step {step} of {name}, want {one} as "
                "before: it does not repeat itself"
            )
    record = {
        "name": name,
        "settings": core.as_json(settings),
        "seconds": round(seconds, 1),
        "early": {
            "losses": [float(f"{step.loss:.6g}") for step in early.log],
            "result": early.result,
        },
        "log": _log(whole.log),
        "result": whole.result,
    }
    if name == plan.checkpoint and not whole.tensors:
        raise ValueError(f"tensors: got none from {name}, want a checkpoint")
    return record, whole.tensors or {}


def _log(steps: list[Step]) -> dict[str, Any]:
    """Sum up the steps, so many at a time: mean, largest, last."""
    blocks = [steps[i : i + BLOCK] for i in range(0, len(steps), BLOCK)]
    return {
        "steps": BLOCK,
        "mean_loss": [
            float(f"{sum(s.loss for s in b) / len(b):.6g}") for b in blocks
        ],
        "largest_grad_norm": [
            float(f"{max(s.grad_norm for s in b):.4g}") for b in blocks
        ],
        "last_lr": [float(f"{b[-1].lr:.6g}") for b in blocks],
    }


def _partial(name: str) -> Path:
    return core.RESULTS / f".{name}.partial.json"


def _resumed(name: str, say: Callable[..., None]) -> dict[str, Any]:
    """Return the finished runs, if they are those of this code and plan."""
    plan, path = load(name).PLAN, _partial(name)
    now: dict[str, Any] = {
        "code": code_of(name),
        "torch": torch.__version__.partition("+")[0],
        "plan": {run: core.as_json(s) for run, s in plan.runs.items()}
        | {"": [plan.early, plan.checkpoint]},
    }
    try:
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if all(state[key] == value for key, value in now.items()):
            if state["checkpoint"]:
                kept = core.RESULTS / state["checkpoint"]["file"]
                check_sha256(kept, state["checkpoint"]["sha256"], "")
            return state
        say(f"{path.name} is of other code or settings: begun anew")
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError):
        say(f"{path.name} is damaged: begun anew")
    return now | {"runs": [], "checkpoint": None}


def _check_size(tensors: dict[str, torch.Tensor] | None) -> None:
    size = sum(t.nbytes for t in (tensors or {}).values())
    if size > core.LARGEST:
        raise ValueError(
            f"tensors: got {size:,} bytes, want at most {core.LARGEST:,}"
        )


def _keep(
    name: str, run_name: str, tensors: dict[str, torch.Tensor]
) -> dict[str, str]:
    """Write a checkpoint under a name of its own: the old one stays."""
    from safetensors.torch import save_file

    _check_size(tensors)
    kept = {k: t.detach().cpu().contiguous() for k, t in tensors.items()}
    new = core.RESULTS / f".{name}.safetensors.tmp"
    new.parent.mkdir(parents=True, exist_ok=True)
    save_file(kept, new)
    code = sha256(new)
    path = new.replace(core.RESULTS / f"{name}-{code[:8]}.safetensors")
    return {"run": run_name, "file": path.name, "sha256": code}


def _progress(head: str) -> core.Tell | None:
    if not sys.stdout.isatty():
        return None

    def tell(step: int, measured: Step) -> None:
        if step % 10 == 0:
            line = f"{head}: step {step}, loss {measured.loss:.3f}"
            print(f"\r{line}\x1b[K", end="", flush=True)

    return tell
