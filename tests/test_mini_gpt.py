"""The capstone: model, run, command line, and the way to Hugging Face."""

import json
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from handmade.inference.cache import KVCache
from handmade.inference.generate import generate
from handmade.training import mini_gpt
from handmade.training.characters import Alphabet
from handmade.training.checkpoint import load_checkpoint
from handmade.training.metrics import read_metrics
from handmade.training.mini_gpt import Run
from handmade.training.mini_gpt_command import main
from handmade.training.mini_gpt_model import MiniGPT, MiniGPTConfig, attend
from handmade.training.mini_gpt_settings import Settings, settings_of
from handmade.training.mini_gpt_text import write_text

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 40
SMALL = Settings(
    steps=8, d_model=12, n_layers=2, n_heads=2, d_ff=20, max_seq_len=16,
    batch_size=3, precision="float32",
)  # fmt: skip
EVERY = {"save_every": 3, "sample_every": 4, "quiet": True}


def random_model(dtype=torch.float64, **sizes):
    torch.manual_seed(3)
    sizes = {
        "vocab_size": 31, "d_model": 24, "n_layers": 3, "n_heads": 2,
        "d_ff": 40, "max_seq_len": 20,
    } | sizes  # fmt: skip
    model = MiniGPT(MiniGPTConfig(**sizes)).to(dtype).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model


@pytest.fixture
def whole_norms(monkeypatch):
    """NanoChat's norms round to float32 whatever they are given: not here."""
    from transformers.models.nanochat import modeling_nanochat as theirs

    monkeypatch.setattr(
        theirs.NanoChatRMSNorm, "forward", lambda self, x: self._norm(x)
    )


@pytest.mark.parametrize("n_heads", [1, 2, 3])
def test_the_exported_model_has_the_same_logits(whole_norms, n_heads):
    model = random_model(n_heads=n_heads)
    hf_model = model.to_hf()
    for T in (1, 7, 20):
        ids = torch.randint(
            31, (3, T), generator=torch.Generator().manual_seed(T)
        )
        with torch.no_grad():
            gap = (model(ids) - hf_model(ids).logits).abs().max()
        assert gap < 1e-12


def test_the_exported_model_has_the_same_logits_in_float32():
    model = random_model(torch.float32)
    ids = torch.randint(
        31, (3, 20), generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        ours, theirs = model(ids), model.to_hf()(ids).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(whole_norms, side):
    model = random_model()
    hf_model = model.to_hf()
    g = torch.Generator().manual_seed(1)
    ids = torch.randint(31, (4, 9), generator=g)
    mask = torch.ones_like(ids)
    for row, n in enumerate((0, 1, 4, 8)):
        mask[row, slice(0, n) if side == "left" else slice(9 - n, 9)] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        ours = model(ids, mask)
        theirs = hf_model(
            ids, attention_mask=mask, position_ids=positions
        ).logits
        for row in range(4):
            real = mask[row].bool()
            alone = model(ids[row][real][None])[0]
            torch.testing.assert_close(
                ours[row][real], alone, rtol=0, atol=1e-12
            )
    gap = (ours - theirs)[mask.bool()].abs().max()
    assert gap < 1e-12


def test_a_cache_changes_nothing():
    model = random_model()
    ids = torch.randint(
        31, (2, 12), generator=torch.Generator().manual_seed(2)
    )
    with torch.no_grad():
        whole = model(ids)
        for first in (1, 5, 11):
            cache = KVCache()
            parts = [model(ids[:, :first], cache=cache)]
            parts += [
                model(ids[:, i : i + 1], cache=cache) for i in range(first, 12)
            ]
            torch.testing.assert_close(
                torch.cat(parts, 1), whole, rtol=0, atol=1e-12
            )
    fast = generate(model, ids, max_new_tokens=6)
    assert torch.equal(
        fast, generate(model, ids, max_new_tokens=6, use_cache=False)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("T", [1, 5, 140])
def test_both_ways_of_attending_are_one(dtype, T):
    g = torch.Generator().manual_seed(4)
    q, k, v = (
        torch.randn(2, 3, n, 8, generator=g, dtype=dtype)
        for n in (T, T + 2, T + 2)
    )
    mask = torch.ones(T, T + 2, dtype=torch.bool).tril(2)
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask)
    torch.testing.assert_close(attend(q, k, v, mask), want)
    half = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask)
    torch.testing.assert_close(half.to(dtype), want, rtol=0, atol=0.05)
    torch.testing.assert_close(
        attend(q, k, v),
        torch.nn.functional.scaled_dot_product_attention(q, k, v),
    )


