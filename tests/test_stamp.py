"""Published notebooks install the commit that they were published with.

The workflow's own steps run here, against a repository in a folder: what
they push is what Colab and Binder will open.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from bookbinder import launch, stamp, twin
from bookbinder.book import find_book

ROOT = Path(__file__).parents[1]
BOOK = find_book(ROOT)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = COMMIT[::-1]
TWINS = sorted((ROOT / "book").rglob("*.ipynb"))


def address(commit: str, repository: str = BOOK.repository) -> str:
    return f"git+{repository}@{commit}#subdirectory=code"


def notebook(*sources: str) -> str:
    """Return a notebook's text, formatted as ours are."""
    cells = [
        {"cell_type": "code", "source": source.splitlines(keepends=True)}
        for source in sources
    ]
    return json.dumps({"cells": cells}, indent=1, ensure_ascii=False) + "\n"


SETUP = twin.setup_cell(BOOK)
TEXT = notebook(SETUP, 'print("größe 😀")')


@pytest.mark.parametrize("path", TWINS, ids=lambda p: p.stem)
def test_of_a_twin_only_the_branch_changes(path):
    text = path.read_text(encoding="utf-8")
    new = stamp.stamped(text, COMMIT)
    assert new == text.replace(address(BOOK.branch), address(COMMIT), 1)
    assert new != text
    # another publication replaces the stamp, the same one changes nothing
    assert stamp.stamped(new, COMMIT) == new
    assert stamp.stamped(new, OTHER) == stamp.stamped(text, OTHER)


def test_a_fork_installs_its_own(tmp_path):
    fork = "https://github.com/ada/engine"
    new = stamp.stamped(TEXT, COMMIT, fork)
    (setup, _) = json.loads(new)["cells"]
    assert f'"handmade[book] @ {address(COMMIT, fork)}"' in "".join(
        setup["source"]
    )
    assert BOOK.repository not in new


def test_a_folder_is_stamped_whole(tmp_path, capsys):
    for name in ("a", "part/b"):
        path = tmp_path / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(TEXT.encode())
    assert stamp.main([COMMIT, str(tmp_path)]) == 0
    assert "2 notebooks install 0123456789abcdef" in capsys.readouterr().out
    wanted = stamp.stamped(TEXT, COMMIT).encode()
    for name in ("a", "part/b"):
        assert (tmp_path / f"{name}.ipynb").read_bytes() == wanted


