"""`make setup`: killed at any moment, the next one makes what is missing."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from test_sync import ROOT, wait_for

pytestmark = pytest.mark.skipif(
    os.name == "nt" or shutil.which("make") is None, reason="no make here"
)
# stands in for python: `-m venv [--clear] FOLDER` links itself into the
# folder as its python does, waits there while it is asked to, adds pip last;
# `-m pip …` runs where pip was added
PYTHON = """\
#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
echo "$*" >> "$TOLD"
case "$2" in
venv)
  shift 2
  if [ "$1" = --clear ]; then shift; rm -rf "$1"; fi
  mkdir -p "$1/bin"
  ln -sf "$0" "$1/bin/python"
  echo "in the middle" >> "$TOLD"
  while [ -e "$TOLD.wait" ]; do sleep 0.05; done
  if [ ! -e "$1/damaged" ]; then touch "$1/pip"; fi ;;
pip) if [ ! -e "$here/../pip" ]; then echo "No module named pip"; exit 1; fi
esac
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """A checkout as far as `make setup` looks at it."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for path in ROOT.glob("requirements*.txt"):
        (tmp_path / path.name).touch()
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "pyproject.toml").touch()
    python = tmp_path / "stand-in"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def setup(folder: Path, *more: str) -> subprocess.Popen:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return subprocess.Popen(
        ["make", "setup", f"PYTHON={folder}/stand-in", *more],
        cwd=folder,
        env={**clean, "TOLD": str(folder / "told")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def told(folder: Path) -> list[str]:
    path = folder / "told"
    return path.read_text().splitlines() if path.exists() else []


def finish(folder: Path, *more: str) -> list[str]:
    """Run `make setup`, which must succeed; return what python was asked."""
    (folder / "told").unlink(missing_ok=True)
    process = setup(folder, *more)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    return told(folder)


def kill_in_the_middle(folder: Path) -> None:
    """Kill `make setup` and all it started, the environment half made."""
    wait = folder / "told.wait"
    wait.touch()
    process = setup(folder)
    wait_for(lambda: "in the middle" in told(folder))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    wait.unlink()
    assert (folder / ".venv" / "bin" / "python").exists()
    assert not (folder / ".venv" / "ready").exists()


def test_setup_makes_an_environment_once(folder):
    asked = finish(folder)
    assert asked[0].startswith("-m venv ")
    assert sum("pip install" in line for line in asked) > 1
    assert (folder / ".venv" / "ready").exists()
    assert not (folder / ".venv.half").exists()
    assert finish(folder) == []


def test_killed_while_the_environment_is_made_it_is_made_anew(folder):
    for _ in range(2):  # the second time, while it is made anew
        kill_in_the_middle(folder)
        (folder / ".venv" / "rest").touch()
    asked = finish(folder)
    assert asked[0] == "-m venv --clear .venv"
    assert sum("pip install" in line for line in asked) > 1
    assert not (folder / ".venv" / "rest").exists()
    assert not (folder / ".venv.half").exists()
    assert finish(folder) == []


def test_an_environment_made_by_hand_keeps_what_it_holds(folder):
    mine = folder / "mine"
    (mine / "bin").mkdir(parents=True)
    (mine / "bin" / "python").symlink_to(folder / "stand-in")
    for name in ("pip", "kept"):
        (mine / name).touch()
    asked = finish(folder, "VENV=mine/")
    assert not any("venv" in line for line in asked)
    # without pip it gets one
    for name in ("pip", "ready"):
        (mine / name).unlink()
    assert "-m venv mine" in finish(folder, "VENV=mine")
    assert (mine / "kept").exists()


def test_an_environment_that_cannot_be_mended_is_named(folder):
    (folder / ".venv").mkdir()
    (folder / ".venv" / "damaged").touch()
    process = setup(folder)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert ".venv: got an environment whose pip does not run" in err
    assert "delete it" in err
