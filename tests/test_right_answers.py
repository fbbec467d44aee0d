"""References and hidden cases agree with answers that others wrote.

A reference judged against itself is always right. So each exercise has an
answer of another formulation (loops, einsum, a library), a function of the
exercise's name in ``right_answers/<part>/<page>.py``, and the page itself
has a solution. Both must pass, and so a fault in a reference is seen.
"""

from dataclasses import replace
from importlib import import_module

import pytest
from bookbinder.book import Page, find_book
from handmade.exercises import check, lookup
from handmade.exercises.core import examine
from handmade.exercises.find import modules
from page_solutions import solutions

PAGES = [
    (module.removeprefix("handmade.exercises."), names)
    for module, names in modules().items()
]
EXERCISES = [
    pytest.param(page, name, id=name)
    for page, names in PAGES
    for name in names
]


@pytest.mark.parametrize(("page", "name"), EXERCISES)
def test_an_independent_answer_is_right(page, name, capsys):
    answers = import_module(f"right_answers.{page}")
    check(name, getattr(answers, name.replace("-", "_")))
    assert "Your function uses" not in capsys.readouterr().out


SOLUTIONS = [
    solution
    for page in find_book().pages
    if page.has_cells
    for solution in solutions(page)
]


@pytest.mark.parametrize(
    "solution",
    [pytest.param(s, id="-".join(s.names)) for s in SOLUTIONS if s.names],
)
def test_the_solution_of_the_page_is_right(solution):
    solution.run()


@pytest.mark.parametrize(("page", "name"), EXERCISES)
def test_an_exercise_stands_in_the_module_of_its_page(page, name):
    checked = [s.page.name for s in SOLUTIONS if name in s.names]
    assert [path.replace("-", "_") for path in checked] == [
        "book/" + page.replace(".", "/")
    ]


def test_a_solution_runs_after_what_it_needs_and_nothing_else(tmp_path):
    (tmp_path / "page.md").write_text(
        "---\nkernelspec:\n  name: python3\n---\n"
        "```{code-cell}\nimport math\n1 / 0\nn = 1\n```\n"
        "```{code-cell}\n%pip list\n```\n"
        "```{code-cell}\ndef two():\n    return n + 1\n\nm = 3\n```\n"
        "```{solution-start} x\n```\n"
        "```{code-cell}\nassert two() == 2 and math.pi > m\n```\n"
        "```{solution-end}\n```\n"
        "```{code-cell}\nraise ValueError('not a solution')\n```\n"
    )
    (solution,) = solutions(Page(tmp_path, "page"))
    assert solution.names == []
    solution.run()
    with pytest.raises(AssertionError):
        replace(solution, source="assert two() == 3").run()


@pytest.mark.parametrize(("page", "name"), EXERCISES)
def test_a_fault_in_a_reference_is_seen(page, name):
    answers = import_module(f"right_answers.{page}")
    answer = getattr(answers, name.replace("-", "_"))
    exercise = lookup(name)
    planted = replace(exercise, reference=exercise.mistakes[0].fn)
    finding = examine(planted, answer)
    assert finding is not None
    assert not finding.right