BAD = {
    "no address": notebook("import handmade", "1"),
    "two addresses": notebook(SETUP, SETUP),
    "an address elsewhere": notebook("1", SETUP),
    "no cell": notebook(),
    "no notebook": "{}",
    "no JSON": f"{TEXT[:-9]}",
    "a list": json.dumps([SETUP]),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_what_cannot_be_stamped_stops_it_all(text, tmp_path, capsys):
    (tmp_path / "a.ipynb").write_bytes(TEXT.encode())
    (tmp_path / "b.ipynb").write_bytes(text.encode())
    assert stamp.main([COMMIT, str(tmp_path)]) == 1
    assert f"{tmp_path / 'b.ipynb'}: " in capsys.readouterr().err
    assert (tmp_path / "a.ipynb").read_bytes() == TEXT.encode()
    assert (tmp_path / "b.ipynb").read_bytes() == text.encode()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["main", "."], "commit: got 'main', want 40 hex digits"),
        ([COMMIT[:12], "."], "commit: got '0123456789ab', want 40"),
        ([COMMIT + "\n", "."], "commit: got "),
        ([COMMIT, "."], r"folder: got \. without notebooks, want some"),
        ([COMMIT, "nowhere"], "folder: got nowhere without notebooks"),
        ([COMMIT, ".", "--repository", "http://a/b"], "repository: got 'http"),
        ([COMMIT, ".", "--repository", 'https://a/"; b'], "repository: got"),
    ],
)
def test_wrong_arguments_are_named(given, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert stamp.main(given) == 1
    assert re.match(said, capsys.readouterr().err)


def test_it_needs_nothing_installed():
    """The job that runs it may write: it has Python's own library alone."""
    for path in (Path(stamp.__file__), ROOT / "code/bookbinder/__init__.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in getattr(node, "names", ())]
            if isinstance(node, ast.ImportFrom):
                names = [node.module]
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                assert set(names) <= sys.stdlib_module_names


# -- what publish.yml does with it


def git(*command, cwd: Path) -> str:
    done = subprocess.run(
        ["git", *map(str, command)], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout.strip()


def publish(checkout: Path, commit: str) -> None:
    """Run the steps of the job `twins` as they are written."""
    path = ROOT / ".github" / "workflows" / "publish.yml"
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    places = [str(checkout.parent), os.environ["PATH"]]
    env = {
        "PATH": os.pathsep.join(places),
        "HOME": str(checkout.parent),
        "GITHUB_SHA": commit,
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "ada/engine",
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    for step in jobs["twins"]["steps"]:
        if "run" in step:
            done = subprocess.run(
                ["bash", "-eo", "pipefail", "-c", step["run"]],
                cwd=checkout,
                env=env,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def origin(tmp_path) -> Path:
    """A repository with one page, a workflow and the binder, as `main`."""
    work = tmp_path / "work"
    twins = work / "book" / "part"
    flows = work / ".github" / "workflows"
    for folder in (twins, flows, work / "code" / "bookbinder"):
        folder.mkdir(parents=True)
    (twins / "page.ipynb").write_bytes(TEXT.encode())
    (twins / "page.md").write_text("# Page\n")
    (flows / "ci.yml").write_text("on: push\n")
    for name in ("__init__.py", "stamp.py"):
        shutil.copy(ROOT / "code" / "bookbinder" / name, work / "code" / name)
        shutil.move(work / "code" / name, work / "code" / "bookbinder" / name)
    (tmp_path / "python3").symlink_to(sys.executable)
    bare = tmp_path / "origin.git"
    git("init", "-q", "--bare", "-b", "main", bare, cwd=tmp_path)
    git("init", "-q", "-b", "main", cwd=work)
    git("remote", "add", "origin", bare.as_uri(), cwd=work)
    commit(work, "first")
    return bare


def commit(work: Path, message: str) -> str:
    """Commit everything, push it as main, return the commit."""
    who = ("-c", "user.name=ada", "-c", "user.email=ada@example.org")
    git("add", "-A", cwd=work)
    git(*who, "commit", "-q", "-m", message, cwd=work)
    git("push", "-q", "origin", "HEAD:main", cwd=work)
    return git("rev-parse", "HEAD", cwd=work)


needs_git = pytest.mark.skipif(
    os.name == "nt" or not shutil.which("git") or not shutil.which("bash"),
    reason="git or bash is missing",
)


@needs_git
def test_the_workflow_publishes_stamped_twins(origin, tmp_path):
    work = tmp_path / "work"
    branch = launch.PUBLISHED
    fork = "https://github.com/ada/engine"
    made = []
    for number in (1, 2):
        if number == 2:
            (work / "book" / "part" / "page.md").write_text("# Another\n")
            (work / ".github" / "workflows" / "new.yml").write_text("on: x\n")
            commit(work, "second")
        head = git("rev-parse", "main", cwd=origin)
        checkout = tmp_path / f"checkout{number}"
        # as actions/checkout does: one commit deep
        git("clone", "-q", "--depth=1", origin.as_uri(), checkout, cwd=work)
        publish(checkout, head)
        assert git("rev-parse", "main", cwd=origin) == head
        made.append(git("rev-parse", branch, cwd=origin))
        show = f"{branch}:book/part/page.ipynb"
        assert git("show", show, cwd=origin) == (
            stamp.stamped(TEXT, head, fork).strip()
        )
        files = git("ls-tree", "-r", "--name-only", branch, cwd=origin)
        assert files.splitlines() == [
            "book/part/page.ipynb",
            "book/part/page.md",
            "code/bookbinder/__init__.py",
            "code/bookbinder/stamp.py",
        ]
        said = git("log", "-1", "--format=%s by %an", branch, cwd=origin)
        assert said == f"Publish {head} by github-actions[bot]"
    # each publication follows the one before: nothing is ever forced
    assert git("rev-list", branch, cwd=origin).splitlines() == made[::-1]
    # the sources stay as they were
    main = git("show", "main:book/part/page.ipynb", cwd=origin)
    assert main == TEXT.strip()
    # and the token was written nowhere
    config = (checkout / ".git" / "config").read_text()
    assert "gh auth git-credential" in config
    assert "extraheader" not in config