def test_an_untrained_model_finds_all_characters_equally_likely():
    run = Run.new("unused", SMALL, TEXT)
    n = len(run.alphabet)
    assert run.validation_loss() == pytest.approx(
        torch.tensor(float(n)).log().item(), abs=1e-6
    )


def test_a_run_learns_and_leaves_what_it_says(tmp_path):
    settings = replace(SMALL, steps=30)
    run = Run.new(tmp_path / "run", settings, TEXT)
    before = run.validation_loss()
    loss = run.go(save_every=10, sample_every=15, quiet=True)
    assert loss < before - 0.5
    log = read_metrics(tmp_path / "run" / "log.jsonl")
    assert [line["step"] for line in log] == list(range(31))
    assert log[-1]["validation_loss"] == loss
    samples = read_metrics(tmp_path / "run" / "samples.jsonl")
    assert [line["step"] for line in samples] == [0, 15, 30]
    assert all(len(line["text"]) == 201 for line in samples)
    model, alphabet = mini_gpt.load_model(tmp_path / "run")
    ids = run.judged[None, :17]
    with torch.no_grad():
        assert torch.equal(model(ids[:, :-1]), run.trainer.model(ids[:, :-1]))
    assert alphabet == run.alphabet


def test_how_often_it_is_looked_at_does_not_change_a_run(tmp_path):
    ends = []
    for name, every in (("a", 2), ("b", 8)):
        run = Run.new(tmp_path / name, SMALL, TEXT)
        run.go(save_every=every, sample_every=every, quiet=True)
        ends.append([p.detach() for p in run.trainer.model.parameters()])
    assert all(map(torch.equal, *ends))


TRAIN = """
import sys
from handmade.training.mini_gpt_command import main
main(sys.argv[1:])
"""
FLAGS = [
    "--steps", "40", "--d-model", "12", "--n-layers", "2", "--n-heads", "2",
    "--d-ff", "20", "--max-seq-len", "16", "--batch-size", "3",
    "--precision", "float32",
]  # fmt: skip


