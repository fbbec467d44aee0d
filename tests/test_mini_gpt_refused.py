"""What a run of the capstone refuses, and what it leaves as it was.

A disk fills up in three ways here: a file system of 200 KB where a user may
mount one, a limit on the size of files in a child, and a write that fails at
each of its places. The last needs nothing of the system.
"""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from handmade.training import checkpoint, mini_gpt
from handmade.training.checkpoint import load_checkpoint, save_checkpoint
from handmade.training.metrics import Metrics, read_metrics
from handmade.training.mini_gpt import Run
from handmade.training.mini_gpt_checks import check_text
from handmade.training.mini_gpt_command import main
from handmade.training.mini_gpt_settings import Settings

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 40
SMALL = Settings(
    steps=40, d_model=12, n_layers=2, n_heads=2, d_ff=20, max_seq_len=16,
    batch_size=3, precision="float32",
)  # fmt: skip
FLAGS = [
    part
    for name, value in vars(SMALL).items()
    for part in (f"--{name.replace('_', '-')}", str(value))
]


def refused(capsys, *words):
    """Run a command that has to fail; return the one line it says."""
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.endswith("\n")
    return said.strip().split("\n")[-1]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def run(tmp_path):
    """A run of four steps with its checkpoint."""
    made = Run.new(tmp_path / "run", replace(SMALL, steps=4), TEXT)
    made.go(save_every=4, sample_every=4, quiet=True)
    return made


def loads(folder, step):
    """Hold that the checkpoint of a step is whole and the newest one."""
    found = load_checkpoint(folder)
    assert found.step == step
    assert mini_gpt.load_model(folder)
    left = [path.name for path in Path(folder).iterdir()]
    assert not [name for name in left if name.endswith(".tmp")]


# -- the text


@pytest.mark.parametrize("n", [0, 1, 2, 3, 17, 18])
def test_a_text_without_a_window_is_refused_before_the_run(
    tmp_path, capsys, n
):
    (tmp_path / "short.txt").write_text(TEXT[:n])
    said = refused(
        capsys, "train", tmp_path / "run", *FLAGS,
        "--text", tmp_path / "short.txt",
    )  # fmt: skip
    got = f"{n} characters" if n else "none"
    assert said.startswith(f"mini_gpt train: text: got {got}")
    assert "want" in said
    assert not (tmp_path / "run").exists()


def test_the_shortest_text_that_goes_is_trained_on(tmp_path):
    # 17 characters to train on are one window, 2 to judge by one prediction
    check_text(TEXT[:19], SMALL)
    made = Run.new(tmp_path, replace(SMALL, steps=2), TEXT[:19])
    assert "\n" not in made.alphabet.characters
    made.go(save_every=2, sample_every=1, quiet=True)
    loads(tmp_path, 2)
    with pytest.raises(ValueError, match="text: got 18 characters, 16"):
        check_text(TEXT[:18], SMALL)
    # enough to train on, and a single character to judge by
    with pytest.raises(ValueError, match="1 to validate"):
        check_text(TEXT[:11], replace(SMALL, max_seq_len=4))


def test_a_run_goes_on_with_its_own_text_alone(tmp_path, run):
    other = TEXT.replace("fox", "xof")  # the same alphabet and length
    with pytest.raises(ValueError, match=r"text .* there, .* here"):
        Run.resumed(run.folder, other)
    assert Run.resumed(run.folder, TEXT).trainer.step == 4
    loads(run.folder, 4)


