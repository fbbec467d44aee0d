"""Exercises that read your answer: ``check("scaled-dot-product", fn)``.

The exercises of a page of the book are in the module of the same name, part
by part: ``blocks/rope.py`` for blocks/rope. ``find.py`` finds them there,
``core.py`` judges, ``contain.py`` runs an answer so that it cannot hang or
leave anything changed, ``callout.py`` shows what was found.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from handmade.exercises.callout import Callout, wrap
from handmade.exercises.find import module_of

if TYPE_CHECKING:
    from handmade.exercises.core import Exercise, Finding, Function

__all__ = ["ExerciseError", "check", "lookup"]


class ExerciseError(AssertionError):
    """The answer is wrong; the message is the diagnosis."""


class Check:
    """Run your function on hidden cases; say what was checked, or what's off.

    ``check("name", fn)`` raises where the answer is wrong;
    ``check.show("name", fn)`` shows the same diagnosis and goes on.

    What your function prints is shown. It has ten seconds for all cases
    together; then a loop that never ends is stopped and told. A single call
    into C, such as one product of huge matrices, cannot be stopped before it
    comes back.
    """

    def __call__(self, name: str, fn: "Function") -> None:
        """Judge an answer, and show which cases it is right in.

        Raises ExerciseError (an AssertionError) with a diagnosis where the
        answer is wrong: the known mistake it reproduces, or the first case
        that fails. Raises ValueError for a name that is not an exercise.
        """
        exercise = lookup(name)
        finding = _judge(exercise, fn)
        if finding is not None and not finding.right:
            # `from None`: the reader's own traceback is quoted in the message
            raise ExerciseError(wrap(f"{name}: {finding.message}")) from None
        _callout(exercise, finding).show()

    def show(self, name: str, fn: "Function") -> None:
        """Judge an answer, and show what was found, right or wrong.

        Raises ValueError for a name that is not an exercise.
        """
        exercise = lookup(name)
        _callout(exercise, _judge(exercise, fn)).show()


check = Check()


def _judge(exercise: "Exercise", fn: "Function") -> "Finding | None":
    # here, so that ``find`` alone can be used without PyTorch
    from handmade.exercises.contain import plain_settings
    from handmade.exercises.core import examine

    if not callable(fn):
        raise ValueError(f"fn: got {type(fn).__name__}, want your function")
    with plain_settings():
        return examine(exercise, fn)


def _callout(exercise: "Exercise", finding: "Finding | None") -> Callout:
    """Put into words what is to be said of an answer."""
    lines = [] if finding is None else finding.lines()
    if finding is not None and not finding.right:
        return Callout(False, f"{exercise.name}: not right yet", tuple(lines))
    cases = [case.label for case in exercise.cases]
    return Callout(
        True,
        f"{exercise.name}: right in all {len(cases)} cases",
        (f"({', '.join(cases)})", *lines),
    )


def lookup(name: str) -> "Exercise":
    """Find an exercise by its name; ValueError lists the close names."""
    from handmade.exercises.core import Exercise

    module = import_module(module_of(name))
    return next(
        value
        for value in vars(module).values()
        if isinstance(value, Exercise) and value.name == name
    )
