"""The exercises judge rightly: references pass, mistakes are named.

Parametrized over every exercise of every page, so each new known mistake is
held to the same three promises: it differs from the reference, it is
caught, and its own diagnosis is the one given.
"""

from dataclasses import replace

import pytest
import torch
from handmade.exercises import ExerciseError, check, lookup
from handmade.exercises.compare import Raised, difference
from handmade.exercises.core import (
    Case,
    Exercise,
    Mistake,
    describe,
    examine,
)
from handmade.exercises.find import modules

EXERCISES = [lookup(name) for names in modules().values() for name in names]
MISTAKES = [
    pytest.param(exercise, mistake, id=f"{exercise.name}-{i}")
    for exercise in EXERCISES
    for i, mistake in enumerate(exercise.mistakes)
]
each_exercise = pytest.mark.parametrize(
    "exercise", EXERCISES, ids=lambda exercise: exercise.name
)
each_mistake = pytest.mark.parametrize(("exercise", "mistake"), MISTAKES)


@each_exercise
def test_the_reference_passes(exercise, capsys):
    check(exercise.name, exercise.reference)
    printed = " ".join(capsys.readouterr().out.split())
    assert f"right in all {len(exercise.cases)} cases" in printed
    assert all(case.label in printed for case in exercise.cases)


@each_exercise
def test_cases_are_the_same_each_time(exercise):
    for case in exercise.cases:
        for a, b in zip(case.make(), case.make(), strict=True):
            assert callable(a) or difference(a, b) is None


@each_exercise
def test_an_exercise_has_known_mistakes_and_unique_labels(exercise):
    assert len(exercise.mistakes) >= 2
    labels = [case.label for case in exercise.cases]
    assert len(set(labels)) == len(labels)


@each_mistake
def test_a_known_mistake_is_caught_and_named(exercise, mistake):
    with pytest.raises(ExerciseError) as caught:
        check(exercise.name, mistake.fn)
    said = " ".join(str(caught.value).split())
    named = [m.says for m in exercise.mistakes if m.says in said]
    assert named, said
    # one diagnosis may begin like another: the whole one is meant
    assert max(named, key=len) == mistake.says, said
    assert max(map(len, str(caught.value).splitlines())) < 80


@each_exercise
def test_a_diagnosis_completes_its_sentence(exercise):
    # "your output is what you get when …."
    for said in (mistake.says for mistake in exercise.mistakes):
        assert said[0].islower() or said.startswith(("True", "`")), said
        assert not said.endswith("."), said


# -- what is said where no known mistake fits


def attempt(fn, name="scaled-dot-product"):
    with pytest.raises(ExerciseError) as caught:
        check(name, fn)
    return " ".join(str(caught.value).split())


def reference(q, k, v, mask=None):
    return lookup("scaled-dot-product").reference(q, k, v, mask)


def test_an_unknown_fault_is_described_by_case_shapes_and_place():
    def fn(q, k, v, mask=None):
        out = reference(q, k, v, mask).clone()
        if q.ndim == 4:
            out[0, 0, 1, 2] += 0.5
        return out

    said = attempt(fn)
    assert "your output is what you get" not in said
    assert "“batch and heads”" in said
    assert "float64 (2, 3, 5, 7)" in said
    assert "5.0e-01" in said
    assert "[0, 0, 1, 2]" in said


def test_an_error_of_the_reader_is_quoted_with_its_case():
    def fn(q, k, v, mask=None):
        if mask is not None:
            raise RuntimeError("no masks here")
        return reference(q, k, v)

    said = attempt(fn)
    assert "“a causal mask”" in said
    assert "RuntimeError: no masks here" in said


def test_raising_alike_is_not_enough_to_name_a_mistake():
    # the known mistake of a transposed mask raises a RuntimeError too
    def fn(q, k, v, mask=None):
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        return scores.softmax(-1) @ v

    said = attempt(fn)
    assert said.startswith("scaled-dot-product: in the case")
    assert "it raises" in said
    assert "at its line “scores = q @ k.transpose(1, 2)" in said
    assert "transposed:" not in said
    assert "your output is what you get when" not in said


def test_an_exception_comes_before_the_mistake_beside_it():
    def fn(q, k, v, mask=None):
        if mask is not None:
            raise RuntimeError("no masks here")
        return (q @ k.mT).softmax(-1) @ v

    said = attempt(fn)
    first, second = said.split("Elsewhere your output is what you get when")
    assert "RuntimeError: no masks here" in first
    assert "the root is left out" in second


def test_numbers_are_told_apart():
    wanted = torch.tensor([1.0, 2.0], dtype=torch.float64)
    said = difference(wanted + 1e-6, wanted)
    assert "got 2.000001, want 2." in said
    assert "1.00001, want 1." in difference(1.00001, 1.0)
    assert "got 1e-06, want 0." in difference(wanted * 0 + 1e-6, wanted * 0)


def test_a_leak_is_not_looked_for_by_cutting_the_text_short():
    def fn(attend, x):
        whole = attend(x)
        short = [attend(x[: t + 1])[-1] for t in range(len(x))]
        return not torch.allclose(torch.stack(short), whole)

    assert "attend always gets all 6 tokens, here 1" in attempt(fn, "leaks")


def test_a_wrong_signature_is_quoted():
    assert "TypeError" in attempt(lambda q, k, v: reference(q, k, v))


def test_changing_an_input_in_place_is_said():
    def fn(q, k, v, mask=None):
        q /= q.shape[-1] ** 0.5
        return reference(q, k, v, mask)

    assert "changes its argument 1 in place" in attempt(fn)


