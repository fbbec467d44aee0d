"""One run in one process and in two: the same losses, whatever dies.

Processes are started by torchrun, two at most, with one thread each and a
time after which all are killed.
"""

import json
import shutil
import warnings
from dataclasses import asdict

import psutil
import pytest
import torch
import torch.distributed as dist
from handmade.manifest import write_manifest
from handmade.models.llama import Llama, LlamaConfig
from handmade.training.checkpoint import load_checkpoint, save_checkpoint
from handmade.training.many import (
    WAYS,
    Job,
    make_together,
    planted_fault,
    share_of_loss,
    spread,
    train_together,
)
from handmade.training.many_command import main
from handmade.training.metrics import read_metrics
from handmade.training.shards import (
    load_shards,
    restore_shards,
    save_shards,
)
from handmade.training.tensor_parallel import split_layers
from handmade.training.torchrun import torchrun
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.debug import CommDebugMode
from torch.testing._internal.distributed.fake_pg import FakeStore

MANY = "handmade.training.many"
JOB = Job(steps=6, batch_size=7, accumulate=2)
FLAGS = ("--steps", "6", "--batch-size", "7", "--accumulate", "2")


def losses(folder):
    return [
        (line["loss"], line["grad_norm"])
        for line in read_metrics(folder / "metrics.jsonl")
    ]


