"""Checkpoints: whole or absent, and a resumed run is the same run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from handmade.training.checkpoint import (
    load_checkpoint,
    restore,
    save_checkpoint,
)
from handmade.training.loop import Trainer
from handmade.training.optimizers import Muon
from torch import nn

SETTINGS = {"width": 3, "betas": (0.9, 0.95)}


def trainer(kind="adamw", seed=0):
    """A net with dropout: its next step depends on every random state."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.4), nn.Linear(5, 2))
    params = list(model.parameters())
    groups = [
        {"params": params[::2], "lr": 0.02},
        {"params": params[1::2], "lr": 0.01, "rule": "adamw"},
    ]
    optimizer = {
        "adamw": lambda: torch.optim.AdamW(params, lr=0.01),
        "sgd": lambda: torch.optim.SGD(params, lr=0.01),
        "muon": lambda: Muon(groups),
    }[kind]()

    def draw(generator):
        x = torch.randn(6, 3, generator=generator)
        return x, x[:, :2].sin()

    return Trainer(
        model,
        optimizer,
        draw,
        lambda model, x, y: ((model(x) - y) ** 2).mean(),
        generator=torch.Generator().manual_seed(seed),
        schedule=lambda step: 1 - step / 20,
        max_norm=0.5,
    )


@pytest.mark.parametrize("kind", ["adamw", "muon", "sgd"])
@pytest.mark.parametrize("stop", [0, 1, 7])
def test_a_resumed_run_is_the_same_run_to_the_last_bit(tmp_path, kind, stop):
    whole = trainer(kind)
    log = whole.run(12)
    after = torch.get_rng_state()

    first = trainer(kind)
    head = first.run(stop)
    save_checkpoint(tmp_path, first, SETTINGS)
    first.run(9)  # what a killed run did since is lost, and does not matter
    torch.manual_seed(99)

    second = trainer(kind, seed=5)
    restore(second, load_checkpoint(tmp_path), SETTINGS)
    assert second.step == stop
    assert head + second.run(12) == log
    for ours, theirs in zip(
        second.model.parameters(), whole.model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert torch.equal(
        second.generator.get_state(), whole.generator.get_state()
    )
    assert torch.equal(torch.get_rng_state(), after)


def test_the_last_few_are_kept_and_the_newest_is_read(tmp_path):
    run = trainer()
    for _ in range(5):
        run.train_step()
        save_checkpoint(tmp_path, run, SETTINGS, keep=2, extra={"best": 1.5})
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["step-00000004", "step-00000005"]
    found = load_checkpoint(tmp_path)
    assert (found.step, found.extra) == (5, {"best": 1.5})


def test_the_same_step_may_be_saved_again(tmp_path):
    run = trainer()
    save_checkpoint(tmp_path, run, SETTINGS, extra={"n": 1})
    save_checkpoint(tmp_path, run, SETTINGS, extra={"n": 2})
    assert load_checkpoint(tmp_path).extra == {"n": 2}
    assert len(list(tmp_path.iterdir())) == 1


def flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "a bit flipped": lambda folder: flip(folder / "state.safetensors"),
    "cut": lambda folder: os.truncate(folder / "state.safetensors", 100),
    "empty": lambda folder: os.truncate(folder / "state.json", 0),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "no tensors": lambda folder: (folder / "state.safetensors").unlink(),
    "a number changed": lambda folder: (folder / "state.json").write_text(
        (folder / "state.json").read_text().replace('"step": 2', '"step": 3')
    ),
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_damaged_one_is_named_and_the_one_before_it_taken(tmp_path, damage):
    run = trainer()
    run.train_step()
    save_checkpoint(tmp_path, run, SETTINGS)
    run.train_step()
    DAMAGES[damage](save_checkpoint(tmp_path, run, SETTINGS))
    with pytest.warns(UserWarning, match="step-00000002"):
        assert load_checkpoint(tmp_path).step == 1


def test_none_that_is_whole_is_refused(tmp_path):
    with pytest.raises(ValueError, match="got none"):
        load_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="got none"):
        load_checkpoint(tmp_path / "never")
    flip(save_checkpoint(tmp_path, trainer(), SETTINGS) / "state.json")
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(ValueError, match="1 damaged"),
    ):
        load_checkpoint(tmp_path)