# -- what is asked of a model


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--prompt", "fox €"], "text: got '€', want the model's 29"),
        (["--temperature", "-0.5"], "temperature: got -0.5, want"),
        (["--temperature", "nan"], "temperature: got nan, want"),
        (["--length", "0"], "n: got 0, want"),
        (["--top-k", "0"], "top_k: got 0, want"),
        (["--top-p", "1.5"], "top_p: got 1.5, want"),
        (["--seed", "-1"], "seed: got -1, want"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_a_wrong_wish_is_named(run, capsys, words, says):
    said = refused(capsys, "sample", run.folder, *words)
    assert said.startswith(f"mini_gpt sample: {says}")
    loads(run.folder, 4)


def test_a_model_without_line_ends_writes_too(tmp_path, capsys):
    letters = TEXT.replace("\n", "")
    made = Run.new(tmp_path, replace(SMALL, steps=1), letters)
    made.go(save_every=1, sample_every=1, quiet=True)
    main(["sample", str(tmp_path), "--length", "5"])
    assert len(capsys.readouterr().out) == 1 + 5 + 1


# -- a checkpoint of another configuration


def resaved(run, folder, **changes):
    """Save the run's weights under settings that are not theirs."""
    settings = run.identity() | changes
    kept = {name: x for name, x in settings.items() if x is not None}
    return save_checkpoint(folder, run.trainer, kept).parent


@pytest.mark.parametrize("command", ["sample", "resume", "export"])
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"d_model": 16}, "instead of"),
        ({"n_layers": 3}, "missing"),
        ({"characters": "abc"}, "instead of"),
        ({"characters": None}, "characters"),
        ({"dropout": 0.1}, "dropout"),
        ({"n_heads": None}, "n_heads"),
    ],
    ids=str,
)
def test_another_configuration_is_refused_by_name(
    tmp_path, run, text, capsys, command, changes, says
):
    folder = resaved(run, tmp_path / "odd", **changes)
    words = {
        "sample": [], "resume": ["--text", text], "export": [tmp_path / "hf"],
    }[command]  # fmt: skip
    said = refused(capsys, command, folder, *words)
    assert "got" in said
    assert "want" in said
    if command != "resume" or "characters" not in changes:
        assert says in said
    assert not (tmp_path / "hf").exists()
    loads(run.folder, 4)


# -- a disk that is full


@pytest.mark.parametrize(
    "place", ["save_file", "write_manifest", "_flush", "_swap"]
)
def test_a_write_that_fails_leaves_the_earlier_checkpoint(
    run, monkeypatch, place
):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run.trainer.train_step()
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, place, full)
        with pytest.raises(OSError, match=r"No space left.*as they were") as e:
            run.save(keep=1)
    assert e.value.errno == errno.ENOSPC
    assert "step-00000005" in str(e.value)
    loads(run.folder, 4)
    run.save(keep=1)
    loads(run.folder, 5)


def test_a_log_that_cannot_grow_is_named(tmp_path):
    log = Metrics(tmp_path / "log.jsonl")
    log.write(0, {"loss": 1.0})

    class Full:
        """Take three bytes, and then no more."""

        def __init__(self, file):
            self.file, self.room = file, 3

        def write(self, data):
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.room = 0
            return self.file.write(data[:3])

        def close(self):
            self.file.close()

    log._file = Full(log._file)
    with pytest.raises(OSError, match=r"log\.jsonl cannot be written"):
        log.write(1, {"loss": 2.0})
    log.close()
    assert read_metrics(log.path) == [{"step": 0, "loss": 1.0}]
    with Metrics(log.path, resume_at=1) as log:
        log.write(1, {"loss": 2.0})
    assert [line["step"] for line in read_metrics(log.path)] == [0, 1]


CHILD = """
import json, sys
from pathlib import Path
from handmade.training.checkpoint import load_checkpoint
from handmade.training.mini_gpt_command import main

def step():
    try:
        return load_checkpoint(sys.argv[1]).step
    except ValueError:
        return None

before = step()
try:
    main(sys.argv[2:])
    code = 0
except SystemExit as stopped:
    code = stopped.code
names = sorted(p.name for p in Path(sys.argv[1]).iterdir())
print("\\n" + json.dumps([code, before, step(), names]))
"""


def in_child(before, folder, *words, python=CHILD):
    """Run a command in a child that a shell has prepared."""
    done = subprocess.run(
        [*before, sys.executable, "-c", python, *map(str, (folder, *words))],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.split("\n")[-2])
    return *found, done.stderr.strip().split("\n")[-1]


