"""`check.show`: the diagnosis as a box, the same words as text."""

import re
import sys
from html import unescape
from types import SimpleNamespace

import pytest
from handmade.exercises import ExerciseError, check, lookup
from handmade.exercises.callout import Callout
from IPython.core.formatters import DisplayFormatter
from test_exercises import EXERCISES, each_exercise, reference

MARKUP = '<img src=x onerror="alert(1)"> & `code`'


@pytest.fixture
def shown(monkeypatch) -> list[Callout]:
    """Collect what a notebook would display."""
    found: list[Callout] = []
    monkeypatch.setattr(
        sys.modules["IPython"], "get_ipython", lambda: SimpleNamespace()
    )
    monkeypatch.setattr(
        sys.modules["IPython.display"], "display", found.append
    )
    return found


def words(text: str) -> str:
    """Return the words of a callout: HTML without its tags, text on a line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", text)).split())


@each_exercise
def test_a_known_mistake_is_shown_with_a_case_and_never_raised(
    exercise, shown
):
    for mistake in exercise.mistakes:
        check.show(exercise.name, mistake.fn)
    assert len(shown) == len(exercise.mistakes)
    for mistake, callout in zip(exercise.mistakes, shown, strict=True):
        assert not callout.good
        with pytest.raises(ExerciseError) as raised:
            check(exercise.name, mistake.fn)
        told = raised.value.args[0].removeprefix(f"{exercise.name}: ")
        # the exception's diagnosis, and what is behind it
        assert words(told).lower() in words(str(callout)).lower()
        # any answer that never changes is told so: by its number of cases
        labels = [f"“{case.label}”" for case in exercise.cases]
        assert any(label in words(str(callout)) for label in labels)


@pytest.mark.parametrize("exercise", EXERCISES[:3], ids=lambda e: e.name)
def test_a_right_answer_is_shown_alike_by_both(exercise, shown):
    check(exercise.name, exercise.reference)
    check.show(exercise.name, exercise.reference)
    one, other = shown
    assert one == other
    assert one.good
    count = len(exercise.cases)
    assert f"{exercise.name}: right in all {count} cases" in str(one)
    for case in exercise.cases:
        assert case.label in words(str(one))


def test_html_and_text_say_the_same(shown):
    exercise = lookup("scaled-dot-product")
    check.show(exercise.name, exercise.reference)
    check.show(exercise.name, exercise.mistakes[0].fn)
    check.show(exercise.name, lambda *a, **k: 3)
    for callout in shown:
        data, _ = DisplayFormatter().format(callout)
        assert set(data) == {"text/plain", "text/html"}
        assert words(data["text/html"]) == words(data["text/plain"])
        assert max(map(len, data["text/plain"].split("\n"))) < 80


def test_twice_the_same_answer_is_twice_the_same_output(shown):
    for _ in range(2):
        check.show("scaled-dot-product", lambda *a, **k: 3)
    one, other = (callout._repr_html_() for callout in shown)
    assert one == other
    assert str(shown[0]) == str(shown[1])


def test_what_the_reader_wrote_is_escaped(shown):
    def fn(*arguments):
        raise KeyError(MARKUP)

    check.show("scaled-dot-product", fn)
    (callout,) = shown
    html = callout._repr_html_()
    assert "<img" not in html
    assert "<code>code</code>" in html  # between backticks
    assert MARKUP.replace("`", "") in words(html)
    assert MARKUP in Callout(True, MARKUP, (MARKUP,)).__str__()
    assert Callout(True, MARKUP)._repr_html_().count("<") == 6


@pytest.mark.parametrize("good", [True, False])
def test_each_colour_has_a_fallback_and_is_not_all_that_tells(good):
    html = Callout(good, "title", ("line",))._repr_html_()
    used = re.findall(r"var\(--hm-[\w-]+(, #[0-9a-f]{6})?\)", html)
    assert used
    assert all(used)
    assert "class=" not in html
    assert "<style" not in html
    # GitHub's preview takes the styles away: a mark and words are left
    bare = words(re.sub(r' style="[^"]*"', "", html))
    assert bare == f"{'✓' if good else '✗'} title line"


@pytest.mark.parametrize(
    ("name", "fn", "says"),
    [
        ("scaled-dot-produkt", reference, "scaled-dot-product"),
        ("scaled-dot-product", 3, "fn: got int, want your function"),
        (None, reference, "name: got None"),
    ],
)
def test_what_is_no_answer_raises_in_both(name, fn, says, shown):
    for judge in (check, check.show):
        with pytest.raises(ValueError, match=says):
            judge(name, fn)
    assert shown == []


def test_outside_a_notebook_it_is_printed(capsys):
    check.show("scaled-dot-product", reference)
    check.show("scaled-dot-product", lambda *a, **k: 3)
    said = capsys.readouterr().out
    assert "✓ scaled-dot-product: right in all" in said
    assert "✗ scaled-dot-product: not right yet" in said
