"""Exercises that read your answer: ``check("scaled-dot-product", fn)``.

One module a topic, each with its ``EXERCISES``; ``core.py`` does the judging.
A module is imported when a name is looked up, not before.
"""

import difflib
import textwrap
from collections.abc import Callable
from importlib import import_module

from handmade.exercises.core import (
    Case,
    Exercise,
    ExerciseError,
    Mistake,
    examine,
)

__all__ = ["Case", "Exercise", "ExerciseError", "Mistake", "check", "lookup"]

# the modules that hold exercises, in the order of the book
PAGES = (
    "pytorch",
    "tokenization",
    "bpe",
    "wordpiece",
    "unigram",
    "embeddings",
    "data",
    "why_attention",
    "attention",
    "masks",
    "mask_kinds",
    "multi_head",
    "grouped_query",
    "positions",
    "rope",
    "alibi",
    "feedforward",
    "mixture_of_experts",
    "norms",
    "block",
    "llama",
    "sampling",
)


def check(name: str, fn: Callable) -> None:
    """Run your function on hidden cases; say what was checked, or what's off.

    Raises ExerciseError (an AssertionError) with a diagnosis where the
    answer is wrong: the known mistake it reproduces, or the first case that
    fails. Raises ValueError for a name that is not an exercise.
    """
    exercise = lookup(name)
    if not callable(fn):
        raise ValueError(f"fn: got {type(fn).__name__}, want your function")
    finding = examine(exercise, fn)
    if finding is not None:
        # `from None`: the reader's own traceback is quoted in the message
        raise ExerciseError(_wrap(f"{name}: {finding.message}")) from None
    labels = ", ".join(case.label for case in exercise.cases)
    print(f"{name}: right in all {len(exercise.cases)} cases")
    print(_wrap(f"  ({labels})"))


def _wrap(text: str) -> str:
    """Break lines to fit a page's width, keeping their indentation."""
    lines = text.splitlines()
    return "\n".join(
        textwrap.fill(
            line,
            width=74,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines
    )


def lookup(name: str) -> Exercise:
    """Find an exercise by its name; ValueError lists the close names."""
    known = []
    for page in PAGES:
        for exercise in exercises_of(page):
            if exercise.name == name:
                return exercise
            known.append(exercise.name)
    close = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4)
    raise ValueError(
        f"name: got {name!r}, want an exercise of the book; "
        f"close to it: {', '.join(close or known)}"
    )


def exercises_of(page: str) -> tuple[Exercise, ...]:
    """The exercises of one module, e.g. ``exercises_of("attention")``."""
    return import_module(f"handmade.exercises.{page}").EXERCISES
