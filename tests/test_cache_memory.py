"""The explorable on the cache's memory tells the package's numbers."""

import itertools

import ipywidgets as ipw
import pytest
import torch
from handmade.inference.cache import KVCache
from handmade.models.architecture import costs
from handmade.models.llama import Llama, LlamaConfig
from handmade.models.variants_config import PRESETS, VariantConfig
from handmade.widgets.cache_memory import (
    DTYPES,
    LENGTHS,
    WIDTHS,
    WINDOWS,
    CacheMemory,
    cache_memory,
    preset_of,
)
from script_helpers import run_script

NAMED = {
    "Llama 2 7B": LlamaConfig.from_name("llama-2-7b"),
    "Llama 3.1 8B": LlamaConfig.from_name("llama-3.1-8b"),
    **{
        name: VariantConfig.from_name(name)
        for name in sorted(PRESETS)
        if "deepseek" not in name
    },
}


def factors(preset: dict, length: int, batch: int, size: int) -> dict:
    window, every = WINDOWS[preset["window"]]
    return {
        "layers": preset["layers"], "heads": preset["heads"],
        "width": WIDTHS[preset["width"]], "length": length, "batch": batch,
        "bytes": size, "window": window, "every": every,
    }  # fmt: skip


def test_the_script_multiplies_as_the_package_does():
    cases, want = [], []
    # at the edges of the windows too, where no stop of the slider is
    read = [1, 2, 510, 511, 512, 513, 4095, 4096, 4097, *LENGTHS]
    for (name, config), length, size in itertools.product(
        NAMED.items(), read, DTYPES.values()
    ):
        cases.append(factors(preset_of(name, config), length, 3, size))
        now = costs(config, length, bytes_a_number=size).cache_bytes
        then = costs(config, length + 1, bytes_a_number=size).cache_bytes
        want.append((3 * now, now, then - now))
    script = "return cases.map((c) => cacheOf(c))"
    told = run_script("cache_memory", script, cases=cases)
    got = [(each["total"], each["text"], each["next"]) for each in told]
    assert got == want


def test_the_script_tells_the_bytes_that_a_cache_holds():
    config = LlamaConfig(
        vocab_size=9, d_model=12, n_layers=4, n_heads=6, n_kv_heads=3,
        d_ff=7, d_head=32, max_seq_len=64,
    )  # fmt: skip
    cache, model = KVCache(), Llama(config)
    model(torch.zeros(5, 17).long(), cache=cache)
    held = sum(x.nbytes for pair in cache.layers for x in pair)
    case = factors(preset_of("x", config), 17, 5, 4)
    told = run_script("cache_memory", "return cacheOf(c)", c=case)
    assert told["total"] == held


@pytest.mark.parametrize(
    ("n", "want"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (9995, "10.0 kB"),
        (999_499, "999 kB"), (999_500, "1.00 MB"), (17_179_869_184, "17.2 GB"),
        (4e15, "4.00 PB"), (4e18, "4000 PB"),
    ],
)  # fmt: skip
def test_sizes_have_three_digits_and_a_unit(n, want):
    assert run_script("cache_memory", "return short(n)", n=n) == want


def test_a_share_is_percent_or_cards():
    script = "return totals.map((n) => shareOf(n, 1000))"
    told = run_script("cache_memory", script, totals=[0.5, 1, 537, 9999, 12e3])
    assert told == [
        "less than 0.1 %", "0.1 %", "53.7 %", "999.9 %", "12 ×"
    ]  # fmt: skip


def test_a_preset_is_a_config_of_ours():
    assert preset_of("a", NAMED["gemma-3-1b"]) == {
        "name": "a",
        "layers": 26,
        "heads": 1,
        "width": WIDTHS.index(256),
        "window": WINDOWS.index((512, 6)),
    }
    assert preset_of("a", NAMED["mistral-7b"])["window"] == WINDOWS.index(
        (4096, 0)
    )
    assert preset_of("a", NAMED["Llama 2 7B"])["window"] == 0


@pytest.mark.filterwarnings("ignore:Widget.widgets is deprecated")
def test_the_controls_are_joined_in_the_front_end():
    box = cache_memory(NAMED, preset="gemma-3-1b", length=2048, batch=4)
    drawing, layers, heads, width, length, batch, dtype, window = box.children
    assert (layers.value, heads.value, width.value) == (26, 1, 256)
    assert (length.value, batch.value, dtype.value) == (2048, 4, 1)
    assert (drawing.length, drawing.batch) == (4, 2)
    assert window.options[window.index] == (
        "512 keys, 5 layers of 6", drawing.window
    )  # fmt: skip
    links = {
        (w.source[1], w.target[1])
        for w in ipw.Widget.widgets.values()
        if type(w).__name__ == "Link" and drawing in (w.source[0], w.target[0])
    }
    ats = ("width", "length", "batch", "dtype", "window")
    assert links == {
        ("value", "layers"),
        ("value", "heads"),
        *(("index", name) for name in ats),
    }
    assert repr(CacheMemory()) == "CacheMemory()"


def test_what_no_slider_has_is_an_error():
    sizes = {
        "vocab_size": 9, "d_model": 12, "n_heads": 2, "n_kv_heads": 1,
        "d_ff": 7, "max_seq_len": 99,
    }  # fmt: skip
    latent = VariantConfig.from_name("deepseek-v3-dense")
    for config, message in (
        (latent, "config: got a latent, want keys"),
        ({"n_layers": 3}, "config: got a dict, want a LlamaConfig"),
        (
            LlamaConfig(**sizes, n_layers=129, d_head=64),
            "config.n_layers: got 129, want",
        ),
        (LlamaConfig(**sizes, n_layers=2), "config.d_head: got 6, want one"),
        (
            VariantConfig(**sizes, n_layers=2, d_head=64, window=7),
            r"config.window: got \(7, 0\), want one of",
        ),
        (
            VariantConfig(
                **sizes, n_layers=3, d_head=64, window=512,
                model_type="gemma3_text",
                layer_kinds=("full", "sliding", "sliding"),
            ),
            "config.layer_kinds: got",
        ),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            cache_memory({"a": config})
    with pytest.raises(ValueError, match="preset: got 'b', want one of"):
        cache_memory(NAMED, preset="b")
    with pytest.raises(ValueError, match="length: got 5, want one of"):
        cache_memory(NAMED, length=5)
    with pytest.raises(ValueError, match="batch: got 3, want one of"):
        cache_memory(NAMED, batch=3)
    with pytest.raises(ValueError, match="configs: got 0, want some"):
        cache_memory({})
