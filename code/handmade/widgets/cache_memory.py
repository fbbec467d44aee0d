"""Explorable: what a key/value cache weighs, and what makes it lighter.

The sliders are the factors of one product, which the script multiplies
(``cache_memory.js``); a test holds it to `handmade.models.architecture` and
to the bytes that our caches hold. Presets are configs of the package.
"""

from collections.abc import Mapping
from typing import Any

import ipywidgets as ipw
import traitlets

from handmade import checks
from handmade.models.llama_config import LlamaConfig
from handmade.widgets.base import (
    TRACK,
    Explorable,
    Explorer,
    assets,
    check_labels,
    check_whole,
    explorer,
)

LENGTHS = tuple(2**power for power in range(7, 21))
BATCHES = tuple(2**power for power in range(11))
WIDTHS = (32, 64, 80, 96, 128, 192, 256)
DTYPES = {"float32": 4, "bfloat16": 2, "8 bits": 1}
# (keys that a sliding layer sees, every which layer sees all; 0: none)
WINDOWS = ((0, 0), (512, 6), (1024, 6), (512, 0), (4096, 0))
MOST = 9  # presets: their buttons have to fit a phone
LARGEST = 128  # of layers and of heads
CARD = 80 * 10**9  # bytes


class CacheMemory(Explorable):
    """The numbers and the curve; ``cache_memory`` adds the sliders.

    A word in the text may set `layers`, `heads`, and the places, from 0, of
    `width`, `length`, `batch`, `dtype` and `window` among their choices.
    """

    _esm, _css = assets("cache_memory")
    sets = (
        "layers", "heads", "width", "length", "batch", "dtype", "window",
    )  # fmt: skip
    presets = traitlets.List().tag(sync=True)
    widths = traitlets.List([*WIDTHS]).tag(sync=True)
    lengths = traitlets.List([*LENGTHS]).tag(sync=True)
    batches = traitlets.List([*BATCHES]).tag(sync=True)
    sizes = traitlets.List([*DTYPES.values()]).tag(sync=True)
    windows = traitlets.List([[*each] for each in WINDOWS]).tag(sync=True)
    card = traitlets.Int(CARD).tag(sync=True)
    layers = traitlets.Int(1).tag(sync=True)
    heads = traitlets.Int(1).tag(sync=True)
    width = traitlets.Int(0).tag(sync=True)
    length = traitlets.Int(0).tag(sync=True)
    batch = traitlets.Int(0).tag(sync=True)
    dtype = traitlets.Int(1).tag(sync=True)
    window = traitlets.Int(0).tag(sync=True)


def cache_memory(
    configs: Mapping[str, LlamaConfig],
    *,
    preset: str | None = None,
    length: int = 8192,
    batch: int = 1,
) -> Explorer:
    """The explorable with its sliders, joined in the front end.

    ``configs`` maps a name to a config: the buttons. ``preset`` is the one
    shown first, by default the first of all. Raises ValueError for a config
    that keeps no keys and values, or whose sizes no slider has.
    """
    _check_choices(configs, preset, length, batch)
    presets = [preset_of(name, config) for name, config in configs.items()]
    first = presets[0 if preset is None else [*configs].index(preset)]
    drawing = CacheMemory(
        presets=presets,
        layers=first["layers"],
        heads=first["heads"],
        width=first["width"],
        window=first["window"],
        length=LENGTHS.index(length),
        batch=BATCHES.index(batch),
    )

    def numbers(choices: tuple[int, ...], at: int, words: str) -> Any:
        options = [(f"{n:,}", n) for n in choices]
        return ipw.SelectionSlider(
            options=options, value=choices[at], description=words, **TRACK
        )

    def named(names: list[str], at: int, words: str) -> Any:
        options = [(name, i) for i, name in enumerate(names)]
        return ipw.Dropdown(
            options=options, index=at, description=words, **TRACK
        )

    def count(n: int, words: str) -> Any:
        return ipw.IntSlider(n, 1, LARGEST, description=words, **TRACK)

    return explorer(
        drawing,
        layers=count(drawing.layers, "layers"),
        heads=count(drawing.heads, "key/value heads"),
        width=numbers(WIDTHS, drawing.width, "head width"),
        length=numbers(LENGTHS, drawing.length, "tokens a text"),
        batch=numbers(BATCHES, drawing.batch, "texts at once"),
        dtype=named([*DTYPES], drawing.dtype, "numbers in"),
        window=named([*map(_words, WINDOWS)], drawing.window, "window"),
    )


def preset_of(name: str, config: LlamaConfig) -> dict[str, Any]:
    """Return what the sliders stand at for a model.

    Raises ValueError for a config that keeps no keys and values, or whose
    sizes no slider has.
    """
    (name,) = check_labels("name", [name], 1)
    checks.kind("config", config, LlamaConfig, "a LlamaConfig or the like")
    latent = getattr(config, "latent", None) is None
    checks.need(latent, "config", "a latent", "keys and values of each head")
    check_whole("config.n_layers", config.n_layers, 1, LARGEST)
    check_whole("config.n_kv_heads", config.n_kv_heads, 1, LARGEST)
    _one_of("config.d_head", config.d_head, WIDTHS)
    window = (0, 0)
    if getattr(config, "window", None) is not None:
        kinds = config.layer_kinds  # type: ignore[attr-defined]
        every = kinds.index("full") + 1 if "full" in kinds else 0
        window = (config.window, every)  # type: ignore[attr-defined]
        pattern = [_slides(i, every) for i in range(config.n_layers)]
        regular = pattern == [kind == "sliding" for kind in kinds]
        checks.need(regular, "config.layer_kinds", kinds, "a full one at last")
    _one_of("config.window", window, WINDOWS)
    return {
        "name": name,
        "layers": config.n_layers,
        "heads": config.n_kv_heads,
        "width": WIDTHS.index(config.d_head),
        "window": WINDOWS.index(window),
    }


def _slides(layer: int, every: int) -> bool:
    return every == 0 or (layer + 1) % every != 0


def _words(window: tuple[int, int]) -> str:
    keys, every = window
    if not keys:
        return "none"
    which = "all layers" if not every else f"{every - 1} layers of {every}"
    return f"{keys:,} keys, {which}"


def _one_of(name: str, value: object, choices: tuple[object, ...]) -> None:
    checks.need(value in choices, name, value, f"one of {choices}")


def _check_choices(
    configs: Mapping[str, LlamaConfig],
    preset: str | None,
    length: int,
    batch: int,
) -> None:
    checks.mapping("configs", configs, "a dict from name to config")
    names = check_labels("configs", [*configs])
    few = 0 < len(names) <= MOST
    checks.need(few, "configs", len(names), f"some, {MOST} at most")
    known = preset is None or preset in names
    checks.need(known, "preset", repr(preset), f"one of {names}")
    check_whole("length", length, 1, LENGTHS[-1])
    check_whole("batch", batch, 1, BATCHES[-1])
    _one_of("length", length, LENGTHS)
    _one_of("batch", batch, BATCHES)