def apart(got, want):
    pairs = zip(got, want, strict=True)
    return max(abs(a - b) for one in pairs for a, b in zip(*one, strict=True))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run in this process: its losses, and its folder."""
    folder = tmp_path_factory.mktemp("one")
    train_together(folder, JOB, save_every=2)
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """All ways, one after another, in two processes."""
    folder = tmp_path_factory.mktemp("two")
    done = torchrun(
        MANY, str(folder), "--how", *WAYS[1:], *FLAGS, "--save-every", "2"
    )
    assert done.returncode == 0, done.stdout
    return folder


@pytest.mark.parametrize("how", WAYS[1:])
def test_two_processes_have_the_losses_of_one(how, alone, two):
    """Seven rows for two, of any length, two batches a step, clipped."""
    want = losses(alone)
    assert len(want) == JOB.steps
    assert min(norm for _, norm in want) > JOB.max_norm  # it was clipped
    assert apart(losses(two / how), want) < 1e-5


@pytest.mark.parametrize("how", WAYS[1:])
def test_what_two_have_saved_one_reads(how, alone, two, tmp_path):
    whole = load_shards(alone)
    joined = load_shards(two / how)
    assert joined.step == whole.step == JOB.steps
    assert joined.settings == whole.settings == asdict(JOB)
    assert joined.tensors.keys() == whole.tensors.keys()
    for name, x in whole.tensors.items():
        torch.testing.assert_close(
            joined.tensors[name], x, rtol=1e-3, atol=1e-4
        )
    folder = two / how / f"step-{JOB.steps:08d}"
    parts = sorted(path.name for path in folder.glob("*.safetensors"))
    assert parts == [
        f"shard-{rank:05d}-of-00002.safetensors" for rank in (0, 1)
    ]
    sizes = [(folder / part).stat().st_size for part in parts]
    if how == "fsdp":
        assert max(sizes) < 0.6 * sum(sizes)
    if how in ("ddp", "accelerate"):  # what both have, one writes
        assert sizes[1] < 0.01 * sizes[0]


def test_a_run_goes_on_in_another_number_of_processes(alone, two, tmp_path):
    """Saved on two, resumed on one, from the middle: the same end."""
    shutil.copytree(two / "fsdp", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / f"step-{JOB.steps:08d}")
    again = train_together(tmp_path / "run", JOB)
    assert len(again) == 2  # from step 4
    got = [(step.loss, step.grad_norm) for step in again]
    assert apart(got, losses(alone)[-2:]) < 1e-5
    assert len(losses(tmp_path / "run")) == JOB.steps  # none stands twice


def test_one_process_resumes_to_the_last_bit(alone, tmp_path):
    train_together(tmp_path, JOB, save_every=4)
    first = losses(tmp_path)
    assert first == losses(alone)
    train_together(tmp_path, JOB)
    assert losses(tmp_path) == first
    # and a checkpoint of the other kind does as well
    trainer = make_together(JOB)
    trainer.run(3)
    save_checkpoint(tmp_path / "plain", trainer, asdict(JOB))
    steps = train_together(tmp_path / "plain", JOB)
    assert [(s.loss, s.grad_norm) for s in steps] == first[3:]


def test_a_damaged_part_is_told_and_the_one_before_is_taken(alone, tmp_path):
    for spoil in ("flip", "lose"):
        folder = tmp_path / spoil
        shutil.copytree(alone, folder)
        path = next((folder / "step-00000006").glob("*.safetensors"))
        if spoil == "lose":
            path.unlink()
        else:
            data = bytearray(path.read_bytes())
            data[-1] ^= 1
            path.write_bytes(data)
        with pytest.warns(UserWarning, match="got a damaged checkpoint"):
            assert load_shards(folder).step == 4
    shutil.rmtree(tmp_path / "lose" / "step-00000004")
    shutil.rmtree(tmp_path / "lose" / "step-00000002")
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(ValueError, match="got 1 damaged ones, want a whole"),
    ):
        load_shards(tmp_path / "lose")
    with pytest.raises(ValueError, match="got none, want a whole"):
        load_shards(tmp_path / "nothing")


def test_a_part_that_the_manifest_allows_but_is_not_all_is_refused(
    alone, tmp_path
):
    folder = tmp_path / "step-00000006"
    shutil.copytree(alone / "step-00000006", folder)
    path = next(folder.glob("shard-*.json"))
    places = json.loads(path.read_text())
    name = "model.norm.weight"
    places[name] = {"shape": [96], "axis": 0, "start": 48}
    path.write_text(json.dumps(places))
    (folder / "manifest.json").unlink()
    write_manifest(folder)
    with (
        pytest.warns(UserWarning, match=f"got no whole .'{name}'"),
        pytest.raises(ValueError, match="1 damaged"),
    ):
        load_shards(tmp_path)


def test_settings_of_another_run_are_named(alone):
    trainer = make_together(JOB)
    with pytest.raises(ValueError, match="lr"):
        restore_shards(trainer, load_shards(alone), asdict(JOB) | {"lr": 0.1})


def test_a_folder_that_cannot_be_written_leaves_what_was(alone, tmp_path):
    trainer = make_together(JOB)
    (tmp_path / "run").mkdir()
    save_shards(tmp_path / "run", trainer, asdict(JOB))
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="Earlier ones are as they were"):
        save_shards(tmp_path / "file", trainer, asdict(JOB))
    assert load_shards(tmp_path / "run").step == 0
    with (
        pytest.warns(UserWarning, match="does not load"),
        pytest.raises(ValueError, match="damaged"),
    ):  # the other reader says so, and reads nothing of it
        load_checkpoint(tmp_path / "run")


def test_shares_add_up_to_the_mean_over_tokens():
    trainer = make_together(JOB)
    ids, lengths = trainer.draw(torch.Generator().manual_seed(5))
    assert len(set(lengths.tolist())) > 2
    model = trainer.model.double()
    whole = share_of_loss(model, ids, lengths)
    logp = model(ids[:, :-1]).log_softmax(-1)
    want = [
        -logp[row, t, ids[row, t + 1]]
        for row, n in enumerate(lengths.tolist())
        for t in range(n)
    ]
    torch.testing.assert_close(whole, torch.stack(want).mean())
    for size in (2, 3, 7):
        shares = [
            share_of_loss(model, ids, lengths, rank, size)
            for rank in range(size)
        ]
        torch.testing.assert_close(torch.stack(shares).mean(), whole)


def test_a_way_that_needs_others_is_refused_alone():
    with pytest.raises(ValueError, match="how: got 'ddp' in a process of"):
        spread(make_together(JOB).model, "ddp")
    with pytest.raises(ValueError, match="how: got 'horovod', want one of"):
        make_together(JOB, "horovod")


def test_a_fault_is_planted_for_the_first_attempt(monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    planted_fault(None, 3)(1)
    assert not slept
    planted_fault(None, 3)(2)  # the third step
    assert len(slept) == 1
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    planted_fault(None, 3)(2)
    assert len(slept) == 1


@pytest.mark.slow
def test_a_killed_process_ends_the_run_which_goes_on_later(alone, tmp_path):
    flags = (MANY, str(tmp_path), "--how", "fsdp", *FLAGS, "--save-every", "2")
    done = torchrun(*flags, "--kill-after", "5")
    assert done.returncode != 0
    assert "Signal 9 (SIGKILL)" in done.stdout
    assert load_shards(tmp_path / "fsdp").step == 4
    assert len(losses(tmp_path / "fsdp")) == 5
    done = torchrun(*flags, processes=1)
    assert done.returncode == 0, done.stdout
    assert apart(losses(tmp_path / "fsdp"), losses(alone)) < 1e-5


@pytest.mark.slow
def test_torchrun_starts_killed_processes_again(alone, tmp_path):
    done = torchrun(
        MANY, str(tmp_path), "--how", "ddp", *FLAGS, "--save-every", "2",
        "--kill-after", "5", restarts=1,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert apart(losses(tmp_path / "ddp"), losses(alone)) < 1e-5


@pytest.mark.slow
def test_a_process_that_hangs_is_not_waited_for(tmp_path):
    done = torchrun(
        MANY, str(tmp_path), "--how", "ddp", *FLAGS, "--hang-after", "2",
        "--patience", "4",
    )  # fmt: skip
    assert done.returncode != 0
    assert "many: process 0 of 2 lost another one after 2 steps" in done.stdout


@pytest.mark.slow
def test_a_layer_that_is_cut_equals_the_whole_one():
    done = torchrun("handmade.training.tensor_parallel")
    assert done.returncode == 0, done.stdout
    line = next(x for x in done.stdout.splitlines() if x.startswith("{"))
    found = json.loads(line)
    assert len(found) == 1 + 3 + 3 * 9  # logits, ends, blocks
    assert max(found.values()) < 1e-10


@pytest.mark.parametrize("n_layers", [1, 3])
def test_a_cut_block_adds_up_twice_forward_and_five_times_backward(n_layers):
    """Besides: the table of tokens forward, what enters the head backward."""
    config = LlamaConfig(
        vocab_size=62, d_model=40, n_layers=n_layers, n_heads=6, n_kv_heads=2,
        d_head=8, d_ff=44, max_seq_len=32,
    )  # fmt: skip
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        model = split_layers(Llama(config), init_device_mesh("cpu", (2,)))
        with CommDebugMode() as forward:
            loss = model(torch.randint(62, (3, 17))).sum()
        # its hooks warn: ids need no gradient
        with (
            warnings.catch_warnings(action="ignore"),
            CommDebugMode() as backward,
        ):
            loss.backward()
    finally:
        dist.destroy_process_group()
    sums = torch.ops.c10d_functional.all_reduce
    assert forward.get_comm_counts()[sums] == 2 * n_layers + 1
    assert backward.get_comm_counts()[sums] == 5 * n_layers + 1


@pytest.mark.parametrize("timeout", [2, 12])
def test_processes_that_do_not_end_are_killed(timeout, tmp_path):
    """The launcher alone, and what it has started by then."""
    words = "http.server", "0", "--directory", str(tmp_path)
    with pytest.raises(RuntimeError, match=f"killed after {timeout} seconds"):
        torchrun(*words, processes=1, timeout=timeout)
    left = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
    assert not any(str(tmp_path) in words for words in left)


@pytest.mark.parametrize(
    ("words", "given", "message"),
    [
        ((), {}, "words: got none, want a module's name"),
        ((3,), {}, "words: got an int, want a str"),
        (("this",), {"processes": 0}, "processes: got 0, want a whole"),
        (("this",), {"restarts": -1}, "restarts: got -1, want a whole"),
        (("this",), {"timeout": 0}, "timeout: got 0, want a finite"),
    ],
)
def test_what_cannot_be_started_is_refused(words, given, message):
    with pytest.raises(ValueError, match=message):
        torchrun(*words, **given)


def test_what_is_wrong_is_one_line(tmp_path):
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), "--how", "ddp"])
    assert stopped.value.code == 2
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), "--batch-size", "0"])
    assert stopped.value.code == 2
