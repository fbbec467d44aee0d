"""Loading as `from_pretrained` does, held to `from_pretrained` itself.

Every checkpoint here is written by transformers with random weights and sizes
that all differ, and read once by transformers and once by us. The other way,
what `to_hf` writes is read by plain transformers in a process that cannot
import this package.
"""

import json
import subprocess
import sys

import pytest
import torch
import transformers
from handmade.models.gpt2 import GPT2
from handmade.models.hugging_face import (
    CLASSES,
    class_of,
    from_pretrained,
    read_config_file,
)
from handmade.models.llama import Llama
from handmade.models.shards import INDEX
from hf_helpers import GPT_2, LLAMA, batch, drawn
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

# our class, theirs, its config: a model that comes later is one line more
KINDS = {
    "llama": (Llama, transformers.LlamaForCausalLM, LLAMA),
    "gpt2": (GPT2, transformers.GPT2LMHeadModel, GPT_2),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def reference(kind, seed=0):
    _, theirs, config = KINDS[kind]
    return drawn(theirs, config, seed)


# -- reading: from_pretrained


@each_kind
@pytest.mark.parametrize("shard", ["1GB", "5kB"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_gives_the_model_that_transformers_loads(
    kind, shard, dtype, tmp_path
):
    reference(kind).save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / INDEX).exists() == (shard == "5kB")
    ours = from_pretrained(tmp_path, dtype=dtype)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=dtype, attn_implementation="sdpa"
    )
    assert type(ours) is KINDS[kind][0]
    assert not ours.training
    for pad in ("left", "right"):
        ids, mask, positions = batch(KINDS[kind][2].vocab_size, pad)
        with torch.no_grad():
            got = ours(ids, mask)
            want = theirs(
                ids, attention_mask=mask, position_ids=positions
            ).logits
        assert got.dtype == dtype
        real = mask.bool()
        atol = 1e-10 if dtype == torch.float64 else 1e-5
        # transformers' Llama takes norms and angles in float32 in both
        assert_close(got[real], want[real], rtol=0, atol=atol)


@each_kind
def test_the_dtype_is_asked_for_or_the_configs_or_the_tensors(kind, tmp_path):
    reference(kind).to(torch.bfloat16).save_pretrained(tmp_path)
    auto = transformers.AutoModelForCausalLM

    def both(**asked):
        theirs = auto.from_pretrained(
            tmp_path, dtype=asked.get("dtype", "auto")
        )
        ours = from_pretrained(tmp_path, **asked)
        dtypes = {p.dtype for p in ours.parameters()}
        assert dtypes == {p.dtype for p in theirs.parameters()}
        return dtypes

    assert both() == {torch.bfloat16}
    assert both(dtype=torch.float32) == {torch.float32}
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "dtype": "float16"}))
    assert both() == {torch.float16}
    del config["dtype"]
    path.write_text(json.dumps(config))
    assert both() == {torch.bfloat16}
    path.write_text(json.dumps({**config, "torch_dtype": "float32"}))
    assert both() == {torch.float32}


@pytest.mark.parametrize("name", ["float33", "int8", 7])
def test_a_dtype_that_is_none_is_refused(name, tmp_path):
    reference("llama").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "dtype": name}))
    with pytest.raises(ValueError, match=r"^dtype: got .* want"):
        from_pretrained(tmp_path)


def test_tied_weights_are_one_tensor_after_loading(tmp_path):
    """The file has one of the two names; a cast must not part them."""
    reference("gpt2").save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    for dtype in (None, torch.float64):
        model = from_pretrained(tmp_path, dtype=dtype)
        assert model.lm_head.weight is model.tok_emb.weight


def test_the_model_owns_its_weights(tmp_path):
    """The files are mapped: what training writes must not reach them."""
    reference("llama").save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    model = from_pretrained(tmp_path)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert from_pretrained(tmp_path).tok_emb.weight.any()
    assert all(p.requires_grad for p in model.parameters())


def test_a_missing_tensor_stops_us_and_not_transformers(tmp_path):
    reference("llama").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.3.mlp.up_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    _, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert info["missing_keys"] == {"model.layers.3.mlp.up_proj.weight"}
    with pytest.raises(
        ValueError, match=r"missing: model\.layers\.3\.mlp\.up"
    ):
        from_pretrained(tmp_path)


def test_what_is_no_folder_with_a_config_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"^folder: got .* want one with conf"
    ):
        from_pretrained(tmp_path)
    for text in ("", "{", "[1]", "\\"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=r"^config\.json: got .* want"):
            read_config_file(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"architectures": None},
        {"architectures": []},
        {"architectures": ["GPTJForCausalLM"]},
        {"architectures": ["LlamaForCausalLM", "GPT2LMHeadModel"]},
        {"architectures": "LlamaForCausalLM"},
    ],
)
def test_a_class_that_we_have_not_is_refused(config):
    with pytest.raises(
        ValueError, match=r"^architectures: got .* want one of"
    ):
        class_of(config)


def test_code_that_a_folder_brings_along_is_refused():
    """Whatever its other keys say: it is somebody's program."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"},
    }
    with pytest.raises(ValueError, match=r"^auto_map: got .* want no code"):
        class_of(config)
    for name in CLASSES:
        assert class_of({"architectures": [name]}) is CLASSES[name]


# -- writing: what to_hf gives loads without us

READER = """
import json, sys


class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "handmade":
            raise ModuleNotFoundError(f"blocked: {name}", name=name)


sys.meta_path.insert(0, Blocked())
import torch, transformers

for folder, name in json.loads(sys.argv[1]):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert type(model).__module__.startswith("transformers."), type(model)
    ids = torch.load(f"{folder}/ids.pt", weights_only=True)
    with torch.no_grad():
        logits = model(**ids).logits
    torch.save(logits, f"{folder}/{name}.pt")
assert not [name for name in sys.modules if name.startswith("handmade")]
"""


def test_what_to_hf_writes_loads_in_plain_transformers(tmp_path):
    """In a fresh process for all, in which this package cannot be imported."""
    folders, wants = [], {}
    for kind in KINDS:
        ours_class, _, config = KINDS[kind]
        ours = ours_class.from_hf(reference(kind, seed=1))
        folder = tmp_path / kind
        ours.to_hf().save_pretrained(folder)
        ids, mask, positions = batch(config.vocab_size)
        inputs = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": positions,
        }
        torch.save(inputs, folder / "ids.pt")
        with torch.no_grad():
            wants[folder] = ours(ids, mask), mask.bool()
        folders.append([str(folder), "logits"])
    done = subprocess.run(
        [sys.executable, "-c", READER, json.dumps(folders)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for folder, (want, real) in wants.items():
        got = torch.load(folder / "logits.pt", weights_only=True)
        assert_close(got[real], want[real], rtol=0, atol=1e-5)
