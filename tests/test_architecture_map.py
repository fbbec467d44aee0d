"""The architecture map tells the numbers of `models.architecture`."""

import ipywidgets as ipw
import pytest
from handmade.models.architecture import EQUAL_WIDTH, costs, layers
from handmade.models.llama import LlamaConfig
from handmade.models.mamba import MambaConfig
from handmade.models.variants_config import PRESETS, VariantConfig
from handmade.widgets.architecture_map import (
    LENGTHS,
    ArchitectureMap,
    block_rows,
    map_models,
    pack,
)
from script_helpers import run_script

NAMED = {name: VariantConfig.from_name(name) for name in PRESETS}
NAMED |= {"llama": LlamaConfig.from_name("smollm2-135m"), **EQUAL_WIDTH}
# beyond the windows, at their edges, and at none of the slider's stops
READ = [1, 2, 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, *LENGTHS]


def test_the_script_tells_the_packages_numbers():
    models = [pack(name, config) for name, config in NAMED.items()]
    script = "return models.map((m) => lengths.map((n) => costsOf(m, n, 4)))"
    told = run_script("architecture_map", script, models=models, lengths=READ)
    for config, row in zip(NAMED.values(), told, strict=True):
        for length, numbers in zip(READ, row, strict=True):
            want = costs(config, length, bytes_a_number=4)
            assert numbers["parameters"] == want.parameters
            assert numbers["active"] == want.active
            assert numbers["cache"] == want.cache_bytes
            assert numbers["flops"] == want.flops
            blocks = layers(config)
            assert sum(numbers["layers"]) == want.cache_bytes
            assert len(numbers["layers"]) == len(blocks)
            assert numbers["looking"] == sum(
                b.flops_a_key * min(length, b.window or length) for b in blocks
            )


def test_layers_stand_in_their_order():
    (model,) = run_script(
        "architecture_map", "return [costsOf(model, 9999, 2).layers]",
        model=pack("x", EQUAL_WIDTH["Gemma 3"]),
    )  # fmt: skip
    few, all_of_them = 2 * 1024 * 1023, 2 * 1024 * 9999
    assert model == 4 * [*5 * [few], all_of_them]


@pytest.mark.parametrize("name", NAMED)
def test_a_block_keeps_what_is_counted_and_its_words_have_room(name):
    rows = block_rows(NAMED[name])
    (layer, *_) = layers(NAMED[name])
    token = sum(row["kept"] for row in rows if not row["once"])
    once = sum(row["kept"] for row in rows if row["once"])
    assert (token, once) == (layer.kept_a_key, layer.kept)
    assert rows[-1]["kind"] == "add"
    assert max(len(row["text"]) for row in rows) <= 46
    for row in rows:
        assert not row["kept"] or len(row["text"]) <= 30


def test_what_a_model_changes_is_what_the_first_does_not_say():
    drawing = map_models(EQUAL_WIDTH).children[0]
    lit = {
        model["name"]: [
            row["text"] for row in model["block"] if row["differs"]
        ]
        for model in drawing.models
    }
    norm = "RMSNorm, gain 1 + w"
    assert lit == {
        "Llama": [],
        "Llama, ungrouped": ["keys, values of 16 heads, RoPE"],
        "Mistral": ["16 heads look at 4,096 keys"],
        "Mixtral": ["router", "2 of 8 × SwiGLU, 5,632 wide"],
        "Qwen3": ["RMSNorm of each q and k"],
        "Gemma 3": [
            norm,
            "RMSNorm of each q and k",
            "16 heads look at 1,024 keys (20 of 24 layers)",
            f"{norm}, of what was said",
            norm,
            "GELU gate, 5,632 wide",
            f"{norm}, of what was said",
        ],
        "DeepSeek": [
            "one vector for all heads",
            "one RoPE key for all heads",
            "unpacked: keys, values of 16 heads",
        ],
        "Mamba": [
            "two projections to 4,096",
            "convolution over 4 tokens",
            "state of 4,096 × 16",
            "gate, and a projection back",
        ],
    }


@pytest.mark.parametrize(
    ("n", "want"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"),
        (150 * 1024, "150 KiB"), (12.34 * 2**20, "12.3 MiB"),
        (24 * 2**30, "24.0 GiB"), (4096 * 2**40, "4096 TiB"),
    ],
)  # fmt: skip
def test_sizes_have_three_digits_and_a_unit(n, want):
    assert run_script("architecture_map", "return size(n)", n=n) == want


@pytest.mark.filterwarnings("ignore:Widget.widgets is deprecated")
def test_the_slider_is_joined_in_the_front_end():
    box = map_models(EQUAL_WIDTH, model="Mamba", length=512)
    drawing, slider = box.children
    assert (drawing.model, drawing.context) == (7, 2)
    assert LENGTHS[drawing.context] == 512 == slider.value
    links = {
        (w.source[1], w.target[1])
        for w in ipw.Widget.widgets.values()
        if type(w).__name__ == "Link" and drawing in (w.source[0], w.target[0])
    }
    assert links == {("index", "context")}
    assert repr(ArchitectureMap()) == "ArchitectureMap()"


def test_what_is_no_map_is_an_error():
    with pytest.raises(ValueError, match="model: got 'GPT', want one of"):
        map_models(EQUAL_WIDTH, model="GPT")
    with pytest.raises(ValueError, match=r"length: got 5, want one of \[4\]"):
        map_models(EQUAL_WIDTH, length=5, lengths=[4])
    many = {str(i): EQUAL_WIDTH["Mamba"] for i in range(13)}
    with pytest.raises(ValueError, match="configs: got 13, want 12 at most"):
        map_models(many)
    with pytest.raises(ValueError, match="config: got"):
        map_models({"a": {"d_model": 5}})
    assert block_rows(MambaConfig(vocab_size=3, d_model=4, n_layers=1))
