"""How an answer is judged: run it, compare it, name the mistake.

An exercise has a reference, cases, and known mistakes: short wrong
implementations, each with a diagnosis. A wrong answer is compared with what
every known mistake returns. A mistake is named only if it reproduces the
answer on the cases where it differs from the reference, so a guess is never
passed off as a finding. Left out: timing, style, and any look at the source.
"""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from handmade.exercises.compare import Raised, broken, difference


class ExerciseError(AssertionError):
    """The answer is wrong; the message is the diagnosis."""


@dataclass(frozen=True)
class Case:
    """One call of the reader's function.

    ``make()`` builds the positional arguments anew each time, always the
    same (seed a generator inside it). ``through(fn)`` is called in place of
    the function, where not its output is judged but, say, its gradients.
    """

    label: str  # completes "in the case …", such as "a causal mask"
    make: Callable[[], tuple]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    through: Callable[[Callable], Callable] | None = None


@dataclass(frozen=True)
class Mistake:
    """A wrong implementation that people write, and what it does wrong."""

    says: str  # completes "your output is what you get when …"
    fn: Callable


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """A task with its reference, hidden cases and known mistakes.

    Put the plain cases first: the first that raises, or is wrong, is told.
    """

    name: str
    reference: Callable
    cases: tuple[Case, ...]
    mistakes: tuple[Mistake, ...] = ()

    def __post_init__(self) -> None:
        if not self.cases:
            raise ValueError(f"cases: got none for {self.name!r}, want some")


@dataclass(frozen=True)
class Finding:
    """What is wrong with an answer, and the known mistake if it is one."""

    message: str
    mistake: Mistake | None = None


def examine(exercise: Exercise, fn: Callable) -> Finding | None:
    """Judge an answer; None if it is right in every case."""
    wants = [_call(exercise.reference, case) for case in exercise.cases]
    gots = [_call(fn, case, watch=True) for case in exercise.cases]
    for case, got in zip(exercise.cases, gots, strict=True):
        if isinstance(got, _Mutated):
            return Finding(
                f"your function changes its {got.what} in place (in the case "
                f"“{case.label}”); work on a copy."
            )
    wrong = [
        i
        for i, (got, want) in enumerate(zip(gots, wants, strict=True))
        if difference(got, want) is not None
    ]
    if not wrong:
        return None

    raised = [i for i in wrong if isinstance(gots[i], Raised)]
    mistake, explained = _name_mistake(exercise, gots, wants, wrong)
    rest = [i for i in wrong if i not in explained]

    def problem(i: int) -> str:
        said = difference(gots[i], wants[i])
        return f"in the case “{exercise.cases[i].label}”, {said}"

    if mistake is None:
        first = (raised or wrong)[0]
        right = len(wants) - len(wrong)
        return Finding(
            f"{problem(first)}\n"
            f"  arguments: {describe(exercise.cases[first])}\n"
            f"  ({right} of {len(wants)} cases are right)"
        )
    message = f"your output is what you get when {mistake.says}."
    if raised and raised[0] in explained:
        message = f"{problem(raised[0])}\n  It raises because {mistake.says}."
    elif raised:
        message = f"{problem(raised[0])}\n  Elsewhere {message}"
    elif all(got is gots[0] and isinstance(got, bool) for got in gots):
        # any constant answer looks like any other: only say what is known
        message = (
            f"your function says {gots[0]} in all {len(gots)} cases, and "
            f"{len(wrong)} of them want {not gots[0]}."
        )
        if not rest:
            message += f" One way to get there: {mistake.says}."
    elif rest:
        some = f"in {len(explained)} of the {len(wrong)} wrong cases "
        message = f"{some}{message}\n  Besides, {problem(rest[0])}"
    return Finding(message, mistake)


def _name_mistake(
    exercise: Exercise, gots: list, wants: list, wrong: list[int]
) -> tuple[Mistake | None, set[int]]:
    """The known mistake that explains most of the wrong cases, and which."""
    best, best_hits = None, set()
    for mistake in exercise.mistakes:
        hits, values = set(), set()
        for i, case in enumerate(exercise.cases):
            made = _call(mistake.fn, case)
            if difference(made, wants[i]) is None:
                continue  # here this mistake does no harm: nothing to learn
            if isinstance(made, Raised):
                same = isinstance(gots[i], Raised) and gots[i] == made
            else:
                same = difference(gots[i], made) is None
                values.add(i)
            if same:
                hits.add(i)
            elif not broken(gots[i]):
                hits.clear()
                break
            # an answer that raised or holds nan may have a second fault on
            # top of this one: such a case speaks neither for nor against
        # two that merely raise alike need not do so for the same reason
        telling = hits & values if values else hits
        if telling and len(hits & set(wrong)) > len(best_hits):
            best, best_hits = mistake, hits & set(wrong)
    return best, best_hits


@dataclass(frozen=True)
class _Mutated:
    what: str


def _call(fn: Callable, case: Case, watch: bool = False) -> Any:
    """The output, or Raised, or _Mutated if ``watch`` sees inputs change."""
    args = case.make()
    try:
        call = fn if case.through is None else case.through(fn)
        output = call(*args, **case.kwargs)
    except Exception as error:
        return _raised(error)
    if watch:
        for i, (used, fresh) in enumerate(zip(args, case.make(), strict=True)):
            if not callable(used) and difference(used, fresh) is not None:
                return _Mutated(f"argument {i + 1}")
    return output


def _raised(error: Exception) -> Raised:
    text = "".join(traceback.format_exception_only(error)).strip()
    # the first frame that is not ours is the reader's function
    frames = traceback.extract_tb(error.__traceback__)
    ours = __file__.removesuffix("core.py")
    frames = [f for f in frames if not f.filename.startswith(ours)]
    line = f", at its line “{frames[0].line}”" if frames else ""
    return Raised(type(error), text.splitlines()[0], line)


def describe(case: Case) -> str:
    """The arguments of a case in words: shapes and dtypes."""
    words = []
    named = [("", value) for value in case.make()]
    named += [(f"{key}=", value) for key, value in case.kwargs.items()]
    for key, value in named:
        if isinstance(value, torch.Tensor):
            dtype = str(value.dtype).removeprefix("torch.")
            how = "" if value.is_contiguous() else " not contiguous"
            words.append(f"{key}{dtype} {tuple(value.shape)}{how}")
        elif callable(value):
            words.append(key + _function_name(value))
        elif isinstance(value, list) and value and all(map(callable, value)):
            names = ", ".join(map(_function_name, value))
            words.append(f"{key}[{names}]")
        else:
            words.append(key + repr(value))
    return ", ".join(words)


def _function_name(value: Callable) -> str:
    name = getattr(value, "__name__", type(value).__name__)
    return "a function" if name == "<lambda>" else name
