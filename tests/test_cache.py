"""The cache is whole or absent: truncation, corruption, kills, races."""

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from handmade import cache, manifest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


def test_nothing_but_a_folder_of_the_cache_can_be_removed(
    build, root, tmp_path
):
    """Were a name that leads out let through, it would still remove nothing.

    Once it was, and took the folder above the cache with it.
    """
    root.mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OSError, match=r"\.\."):
        cache._rebuild(root / "..", build)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert root.is_dir()


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
    monkeypatch.setattr(manifest, "sha256", None)  # calling it would fail
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
    (folder / manifest.MANIFEST).unlink()


def truncate_manifest(folder: Path) -> None:
    path = folder / manifest.MANIFEST
    path.write_text(path.read_text()[:40])


def empty_manifest(folder: Path) -> None:
    (folder / manifest.MANIFEST).write_text("{}")


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
        manifest,
        "sha256",
        lambda path: hashed.append(path) or true_sha256(path),
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
    entries = json.loads((folder / manifest.MANIFEST).read_text())
    assert set(entries) == set(CONTENT)
    for name, entry in entries.items():
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


GOOD = {"size": 500, "mtime_ns": 1, "sha256": "0" * 64}
STRANGE = {
    "a list": "[]",
    "null": "null",
    "a number": "7",
    "text": '"a.txt"',
    "deep": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "no json": "\0\0\0",
    "a name with NUL": json.dumps({"a\0b": GOOD}),
    "a lone surrogate": json.dumps({"\ud800": GOOD}),
    "a way out": json.dumps({"../outside": GOOD}),
    "a way out of a way in": json.dumps({"deep/../../outside": GOOD}),
    "a Windows way out": json.dumps({"..\\\\outside": GOOD}),
    "an absolute name": json.dumps({"/etc/passwd": GOOD}),
    "a drive": json.dumps({"C:/outside": GOOD}),
    "no name": json.dumps({"": GOOD}),
    "the folder itself": json.dumps({".": GOOD}),
    "a long name": json.dumps({"x" * 5000: GOOD}),
    "an entry that is null": json.dumps({"a.txt": None}),
    "an entry that is a list": json.dumps({"a.txt": [1]}),
    "an entry without a hash": json.dumps({"a.txt": {"size": 500}}),
    "a size that is text": json.dumps({"a.txt": GOOD | {"size": "500"}}),
    "a size that is true": json.dumps({"a.txt": GOOD | {"size": True}}),
    "a huge size": json.dumps({"a.txt": GOOD | {"size": 2**200}}),
    "a stamp that is null": json.dumps({"a.txt": GOOD | {"mtime_ns": None}}),
    "one more key": json.dumps({"a.txt": GOOD | {"more": 1}}),
    "too long": json.dumps({"a.txt": GOOD}) + " " * manifest.MANIFEST_BYTES,
}


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_a_manifest_of_another_shape_means_build(build, calls, text, root):
    folder = cache.cached_folder("thing-1", build)
    (root / "outside").write_bytes(b"x" * 500)
    (folder / manifest.MANIFEST).write_text(text)
    assert_whole(cache.cached_folder("thing-1", build))
    assert len(calls) == 2
    assert cache.cached_folder("thing-1", build) == folder
    assert len(calls) == 2


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(VALUES | st.dictionaries(st.sampled_from(sorted(CONTENT)), VALUES))
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_json_at_all_makes_the_cache_crash(build, calls, value):
    folder = cache.cached_folder("thing-1", build)
    (folder / manifest.MANIFEST).write_text(json.dumps(value))
    before = len(calls)
    assert_whole(cache.cached_folder("thing-1", build))
    assert len(calls) == before + 1


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


@pytest.mark.skipif(os.name == "nt", reason="no pipes on Windows")
@pytest.mark.parametrize("name", [manifest.MANIFEST, "a.txt"])
@pytest.mark.parametrize("harm", [pipe, directory, loop])
def test_what_is_no_file_is_built_again(build, calls, harm, name):
    folder = cache.cached_folder("thing-1", build)
    harm(folder / name)
    assert_whole(cache.cached_folder("thing-1", build))
    assert len(calls) == 2


def keep_stamp(path: Path, content: bytes) -> None:
    status = path.stat()
    assert len(content) == status.st_size
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_damage_that_keeps_size_and_time_is_mended_once(build, calls):
    folder = cache.cached_folder("thing-1", build)
    assert not cache.mended("thing-1", build)
    keep_stamp(folder / "a.txt", b"omega" * 100)
    assert cache.cached_folder("thing-1", build) == folder
    assert len(calls) == 1  # it looks whole
    assert cache.mended("thing-1", build)
    assert_whole(folder)
    assert not cache.mended("thing-1", build)
    assert len(calls) == 2


@pytest.mark.parametrize(
    "name",
    [
        *["", ".", "..", ".a", "a/b", "../a", "/nowhere/a", "a\\b", "a\0b"],
        *["*", "a*", "[a]", "a b", "a\n", "~", "-a", None, 7],
    ],
)
def test_a_name_is_one_folder(build, name):
    for use in (cache.cached_folder, cache.mended):
        with pytest.raises(ValueError, match=r"^name: got .*, want the name"):
            use(name, build)


def sentence(build) -> str:
    """Return what is said of a place that takes no files."""
    with pytest.raises(OSError, match="HANDMADE_CACHE") as caught:
        cache.cached_folder("thing-1", build)
    assert caught.value.errno in cache.REFUSALS
    text = str(caught.value)
    assert "cannot be made" in text
    assert "\n" not in text
    return text


