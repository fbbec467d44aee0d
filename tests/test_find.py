"""Exercises are found where their page is, and only that module is read."""

import subprocess
import sys
from importlib import import_module

import pytest
from handmade.exercises import lookup
from handmade.exercises.core import Exercise
from handmade.exercises.find import FOLDER, module_of, modules

MODULES = [
    f"handmade.exercises.{path.parent.name}.{path.stem}"
    for path in sorted(FOLDER.glob("*/*.py"))
    if path.stem != "__init__"
]


@pytest.mark.parametrize("module", MODULES)
def test_reading_finds_exactly_what_importing_does(module):
    values = vars(import_module(module)).values()
    defined = [x.name for x in values if isinstance(x, Exercise)]
    assert list(modules().get(module, ())) == defined
    for name in defined:
        assert module_of(name) == module
        assert lookup(name).name == name


def test_names_are_unique():
    names = [name for found in modules().values() for name in found]
    assert len(set(names)) == len(names)


def test_looking_one_up_imports_its_module_alone(monkeypatch):
    for module in MODULES:
        monkeypatch.delitem(sys.modules, module, raising=False)
    lookup("wordpiece-word")
    imported = [module for module in MODULES if module in sys.modules]
    assert imported == ["handmade.exercises.text.wordpiece"]


def test_finding_needs_no_pytorch():
    # the binder asks for every page, and must stay quick
    script = (
        "import sys\n"
        "from handmade.exercises.find import module_of\n"
        "print(module_of('leaks'), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    said = done.stdout.strip()
    assert said == "handmade.exercises.blocks.attention False", done.stderr


def test_a_new_exercise_is_found_as_soon_as_it_is_written(tmp_path):
    page = tmp_path / "blocks" / "new_page.py"
    page.parent.mkdir()
    (page.parent / "__init__.py").write_text("")
    page.write_text('FIRST = Exercise(name="first", cases=())\n')
    assert modules(tmp_path) == {
        "handmade.exercises.blocks.new_page": ("first",)
    }
    page.write_text(
        'FIRST = Exercise(name="first", cases=())\n'
        "SECOND = Exercise(\n    name='second-one',\n    cases=(),\n)\n"
    )
    assert (
        module_of("second-one", tmp_path)
        == "handmade.exercises.blocks.new_page"
    )


def test_an_unknown_name_lists_close_ones():
    with pytest.raises(ValueError, match=r"name: got 'leak', want .*leaks"):
        module_of("leak")
    with pytest.raises(ValueError, match="name: got 3, want an exercise"):
        module_of(3)
