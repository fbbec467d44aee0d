"""Layers on several devices: counted, placed, and run there.

The oracle of the decision is accelerate's map, as transformers calls it; that
of the run is the same model on one device. The second device is a fake one
on which a tensor in the wrong place raises, or with `--device cuda` a card.
"""

import pytest
import torch
import transformers
from handmade.inference.cache import KVCache
from handmade.inference.generate import generate
from handmade.models.device_map import device_map, layer_sizes, place
from handmade.models.gpt2 import GPT2
from handmade.models.llama import Llama
from hf_helpers import GPT_2, LLAMA, batch, drawn
from second_device import NAME, DeviceMixupError, Second, second_device
from torch.testing import assert_close


def ours(kind, **changes):
    theirs, config, mine = {
        "llama": (transformers.LlamaForCausalLM, LLAMA, Llama),
        "gpt2": (transformers.GPT2LMHeadModel, GPT_2, GPT2),
    }[kind]
    config = type(config).from_dict({**config.to_dict(), **changes})
    return mine.from_hf(drawn(theirs, config)).double()


@pytest.fixture
def other(request):
    """Name the second device: a fake one, or the real one of --device."""
    name = request.config.getoption("--device")
    if name:
        yield name
        return
    with second_device():
        yield NAME


def home(tensor):
    tensor = tensor.detach()
    return tensor.inner if isinstance(tensor, Second) else tensor.cpu()


each_kind = pytest.mark.parametrize("kind", ["llama", "gpt2"])

# -- deciding: device_map


def test_layers_fill_the_devices_in_order():
    sizes = {"emb": 5, "a": 4, "b": 4, "c": 2, "head": 1}
    placed = device_map(sizes, {"gpu": 10, "cpu": 100})
    assert placed == {
        "emb": "gpu", "a": "gpu", "b": "cpu", "c": "cpu", "head": "cpu",
    }  # fmt: skip
    assert list(placed) == list(sizes)
    assert set(device_map(sizes, {"gpu": 16}).values()) == {"gpu"}
    exact = device_map(sizes, {"x": 9, "y": 7})
    assert list(exact.values()) == ["x", "x", "y", "y", "y"]
    skipped = device_map(sizes, {"small": 3, "large": 99})
    assert set(skipped.values()) == {"large"}


def test_it_is_the_sequential_map_of_transformers_where_nothing_is_spare():
    """Theirs keeps room for the largest layer on each main device besides.

    So give it that much more: the same layers then stand on the same side.
    """
    from transformers.integrations.accelerate import infer_auto_device_map

    with torch.device("meta"):
        theirs = transformers.LlamaForCausalLM(LLAMA)
    parts = {"model.embed_tokens": theirs.model.embed_tokens}
    for i, layer in enumerate(theirs.model.layers):
        parts[f"model.layers.{i}"] = layer
    parts |= {"model.norm": theirs.model.norm, "lm_head": theirs.lm_head}
    sizes = {
        name: sum(4 * p.numel() for p in part.parameters())
        for name, part in parts.items()
    }
    layer = sizes["model.layers.0"]
    room = sizes["model.embed_tokens"] + 3 * layer
    ours = device_map(sizes, {"cpu": room, "disk": 10**9})
    found = infer_auto_device_map(
        theirs,
        {"cpu": room + max(sizes.values()) + 8},
        no_split_module_classes=theirs._no_split_modules,
        clean_result=False,
    )
    for name, device in ours.items():
        their_device = [
            where
            for module, where in found.items()
            if name == module or name.startswith(f"{module}.")
        ]
        assert their_device == [device], name


@pytest.mark.parametrize(
    ("sizes", "room"),
    [
        ({"a": 5, "b": 5}, {"x": 5, "y": 4}),
        ({"a": 11}, {"x": 10, "y": 10}),
        ({"a": 1}, {"x": 0}),
    ],
)
def test_a_layer_without_a_place_is_named(sizes, room):
    with pytest.raises(
        ValueError, match=r"^room: got \d+ .* a place for [ab]"
    ):
        device_map(sizes, room)


@pytest.mark.parametrize(
    ("sizes", "room", "name"),
    [
        ({}, {"x": 1}, "sizes"),
        ({"a": 1}, {}, "room"),
        ({"a": -1}, {"x": 1}, "sizes"),
        ({"a": 1}, {"x": 1.5}, "room"),
    ],
)
def test_what_is_no_count_of_bytes_is_refused(sizes, room, name):
    with pytest.raises(ValueError, match=f"^{name}: got .* want"):
        device_map(sizes, room)


