"""`bookbinder sync` on a book of two pages: what runs, what is left alone."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from bookbinder import fingerprint, imports, sync, twin
from bookbinder.book import Book

ROOT = Path(__file__).parents[1]
HEAD = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
    format_version: 0.13
kernelspec:
  name: python3
  display_name: Python 3
  language: python
---

"""
PROSE = "Written for {cite:t}`a2001`."
FIRST = f"""(first)=
# First

{PROSE}

```{{code-cell}} ipython3
import ipywidgets as w
from handmade.notebook import glue
glue("sum", str(20 + 22))
w.VBox([w.IntSlider(), w.Text("b"), w.Checkbox()])
```

The sum is {{glue:text}}`sum`; go on to {{ref}}`second`.
"""
SECOND = """(second)=
# Second

```{code-cell} ipython3
print("one")
print("two")
```
"""
TAGGED = """\
```{code-cell} ipython3
:tags: [hide-input]
print("one")"""
BIB = """\
@book{a2001,
 author={Lovelace, Ada}, title={Notes}, year={2001}, publisher={Taylor}
}
"""


def cell(source: str) -> str:
    return f"\n```{{code-cell}} ipython3\n{source}\n```\n"


def make_book(root: Path, **pages: str) -> Book:
    """Write a book with the project's settings and these pages."""
    (root / "book").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "_config.yml", root)
    (root / "book" / "references.bib").write_text(BIB)
    first, *others = pages
    lines = ["format: jb-book", f"root: book/{first}", "chapters:"]
    lines += [f"  - file: book/{name}" for name in others]
    (root / "_toc.yml").write_text("\n".join(lines) + "\n")
    for name, text in pages.items():
        (root / "book" / f"{name}.md").write_text(HEAD + text)
    return Book(root)


def rewrite(book: Book, name: str, old: str, new: str) -> Book:
    """Edit a page; return the book as a new process would find it."""
    path = book.root / "book" / f"{name}.md"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return Book(book.root)


def append(book: Book, name: str, text: str) -> None:
    path = book.root / "book" / f"{name}.md"
    path.write_text(path.read_text() + text)


def cli(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "bookbinder", "sync", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
    )


