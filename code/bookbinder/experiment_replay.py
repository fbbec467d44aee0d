"""Run a part of a stored result again, and see whether it is the same.

After a change of code that was none of what it computes, `restamp` replays
the first steps of every run and takes the new code's hash. The nightly run
replays another part each night.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

from handmade.experiments import core

from bookbinder.experiment_state import code_of, load, names, write_result


def replay(name: str, run_name: str, *, whole: bool = False) -> str | None:
    """Run a stored run again, its first steps or all; say where it differs."""
    experiment, found = load(name), core.stored(name)
    plan = experiment.PLAN
    (record,) = (r for r in found["runs"] if r["name"] == run_name)
    losses = record["early"]["losses"]
    steps = None if whole else len(losses)
    outcome = experiment.run(plan.runs[run_name], steps, None)
    for step, (loss, now) in enumerate(
        zip(losses, outcome.log, strict=not whole)
    ):
        if not abs(loss - now.loss) <= plan.loss:
            return (
                f"{run_name}, step {step}: the loss is {now.loss:.6g}, "
                f"stored is {loss:.6g}"
            )
    wanted = record["result"] if whole else record["early"]["result"]
    bound = plan.whole if whole else plan.result
    after = "all steps" if whole else f"{steps} steps"
    for place, stored, now in _pairs("result", wanted, outcome.result):
        same = (
            abs(stored - now) <= bound
            if isinstance(stored, float) and isinstance(now, float)
            else stored == now
        )
        if not same:
            return (
                f"{run_name}, after {after}: {place} is {now}, stored is "
                f"{stored}"
            )
    return None


def _pairs(place: str, one: Any, two: Any) -> Iterator[tuple[str, Any, Any]]:
    """Walk two results side by side: place, value, value."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in one | two:
            yield from _pairs(f"{place}[{key!r}]", one.get(key), two.get(key))
    elif isinstance(one, list) and isinstance(two, list):
        yield f"len({place})", len(one), len(two)
        for i, (a, b) in enumerate(zip(one, two, strict=False)):
            yield from _pairs(f"{place}[{i}]", a, b)
    else:
        yield place, one, two


def restamp(name: str, say: Callable[..., None] = print) -> None:
    """Replay the first steps of every run; if all agree, take the new hash.

    Settings may have been added or dropped, but not changed. Raises
    ValueError, and changes nothing, where a run differs.
    """
    plan, code, found = load(name).PLAN, code_of(name), core.stored(name)
    if found["checkpoint"] is not None:
        core.checkpoint(name)
    again = f"so run `{found['command']}`"
    if {record["name"] for record in found["runs"]} != set(plan.runs):
        raise ValueError(f"{name}: got other runs than the plan's, {again}")
    for number, record in enumerate(found["runs"], 1):
        run_name = record["name"]
        had = found["settings"] | record["settings"]
        now = core.as_json(plan.runs[run_name])
        changed = [k for k in had if k in now and had[k] != now[k]]
        if changed:
            raise ValueError(
                f"{name}: got another {changed[0]} in {run_name}, want "
                f"{had[changed[0]]!r} as stored, {again}"
            )
        differs = replay(name, run_name)
        if differs:
            raise ValueError(f"{name}: got another {differs}, {again}")
        record["settings"] = now
        say(f"[{number}/{len(found['runs'])}] {run_name}: as stored")
    write_result(name, found | {"code": code})


def verify(seed: int, say: Callable[..., None] = print) -> list[str]:
    """Replay one run of each experiment, drawn by the seed; say what differs.

    The whole run where its plan allows it, else the first steps.
    """
    found = []
    for name in names():
        plan = load(name).PLAN
        drawn = random.Random(f"{seed} {name}").choice(list(plan.runs))
        whole = plan.whole is not None
        differs = replay(name, drawn) or (
            replay(name, drawn, whole=True) if whole else None
        )
        part = "whole" if whole else "the first steps"
        verdict = differs or "as stored"
        # FAILED is what the nightly report looks for
        head = f"{'FAILED ' if differs else ''}{name}, {drawn} ({part})"
        say(f"{head}: {verdict}")
        if differs:
            found.append(f"{name}: {differs}")
    return found
