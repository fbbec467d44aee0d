"""`pytest --nbval` compares: one number changed in a twin makes it fail."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bookbinder import twin
from bookbinder.book import find_book
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
PAGE = "start/setup"  # a short page that prints numbers
pytestmark = pytest.mark.slow


@pytest.fixture
def copy(tmp_path) -> Path:
    """Copy what plain `pytest --nbval book` reads, and one twin."""
    for name in (
        "pyproject.toml",
        "conftest.py",
        "tests/nbval-sanitize.cfg",
        "tests/negation.py",
        "code/pyproject.toml",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "book").mkdir()
    shutil.copy(find_book(ROOT).page(PAGE).twin, tmp_path / "book")
    return tmp_path


def nbval(
    root: Path, where: str = ".", *options: str
) -> subprocess.CompletedProcess:
    """Run the regression as typed in a folder of the checkout."""
    book = os.path.relpath(root / "book", root / where)
    command = [sys.executable, "-m", "pytest", "--nbval", *options, book]
    clean = {k: v for k, v in os.environ.items() if "PYTEST" not in k}
    return subprocess.run(
        command, cwd=root / where, env=clean, capture_output=True, text=True
    )


def edit_one_number(path: Path) -> str:
    """Change a digit of the first compared number; return the cell's id."""
    notebook = nbformat.read(path, as_version=4)
    for cell in twin.page_cells(notebook):
        if "nbval-ignore-output" in cell.metadata.get("tags", ()):
            continue
        for output in cell.outputs:
            text = output.get("text", "")
            found = re.search(r"(?<![\w.+-])\d+(?![\w.]*e[-+])", text)
            if output.output_type == "stream" and found:
                wrong = str(int(found[0]) + 1)
                start, end = found.span()
                output.text = text[:start] + wrong + text[end:]
                nbformat.write(notebook, path)
                return cell.id
    raise AssertionError(f"{path} compares no number")


def test_one_number_edited_in_a_twin_is_found(copy):
    done = nbval(copy)
    assert done.returncode == 0, done.stdout
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])
    path = copy / "book" / "setup.ipynb"
    code = twin.code_cells(nbformat.read(path, as_version=4))
    assert passed == len(code)

    before = path.read_text()
    edit_one_number(path)
    changed = sum(
        a != b
        for a, b in zip(
            before.splitlines(), path.read_text().splitlines(), strict=True
        )
    )
    assert changed == 1
    done = nbval(copy)
    assert done.returncode == 1, done.stdout
    assert re.search(r"1 failed", done.stdout)
    assert "OutputMismatch" in done.stdout or "mismatch" in done.stdout


def test_rounding_and_the_ledgers_entry_do_not_count_but_verdicts_do(copy):
    """The sizes of differences are the machine's; nothing else is."""
    path = copy / "book" / "setup.ipynb"
    notebook = nbformat.v4.new_notebook()
    source = (
        "from IPython.display import display\n"
        "print('equal, largest difference 3.1e-07')\n"
        "mime = 'application/vnd.handmade.parity+json'\n"
        "display({mime: {'largest': '3.1e-07', 'torch': '1'}}, raw=True)"
    )
    shown = {
        "application/vnd.handmade.parity+json": {"largest": "9", "torch": "2"}
    }
    notebook.cells = [
        nbformat.v4.new_code_cell(
            source,
            execution_count=1,
            outputs=[
                nbformat.v4.new_output(
                    "stream",
                    name="stdout",
                    text="equal, largest difference 8.8e-08\n",
                ),
                nbformat.v4.new_output("display_data", shown),
            ],
        )
    ]
    nbformat.write(notebook, path)
    for where in (".", "book", "code", "tests"):
        done = nbval(copy, where)
        assert done.returncode == 0, (where, done.stdout + done.stderr)

    text = path.read_text()
    path.write_text(
        text.replace("equal, largest diff", "differs, largest diff", 1)
    )
    assert json.loads(path.read_text())
    assert nbval(copy).returncode == 1


