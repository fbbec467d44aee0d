"""The cache is whole or absent: truncation, corruption, kills, races."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from handmade import cache

CONTENT = {"a.txt": b"alpha" * 100, "deep/b.bin": bytes(range(256))}

# two of these start together; the sleep lets both reach the lock
SLOW_BUILD = """
import os, sys, time
from pathlib import Path
from handmade.cache import cached_folder

def build(folder):
    with open(sys.argv[1], "a") as log:
        log.write(f"{os.getpid()}\\n")
    (folder / "a.txt").write_text("alp")
    print("half", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "a.txt").write_text("alpha")
    (folder / "b.txt").write_text("beta")

found = cached_folder("thing-1", build)
print(*(p.read_text() for p in sorted(found.glob("*.txt"))), flush=True)
"""


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HANDMADE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def calls() -> list[Path]:
    return []


@pytest.fixture
def build(calls):
    def fill(folder: Path) -> None:
        assert list(folder.iterdir()) == []
        calls.append(folder)
        for name, content in CONTENT.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)

    return fill


def assert_whole(folder: Path) -> None:
    for name, content in CONTENT.items():
        assert (folder / name).read_bytes() == content


def leftovers(root: Path) -> list[str]:
    return [p.name for p in root.iterdir() if p.name.endswith(".tmp")]


def start(log: Path, seconds: float) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SLOW_BUILD, str(log), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_builds_once_and_then_neither_builds_nor_hashes(
    build, calls, monkeypatch, root
):
    folder = cache.cached_folder("thing-1", build)
    assert folder == root / "thing-1"
    assert_whole(folder)
    monkeypatch.setattr(cache, "sha256", None)  # calling it would fail
    assert cache.cached_folder("thing-1", build) == folder
    assert len(calls) == 1
    assert leftovers(root) == []


def truncate(folder: Path) -> None:
    with open(folder / "a.txt", "r+b") as file:
        file.truncate(17)


def corrupt(folder: Path) -> None:
    path = folder / "deep/b.bin"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    os.utime(path)


def remove(folder: Path) -> None:
    (folder / "deep/b.bin").unlink()


def remove_manifest(folder: Path) -> None:
    (folder / cache.MANIFEST).unlink()


def truncate_manifest(folder: Path) -> None:
    path = folder / cache.MANIFEST
    path.write_text(path.read_text()[:40])


def empty_manifest(folder: Path) -> None:
    (folder / cache.MANIFEST).write_text("{}")


@pytest.mark.parametrize(
    "harm",
    [
        truncate,
        corrupt,
        remove,
        remove_manifest,
        truncate_manifest,
        empty_manifest,
    ],
)
def test_a_damaged_folder_is_found_and_rebuilt(build, calls, harm):
    folder = cache.cached_folder("thing-1", build)
    harm(folder)
    assert_whole(cache.cached_folder("thing-1", build))
    assert len(calls) == 2


def test_moved_time_stamps_are_hashed_once_not_at_every_start(
    build, calls, monkeypatch
):
    folder = cache.cached_folder("thing-1", build)
    for name in CONTENT:
        os.utime(folder / name, (1, 1))  # as a restored backup has it
    hashed = []
    true_sha256 = cache.sha256
    monkeypatch.setattr(
        cache, "sha256", lambda path: hashed.append(path) or true_sha256(path)
    )
    for _ in range(3):
        assert cache.cached_folder("thing-1", build) == folder
    assert len(calls) == 1
    assert len(hashed) == len(CONTENT)
    corrupt(folder)
    assert_whole(cache.cached_folder("thing-1", build))
    assert len(calls) == 2


def test_a_build_that_fails_leaves_nothing(root, build):
    def fail(folder: Path) -> None:
        (folder / "a.txt").write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        cache.cached_folder("thing-1", fail)
    assert not (root / "thing-1").exists()
    assert leftovers(root) == []
    assert_whole(cache.cached_folder("thing-1", build))


def test_a_rebuild_that_fails_is_not_taken_as_whole(build):
    folder = cache.cached_folder("thing-1", build)
    truncate(folder)

    def fail(_) -> None:
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        cache.cached_folder("thing-1", fail)
    assert_whole(cache.cached_folder("thing-1", build))


def test_two_processes_that_start_together_build_once(tmp_path, root):
    log = tmp_path / "log"
    both = [start(log, 0.5) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert [text.splitlines()[-1] for text in said] == ["alpha beta"] * 2
    assert len(log.read_text().splitlines()) == 1
    assert leftovers(root) == []


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL on Windows")
def test_killed_while_building_nothing_is_taken_as_whole(tmp_path, root):
    log = tmp_path / "log"
    process = start(log, 60)
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (root / "thing-1").exists()
    assert len(leftovers(root)) == 1
    again = start(log, 0)
    assert again.communicate(timeout=60)[0] == "half\nalpha beta\n"
    assert leftovers(root) == []


def test_manifest_names_every_file_with_its_hash(build):
    folder = cache.cached_folder("thing-1", build)
    manifest = json.loads((folder / cache.MANIFEST).read_text())
    assert set(manifest) == set(CONTENT)
    for name, entry in manifest.items():
        assert entry["sha256"] == cache.sha256(folder / name)
        assert entry["size"] == len(CONTENT[name])


def test_check_sha256_names_file_hashes_and_mend(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"x")
    right = cache.sha256(path)
    assert cache.check_sha256(path, right, "") == path
    with pytest.raises(ValueError, match="Do this") as caught:
        cache.check_sha256(path, "0" * 64, "Do this.")
    for part in (str(path), right, "0" * 64):
        assert part in str(caught.value)


def test_write_whole_keeps_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "page.ipynb"
    cache.write_whole(path, lambda p: p.write_text("old"))

    def fail(temporary: Path) -> None:
        temporary.write_text("ne")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        cache.write_whole(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.glob("*page*")] == ["page.ipynb"]
    assert leftovers(tmp_path) == []


def test_the_cache_moves_with_the_environment(monkeypatch, tmp_path):
    assert cache.cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("HANDMADE_CACHE", "~/books")
    assert cache.cache_folder() == Path.home() / "books"
    monkeypatch.delenv("HANDMADE_CACHE")
    assert cache.cache_folder().name.lower() in ("handmade", "cache")
    assert cache.cache_folder().is_absolute()
