"""`python -m bookbinder experiments list | check | run | restamp | verify`."""

import argparse
import random
import sys
from typing import Any

from handmade.experiments import core

from bookbinder.experiment_replay import restamp, verify
from bookbinder.experiment_run import run
from bookbinder.experiment_state import load, names, stale


def add_parser(commands: Any) -> None:
    """Add `experiments` to the commands of `bookbinder`."""
    one = commands.add_parser("experiments", help="results that take long")
    actions = one.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="all of them, and what they cost")
    actions.add_parser("check", help="tell which are stale")
    for action, what in (
        ("run", "run it and store the result"),
        ("restamp", "take changed code's hash where its numbers are equal"),
    ):
        actions.add_parser(action, help=what).add_argument("name")
    two = actions.add_parser("verify", help="run a part of each again")
    two.add_argument("--seed", type=int, help="draws the part; printed")


def main(options: argparse.Namespace) -> int:
    """Do what the command asks; return the exit status."""
    try:
        return _main(options)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1


def _main(options: argparse.Namespace) -> int:
    if options.action == "run":
        print(run(options.name, _say))
    elif options.action == "restamp":
        restamp(options.name, _say)
    elif options.action == "verify":
        seed = options.seed
        if seed is None:
            seed = random.SystemRandom().randrange(10**6)
        print(f"seed {seed}", flush=True)
        return 1 if verify(seed, _say) else 0
    else:
        reasons = {name: stale(name) for name in names()}
        if options.action == "list":
            for name, why in reasons.items():
                print(_summary(name, why))
            return 0
        for name, why in reasons.items():
            for reason in why:
                print(f"stale: {name}: {reason}", file=sys.stderr)
        return 1 if any(reasons.values()) else 0
    return 0


def _summary(name: str, why: list[str]) -> str:
    runs = len(load(name).PLAN.runs)
    about = (load(name).__doc__ or "").partition("\n")[0]
    state = "stale" if why else f"{core.stored(name)['seconds']:.0f} s, fresh"
    return f"{name}: {runs} runs, {state}. {about}"


def _say(line: str) -> None:
    end = "\x1b[K" if sys.stdout.isatty() else ""
    print(f"\r{line}{end}" if end else line, flush=True)