def test_wrong_type_shape_and_dtype_are_said():
    assert "returns None" in attempt(lambda *args: None)
    assert "returns a list" in attempt(lambda *a: reference(*a).tolist())
    assert "shape (1, 3, 4), want (3, 4)" in attempt(
        lambda *args: reference(*args)[None]
    )
    assert "dtype torch.float16, want torch.float64" in attempt(
        lambda *args: reference(*args).half()
    )


def test_a_second_fault_does_not_hide_the_first():
    # the usual first attempt: no root, and nan for a row with nothing
    def fn(q, k, v, mask=None):
        scores = q @ k.mT
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return scores.softmax(-1) @ v

    said = attempt(fn)
    assert "the root is left out" in said
    assert "Besides, in the case “a query with nothing to see”" in said


def test_a_mistake_is_not_named_on_a_hunch():
    # right shape, wrong numbers, like none of the known mistakes
    said = attempt(lambda q, k, v, mask=None: torch.zeros(*q.shape[:-1], 4))
    assert "your output is what you get when" not in said


def yes_no(label, number):
    return Case(label, lambda: (number,))


ODD = Exercise(
    name="odd",
    reference=lambda n: n % 2 == 1,
    cases=(yes_no("one", 1), yes_no("two", 2), yes_no("three", 3)),
    mistakes=(
        Mistake("nothing is odd", lambda n: False),
        Mistake("all but one is even", lambda n: n == 1),
    ),
)


def test_an_answer_that_never_changes_is_told_so():
    said = examine(ODD, lambda n: False).message
    assert said.startswith("your function says False in all 3 cases, and 2")
    assert "One way to get there: nothing is odd." in said
    said = examine(ODD, lambda n: n == 1).message
    assert said == "your output is what you get when all but one is even."
    partly = replace(ODD, mistakes=(Mistake("some", lambda n: n == 1),))
    said = examine(partly, lambda n: False).message
    assert said == (
        "your function says False in all 3 cases, and 2 of them want True."
    )
    # no known mistake: only the case is told
    assert "in the case “two”" in examine(ODD, lambda n: True).message


def test_a_mistake_that_explains_a_part_says_which_part():
    exercise = Exercise(
        name="double",
        reference=lambda x: 2 * x,
        cases=tuple(yes_no(f"x = {x}", x) for x in (0, 1, 5)),
        mistakes=(
            Mistake("only 5 is off", lambda x: 11 if x == 5 else 2 * x),
        ),
    )
    answers = {0: 7, 1: 2, 5: 11}
    said = examine(exercise, answers.get).message
    assert said.startswith("in 1 of the 2 wrong cases your output is what")
    assert "Besides, in the case “x = 0”" in said


def test_arguments_are_described_in_words():
    def named():
        pass

    case = Case("", lambda: ([named, lambda: 1], torch.nn.ReLU(), 3))
    assert describe(case) == "[named, a function], ReLU, 3"


def test_an_unknown_name_lists_close_ones():
    with pytest.raises(ValueError, match="scaled-dot-product"):
        check("scaled-dot-produkt", reference)
    with pytest.raises(ValueError, match="want your function"):
        check("scaled-dot-product", 3)


def test_the_best_of_several_mistakes_is_named():
    exercise = Exercise(
        name="double",
        reference=lambda x: 2.0 * x,
        cases=tuple(Case(f"x = {x}", lambda x=x: (x,)) for x in (1.0, 3.0)),
        mistakes=(
            Mistake("part", lambda x: 9.0 if x == 3.0 else 2.0),
            Mistake("whole", lambda x: 9.0 if x == 3.0 else 7.0),
        ),
    )
    found = examine(exercise, exercise.mistakes[1].fn)
    assert found.mistake.says == "whole"
    found = examine(exercise, exercise.mistakes[0].fn)
    assert found.mistake.says == "part"
    with pytest.raises(ValueError, match="cases"):
        Exercise(name="empty", reference=abs, cases=())


@pytest.mark.parametrize(
    ("got", "want", "says"),
    [
        (1.0, 1.0 + 1e-12, None),
        (float("nan"), float("nan"), None),
        (1.0, 2.0, "it returns 1, want 2"),
        ([1, 2], [1, 3], "item 1 is off"),
        ([1, 2], [1], "2 items, want 1"),
        ([1], [1, 2], "1 item, want 2"),
        (torch.eye(2).max(0), tuple(torch.eye(2).max(0)), None),
        (1, "1", "an int, want a str"),
        (1, True, "an int, want a bool"),
        ((1,), [1], "a tuple, want a list"),
        ({"a": 1}, {"b": 1}, "keys"),
        ({"a": 1}, {"a": 1}, None),
        ("x", "x", None),
        (torch.tensor([1, 2]), torch.tensor([1, 2]), None),
        (torch.tensor([1, 2]), torch.tensor([1, 5]), "1 of 2 numbers"),
        (torch.tensor(1.0), torch.tensor(4.0), "it returns 1, want 4"),
        (torch.tensor([-torch.inf]), torch.tensor([-torch.inf]), None),
        (torch.tensor([torch.nan]), torch.tensor([1.0]), "not finite"),
        (torch.zeros(0, 3), torch.zeros(0, 3), None),
        (Raised(ValueError, ""), Raised(ValueError, "other"), None),
        (1, Raised(ValueError, ""), "want a ValueError"),
    ],
)
def test_difference(got, want, says):
    said = difference(got, want)
    assert (said is None) if says is None else (says in said)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_largest_number_wanted_is_the_scale(scale):
    want = torch.tensor([1.0, 0.5], dtype=torch.float64) * scale
    inside = want + torch.tensor([0.0, 0.5e-10 * scale])
    beyond = want + torch.tensor([0.0, 2e-10 * scale])
    assert difference(inside, want) is None
    assert "1 of 2 numbers are off" in difference(beyond, want)
