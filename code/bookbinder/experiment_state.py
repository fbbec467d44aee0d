"""Which experiments there are, and whether their results are fresh.

A result is stored with the hash of the code that made it, so a change of
that code makes it stale.
"""

import importlib
import json
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

import handmade.experiments
from handmade.cache import write_whole
from handmade.experiments import core

from bookbinder import imports


def names() -> list[str]:
    """Return the experiments: the modules of the package but its core."""
    found = pkgutil.iter_modules(handmade.experiments.__path__)
    return sorted({module.name for module in found} - {"core"})


def load(name: str) -> ModuleType:
    """Import an experiment. Raises ValueError where there is none so named."""
    if name not in names():
        raise ValueError(
            f"name: got {name!r}, want one of {', '.join(names())}"
        )
    return importlib.import_module(f"handmade.experiments.{name}")


def code_of(name: str) -> dict[str, str]:
    """Return module -> hash for all the code that an experiment reaches."""
    return imports.hashes([f"import handmade.experiments.{name}"])


def stale(name: str) -> list[str]:
    """Return why the stored result is not what the code would give now."""
    try:
        found, plan = core.stored(name), load(name).PLAN
        core.results(name, plan)
        if found["checkpoint"] is not None:
            core.checkpoint(name)
    except ValueError as error:
        return [str(error)]
    kept = (found["checkpoint"] or {}).get("run")
    if kept != plan.checkpoint:
        return [f"checkpoint: got that of {kept}, want {plan.checkpoint}"]
    code = code_of(name)
    return [
        f"{module} has changed: `python -m bookbinder experiments restamp "
        f"{name}` where the numbers stay, else run it again"
        for module in sorted(code | found["code"])
        if code.get(module) != found["code"].get(module)
    ]


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, one key a line and one run a line."""
    lines = []
    for key, value in content.items():
        text = json.dumps(value)
        if key == "runs" and value:
            rows = ",\n  ".join(json.dumps(record) for record in value)
            text = f"[\n  {rows}\n ]"
        elif isinstance(value, dict):
            text = json.dumps(value, indent=1).replace("\n", "\n ")
        lines.append(f" {json.dumps(key)}: {text}")
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    write_whole(path, lambda new: new.write_text(text, encoding="utf-8"))


def write_result(name: str, content: dict[str, Any]) -> Path:
    """Store a result; settings that all its runs share are said once."""
    runs = content["runs"]
    shared = {
        key: value
        for key, value in runs[0]["settings"].items()
        if all(run["settings"].get(key) == value for run in runs)
    }
    result = {
        "command": f"python -m bookbinder experiments run {name}",
        "torch": content["torch"],
        "seconds": content["seconds"],
        "settings": shared,
        "runs": [run | {"settings": _own(run, shared)} for run in runs],
        "checkpoint": content["checkpoint"],
        "code": content["code"],
    }
    path = core.RESULTS / f"{name}.json"
    write(path, result | {"digest": core.digest(result)})
    return path


def _own(run: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in run["settings"].items() if k not in shared}