def test_the_last_digits_of_what_is_drawn_do_not_count_but_names_do(copy):
    path = copy / "book" / "setup.ipynb"
    start = "import torch\n"
    shows = {
        "from handmade.strip import Step, Strip\n"
        "Strip([Step('q', torch.tensor([1.0, 1.2]), 'what it asks')])": "q",
        "from handmade import plots\n"
        "plots.lines([1, 2], {'a': [1, 1.2]}, xlabel='x', ylabel='y')": "x",
        "from handmade.tables import table\n"
        "table([['a', 1.2]], {'name': '', 'gap': '.1e'})": "name",
    }
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(start + show) for show in shows]
    )
    NotebookClient(notebook, kernel_name="python3").execute()
    for cell in notebook.cells:
        cell.source = cell.source.replace("1.2", "1.3")
    nbformat.write(notebook, path)
    done = nbval(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    for cell, name in zip(notebook.cells, shows.values(), strict=True):
        cell.source = cell.source.replace(f"'{name}'", "'other'")
    nbformat.write(notebook, path)
    done = nbval(copy)
    assert "3 failed" in done.stdout, done.stdout


def claims_of(path: Path, *claims: str) -> None:
    """Write a notebook of random numbers with claims between them."""
    draw = "print(torch.rand(1).item(), random.random())"
    seed = "import random, torch\nrandom.seed(0)\n_ = torch.manual_seed(0)\n"
    new = nbformat.v4.new_code_cell
    cells = [new(seed + draw)]
    for claim in claims:
        cells += [new(claim, metadata={"tags": ["claim"]}), new(draw)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name="python3").execute()
    nbformat.write(notebook, path)


def test_a_claim_that_never_ran_is_found_where_it_is_negated(copy):
    path = copy / "book" / "setup.ipynb"
    claims_of(
        path,
        "assert torch.rand(1) < 2\nassert random.random() < 2",
        "from torch.testing import assert_close\nassert_close(1, 1)",
        "for x in ():\n    assert x > 1",
    )
    assert nbval(copy).returncode == 0
    done = nbval(copy, ".", "--negate")
    assert "1 failed, 6 passed" in done.stdout, done.stdout
    assert "of 1 proofs only [] raised, negated" in done.stdout
    claims_of(path, "assert torch.rand(1) < 2", "x = 1\nassert x")
    done = nbval(copy, ".", "--negate")
    assert "5 passed" in done.stdout, done.stdout


def test_a_claim_that_fails_is_found_negated_too(copy):
    path = copy / "book" / "setup.ipynb"
    claims_of(path, "x = 1\nassert x == 1")
    path.write_text(path.read_text().replace("x == 1", "x == 2"))
    done = nbval(copy, ".", "--negate")
    assert "1 failed, 2 passed" in done.stdout, done.stdout
    assert "of 1 proofs only [] raised, negated" in done.stdout


def test_a_claim_runs_once_and_what_it_prints_is_compared(copy):
    path = copy / "book" / "setup.ipynb"
    claim = "print('seen', end='')\nassert seen.append(1) or len(seen) == 1"
    parity = "def parity(x):\n    return x + 1\nparity(41)"
    claims_of(path, "seen = []\nassert not seen", claim, parity)
    done = nbval(copy, ".", "--negate")
    assert "7 passed" in done.stdout, done.stdout
    path.write_text(path.read_text().replace("'seen'", "'heard'"))
    done = nbval(copy, ".", "--negate")
    assert "1 failed, 6 passed" in done.stdout, done.stdout
    assert "raised, negated" not in done.stdout
    path.write_text(path.read_text().replace("parity(41)", "parity(42)"))
    done = nbval(copy, ".", "--negate")
    assert "2 failed, 5 passed" in done.stdout, done.stdout