# -- counting: layer_sizes


@each_kind
@pytest.mark.parametrize("tied", [True, False])
def test_every_byte_is_counted_once(kind, tied):
    model = ours(kind, tie_word_embeddings=tied)
    sizes = layer_sizes(model)
    assert sum(sizes.values()) == sum(p.nbytes for p in model.parameters())
    assert ("lm_head" in sizes) == (not tied)
    assert next(iter(sizes)) == "tok_emb"
    assert [n for n in sizes if "blocks" in n] == [
        f"blocks.{i}" for i in range(5)
    ]
    block = model.blocks[0]
    assert sizes["blocks.0"] == 8 * sum(p.numel() for p in block.parameters())


def test_sizes_are_known_before_there_is_memory():
    with torch.device("meta"):
        model = GPT2.from_name("gpt2-xl")
    assert sum(layer_sizes(model).values()) == 4 * 1_557_611_200


# -- running: place

CUTS = {
    "all but the embedding": lambda i, n: i > 0,
    "from a block in the middle": lambda i, n: i > n // 2,
    "the last layer alone": lambda i, n: i == n - 1,
    "all": lambda i, n: True,
    "every second layer": lambda i, n: i % 2 == 1,
}


def placed_by(model, cut, other):
    names = list(layer_sizes(model))
    far = [cut(i, len(names)) for i in range(len(names))]
    return {
        name: other if away else "cpu"
        for name, away in zip(names, far, strict=True)
    }


@each_kind
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("cut", CUTS)
def test_a_model_on_two_devices_gives_the_same(kind, tied, cut, other):
    model = ours(kind, tie_word_embeddings=tied)
    ids, mask, _ = batch(29)
    want = model(ids, mask)
    want.pow(2).sum().backward()
    gradients = {n: p.grad for n, p in model.named_parameters()}
    placed = placed_by(model, CUTS[cut], other)
    again = ours(kind, tie_word_embeddings=tied)
    assert place(again, placed) is again
    for name, device in placed.items():
        for parameter in again.get_submodule(name).parameters():
            assert parameter.device.type == torch.device(device).type
    got = again(ids, mask)
    assert got.device.type == "cpu"
    # a Llama's angles are float32, and a GPU's sines are others than a CPU's
    loose = 1e-4 if kind == "llama" and other != NAME else 1e-12
    assert_close(home(got), want, rtol=0, atol=loose)
    got.pow(2).sum().backward()
    found = dict(again.named_parameters())
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert_close(
            home(found[name].grad), gradient, rtol=0, atol=100 * loose
        )
    assert (again.lm_head.weight is again.tok_emb.weight) == tied


@each_kind
def test_each_layer_keeps_its_keys_where_it_is(kind, other):
    model = ours(kind)
    ids, mask, _ = batch(29)
    want = generate(model, ids, attention_mask=mask, max_new_tokens=5)
    placed = placed_by(model, CUTS["from a block in the middle"], other)
    place(model, placed)
    cache = KVCache()
    got = generate(
        model, ids, attention_mask=mask, max_new_tokens=5, cache=cache
    )
    assert torch.equal(got, want)
    where = [k.device.type for k, _ in cache.layers]
    assert where == [
        torch.device(placed[f"blocks.{i}"]).type for i in range(5)
    ]
    assert len(set(where)) == 2


def test_the_hooks_are_needed(other):
    """Moved without them, the model stops at the first layer over there."""
    model = ours("gpt2")
    model.blocks[2].to(other)
    with pytest.raises((DeviceMixupError, RuntimeError)):
        model(torch.tensor([[1, 2, 3]]))


def test_what_needs_no_gradient_needs_none_there():
    model = ours("gpt2").requires_grad_(False)
    place(model, dict.fromkeys(layer_sizes(model), "cpu"))
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    "change",
    [
        lambda placed: placed.pop("blocks.3"),
        lambda placed: placed.update(ghost="cpu"),
        lambda placed: placed.update(lm_head="cpu"),
        lambda placed: placed.update(norm="nowhere"),
        lambda placed: placed.update(norm=None),
    ],
)
def test_a_layer_without_a_place_or_a_place_without_one(change):
    model = ours("gpt2")
    placed = dict.fromkeys(layer_sizes(model), "cpu")
    change(placed)
    with pytest.raises(ValueError, match=r"^placed.*: got .* want"):
        place(model, placed)