def twins(root: Path) -> dict[str, bytes]:
    found = sorted(root.glob("book/**/*.ipynb"))
    return {path.stem: path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def executed(tmp_path_factory) -> Path:
    """A book that was bound once; the tests work on copies of it."""
    root = tmp_path_factory.mktemp("bound")
    make_book(root, first=FIRST, second=SECOND)
    done = cli(root, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert set(twins(root)) == {"first", "second"}
    return root


@pytest.fixture
def book(executed, tmp_path) -> Book:
    shutil.copytree(executed, tmp_path / "copy")
    return Book(tmp_path / "copy")


@pytest.fixture
def runs(monkeypatch) -> list[str]:
    """Forbid kernels; note which pages would have been executed."""
    asked = []

    def execute(book, page):
        asked.append(page.source.stem)
        run = twin.stored_run(page.read_twin())
        kept = fingerprint.of_page(book, page.cells("code"), {})
        return replace(run, kept={**kept, "cost": run.kept["cost"]})

    class InThisProcess(Executor):
        """Stands in for the pool of processes."""

        def __init__(self, **_) -> None:
            super().__init__()

        def submit(self, fn, *args) -> Future:
            done = Future()
            try:
                done.set_result(fn(*args))
            except Exception as error:
                done.set_exception(error)
            return done

    monkeypatch.setattr(sync, "execute", execute)
    monkeypatch.setattr(sync, "NotebookClient", None)
    monkeypatch.setattr(sync, "ProcessPoolExecutor", InThisProcess)
    return asked


def test_a_second_sync_changes_and_runs_nothing(book, runs, capsys):
    before = twins(book.root)
    sync.sync(book)
    assert runs == []
    assert twins(book.root) == before
    assert "up to date" in capsys.readouterr().err
    assert sync.stale(Book(book.root)) == {}


def test_executing_again_gives_the_same_bytes(book):
    before = twins(book.root)
    assert b"IPY_MODEL_" in before["first"]  # with widgets, too
    done = cli(book.root, "--force", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert twins(book.root) == before
    assert cli(book.root, "--check").returncode == 0


def test_a_change_of_prose_rewrites_without_running(book, runs):
    old = json.loads(twins(book.root)["first"])
    book = rewrite(book, "first", PROSE, "Changed, {cite:p}`a2001`.")
    assert sync.stale(book) == {"book/first": "what it shows changed"}
    sync.sync(Book(book.root))
    assert runs == []
    new = json.loads(twins(book.root)["first"])
    text = "".join(new["cells"][1]["source"])
    assert "Changed, ([Lovelace, 2001](" in text
    assert new["cells"][2:] == old["cells"][2:]
    assert new["metadata"] == old["metadata"]


def test_a_heading_renamed_elsewhere_reaches_the_links(book, runs):
    book = rewrite(book, "second", "# Second", "# The second page")
    sync.sync(book)
    assert runs == []
    assert b"[The second page](https" in twins(book.root)["first"]


def test_changed_cells_run_that_page_only(book, runs):
    book = rewrite(book, "second", 'print("two")', 'print("2")')
    assert sync.stale(book) == {"book/second": "its code cells changed"}
    with suppress(sync.PageError):  # the stand-in gives back the old cells
        sync.sync(Book(book.root))
    assert runs == ["second"]


def test_a_tag_that_only_shows_runs_nothing(book, runs):
    old = '```{code-cell} ipython3\nprint("one")'
    book = rewrite(book, "second", old, TAGGED)
    assert sync.stale(book) == {"book/second": "what it shows changed"}
    sync.sync(Book(book.root))
    assert runs == []
    (_, made, *_) = twin.code_cells(Book(book.root).pages[1].read_twin())
    assert made.metadata.tags == ["hide-input"]


def test_a_tag_that_lets_a_cell_raise_runs_it(book, runs):
    tagged = TAGGED.replace("hide-input", "raises-exception")
    old = '```{code-cell} ipython3\nprint("one")'
    book = rewrite(book, "second", old, tagged)
    assert sync.stale(book) == {"book/second": "its code cells changed"}


def test_a_changed_module_runs_the_pages_that_import_it(
    book, runs, tmp_path, monkeypatch
):
    package = tmp_path / "handmade"
    shutil.copytree(imports.PACKAGE, package)
    monkeypatch.setattr(imports, "PACKAGE", package)
    assert sync.stale(book) == {}
    module = package / "notebook.py"
    module.write_text(module.read_text() + "\n# a comment\n")
    assert sync.stale(Book(book.root)) == {}
    module.write_text(module.read_text() + "\nCHANGED = 1\n")
    why = {"book/first": "changed: handmade.notebook"}
    assert sync.stale(Book(book.root)) == why
    sync.sync(Book(book.root))
    assert runs == ["first"]
    assert sync.stale(Book(book.root)) == {}


def test_a_failing_cell_stops_and_leaves_the_old_twin(book):
    before = twins(book.root)
    append(book, "second", cell("x = 1 / 0") + cell("print('after')"))
    rewrite(book, "first", "20 + 22", "21 + 22")
    done = cli(book.root)
    assert done.returncode == 1
    assert re.search(r"second\.md: code cell 2 failed", done.stderr)
    assert "ZeroDivisionError" in done.stderr
    assert "x = 1 / 0" in done.stderr
    after = twins(book.root)
    assert after["second"] == before["second"]
    assert b"The sum is 43" in after["first"]  # the good page was bound
    assert cli(book.root, "--check").returncode == 1


SURROGATES = (
    'print("a")\nprint("x\\ud800y")',
    'print("x\\udc80")',  # which would pass, as broken UTF-8
    'print("\\ud83d\\ude00")',  # one character, but in two halves
    'import sys\nprint("\\udfff", file=sys.stderr)',
    'display({"text/plain": "\\udc80"}, raw=True)',
    "class A:\n    __repr__ = lambda self: '\\udc80'\nA()",
    ':tags: [raises-exception]\nraise ValueError("\\ud800")',
)
WIDGET = 'import ipywidgets as w\nw.Text("\\udc81")'
GLUED = 'from handmade.notebook import glue\nglue("half", "x\\ud802")'


def test_a_lone_surrogate_is_told_with_its_page_and_cell(book):
    """No file can hold one; a kernel loses the output in silence."""
    before = twins(book.root)
    append(book, "first", "".join(map(cell, (*SURROGATES, WIDGET))))
    append(book, "second", cell(GLUED) + "\nIt is {glue:text}`half`.\n")
    done = cli(book.root, "--jobs", "2")
    assert done.returncode == 1
    assert twins(book.root) == before
    want = "a lone surrogate, want text that UTF-8 can hold"
    told = [line for line in done.stderr.splitlines() if want in line]
    # the page has a cell of its own before them
    wanted = {
        f"first.md: code cell {number}: its output: got \\u{code}, "
        for number, code in enumerate(
            ("d800", "dc80", "d83d", "dfff", "dc80", "dc80", "d800"), 2
        )
    }
    wanted.add("first.md: a widget's state: got \\udc81, ")
    wanted.add("second.md: second-003: got '\\ud802', ")
    assert len(told) == len(wanted)
    assert all(any(one in line for line in told) for one in wanted)


def test_a_failing_cell_may_say_a_lone_surrogate(book):
    append(book, "second", cell('raise ValueError("half: \\udc80")'))
    done = cli(book.root)
    assert done.returncode == 1
    assert re.search(r"second\.md: code cell 2 failed", done.stderr)
    assert "half: \\udc80" in done.stderr


def test_markup_no_notebook_shows_stops_and_leaves_the_old_twin(book, runs):
    before = twins(book.root)
    append(book, "second", "\n{abbr}`BPE`\n")
    book = rewrite(book, "first", PROSE, "Changed.")
    with pytest.raises(sync.PageError, match="the role 'abbr'"):
        sync.sync(book)
    assert twins(book.root)["second"] == before["second"]
    assert b"Changed." in twins(book.root)["first"]


def test_half_a_twin_is_found_and_made_again(book, runs):
    path = book.page("second").twin
    path.write_text(path.read_text()[:200])
    assert "is not a notebook" in sync.stale(book)["book/second"]
    assert cli(book.root, "--check").returncode == 1


def test_a_page_that_lost_its_cells_loses_its_twin(book, runs):
    (book.root / "book/second.md").write_text("(second)=\n# Second\n")
    book = Book(book.root)
    assert "no code cell" in sync.stale(book)["book/second"]
    sync.sync(book)
    assert set(twins(book.root)) == {"first"}
    assert sync.stale(Book(book.root)) == {}


def test_check_names_each_stale_page_and_the_mend(book):
    rewrite(book, "second", "two", "2")
    done = cli(book.root, "--check")
    assert done.returncode == 1
    assert "book/second: its code cells changed" in done.stderr
    assert "make sync" in done.stderr
    assert "book/first" not in done.stderr


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().split()[2] != "Z"


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL on Windows")
def test_killed_while_a_cell_runs_it_leaves_the_old_twin_and_nobody(book):
    before = twins(book.root)
    told = book.root / "told"
    wait = f"""
import os, time
with open({str(told)!r}, "w") as file:
    file.write(f"{{os.getpid()}} {{os.getppid()}} ")
time.sleep(120)"""
    append(book, "second", cell(wait.strip()))
    process = subprocess.Popen(
        [sys.executable, "-m", "bookbinder", "sync"],
        cwd=book.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: told.exists() and told.read_text().endswith(" "))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert twins(book.root) == before
    kernel, worker = map(int, told.read_text().split())
    wait_for(lambda: not alive(worker) and not alive(kernel))
    assert twins(book.root) == before


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL on Windows")
def test_killed_while_writing_it_leaves_the_old_twin(book):
    before = twins(book.root)
    rewrite(book, "second", "# Second", "# Second\n\nMore prose.")
    code = """
import os, signal
from bookbinder import sync
from bookbinder.book import find_book
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
sync.sync(find_book())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=book.root)
    assert done.returncode == -signal.SIGKILL
    assert len(list(book.root.glob("book/.second.ipynb.*.tmp"))) == 1
    assert twins(book.root) == before
    done = cli(book.root)  # nothing has to run: only the prose changed
    assert done.stdout == "rewritten  book/second\n"
    assert b"More prose." in twins(book.root)["second"]


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
