"""Explorable: what training a model holds on each GPU, and what it sends.

The sums are those of `handmade.training.memory`, done again by the script
(``training_memory.js``); a test holds the two together. Presets are configs
of the package.
"""

from collections.abc import Mapping
from typing import Any

import ipywidgets as ipw
import traitlets

from handmade import checks
from handmade.models.architecture import costs
from handmade.models.llama_config import LlamaConfig
from handmade.training.memory import MOMENTS, NUMBERS, SHARDING
from handmade.widgets.base import (
    TRACK,
    Explorable,
    Explorer,
    assets,
    check_labels,
    explorer,
)

LENGTHS = tuple(2**power for power in range(7, 18))
BATCHES = tuple(2**power for power in range(8))
GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
# what the backward pass is left with
KEPT = ("all of it", "attention in tiles", "tiles, blocks computed again")
MOST = 6  # presets: their buttons have to fit a phone
CARD = 80 * 10**9  # bytes


class TrainingMemory(Explorable):
    """The bars; ``training_memory`` adds the controls.

    A word in the text may set the places, from 0, of each trait in `sets`
    among its choices.
    """

    _esm, _css = assets("training_memory")
    sets = (
        "model", "numbers", "optimizer", "kept", "batch", "length",
        "sharding", "gpus",
    )  # fmt: skip
    presets = traitlets.List().tag(sync=True)
    dtypes = traitlets.List([[*each] for each in NUMBERS.values()]).tag(
        sync=True
    )
    moments = traitlets.List([*MOMENTS.values()]).tag(sync=True)
    lengths = traitlets.List([*LENGTHS]).tag(sync=True)
    batches = traitlets.List([*BATCHES]).tag(sync=True)
    counts = traitlets.List([*GPUS]).tag(sync=True)
    card = traitlets.Int(CARD).tag(sync=True)
    model = traitlets.Int(0).tag(sync=True)
    numbers = traitlets.Int(1).tag(sync=True)
    optimizer = traitlets.Int(0).tag(sync=True)
    kept = traitlets.Int(1).tag(sync=True)
    batch = traitlets.Int(0).tag(sync=True)
    length = traitlets.Int(0).tag(sync=True)
    sharding = traitlets.Int(0).tag(sync=True)
    gpus = traitlets.Int(0).tag(sync=True)


def training_memory(
    configs: Mapping[str, LlamaConfig],
    *,
    preset: str | None = None,
    batch: int = 1,
    length: int = 4096,
) -> Explorer:
    """The explorable with its controls, joined in the front end.

    ``configs`` maps a name to a Llama's config: the buttons. ``preset`` is
    the one shown first, by default the first of all. Raises ValueError for
    another model, or sizes that no slider has.
    """
    _check_choices(configs, preset, batch, length)
    names = [*configs]
    drawing = TrainingMemory(
        presets=[sizes_of(name, config) for name, config in configs.items()],
        model=0 if preset is None else names.index(preset),
        batch=BATCHES.index(batch),
        length=LENGTHS.index(length),
    )

    def among(choices: tuple[int, ...], at: int, words: str) -> Any:
        options = [(f"{n:,}", n) for n in choices]
        return ipw.SelectionSlider(
            options=options, value=choices[at], description=words, **TRACK
        )

    def named(names: Any, at: int, words: str) -> Any:
        options = [(name, i) for i, name in enumerate(names)]
        return ipw.Dropdown(
            options=options, index=at, description=words, **TRACK
        )

    return explorer(
        drawing,
        numbers=named(NUMBERS, drawing.numbers, "numbers in"),
        optimizer=named(MOMENTS, drawing.optimizer, "optimizer"),
        kept=named(KEPT, drawing.kept, "kept of a pass"),
        batch=among(BATCHES, drawing.batch, "texts a GPU"),
        length=among(LENGTHS, drawing.length, "tokens a text"),
        sharding=named(SHARDING, drawing.sharding, "sharded"),
        gpus=among(GPUS, drawing.gpus, "GPUs"),
    )


def sizes_of(name: str, config: LlamaConfig) -> dict[str, Any]:
    """Return a model's name and sizes, as the script multiplies them.

    Raises ValueError for what is no Llama.
    """
    (name,) = check_labels("name", [name], 1)
    plain = type(config) is LlamaConfig
    got = f"a {type(config).__name__}"
    checks.need(plain, "config", got, "a LlamaConfig, not of a variant")
    return {
        "name": name,
        "parameters": costs(config, 1).parameters,
        "vocab": config.vocab_size,
        "width": config.d_model,
        "layers": config.n_layers,
        "heads": config.n_heads,
        "kvHeads": config.n_kv_heads,
        "headWidth": config.d_head,
        "inner": config.d_ff,
    }


def _check_choices(
    configs: Mapping[str, LlamaConfig],
    preset: str | None,
    batch: int,
    length: int,
) -> None:
    checks.mapping("configs", configs, "a dict from name to config")
    names = check_labels("configs", [*configs])
    few = 0 < len(names) <= MOST
    checks.need(few, "configs", len(names), f"some, {MOST} at most")
    known = preset is None or preset in names
    checks.need(known, "preset", repr(preset), f"one of {names}")
    for name, value, stops in (
        ("batch", batch, BATCHES),
        ("length", length, LENGTHS),
    ):
        checks.whole(name, value)
        checks.need(value in stops, name, value, f"one of {stops}")
