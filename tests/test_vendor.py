"""What `vendor` copies, finds damaged, and says where it has nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bookbinder import vendor
from test_sync import ROOT, SECOND, make_book

IN_PLACE = "site JavaScript: in place"
COPIED = "site JavaScript: copied into book"
# stands in for npm: writes down that it was asked, and what it is told to do
NPM = """\
#!{python}
import pathlib, sys
told = pathlib.Path({told!r})
told.write_text(told.read_text() + " ".join(sys.argv[1:3]) + "\\n")
sys.exit({status})
"""
pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="the stand-in for npm is a Unix script"
)


@pytest.fixture
def root(tmp_path) -> Path:
    """A book whose node_modules holds all that is copied."""
    make_book(tmp_path, first="(first)=\n# First\n", second=SECOND)
    shutil.copy(ROOT / "package-lock.json", tmp_path)
    for pattern, _ in vendor.FILES:
        path = tmp_path / "node_modules" / pattern.replace("*", "some")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"what {pattern} holds\n" * 9)
    return tmp_path


@pytest.fixture
def npm(root, monkeypatch):
    """Put a stand-in for npm first; return a function: how often it ran."""

    def ends(status: int) -> None:
        path = folder / "npm"
        path.write_text(
            NPM.format(python=sys.executable, told=str(told), status=status)
        )
        path.chmod(0o755)

    folder, told = root / "bin", root / "told"
    folder.mkdir()
    told.write_text("")
    ends(0)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def asked() -> int:
        lines = told.read_text().splitlines()
        assert set(lines) <= {"ci --ignore-scripts"}
        return len(lines)

    asked.ends = ends
    return asked


def files(root: Path) -> dict[str, bytes]:
    folder = root / "book" / "vendor"
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


def test_what_is_in_place_is_left_alone(root, npm):
    assert vendor.vendor(root).startswith(COPIED)
    before = files(root)
    assert {*before} - {vendor.MARK} == {*vendor.recorded(root)}
    assert vendor.is_vendored(root)
    assert vendor.vendor(root) == IN_PLACE
    assert npm() == 1
    # another version of a package, and all are copied anew
    lock = root / "package-lock.json"
    lock.write_text(lock.read_text() + "\n")
    assert vendor.vendor(root).startswith(COPIED)
    assert npm() == 2


@pytest.mark.parametrize(
    "harm",
    ["cut", "changed", "empty", "gone", "more", "mark", "[]", "null", '{"a":'],
)
def test_a_damaged_file_is_found_and_copied_anew(root, npm, harm):
    vendor.vendor(root)
    before = files(root)
    folder = root / "book" / "vendor"
    script = folder / "katex" / "katex.min.css"
    data = script.read_bytes()
    if harm == "cut":
        script.write_bytes(data[:-1])
    elif harm == "changed":
        stamp = script.stat()
        script.write_bytes(b"W" + data[1:])
        os.utime(script, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    elif harm == "empty":
        script.write_bytes(b"")
    elif harm == "gone":
        script.unlink()
    elif harm == "more":
        (folder / "katex" / "other.js").write_text("not ours")
    elif harm == "mark":
        (folder / vendor.MARK).unlink()
    else:
        (folder / vendor.MARK).write_text(harm)
        assert vendor.recorded(root) == {}
    assert vendor.vendor(root).startswith(COPIED)
    assert npm() == 2
    assert files(root) == before


def command(root: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "bookbinder", "vendor"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_without_a_network_the_book_falls_back(root, npm):
    """With npm, but nothing from it: told, no failure, no half a folder."""
    vendor.vendor(root)
    script = root / "book" / "vendor" / "katex" / "katex.min.css"
    script.write_bytes(b"")
    npm.ends(1)
    done = command(root)
    assert done.returncode == 0, done.stderr
    (said,) = done.stdout.splitlines()
    assert said.startswith("npm ci failed (1; is there a network?): the pages")
    assert said.endswith("from public networks")
    assert not vendor.is_vendored(root)
    assert files(root) == {}
    # and the next time, with one, they are the site's own
    npm.ends(0)
    assert command(root).stdout.startswith(COPIED)
    assert vendor.is_vendored(root)


def test_an_npm_that_cannot_start_falls_back(root, npm):
    (root / "bin" / "npm").write_text("#!/nowhere/python\n")
    assert "public networks" in vendor.vendor(root)
    assert not vendor.is_vendored(root)


def test_without_npm_it_says_what_to_install(root, monkeypatch):
    monkeypatch.setattr(vendor.shutil, "which", lambda _: None)
    said = vendor.vendor(root)
    assert "install Node.js" in said
    assert "public networks" in said
    assert not vendor.is_vendored(root)


def test_a_package_that_holds_something_else_is_named(root, npm):
    shutil.rmtree(root / "node_modules" / "katex" / "dist" / "fonts")
    done = command(root)
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert said == ("node_modules: got no katex/dist/fonts/*.woff2, want one")
    assert not vendor.is_vendored(root)


@pytest.mark.parametrize("step", ["rmtree", "copy2"])
def test_killed_while_it_copies_nothing_counts_as_vendored(
    root, npm, monkeypatch, step
):
    vendor.vendor(root)
    script = root / "book" / "vendor" / "katex" / "katex.min.css"
    script.unlink()

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(vendor.shutil, step, killed)
    with pytest.raises(KeyboardInterrupt):
        vendor.vendor(root)
    assert not vendor.is_vendored(root)
    assert vendor.recorded(root) == {}
