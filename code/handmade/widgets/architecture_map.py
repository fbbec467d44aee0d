"""Explorable: pick a model, set a context, and see its block and its costs.

Every number is one of `handmade.models.architecture`: the cell hands over
what each layer costs, and the script adds layers up as `costs` does, for the
length that the reader sets (``architecture_map.js``). A block is a list of
rows, one a line of its drawing; what its rows say that the first model's do
not is what the model changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import ipywidgets as ipw
import traitlets

from handmade import checks
from handmade.models import architecture
from handmade.models.architecture import Config
from handmade.models.mamba import MambaConfig
from handmade.models.variants_config import VariantConfig
from handmade.widgets.base import (
    TRACK,
    Explorable,
    Explorer,
    assets,
    check_labels,
    check_whole,
    explorer,
)

LENGTHS = tuple(2**power for power in range(7, 18))
LONGEST = 2**20
MOST = 12  # models: their rows have to fit a phone

Row = dict[str, Any]  # kind, text, kept, once


class ArchitectureMap(Explorable):
    """The table, the block and the layers; ``map_models`` adds the slider.

    A word in the text may set the `model` (its place, from 0) and the
    `context` (its place among the lengths, from 0).
    """

    _esm, _css = assets("architecture_map")
    sets = ("model", "context")
    models = traitlets.List().tag(sync=True)
    lengths = traitlets.List().tag(sync=True)
    bytes_a_number = traitlets.Int(2).tag(sync=True)
    model = traitlets.Int(0).tag(sync=True)
    context = traitlets.Int(0).tag(sync=True)


def map_models(
    configs: Mapping[str, Config],
    *,
    model: str | None = None,
    length: int = 32_768,
    lengths: Sequence[int] = LENGTHS,
    bytes_a_number: int = 2,
) -> Explorer:
    """The explorable with its slider, joined in the front end.

    ``configs`` maps a name to a config; the first is the one that the others
    are compared with. ``model`` is the one shown first, at ``length``, one of
    ``lengths``. Raises ValueError for what is no config.
    """
    _check_map(configs, model, length, lengths, bytes_a_number)
    names = [*configs]
    packed = [pack(name, config) for name, config in configs.items()]
    usual = {row["text"] for row in packed[0]["block"]}
    for each in packed:
        for row in each["block"]:
            row["differs"] = row["text"] not in usual
    lengths = [*lengths]
    drawing = ArchitectureMap(
        models=packed,
        lengths=lengths,
        bytes_a_number=bytes_a_number,
        model=0 if model is None else names.index(model),
        context=lengths.index(length),
    )
    return explorer(
        drawing,
        context=ipw.SelectionSlider(
            options=[(f"{n:,}", n) for n in lengths],
            value=length,
            description="tokens read",
            **TRACK,
        ),
    )


def pack(name: str, config: Config) -> dict[str, Any]:
    """Pack one model: its block, its ends, and its layers in runs of equals.

    Raises ValueError for what is none of our configs.
    """
    (name,) = check_labels("name", [name], 1)
    layers = architecture.layers(config)
    ends = architecture.costs(config, 1).parameters
    ends -= sum(layer.parameters for layer in layers)
    return {
        "name": name,
        "block": block_rows(config),
        "ends": ends,
        # the last matrix: what a token meets at the end of every pass
        "head": 2 * config.vocab_size * config.d_model,
        "runs": [
            {"count": len([*run]), **asdict(layer)}
            for layer, run in groupby(layers)
        ],
    }


def block_rows(config: Config) -> list[Row]:
    """Say a block's parts in their order, each in a few words.

    A row has a ``kind`` (norm, mix, keep, ffn or add), a ``text``, and
    ``kept``: how many numbers a cache holds of it, for each token or, where
    it says ``once``, in all. Raises ValueError for what is no config of ours.
    """
    architecture.layers(config)  # refuses what is no config
    if isinstance(config, MambaConfig):
        c = config
        return [
            _row("norm", "RMSNorm"),
            _row("mix", f"two projections to {c.d_inner:,}"),
            _row(
                "keep",
                f"convolution over {c.d_conv} tokens",
                c.d_inner * (c.d_conv - 1),
                once=True,
            ),
            _row(
                "keep",
                f"state of {c.d_inner:,} × {c.d_state}",
                c.d_inner * c.d_state,
                once=True,
            ),
            _row("mix", "gate, and a projection back"),
            _row("add", "+ the stream"),
        ]
    one = getattr(config, "one_plus_gain", False)
    norm = "RMSNorm, gain 1 + w" if one else "RMSNorm"
    last = []
    if getattr(config, "sandwich", False):
        last = [_row("norm", f"{norm}, of what was said")]
    return [
        _row("norm", norm),
        *_mixing(config),
        *last,
        _row("add", "+ the stream"),
        _row("norm", norm),
        *_feedforward(config),
        *last,
        _row("add", "+ the stream"),
    ]


def _mixing(c: Any) -> list[Row]:
    """Say attention: what makes keys, what is kept, who looks how far."""
    latent = getattr(c, "latent", None)
    window = getattr(c, "window", None)
    rows = []
    if latent is not None:
        rows += [
            _row("keep", "one vector for all heads", latent.kv_rank),
            _row("keep", "one RoPE key for all heads", latent.d_rope),
            _row("mix", f"unpacked: keys, values of {c.n_heads} heads"),
        ]
    else:
        if getattr(c, "qk_norm", False):
            rows.append(_row("norm", "RMSNorm of each q and k"))
        heads = f"{c.n_kv_heads} heads" if c.n_kv_heads > 1 else "1 head"
        numbers = 2 * c.n_kv_heads * c.d_head
        rows.append(_row("keep", f"keys, values of {heads}, RoPE", numbers))
    looks = f"{c.n_heads} heads look at all keys"
    if window is not None:
        sliding = c.layer_kinds.count("sliding")
        looks = f"{c.n_heads} heads look at {window:,} keys"
        if sliding < c.n_layers:
            looks += f" ({sliding} of {c.n_layers} layers)"
    return [*rows, _row("mix", looks)]


def _feedforward(c: Any) -> list[Row]:
    if not isinstance(c, VariantConfig):
        return [_row("ffn", f"SwiGLU, {c.d_ff:,} wide")]
    curve = {"silu": "SwiGLU"}.get(c.activation, "GELU gate")
    if c.n_experts is None:
        return [_row("ffn", f"{curve}, {c.d_ff:,} wide")]
    experts = f"{c.top_k} of {c.n_experts} × {curve}, {c.d_ff:,} wide"
    return [_row("mix", "router"), _row("ffn", experts)]


def _row(kind: str, text: str, kept: int = 0, *, once: bool = False) -> Row:
    return {"kind": kind, "text": text, "kept": kept, "once": once}


def _check_map(
    configs: Mapping[str, Config],
    model: str | None,
    length: int,
    lengths: Sequence[int],
    bytes_a_number: int,
) -> None:
    checks.mapping("configs", configs, "a dict from name to config")
    check_labels("configs", [*configs])
    most = len(configs) <= MOST
    checks.need(most, "configs", len(configs), f"{MOST} at most")
    known = model is None or model in [*configs]
    checks.need(known, "model", repr(model), f"one of {[*configs]}")
    checks.several("lengths", lengths, "a list of whole numbers")
    for each in lengths:
        check_whole("lengths", each, 1, LONGEST)
    check_whole("length", length, 1, LONGEST)
    checks.need(length in lengths, "length", length, f"one of {[*lengths]}")
    check_whole("bytes_a_number", bytes_a_number, 1, 8)
