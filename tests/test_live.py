"""Which cells run in a browser, what it gets, and what runs them there."""

import contextlib
import io
import json
import linecache
import sys
import types
import zipfile

import pytest
from bookbinder import in_browser, live, live_package
from bookbinder.book import find_book
from bookbinder.live_cells import (
    Cell,
    at_once,
    is_live,
    needs,
    of_module,
    plan,
)

BOOK = find_book()
PLANS = live.plans(BOOK)


def of(*sources: str) -> list[str]:
    return needs(Cell(source) for source in sources)


def test_what_a_cell_imports_it_needs():
    assert of("import math\nfrom handmade import scalar") == [""]
    assert of("import torch") == ["PyTorch"]
    assert of("import numpy.linalg as la") == ["NumPy"]
    assert of("import numpy, torch") == ["PyTorch"]
    assert of("def f():\n    import scipy") == ["scipy"]


def test_a_module_that_is_not_there_is_needed_where_it_is_used():
    first = "from handmade import plots, scalar"
    assert of(first, "scalar.WORDS", "plots.lines") == ["", "", "NumPy"]
    twin = "from handmade.scalar_twin import ScalarTwin"
    assert of(twin, "ScalarTwin({})") == ["", "PyTorch"]
    assert of(f"{twin}\nScalarTwin") == ["PyTorch"]


def test_what_was_made_with_it_needs_it_too():
    made = "import torch\nx = torch.ones(2)\ndef f():\n    return 1"
    assert of(made, "y = x + 1", "y", "f()") == ["PyTorch"] * 4
    # until the name stands for something else
    assert of(made, "x = 1", "x + 1") == ["PyTorch", "", ""]
    assert of(made, "[x for x in (1, 2)]") == ["PyTorch", ""]
    assert of(made, "def g(x):\n    return x") == ["PyTorch", ""]


def test_a_page_is_live_where_all_in_sight_runs():
    sight, claim = Cell("a = 1"), Cell("import torch", folded=True)
    assert is_live([sight, claim])
    assert not is_live([sight, Cell("import torch")])
    assert not is_live([claim, Cell("torch.ones(2)"), sight])
    assert not is_live([])


def test_of_another_page_the_exercises_run_that_can():
    cells = [
        Cell(
            "import torch, math as m\nfrom collections import Counter, deque"
        ),
        Cell("def half(x):\n    return m.floor(x / 2)"),
        Cell("other = torch.ones(2)"),
        Cell(
            "check.show('count-pairs', lambda x: Counter(half(y) for y in x))"
        ),
        Cell("check('count-pairs', lambda x: other)"),
        Cell("from handmade.exercises import check"),
        Cell("check('causal-mask', lambda x: 1)"),
    ]
    found = plan(cells)
    assert found.needs == (None, "", None, "", None, None, None)
    assert not found.whole
    assert found.imports.split("\n") == [
        "import math as m",
        "from collections import Counter",
        "from handmade.exercises import check",
    ]
    assert plan(cells[:3]) is None
    whole = plan(cells[1:2])
    assert whole.needs == ("",)
    assert whole.whole
    assert whole.running(cells[1:2]) == ["", cells[1].source]


def test_what_a_module_can_do_without_is_not_needed():
    import ast

    tree = ast.parse(
        "import a\nif TYPE_CHECKING or HERE:\n    import b\n"
        "else:\n    import c\ntry:\n    import d\nexcept ImportError:\n"
        "    pass\ndef f():\n    import e\nclass C:\n    import g"
    )
    assert at_once(tree) == {"a", "c", "d", "g"}
    assert of_module("handmade.exercises.core") == ""
    assert of_module("handmade.scalar") == ""
    assert of_module("handmade.plots") == "NumPy"
    assert of_module("handmade.parity") == "PyTorch"


def test_every_page_by_hand_is_live():
    names = [page.name for page in BOOK.pages if "/by-hand/" in page.name]
    assert len(names) == 10
    assert [name for name in PLANS if PLANS[name].whole] == names