@cache
def own_mounts():
    """True where a user may mount: in a namespace of his own."""
    line = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(line, capture_output=True).returncode == 0
    except OSError:
        return False


def mounted(line, folder):
    """Return the beginning of a command that sees a mount on a folder."""
    if not own_mounts():
        pytest.skip("no mounts for users here; other tests need none")
    script = f'{line} "$0" && exec "$@"'
    return ["unshare", "-rm", "sh", "-c", script, str(folder)]


def test_a_full_file_system_ends_a_run_and_spares_its_checkpoints(
    tmp_path, text
):
    disk = tmp_path / "disk"
    disk.mkdir()
    code, before, after, names, said = in_child(
        mounted("mount -t tmpfs -o size=200k tmpfs", disk),
        disk / "run", "train", disk / "run", *FLAGS, "--text", text,
        "--save-every", 4, "--sample-every", 10, "--keep", 100,
    )  # fmt: skip
    assert (code, before) == (2, None)
    assert "No space left" in said
    assert str(disk / "run") in said
    kept = [name for name in names if name.startswith("step-")]
    assert 1 < len(kept) < 10
    assert after == int(kept[-1].removeprefix("step-"))
    assert not [name for name in names if name.endswith(".tmp")]


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
"""


@pytest.mark.skipif(os.name == "nt", reason="limits are of POSIX")
def test_a_limit_on_files_ends_a_run_and_spares_its_checkpoint(tmp_path, text):
    made = Run.new(tmp_path / "run", SMALL, TEXT)
    for _ in range(3):
        made.trainer.train_step()
    made.save()
    code, before, after, names, said = in_child(
        [], made.folder, "resume", made.folder, "--text", text,
        "--save-every", 1, python=LIMITED + CHILD,
    )  # fmt: skip
    assert (code, before, after) == (2, 3, 3)
    assert "step-00000004 cannot be written" in said
    assert "too large" in said
    assert [n for n in names if n.startswith("step-")] == ["step-00000003"]


# -- a folder that takes nothing


def test_a_file_where_the_folder_should_be_is_named(
    tmp_path, text, run, capsys
):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    for folder in (taken, taken / "run"):
        said = refused(capsys, "train", folder, *FLAGS, "--text", text)
        assert str(folder) in said
        assert "cannot be written" in said
    for target in (taken, taken / "hf"):
        assert str(taken) in refused(capsys, "export", run.folder, target)
    assert taken.read_text() == "mine"
    loads(run.folder, 4)


def test_a_folder_that_may_only_be_read_is_named_and_read(
    tmp_path, text, run, capsys
):
    made = Run.new(tmp_path / "locked", SMALL, TEXT)
    made.trainer.train_step()
    made.save()
    made.folder.chmod(0o555)
    try:
        # to root, and on Windows, such a folder is like any other
        if os.access(made.folder, os.W_OK) or os.name == "nt":
            pytest.skip("permissions do not bind here; see the next test")
        words = ["resume", made.folder, "--text", text]
        said = refused(capsys, *words)
        assert str(made.folder) in said
        assert "Permission denied" in said
        loads(made.folder, 1)
    finally:
        made.folder.chmod(0o755)


def test_a_file_system_that_may_only_be_read_is_named_and_read(tmp_path, text):
    made = Run.new(tmp_path / "run", SMALL, TEXT)
    made.trainer.train_step()
    made.save()
    line = 'mount --bind "$0" "$0" && mount -o remount,ro,bind'
    code, before, after, names, said = in_child(
        mounted(line, made.folder),
        made.folder, "resume", made.folder, "--text", text,
    )  # fmt: skip
    assert (code, before, after) == (2, 1, 1)
    assert "Read-only file system" in said
    assert str(made.folder) in said
    assert names == ["step-00000001"]
    with torch.no_grad():
        loads(made.folder, 1)
