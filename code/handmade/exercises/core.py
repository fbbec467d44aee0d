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

from handmade.exercises import tensors
from handmade.exercises.compare import Raised, broken, difference
from handmade.exercises.contain import (
    TimeUp,
    put_back,
    read_settings,
    within,
)

Function = Callable[..., Any]
SECONDS = 10.0  # for all cases of an answer together


@dataclass(frozen=True)
class Case:
    """One call of the reader's function.

    ``make()`` builds the positional arguments anew each time, always the
    same (seed a generator inside it). ``through(fn)`` is called in place of
    the function, where not its output is judged but, say, its gradients.
    """

    label: str  # completes "in the case …", such as "a causal mask"
    make: Callable[[], tuple[Any, ...]]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    through: Callable[[Function], Function] | None = None


@dataclass(frozen=True)
class Mistake:
    """A wrong implementation that people write, and what it does wrong."""

    says: str  # completes "your output is what you get when …"
    fn: Function


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """A task with its reference, hidden cases and known mistakes.

    Put the plain cases first: the first that raises, or is wrong, is told.
    """

    name: str
    reference: Function
    cases: tuple[Case, ...]
    mistakes: tuple[Mistake, ...] = ()

    def __post_init__(self) -> None:
        if not self.cases:
            raise ValueError(f"cases: got none for {self.name!r}, want some")


@dataclass(frozen=True)
class Finding:
    """What is to be said of an answer, and the known mistake if it is one."""

    message: str
    mistake: Mistake | None = None
    right: bool = False  # nothing is wrong: this is worth knowing
    evidence: str = ""  # of a known mistake: a case in which it shows

    def lines(self) -> list[str]:
        """Return all that there is to say, one sentence or two a line."""
        said = f"{self.message}\n{self.evidence}".strip().split("\n")
        lines = [line.strip() for line in said]
        return [line[0].upper() + line[1:] for line in lines]


def examine(exercise: Exercise, fn: Function) -> Finding | None:
    """Judge an answer; None if it is right and there is nothing to say."""
    wants = [_call(exercise.reference, case) for case in exercise.cases]
    runs: list[_Run] = []

    def answer() -> None:
        for case in exercise.cases:
            runs.append(_watch(fn, case))
            if runs[-1].changed:
                return

    before = read_settings()
    try:
        within(SECONDS, answer)
    except TimeUp:
        stopped = (
            "your function has not come back: it was stopped after "
            f"{SECONDS:g} seconds for all cases. Does a loop in it never end?"
        )
    except KeyboardInterrupt:
        stopped = "your function was interrupted (KeyboardInterrupt)."
    else:
        stopped = ""
    put_back(before)
    if stopped:
        label = exercise.cases[min(len(runs), len(wants) - 1)].label
        return Finding(f"in the case “{label}”, {stopped}")
    if runs[-1].changed:
        label = exercise.cases[len(runs) - 1].label
        return Finding(
            f"your function changes {runs[-1].changed} (in the case “{label}”)"
        )
    gots = [run.output for run in runs]
    drawn = {name: None for run in runs for name in run.drawn}  # in order
    wrong = [
        i
        for i, (got, want) in enumerate(zip(gots, wants, strict=True))
        if difference(got, want) is not None
    ]
    if wrong:
        return _diagnose(exercise, gots, wants, wrong)
    if drawn:
        return Finding(
            f"Your function uses {' and '.join(drawn)}, which changes them "
            "for all that comes after it. They were put back.",
            right=True,
        )
    return None


def _diagnose(
    exercise: Exercise, gots: list[Any], wants: list[Any], wrong: list[int]
) -> Finding:
    """Say what is wrong with an answer that is wrong in some cases."""
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
    evidence = "" if raised or rest else problem(wrong[0])
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
    return Finding(message, mistake, evidence=evidence)


def _name_mistake(
    exercise: Exercise, gots: list[Any], wants: list[Any], wrong: list[int]
) -> tuple[Mistake | None, set[int]]:
    """The known mistake that explains most of the wrong cases, and which."""
    best: Mistake | None = None
    best_hits: set[int] = set()
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


def _call(
    fn: Function, case: Case, args: tuple[Any, ...] | None = None
) -> Any:
    """The output of one case, or Raised."""
    args = case.make() if args is None else args
    try:
        call = fn if case.through is None else case.through(fn)
        return call(*args, **case.kwargs)
    except Exception as error:
        return _raised(error)


@dataclass(frozen=True)
class _Run:
    """One case of an answer: its output, and what it did besides."""

    output: Any = None
    changed: str = ""  # completes "your function changes …"
    drawn: tuple[str, ...] = ()  # the random numbers it used


def _watch(fn: Function, case: Case) -> _Run:
    """Run one case of a reader's function, which may do anything."""
    args = case.make()
    before = read_settings()
    try:
        output = _call(fn, case, args)
    except (TimeUp, KeyboardInterrupt):
        raise
    except BaseException as error:  # sys.exit, for one
        output = _raised(error)
    settings = put_back(before)
    kept = [setting.what for setting in settings if not setting.drawn]
    if kept:
        changed = f"{kept[0]} and leaves it changed; it was put back."
        return _Run(changed=changed)
    for i, (used, fresh) in enumerate(zip(args, case.make(), strict=True)):
        if tensors.requires_grad(used) != tensors.requires_grad(fresh):
            changed = f"requires_grad of its argument {i + 1}; work on a copy."
            return _Run(changed=changed)
        if not callable(used) and difference(used, fresh) is not None:
            changed = f"its argument {i + 1} in place; work on a copy."
            return _Run(changed=changed)
    return _Run(output, drawn=tuple(s.what for s in settings))


def _raised(error: BaseException) -> Raised:
    text = "".join(traceback.format_exception_only(error)).strip()
    # the first frame that is not ours is the reader's function
    ours = __file__.removesuffix("core.py")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(ours)
    ]
    line = f", at its line “{frames[0].line}”" if frames else ""
    return Raised(type(error), text.splitlines()[0], line)


def describe(case: Case) -> str:
    """The arguments of a case in words: shapes and dtypes."""
    words = []
    named = [("", value) for value in case.make()]
    named += [(f"{key}=", value) for key, value in case.kwargs.items()]
    for key, value in named:
        if tensors.is_tensor(value):
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


def _function_name(value: Function) -> str:
    name = getattr(value, "__name__", type(value).__name__)
    return "a function" if name == "<lambda>" else name
