"""A published twin on a machine like Colab: torch is there, the book is not.

The notebook is all that the reader has. Its first cell must bring the package,
as it was when the notebook was published, and the weights, and must not touch
the torch that is installed.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
from bookbinder import stamp, twin
from bookbinder.book import find_book
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
PAGE = "blocks/attention"
COLAB_HAS = (
    f"torch=={version('torch').partition('+')[0]}",
    f"numpy=={version('numpy')}",
    f"ipykernel=={version('ipykernel')}",
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("git"), reason="git is missing"),
]


def run(*command, **options) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        **options,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def colab(tmp_path) -> Path:
    """Make an environment with what Colab has; return its Python."""
    folder = tmp_path / "colab"
    venv.create(folder, with_pip=True)
    scripts = "Scripts" if os.name == "nt" else "bin"
    python = folder / scripts / "python"
    run(python, "-m", "pip", "install", "-q", *COLAB_HAS)
    missing = subprocess.run(
        [python, "-c", "import handmade"], cwd=tmp_path, capture_output=True
    )
    assert missing.returncode == 1
    return python


@pytest.fixture
def repository(tmp_path) -> Path:
    """Make the published repository: this checkout's HEAD as its branch."""
    bare = tmp_path / "published.git"
    safe = ("-c", f"safe.directory={ROOT}")
    run("git", "init", "-q", "--bare", bare)
    branch = find_book(ROOT).branch
    head = f"HEAD:refs/heads/{branch}"
    run("git", *safe, "-C", ROOT, "push", "-q", "--no-verify", bare, head)
    run("git", "-C", bare, "symbolic-ref", "HEAD", f"refs/heads/{branch}")
    return bare


def later_main(repository: Path) -> None:
    """Put a commit on main without the package: nobody may install it."""
    who = ("-c", "user.name=ada", "-c", "user.email=ada@example.org")
    git = ("git", "-C", repository, *who)
    tree = run(*git, "hash-object", "-w", "-t", "tree", os.devnull).strip()
    made = run(*git, "commit-tree", tree, "-p", "HEAD", "-m", "Empty")
    run(*git, "update-ref", "HEAD", made.strip())


def torch_files(python: Path) -> str:
    """Return torch's RECORD: the hashes of all that its wheel installed."""
    code = (
        "from importlib.metadata import distribution as d;"
        "print(d('torch').read_text('RECORD'), d('torch').version)"
    )
    return run(python, "-c", code, cwd=python.parent)


def settings(repository: Path) -> dict[str, str]:
    """Let git find the published address on this disk."""
    address = find_book(ROOT).repository
    pairs = {
        f"url.{repository.as_uri()}.insteadOf": address,
        "protocol.file.allow": "always",
        "safe.directory": "*",
    }
    found = {"GIT_CONFIG_COUNT": str(len(pairs))}
    for i, (key, value) in enumerate(pairs.items()):
        found |= {f"GIT_CONFIG_KEY_{i}": key, f"GIT_CONFIG_VALUE_{i}": value}
    return found


def test_a_twin_runs_with_only_what_its_set_up_cell_installs(
    colab, repository, tmp_path, monkeypatch
):
    book = find_book(ROOT)
    page = book.page(PAGE)
    before = torch_files(colab)

    away = tmp_path / "content"
    away.mkdir()
    text = page.twin.read_text(encoding="utf-8")
    commit = run("git", "-C", repository, "rev-parse", "HEAD").strip()
    later_main(repository)
    notebook = nbformat.reads(stamp.stamped(text, commit), as_version=4)
    assert f"@{commit}#" in twin.code_cells(notebook)[0].source
    for cell in twin.code_cells(notebook):
        cell.outputs = []

    kernel = tmp_path / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True)
    launch = f"{colab} -m ipykernel_launcher -f {{connection_file}}"
    spec = {
        "argv": launch.split(),
        "display_name": "Colab",
        "language": "python",
        "env": settings(repository),
    }
    (kernel / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "PIP_REQUIRE_VIRTUALENV"):
        monkeypatch.delenv(name, raising=False)
    path = [str(colab.parent), *os.environ["PATH"].split(os.pathsep)]
    monkeypatch.setenv("PATH", os.pathsep.join(path))

    where = nbformat.v4.new_code_cell(
        "import handmade; print(handmade.__file__)"
    )
    notebook.cells.append(where)
    client = NotebookClient(
        notebook,
        kernel_name="colab",
        timeout=1200,
        resources={"metadata": {"path": str(away)}},
    )
    client.execute()  # a failing cell raises, with its traceback

    found = Path(where.outputs[0].text.strip())
    assert found.is_relative_to(colab.parents[1]), found
    assert not found.is_relative_to(ROOT)
    assert torch_files(colab) == before
    # the comparisons of the page held there, too: it printed what we store
    stored = page.read_twin()
    for ours, theirs in zip(
        twin.page_cells(stored), twin.page_cells(notebook), strict=False
    ):
        twin.tidy(theirs)  # a kernel cuts a stream into pieces as it likes
        kinds = [output.output_type for output in ours.outputs]
        assert [output.output_type for output in theirs.outputs] == kinds
    assert sys.prefix not in run(colab, "-c", "import sys; print(sys.path)")
