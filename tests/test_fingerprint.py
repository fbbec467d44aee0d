"""A page is stale when it would compute something else, and only then."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bookbinder import fingerprint, imports, probe, sync, twin, why
from bookbinder.__main__ import main
from bookbinder.book import Book, find_book
from test_sync import FIRST, SECOND, cell, cli, make_book

BOOK = find_book(Path(__file__).parents[1])
PAGES = [page for page in BOOK.pages if page.has_cells]
TWINS = {page: page.read_twin() for page in PAGES}


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A copy of the package, to be changed."""
    copy = tmp_path / "handmade"
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(imports.PACKAGE, copy, ignore=skip)
    monkeypatch.setattr(imports, "PACKAGE", copy)
    return copy


def to_execute(book: Book = BOOK) -> list[str]:
    """Return the pages of the book that would have to run."""
    return [
        page.name.removeprefix("book/")
        for page, stored in TWINS.items()
        if twin.must_run(book, page, stored)
    ]


def edit(path: Path, old: str, new: str, count: int = 1) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path} no longer has {old!r}"
    path.write_text(text.replace(old, new, count), encoding="utf-8")


def test_nothing_changed_nothing_runs(package):
    assert to_execute() == []


def test_a_new_exercise_module_runs_no_page(package):
    new = package / "exercises" / "inference" / "another.py"
    new.parent.mkdir(exist_ok=True)
    new.write_text('EXERCISES = (Exercise(name="new-one"),)\n')
    assert to_execute() == []


def test_a_new_checkpoint_runs_no_page(package):
    new = package / "weights" / "another.py"
    new.write_text('"""Another one."""\n\n\ndef another():\n    return 1\n')
    assert to_execute() == []


@pytest.mark.parametrize(
    "module", ["parity", "blocks/attention", "weights/smollm2", "cache"]
)
def test_other_words_run_no_page(package, module):
    path = package / f"{module}.py"
    text = path.read_text(encoding="utf-8")
    other = re.sub(r'"""(.+?)"""', '"""Other\nwords."""', text, flags=re.S)
    assert other != text
    path.write_text(f"# a comment\n{other}\n# one more\n", encoding="utf-8")
    assert to_execute() == []


def test_another_torch_runs_every_page(tmp_path):
    for name in ("_toc.yml", "_config.yml", *fingerprint.REQUIREMENTS):
        shutil.copy(BOOK.root / name, tmp_path)
    shutil.copytree(BOOK.root / "book", tmp_path / "book")
    book = Book(tmp_path)
    pinned = fingerprint.pins(book)["torch"]
    assert to_execute(book) == []
    new = "torch==99.1.0"
    edit(tmp_path / "requirements-torch.txt", f"torch=={pinned}", new)
    assert len(to_execute(book)) == len(PAGES)
    said = twin.must_run(book, PAGES[0], TWINS[PAGES[0]])
    assert said == f"changed: torch {pinned} -> 99.1.0"
    # and nobody writes twins with what is not pinned
    with pytest.raises(ValueError, match=r"want 99\.1\.0 as in the requ"):
        sync.execute(book, book.page(PAGES[0].name))


def test_a_build_of_torch_is_no_other_version(monkeypatch):
    monkeypatch.setattr(fingerprint, "version", lambda name: "2.13.0+cu130")
    assert fingerprint.installed("torch") == "2.13.0"


def test_other_results_run_the_pages_that_read_them(package):
    stored = package / "experiments" / "results" / "extrapolation.json"
    text = stored.read_text(encoding="utf-8")
    stored.write_text(re.sub(r"(\d\.\d+)5", r"\g<1>6", text))
    assert stored.read_text(encoding="utf-8") != text
    wanted = ["blocks/positions", "blocks/rope", "blocks/alibi"]
    assert to_execute() == wanted


def test_the_same_results_of_newer_code_run_no_page(package):
    stored = package / "experiments" / "results" / "extrapolation.json"
    found = json.loads(stored.read_text(encoding="utf-8"))
    found["code"] = {"handmade.blocks.rope": "another"}
    stored.write_text(json.dumps(found))
    assert to_execute() == []
    stored.write_text("{")
    assert len(to_execute()) == 3


def test_a_change_of_what_is_computed_runs_its_pages_only(package):
    path = package / "blocks" / "rope.py"
    path.write_text(path.read_text(encoding="utf-8") + "\nNEW = 1\n")
    stale = to_execute()
    assert "blocks/rope" in stale
    assert "start/setup" not in stale
    page = BOOK.page("blocks/rope")
    reason = twin.must_run(BOOK, page, TWINS[page])
    assert reason == "changed: handmade.blocks.rope"


def test_no_twin_keeps_a_date():
    for page in PAGES:
        text = page.twin.read_text(encoding="utf-8")
        assert '"date"' not in text, page.name


# -- what a page opens


OPENS = """\
from pathlib import Path
import sys
for name in ("seen.csv", "other.py", ".hidden"):
    Path(name).read_text()
Path("/dev/null").read_text()"""