def command(*words):
    return [sys.executable, "-c", TRAIN, *map(str, words)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX")
def test_a_killed_run_goes_on_to_the_same_end(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    often = ["--text", text, "--save-every", 1, "--sample-every", 20]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    words = ["train", killed, *FLAGS, *often]
    with subprocess.Popen(
        command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        while run.poll() is None:
            if len(read_metrics(killed / "log.jsonl")) > 7:
                run.send_signal(signal.SIGKILL)
                break
        run.communicate()
    assert load_checkpoint(killed).step < 40
    for words in (
        ["resume", killed, *often],
        ["train", whole, *FLAGS, *often],
    ):
        subprocess.run(command(*words), check=True, capture_output=True)
    one, two = load_checkpoint(killed), load_checkpoint(whole)
    assert one.step == two.step == 40
    assert one.tensors.keys() == two.tensors.keys()
    for name, x in one.tensors.items():
        assert torch.equal(x, two.tensors[name]), name
    for name in ("log.jsonl", "samples.jsonl"):
        assert (killed / name).read_text() == (whole / name).read_text()


def test_samples_go_on_beyond_the_models_length():
    model = random_model(torch.float32)
    alphabet = Alphabet.of("abcdefghijklmnopqrstuvwxyz \n.,:")
    for prompt in ("a", "abc " * 9):
        text = write_text(model, alphabet, prompt, 50)
        assert text.startswith(prompt)
        assert len(text) == len(prompt) + 50
    cold = [
        write_text(model, alphabet, "a", 9, temperature=0, seed=seed)
        for seed in (1, 2)
    ]
    assert cold[0] == cold[1]
    assert write_text(model, alphabet, "a", 40, seed=1) != (
        write_text(model, alphabet, "a", 40, seed=2)
    )


def test_the_export_loads_in_transformers(tmp_path):
    from transformers import AutoModelForCausalLM

    run = Run.new(tmp_path / "run", SMALL, TEXT)
    run.go(**EVERY)
    target = mini_gpt.export(tmp_path / "run", tmp_path / "hf")
    hf_model = AutoModelForCausalLM.from_pretrained(target)
    ids = run.judged[None, :16]
    run.trainer.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(
            hf_model(ids).logits, run.trainer.model(ids), rtol=1e-4, atol=1e-5
        )
    found = json.loads((target / "alphabet.json").read_text())
    assert found == {"characters": run.alphabet.characters}
    with pytest.raises(ValueError, match="target: got"):
        mini_gpt.export(tmp_path / "run", target)


REFUSED = {
    "an empty text": ({"text": ""}, ["train", "new"], "text"),
    "a text shorter than a window": (
        {"text": "short text"}, ["train", "new"], "text: got 10 char",
    ),
    "a run that is there": ({}, ["train", "run"], "holds a run"),
    "no run": ({}, ["resume", "none"], "got none"),
    "another text": ({"text": "0123456789" * 90}, ["resume", "run"], "other"),
    "an unknown character": ({}, ["sample", "run", "--prompt", "€"], "'€'"),
    "an empty prompt": ({}, ["sample", "run", "--prompt", ""], "prompt"),
    "a negative temperature": (
        {}, ["sample", "run", "--temperature", "-1"], "temperature",
    ),
    "two lengths": ({}, ["train", "new", "--seconds", "9"], "seconds"),
    "a width that no heads share": (
        {}, ["train", "new", "--n-heads", "5"], "n_heads",
    ),
    "an unknown precision": (
        {}, ["train", "new", "--precision", "int8"], "precision",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_a_wrong_word_is_one_clear_line(tmp_path, capsys, what):
    Run.new(tmp_path / "run", SMALL, TEXT).save()
    change, words, said = REFUSED[what]
    (tmp_path / "text.txt").write_text(change.get("text", TEXT))
    name, folder, *rest = words
    line = [name, str(tmp_path / folder)]
    if name != "sample":
        line += ["--text", str(tmp_path / "text.txt")]
    if name == "train":
        rest = [*FLAGS, *rest]
    with pytest.raises(SystemExit) as stopped:
        main([*line, *rest])
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "new").exists()
    assert load_checkpoint(tmp_path / "run").step == 0


def test_help_names_every_setting_and_its_default(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for name, value in vars(Settings()).items():
        assert f"--{name.replace('_', '-')}" in said
        assert f"(default: {value})" in said


def test_sample_writes_and_train_says_the_loss(tmp_path, capsys):
    (tmp_path / "text.txt").write_text(TEXT)
    words = ["--text", str(tmp_path / "text.txt")]
    main(["train", str(tmp_path / "run"), *FLAGS, *words])
    assert "validation loss" in capsys.readouterr().out
    main(["sample", str(tmp_path / "run"), "--prompt", "the", "--length", "9"])
    assert len(capsys.readouterr().out.removesuffix("\n")) == 12


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    run = Run.new(tmp_path, SMALL, TEXT)
    run.save()
    found = load_checkpoint(tmp_path)
    found.settings["new"] = 1
    with pytest.raises(ValueError, match="new"):
        settings_of(found)