def test_the_archive_holds_what_runs_and_names_what_does_not():
    content = live.archive(BOOK, PLANS)
    assert content == live.archive(BOOK, PLANS)
    assert len(content) < 150_000
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        absent = json.loads(archive.read(live_package.ABSENT))
    assert {"handmade/scalar.py", "handmade/scalar_checks.py"} <= {*names}
    assert "handmade/exercises/by_hand/attention.py" in names
    assert "handmade/exercises/__init__.py" in names
    assert absent["handmade.plots"] == "NumPy"
    assert absent["handmade.scalar_twin"] == "PyTorch"
    for name in absent:
        assert f"{name.replace('.', '/')}.py" not in names


@pytest.fixture
def told(monkeypatch, tmp_path):
    """A browser's Python as far as `in_browser` knows it; what it told."""

    def eval_code(source, names, filename):
        lines = source.splitlines(keepends=True)
        linecache.cache[filename] = (len(source), None, lines, filename)
        *body, last = source.split("\n")
        code = compile("\n".join(body), filename, "exec")
        exec(code, names)
        return eval(compile("\n" * len(body) + last, filename, "eval"), names)

    pyodide = types.ModuleType("pyodide.code")
    pyodide.eval_code = eval_code
    before = {**sys.modules}
    for name in ("IPython", "IPython.display", "__main__"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "pyodide.code", pyodide)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    (tmp_path / live_package.ABSENT).write_text('{"handmade.far": "NumPy"}')
    said = []
    in_browser.start(str(tmp_path), lambda *one: said.append(one))
    yield said
    for name in {*sys.modules} - {*before}:
        del sys.modules[name]


def run(source: str) -> dict[str, str]:
    # pytest has put its own in place since the fixture began
    with contextlib.redirect_stdout(in_browser.Stream("stdout")):
        return json.loads(in_browser.run(source, "cell 3"))


def test_what_a_cell_prints_and_shows_is_told_in_its_order(told):
    class Table:
        def _repr_mimebundle_(self, **_):
            return {"text/plain": "plain", "text/html": "<b>rich</b>"}

    in_browser.namespace["main"].table = Table()
    assert run("print('one')\ntable") == {"how": "done", "what": ""}
    assert run("x = 2\nx") == {"how": "done", "what": ""}
    assert run("x = 2\nNone")["how"] == "done"
    assert told == [
        ("stdout", "one\n"),
        ("text/html", "<b>rich</b>"),
        ("text/plain", "2"),
    ]


def test_the_stand_in_shows_what_the_package_displays(told):
    from handmade.exercises.callout import Callout

    Callout(True, "right").show()
    ((kind, text),) = told
    assert kind == "text/html"
    assert "✓ right" in text
    # a glued value is for the prose
    sys.modules["IPython.display"].display(
        {"application/papermill.record/text/plain": "1"}, raw=True
    )
    assert len(told) == 1


def test_an_error_is_told_in_the_readers_lines(told):
    assert run("def f():\n    return 1 / 0\nf()") == {
        "how": "failed",
        "what": "ZeroDivisionError",
    }
    assert told == [
        (
            "error",
            "Traceback (most recent call last):\n"
            "  cell 3, line 3\n    f()\n"
            "  cell 3, line 2, in f\n    return 1 / 0\n"
            "ZeroDivisionError: division by zero",
        )
    ]
    assert run("import sys\nsys.exit()")["what"] == "SystemExit"


def test_what_is_not_there_is_no_error(told):
    assert run("from handmade import far\nNone")["how"] == "done"
    assert run("far\nfar.draw(1)") == {"how": "needs", "what": "NumPy"}
    assert run("x = 1\nfar.draw.more") == {"how": "needs", "what": "NumPy"}
    assert told == []


def test_an_interrupt_is_no_error(told, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["pyodide.code"], "eval_code", interrupted)
    assert run("")["how"] == "stopped"
    assert told == []