def test_opened_data_files_count_by_their_contents(tmp_path):
    page = f"(first)=\n# First\n{cell(OPENS)}"
    make_book(tmp_path, first=page, second=SECOND)
    for name in ("seen.csv", "other.py", ".hidden"):
        (tmp_path / "book" / name).write_text("1")
    assert cli(tmp_path).returncode == 0
    book = Book(tmp_path)
    kept = book.pages[0].read_twin().metadata.handmade
    assert list(kept.files) == ["book/seen.csv"]
    assert kept.cost.gigabytes > 0
    assert sync.stale(book) == {}
    (tmp_path / "book" / "seen.csv").write_text("2")
    assert sync.stale(Book(tmp_path)) == {
        "book/first": "changed: book/seen.csv"
    }
    (tmp_path / "book" / "seen.csv").unlink()
    assert "book/first" in sync.stale(Book(tmp_path))


def test_the_cache_and_the_hub_count_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HANDMADE_CACHE", str(tmp_path / "cache"))
    hub = tmp_path / "models--org--name" / "snapshots" / "abc123"
    opened = [
        tmp_path / "cache" / "smollm2-0.1.2" / "manifest.json",
        tmp_path / "cache" / "smollm2-0.1.2.lock",
        tmp_path / "cache" / ".x.tmp" / "half",
        hub / "config.json",
        Path(sys.prefix) / "x.json",
        tmp_path / "elsewhere.json",
    ]
    assert fingerprint.opened_files(BOOK, map(str, opened)) == {
        "cache/smollm2-0.1.2": "",
        "hub/org/name@abc123": "",
    }


def test_the_probe_notes_every_path_once(tmp_path):
    script = (
        "import bookbinder.probe, os\n"
        "for _ in range(3): open('a.txt').close()\n"
        "os.close(os.open('b.txt', os.O_RDONLY))\n"
        "open(0, closefd=False)\n"
    )
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("")
    told = tmp_path / "told"
    subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, probe.TOLD: str(told)},
        check=True,
        stdin=subprocess.DEVNULL,
    )
    lines = told.read_text().splitlines()
    assert lines.count(str(tmp_path / "a.txt")) == 1
    assert lines.count(str(tmp_path / "b.txt")) == 1


# -- versions


def test_pins_are_read_from_a_requirements_file(tmp_path):
    (tmp_path / "requirements.txt").write_text(
        "# text\n--only-binary :all:\nA==1 ; python_version > '3'\n"
        "b>=2\nc==3 \\\n    --hash=sha256:00\n"
        "d==4 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
    )
    (tmp_path / "requirements-torch.txt").write_text("torch==2.13.0  # t\n")
    found = fingerprint.pins(Book(tmp_path))
    assert found == {"torch": "2.13.0", "a": "1", "c": "3", "d": "4"}


def test_tokenizers_counts_where_it_is_imported():
    cells = ["import tokenizers"]
    assert "tokenizers" in fingerprint.versions(BOOK, cells)
    assert "tokenizers" not in fingerprint.versions(BOOK, ["import torch"])
    via = ["from handmade.weights.pretrained import Pretrained"]
    assert "tokenizers" in fingerprint.versions(BOOK, via)


# -- why


def test_why_says_what_a_page_depends_on(package):
    edit(package / "blocks" / "rope.py", "import torch", "import torch, math")
    said = why.explain(BOOK, BOOK.page("blocks/rope")).splitlines()
    assert said[0] == "book/blocks/rope: changed: handmade.blocks.rope"
    assert "*   handmade.blocks.rope  <- a cell" in said
    assert any(
        line.strip().startswith("handmade.blocks.attention  <- handmade.")
        for line in said
    )
    assert any("cache/shakespeare" in line for line in said)
    assert any(re.search(r"torch  [\d.]+ -> [\d.]+$", line) for line in said)
    bare = why.explain(BOOK, BOOK.page("back/references"))
    assert bare == "book/back/references: no code cell, nothing to execute"


def test_the_command_tells_it(capsys):
    assert main(["why", "start/pytorch"]) == 0
    assert capsys.readouterr().out.startswith("book/start/pytorch: ")
    assert main(["why", "start/nothing"]) == 1
    assert "want one of" in capsys.readouterr().err


def test_why_of_a_page_without_a_twin(tmp_path):
    book = make_book(tmp_path, first=FIRST, second=SECOND)
    said = why.explain(book, book.pages[0])
    assert said.startswith("book/first: it has no twin\n*")
    assert "+   handmade.notebook  <- a cell" in said


# -- two branches


def test_two_new_pages_change_no_generated_file_in_common(tmp_path):
    """What one page's author commits, another's does not touch."""
    book = make_book(tmp_path, first="(first)=\n# First\n" + cell("1"))
    make_book(tmp_path, first="(first)=\n# First\n" + cell("1"), a=SECOND)
    assert cli(tmp_path).returncode == 0
    before = _generated(tmp_path)
    third = "(third)=\n# Third\n" + cell("3")
    first = "(first)=\n# First\n" + cell("1")
    book = make_book(tmp_path, first=first, a=SECOND, b=third)
    assert cli(tmp_path).returncode == 0
    after = _generated(tmp_path)
    assert set(after) - set(before) == {"book/b.ipynb"}
    assert {n: after[n] for n in before} == before
    assert sync.stale(book) == {}


def _generated(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
        and path.suffix != ".md"
        and path.name not in ("_toc.yml", "_config.yml", "references.bib")
    }


def test_what_a_twin_keeps_is_complete():
    for page, stored in TWINS.items():
        kept = stored.metadata.handmade
        assert set(kept) == {"cells", "code", "files", "versions", "cost"}
        assert {"torch", "transformers"} <= set(kept.versions), page.name
        assert json.dumps(kept)