def test_a_file_where_the_cache_should_be_is_named(build, root):
    root.write_text("a file")
    assert str(root) in sentence(build)
    assert root.read_text() == "a file"


def test_a_file_where_the_folder_should_be_is_named_and_kept(build, root):
    root.mkdir()
    (root / "thing-1").write_text("somebody's")
    assert str(root / "thing-1") in sentence(build)
    assert (root / "thing-1").read_text() == "somebody's"
    assert leftovers(root) == []


def test_a_folder_where_the_lock_should_be_is_named(build, root):
    (root / "thing-1.lock").mkdir(parents=True)
    assert "thing-1.lock" in sentence(build)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_place_that_takes_no_files_is_named(build, monkeypatch):
    monkeypatch.setenv("HANDMADE_CACHE", "/sys/kernel/handmade")
    assert "/sys/kernel/handmade" in sentence(build)


@pytest.mark.parametrize(
    "code", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EPERM]
)
def test_each_refusal_of_the_system_is_told(build, root, code, monkeypatch):
    def refuse(path: Path, *_args, **_more) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    said = sentence(build)
    assert str(root) in said
    assert os.strerror(code) in said


FULL = """
import resource, sys
from handmade.cache import cached_folder
from handmade.weights.pretrained import save_weights
import torch
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
def plain(folder):
    (folder / "a.bin").write_bytes(bytes(20_000))
def tensors(folder):
    save_weights({"x": torch.zeros(20_000)}, folder / "model.safetensors")
try:
    cached_folder("thing-1", {"plain": plain, "tensors": tensors}[sys.argv[1]])
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="no such limit on Windows")
@pytest.mark.parametrize("what", ["plain", "tensors"])
def test_a_full_place_is_told_and_nothing_is_left(what, root):
    done = subprocess.run(
        [sys.executable, "-c", FULL, what], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be made" in done.stdout
    assert os.strerror(errno.EFBIG) in done.stdout
    assert str(root / "thing-1") in done.stdout
    assert leftovers(root) == []
    assert not (root / "thing-1").exists()


def test_errors_of_the_build_itself_pass_through(build):
    def fail(_) -> None:
        raise ConnectionError("the index is away")

    with pytest.raises(ConnectionError, match=r"^the index is away$"):
        cache.cached_folder("thing-1", fail)


def only_for_me(folder: Path) -> None:
    path = folder / "a.txt"
    path.write_text("alpha")
    path.chmod(0o600)  # as safetensors does


@pytest.mark.skipif(os.name == "nt", reason="no modes on Windows")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_files_are_written_with_the_users_umask(umask, mode):
    before = os.umask(umask)
    try:
        folder = cache.cached_folder("thing-1", only_for_me)
    finally:
        os.umask(before)
    for name in ("a.txt", manifest.MANIFEST):
        assert stat.S_IMODE((folder / name).stat().st_mode) == mode


def test_a_link_to_a_folder_is_replaced_not_followed(build, root, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.txt").write_text("mine")
    root.mkdir()
    (root / "thing-1").symlink_to(elsewhere)
    assert_whole(cache.cached_folder("thing-1", build))
    assert [p.name for p in elsewhere.iterdir()] == ["mine.txt"]


def test_a_waiter_says_for_whom_it_waits(tmp_path, root):
    first = start(tmp_path / "log", 1.5)
    assert first.stdout.readline() == "half\n"
    second = subprocess.run(
        [sys.executable, "-c", SLOW_BUILD, str(tmp_path / "log"), "0"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    first.communicate(timeout=60)
    assert f"waiting for process {first.pid} on " in second.stderr
    assert str(root / "thing-1") in second.stderr
    assert second.stdout == "alpha beta\n"
    assert not list(root.glob("*.owner"))


def test_the_cache_moves_with_the_environment(monkeypatch, tmp_path):
    assert cache.cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("HANDMADE_CACHE", "~/books")
    assert cache.cache_folder() == Path.home() / "books"
    monkeypatch.setenv("HANDMADE_CACHE", "~nobody-of-that-name/books")
    with pytest.raises(ValueError, match=r"^HANDMADE_CACHE: got '~nobody"):
        cache.cache_folder()
    monkeypatch.delenv("HANDMADE_CACHE")
    assert cache.cache_folder().name.lower() in ("handmade", "cache")
    assert cache.cache_folder().is_absolute()


def test_a_relative_cache_is_one_folder_wherever_a_page_runs(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("HANDMADE_CACHE", "my/cache")
    found = set()
    for name in ("text", "blocks"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        found.add(cache.cache_folder())
    (folder,) = found
    assert folder.is_absolute()
    assert folder.parts[-2:] == ("my", "cache")
    assert os.environ["HANDMADE_CACHE"] == str(folder)  # for child processes


def test_outside_of_a_clone_a_relative_cache_begins_where_we_are(
    monkeypatch, tmp_path
):
    installed = tmp_path / "site-packages" / "handmade"
    monkeypatch.setattr(cache, "__file__", str(installed / "cache.py"))
    monkeypatch.setenv("HANDMADE_CACHE", "mine")
    monkeypatch.chdir(tmp_path)
    assert cache.cache_folder() == tmp_path / "mine"
    monkeypatch.chdir(tmp_path.parent)
    assert cache.cache_folder() == tmp_path / "mine"
