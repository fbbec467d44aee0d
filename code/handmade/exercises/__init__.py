"""Exercises that read your answer: ``check("scaled-dot-product", fn)``.

The exercises of a page of the book are in the module of the same name, part
by part: ``blocks/rope.py`` for blocks/rope. ``find.py`` finds them there,
``core.py`` judges, ``contain.py`` runs an answer so that it cannot hang or
leave anything changed.
"""

import textwrap
from importlib import import_module
from typing import TYPE_CHECKING

from handmade.exercises.find import module_of

if TYPE_CHECKING:
    from handmade.exercises.core import Exercise, Function

__all__ = ["ExerciseError", "check", "lookup"]


class ExerciseError(AssertionError):
    """The answer is wrong; the message is the diagnosis."""


def check(name: str, fn: "Function") -> None:
    """Run your function on hidden cases; say what was checked, or what's off.

    What your function prints is shown. It has ten seconds for all cases
    together; then a loop that never ends is stopped and told. A single call
    into C, such as one product of huge matrices, cannot be stopped before it
    comes back.

    Raises ExerciseError (an AssertionError) with a diagnosis where the
    answer is wrong: the known mistake it reproduces, or the first case that
    fails. Raises ValueError for a name that is not an exercise.
    """
    # here, so that ``find`` alone can be used without PyTorch
    from handmade.exercises.contain import plain_settings
    from handmade.exercises.core import examine

    exercise = lookup(name)
    if not callable(fn):
        raise ValueError(f"fn: got {type(fn).__name__}, want your function")
    with plain_settings():
        finding = examine(exercise, fn)
    if finding is not None and not finding.right:
        # `from None`: the reader's own traceback is quoted in the message
        raise ExerciseError(_wrap(f"{name}: {finding.message}")) from None
    labels = ", ".join(case.label for case in exercise.cases)
    print(f"{name}: right in all {len(exercise.cases)} cases")
    print(_wrap(f"  ({labels})"))
    if finding is not None:
        print(_wrap(f"  {finding.message}"))


def lookup(name: str) -> "Exercise":
    """Find an exercise by its name; ValueError lists the close names."""
    from handmade.exercises.core import Exercise

    module = import_module(module_of(name))
    return next(
        value
        for value in vars(module).values()
        if isinstance(value, Exercise) and value.name == name
    )


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
