"""Explorable: LoRA's rank against its parameters, its file and its memory.

The formulas are those of `handmade.training.adapter_cost`, written again in
the script (``lora_rank.js``); a test holds the two to each other. Presets are
configs of the package.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as ipw
import traitlets

from handmade import checks
from handmade.models.llama_config import LlamaConfig
from handmade.training.adapter_cost import (
    MATRICES,
    adapter_cost,
    matrix_sizes,
)
from handmade.widgets.base import (
    TRACK,
    Explorable,
    Explorer,
    assets,
    check_labels,
    explorer,
)

RANKS = tuple(2**power for power in range(8))
# bytes that the optimizer keeps of each number that learns
STATES = {
    "AdamW: 8 bytes": 8,
    "AdamW and a float32 copy: 12": 12,
    "AdamW in 8 bits: 2": 2,
    "momentum: 4": 4,
    "plain SGD: 0": 0,
}
NUMBERS = {"bfloat16": 2, "float32": 4}
MOST = 9  # presets: their buttons have to fit a phone


class LoraRank(Explorable):
    """The drawing; ``lora_rank`` adds the controls.

    A word in the text may set the places, from 0, of `preset`, `rank`,
    `state` and `numbers` among their choices, and `matrices`, their names
    with blanks between.
    """

    _esm, _css = assets("lora_rank")
    sets = ("preset", "matrices", "rank", "state", "numbers")
    presets = traitlets.List().tag(sync=True)
    names = traitlets.List([*MATRICES]).tag(sync=True)
    ranks = traitlets.List([*RANKS]).tag(sync=True)
    states = traitlets.List([*STATES.values()]).tag(sync=True)
    widths = traitlets.List([*NUMBERS.values()]).tag(sync=True)
    preset = traitlets.Int(0).tag(sync=True)
    matrices = traitlets.Unicode("").tag(sync=True)
    rank = traitlets.Int(0).tag(sync=True)
    state = traitlets.Int(0).tag(sync=True)
    numbers = traitlets.Int(0).tag(sync=True)


def lora_rank(
    configs: Mapping[str, LlamaConfig],
    *,
    preset: str | None = None,
    matrices: Sequence[str] = ("q_proj", "v_proj"),
    rank: int = 8,
) -> Explorer:
    """The explorable with its controls, joined in the front end.

    ``configs`` maps a name to a config: the buttons. ``preset`` is the one
    shown first, by default the first of all. Raises ValueError for a
    variant's config, and for what no control has.
    """
    _check(configs, preset, matrices, rank)
    drawing = LoraRank(
        presets=[_preset(name, config) for name, config in configs.items()],
        preset=0 if preset is None else [*configs].index(preset),
        matrices=" ".join(name for name in MATRICES if name in matrices),
        rank=RANKS.index(rank),
    )

    def named(names: list[str], at: int, words: str) -> Any:
        options = [(name, i) for i, name in enumerate(names)]
        return ipw.Dropdown(
            options=options, index=at, description=words, **TRACK
        )

    return explorer(
        drawing,
        rank=ipw.SelectionSlider(
            options=[(f"{n:,}", n) for n in RANKS],
            value=rank,
            description="rank",
            **TRACK,
        ),
        state=named([*STATES], 0, "optimizer"),
        numbers=named([*NUMBERS], 0, "numbers in"),
    )


def _preset(name: str, config: LlamaConfig) -> dict[str, Any]:
    counted = adapter_cost(config, [], 1)
    return {
        "name": name,
        "layers": config.n_layers,
        "parameters": counted.parameters,
        "sizes": [[*size] for size in matrix_sizes(config).values()],
    }


def _check(
    configs: Mapping[str, LlamaConfig],
    preset: str | None,
    matrices: Sequence[str],
    rank: int,
) -> None:
    checks.mapping("configs", configs, "a dict from name to config")
    names = check_labels("configs", [*configs])
    few = 0 < len(names) <= MOST
    checks.need(few, "configs", len(names), f"some, {MOST} at most")
    known = preset is None or preset in names
    checks.need(known, "preset", repr(preset), f"one of {names}")
    checks.several("matrices", matrices, f"some of {MATRICES}")
    checks.need(len(matrices) > 0, "matrices", "none", f"some of {MATRICES}")
    for config in configs.values():
        checks.kind("configs", config, LlamaConfig, "LlamaConfigs")
        adapter_cost(config, matrices, 1)
    checks.whole("rank", rank)
    checks.need(rank in RANKS, "rank", rank, f"one of {RANKS}")
    every = [matrix_sizes(config).values() for config in configs.values()]
    least = min(min(size) for sizes in every for size in sizes)
    fits = least >= RANKS[-1] or rank <= least
    checks.need(fits, "rank", rank, f"1 to {least}, the smallest width")