def test_a_run_of_other_settings_is_refused_by_name(tmp_path):
    save_checkpoint(tmp_path, trainer(), SETTINGS)
    found = load_checkpoint(tmp_path)
    other = trainer(seed=3)
    before = [p.clone() for p in other.model.parameters()]
    for settings, said in (
        (SETTINGS | {"width": 4}, "width 3 there, 4 here"),
        ({"width": 3}, "betas"),
        (SETTINGS | {"seed": None}, "seed"),
    ):
        with pytest.raises(ValueError, match=said):
            restore(other, found, settings)
    assert all(map(torch.equal, before, other.model.parameters()))


def test_other_tensors_are_refused_by_name(tmp_path):
    save_checkpoint(tmp_path, trainer(), SETTINGS)
    found = load_checkpoint(tmp_path)
    other = trainer()
    other.model.append(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"3\.weight missing"):
        restore(other, found, SETTINGS)
    other = trainer()
    other.model[0] = nn.Linear(4, 5)
    with pytest.raises(ValueError, match=r"0\.weight .*instead of"):
        restore(other, found, SETTINGS)
    with pytest.raises(ValueError, match="groups"):
        restore(trainer("muon"), found, SETTINGS)


def test_settings_that_json_cannot_hold_are_refused(tmp_path):
    with pytest.raises(ValueError, match="settings"):
        save_checkpoint(tmp_path / "a", trainer(), {"x": object()})
    assert not (tmp_path / "a").exists()


def test_a_place_that_takes_no_files_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written"):
        save_checkpoint(tmp_path / "file", trainer(), SETTINGS)


def test_a_full_disk_leaves_the_earlier_one(tmp_path, monkeypatch):
    run = trainer()
    save_checkpoint(tmp_path, run, SETTINGS)
    run.train_step()

    def full(tensors, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("handmade.training.checkpoint.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, run, SETTINGS)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000000"]
    assert load_checkpoint(tmp_path).step == 0


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from test_checkpoint import SETTINGS, trainer
from handmade.training.checkpoint import save_checkpoint
run = trainer("muon")
while True:
    run.train_step()
    save_checkpoint(sys.argv[2], run, SETTINGS, keep=2)
    print(run.step, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is of POSIX")
def test_a_run_killed_at_any_moment_goes_on_as_if_it_had_not_been(tmp_path):
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", KILLED, here, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        for line in run.stdout:
            if int(line) == 5:
                run.send_signal(signal.SIGKILL)  # within the next step or save
                break
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none of them is damaged
        found = load_checkpoint(tmp_path)
    assert found.step >= 5
    resumed = trainer("muon", seed=8)
    restore(resumed, found, SETTINGS)
    resumed.run(found.step + 4)
    whole = trainer("muon")
    whole.run(found.step + 4)
    assert all(
        map(torch.equal, resumed.model.parameters(), whole.model.parameters())
    )
    save_checkpoint(tmp_path, resumed, SETTINGS, keep=1)
    assert len(list(tmp_path.iterdir())) == 1  # what was half written is gone


def test_keys_of_another_version_are_refused(tmp_path):
    from handmade.manifest import write_manifest

    folder = save_checkpoint(tmp_path, trainer(), SETTINGS)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"new": 1}))
    (folder / "manifest.json").unlink()
    write_manifest(folder)
    with (
        pytest.warns(UserWarning, match="new"),
        pytest.raises(ValueError, match="damaged"),
    ):
        load_checkpoint(tmp_path)
    shutil.rmtree(folder)
