"""Checkpoints of several files: whole, or refused by the name of the fault.

The oracle for what is whole is `save_pretrained` of transformers, and torch
for the numbers; every fault is planted in such a folder.
"""

import json
import re

import pytest
import torch
from handmade.models.shards import INDEX, SINGLE, read_shards, shard_files
from handmade.weights.reference import random_reference
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

CONFIG = LlamaConfig(
    vocab_size=29,
    hidden_size=12,
    num_hidden_layers=5,
    num_attention_heads=3,
    num_key_value_heads=1,
    intermediate_size=20,
    head_dim=4,
    max_position_embeddings=16,
)


@pytest.fixture
def theirs():
    return random_reference(LlamaForCausalLM, CONFIG)


@pytest.fixture
def folder(theirs, tmp_path):
    theirs.save_pretrained(tmp_path, max_shard_size=5000)
    return tmp_path


def index(folder):
    return json.loads((folder / INDEX).read_text())


def rewrite(folder, change):
    found = index(folder)
    change(found["weight_map"])
    (folder / INDEX).write_text(json.dumps(found))


def files(folder):
    return sorted(set(index(folder)["weight_map"].values()))


def refused(folder, *parts):
    """Want one message for both functions, in the style of the house."""
    with pytest.raises(ValueError, match=r": got .*, want ") as caught:
        read_shards(folder)
    with pytest.raises(ValueError, match=re.escape(str(caught.value))):
        shard_files(folder)
    for part in parts:
        assert part in str(caught.value)


def test_all_shards_give_every_tensor_bit_for_bit(theirs, folder):
    assert len(files(folder)) > 2
    read = read_shards(folder)
    want = theirs.state_dict()
    assert read.keys() == want.keys()
    for name, tensor in want.items():
        assert torch.equal(read[name], tensor)
    found = shard_files(folder)
    assert [file.name for file in found] == files(folder)
    for file, names in found.items():
        assert sorted(names) == sorted(load_file(file))


def test_one_file_is_a_checkpoint_too(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    read = read_shards(str(tmp_path))
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(read[name], tensor)
    assert [*shard_files(tmp_path)] == [tmp_path / SINGLE]


def test_the_single_file_comes_first_as_in_transformers(theirs, folder):
    """A folder may hold an old index besides."""
    weights = {k: v + 1 for k, v in theirs.state_dict().items()}
    save_file(weights, folder / SINGLE, metadata={"format": "pt"})
    loaded = LlamaForCausalLM.from_pretrained(folder).state_dict()
    for name, tensor in read_shards(folder).items():
        assert torch.equal(tensor, loaded[name])


def test_tensors_keep_their_dtypes(tmp_path):
    weights = {
        "a": torch.ones(3, dtype=torch.bfloat16),
        "b": torch.arange(4),
        "c": torch.ones(2, 2, dtype=torch.float16),
    }
    save_file(weights, tmp_path / SINGLE)
    for name, tensor in read_shards(tmp_path).items():
        assert tensor.dtype == weights[name].dtype
        assert torch.equal(tensor, weights[name])


def test_a_missing_shard_is_named(folder):
    (folder / files(folder)[1]).unlink()
    refused(folder, files(folder)[1], "no such file")


@pytest.mark.parametrize("left", [0, 5, 100, -1])
def test_a_truncated_shard_is_named(folder, left):
    path = folder / files(folder)[-1]
    path.write_bytes(path.read_bytes()[:left])
    refused(folder, path.name, "a whole safetensors file")


def test_a_shard_of_something_else_is_named(folder):
    (folder / files(folder)[0]).write_bytes(b"version https://git-lfs\n" * 9)
    refused(folder, files(folder)[0])


def test_an_index_that_names_a_tensor_twice_is_refused(folder):
    """json.loads would keep the last of the two without a word."""
    text = (folder / INDEX).read_text()
    line = re.search(r'"model\.norm\.weight": "[^"]+"', text)[0]
    text = text.replace(line, f'{line}, "model.norm.weight": "other"')
    (folder / INDEX).write_text(text)
    refused(folder, "'model.norm.weight' twice")


def test_a_tensor_that_is_not_in_its_shard_is_named(folder):
    def move(weight_map):
        first = files(folder)[0]
        assert weight_map["model.norm.weight"] != first
        weight_map["model.norm.weight"] = first

    rewrite(folder, move)
    refused(folder, "model.norm.weight", files(folder)[0])


def test_a_tensor_that_no_shard_holds_is_named(folder):
    rewrite(folder, lambda m: m.update(ghost=files(folder)[0]))
    refused(folder, "ghost", files(folder)[0])


def test_a_tensor_that_the_index_leaves_out_is_named(folder):
    rewrite(folder, lambda m: m.pop("model.norm.weight"))
    refused(folder, "model.norm.weight", f"what {INDEX} names")


def test_a_tensor_in_two_shards_is_named(folder):
    first, *_, last = files(folder)
    doubled = load_file(folder / last)
    doubled["model.embed_tokens.weight"] = torch.ones(29, 12)
    save_file(doubled, folder / last, metadata={"format": "pt"})
    refused(folder, "model.embed_tokens.weight", last, first)


@pytest.mark.parametrize(
    "file",
    [
        "../secret.safetensors",
        "/etc/passwd.safetensors",
        "sub/model.safetensors",
        "..\\secret.safetensors",
        "C:secret.safetensors",
        "C:\\secret.safetensors",
        "model.bin",
        "..",
        "",
        7,
        None,
        ["model.safetensors"],
    ],
)
def test_an_index_leads_to_no_other_place(folder, file):
    secret = {"model.norm.weight": torch.zeros(12)}
    save_file(secret, folder.parent / "secret.safetensors")
    rewrite(folder, lambda m: m.update({"model.norm.weight": file}))
    refused(folder, "model.norm.weight", "in the folder")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": 3}']
)
def test_what_is_no_index_is_refused(folder, text):
    (folder / INDEX).write_text(text)
    refused(folder, INDEX)


def test_a_folder_without_weights_says_what_it_has(tmp_path):
    refused(tmp_path, SINGLE, INDEX)
    (tmp_path / "readme.md").touch()
    refused(tmp_path, "readme.md")
    (tmp_path / "pytorch_model.bin").touch()
    refused(tmp_path, "pytorch_model.bin", "can run code")
    refused(tmp_path / "nowhere", "nowhere")


def test_what_is_read_may_be_changed_and_the_file_stays(folder):
    """A mapped tensor is the reader's own: the file is not written."""
    read = read_shards(folder)
    read["model.norm.weight"].zero_()
    again = read_shards(folder)["model.norm.weight"]
    assert again.all()
