"""Parity: the same numbers as the reference, layer by layer.

Both models run once on the same inputs, on `handmade.device()`, while every
named module's output is recorded. The comparison goes in the order our
modules finish, so the first difference is where the fault is, not what it did
downstream. One token's error is measured on that token's own scale (`gaps`).

Left out: gradients (a test compares them directly) and whatever happens
inside a module that has no name.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from handmade import checks
from handmade.devices import device
from handmade.gaps import largest_gap
from handmade.parity_checks import Where, check_models, check_where
from handmade.parity_places import paired
from handmade.parity_report import (
    MIME,
    ParityError,
    ParityReport,
    ParityRow,
    class_of,
    error,
    publish,
    shown,
)
from handmade.record import Name, Recording, arguments, eval_mode, recording
from handmade.tolerances import TOLERANCES

__all__ = [
    "MIME",
    "ParityError",
    "ParityReport",
    "ParityRow",
    "differences",
    "parity",
]


def parity(
    ours: nn.Module,
    theirs: nn.Module,
    inputs: Any,
    *,
    layers: Mapping[str, str],
    name: str,
    their_inputs: Any = None,
    where: Where = None,
    rtol: float | None = None,
    nan_equal: bool = False,
    against: str | None = None,
    checkpoint: str | None = None,
) -> ParityReport:
    """Compare two models layer by layer, both in eval mode.

    |ours - theirs| <= rtol * max |theirs's row|  in every row of every layer

    ``inputs`` is a tensor, a tuple or a dict of arguments; ``their_inputs``
    the same for the reference, where its call differs. ``layers`` maps our
    module's path to theirs: ``{}`` stands for a layer's number, "" for the
    whole model. A module that runs several times is compared each time; of
    an output with several parts the first tensor counts, ``attn:1`` is its
    second, ``attn:*`` all of them (`handmade.record` has the notation).
    ``where`` (B, T), bool, picks the tokens to compare: not the padding. A
    dict gives it to some of the ``layers`` only: a pooled output has no
    tokens, an encoder others than a decoder. ``rtol`` is 1e-4 in float32 and
    1e-10 in float64. For the ledger, ``against`` names the reference where
    its class does not say what it is, and ``checkpoint`` the weights.

    Models whose parameters lie elsewhere are computed on `handmade.device()`
    from copies of their parameters: nothing of theirs is moved. A model
    without any, or spread over devices, runs where it is.

    Raises ParityError at the first layer that differs, ValueError where a
    path names no module or nothing can be compared.
    """
    said = {"name": name, "against": against, "checkpoint": checkpoint}
    for label, text in said.items():
        missing = text is None and label != "name"
        if not missing and not (isinstance(text, str) and text.strip()):
            raise ValueError(f"{label}: got {text!r}, want a name to show")
    if rtol is not None:
        checks.number("rtol", rtol, at_least=0)
    found, where_run = _differences(
        ours, theirs, inputs, layers, their_inputs, where, nan_equal
    )
    rows: list[ParityRow] = []
    allowed = 0.0
    for row in found:
        allowed = TOLERANCES.get(row.dtype, 0.0) if rtol is None else rtol
        if not row.difference <= allowed:
            raise error(name, row, allowed, rows)
        rows.append(row)
    report = ParityReport(
        name=name,
        against=against or class_of(theirs),
        checkpoint=checkpoint,
        device=where_run,
        dtype=rows[-1].dtype,
        tolerance=allowed,
        rows=tuple(rows),
    )
    publish(report)
    return report


def differences(
    ours: nn.Module,
    theirs: nn.Module,
    inputs: Any,
    *,
    layers: Mapping[str, str],
    their_inputs: Any = None,
    where: Where = None,
    nan_equal: bool = False,
) -> list[ParityRow]:
    """Measure every layer and judge none: what ``parity`` judges.

    Arguments and ValueErrors as in ``parity``; rows in the order in which
    our modules finish.
    """
    found, _ = _differences(
        ours, theirs, inputs, layers, their_inputs, where, nan_equal
    )
    return found


@torch.no_grad()
def _differences(
    ours: nn.Module,
    theirs: nn.Module,
    inputs: Any,
    layers: Mapping[str, str],
    their_inputs: Any,
    where: Where,
    nan_equal: bool,
) -> tuple[list[ParityRow], str]:
    """Return the rows, and the kind of device they were computed on."""
    check_models(ours, theirs, inputs, their_inputs, nan_equal)
    places = list(paired(layers, ours, theirs))
    check_where(where, layers)
    their_inputs = inputs if their_inputs is None else their_inputs
    our_seen = _run(ours, inputs, [our for our, _, _ in places])
    their_seen = _run(theirs, their_inputs, [their for _, their, _ in places])
    pairs: dict[str, tuple[str, str, str, str]] = {}
    for our, their, pattern in places:
        ran, they_ran = our_seen.found[our], their_seen.found[their]
        if len(ran) != len(they_ran):
            raise ValueError(
                f"layers: got {len(ran)} outputs of {our!r} and "
                f"{len(they_ran)} of {their!r}, want as many of both"
            )
        for mine, other in zip(ran, they_ran, strict=True):
            if mine in pairs:
                raise ValueError(f"layers: got {mine!r} twice, want it once")
            layer, their_layer = (
                _short(mine, our, ran),
                _short(other, their, they_ran),
            )
            pairs[mine] = (layer, their_layer, other, pattern)
    rows = []
    for key, got in our_seen.items():
        layer, their_layer, other, pattern = pairs[key]
        row = ParityRow(
            layer, their_layer, pattern, got.dtype, inf, inf, (), (), ()
        )
        mask = where.get(pattern) if isinstance(where, Mapping) else where
        rows.append(_compare(row, got, their_seen[other], mask, nan_equal))
    return rows, next(iter(our_seen.values())).device.type


def _short(key: str, name: str, ran: list[str]) -> str:
    """Leave out the run's number of a module that ran once."""
    runs = {Name.parse(each).run for each in ran}
    if Name.parse(name).run == ":" and runs == {"0"}:
        return str(replace(Name.parse(key), run=None))
    return key


def _run(model: nn.Module, inputs: Any, names: list[str]) -> Recording:
    """Record the model's run at home, its own parameters left alone."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    home = _home(tensors)
    args, kwargs = _placed(arguments(inputs), home, {})
    moved = {} if home is None else {n: x.to(home) for n, x in tensors.items()}
    # copies: a later layer may change its input in place
    with eval_mode(model), recording(model, names, copy=True) as seen:
        if all(moved[name] is tensors[name] for name in moved):
            model(*args, **kwargs)
        else:
            functional_call(model, moved, args, kwargs)
    return seen


def _home(tensors: Mapping[str, Tensor]) -> torch.device | None:
    """Return where to compute, or None: where the model and inputs are."""
    if len({tensor.device for tensor in tensors.values()}) != 1:
        return None
    home = device()
    # parity needs float64, which MPS has not
    return torch.device("cpu") if home.type == "mps" else home


def _placed(
    value: Any, home: torch.device | None, done: dict[int, Tensor]
) -> Any:
    """Copy every tensor, so that no model changes another's inputs.

    A tensor given twice stays one: some layers look whether query is key.
    """
    if isinstance(value, Tensor):
        if id(value) not in done:
            done[id(value)] = value.to(home or value.device, copy=True)
        return done[id(value)]
    if type(value) is dict:
        return {key: _placed(x, home, done) for key, x in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_placed(x, home, done) for x in value)
    return value


def _chosen(layer: str, where: Tensor, got: Tensor) -> Tensor:
    """Spread a mask (B, T) over (B, T, ...), or (B, H, T, ...)."""
    if got.ndim == 4:
        tokens, chosen = got.shape[::2], where[:, None, :, None]
    else:
        tokens = got.shape[:2]
        chosen = where.reshape(*where.shape, *[1] * (got.ndim - 2))
    if got.ndim < 3 or where.shape != tokens:
        raise ValueError(
            f"where: got {tuple(where.shape)} for {layer} of shape "
            f"{tuple(got.shape)}, want (B, T) of (B, T, D) or (B, H, T, S); "
            "where=dict(...) leaves layers without tokens out"
        )
    return chosen


def _compare(
    row: ParityRow, got: Tensor, want: Tensor, where: Tensor | None, nan: bool
) -> ParityRow:
    """Fill in a row: how far the two are apart, and where most."""
    layer = shown(row.layer)
    if got.dtype != want.dtype or not got.is_floating_point():
        what = f"{layer}: got {got.dtype}, theirs {want.dtype}"
        raise ValueError(f"{what}, want one floating dtype")
    if got.shape != want.shape:
        return replace(row, ours=tuple(got.shape), theirs=tuple(want.shape))
    if not got.numel():
        shape = tuple(got.shape)
        raise ValueError(f"{layer}: got shape {shape}, want some numbers")
    chosen = None if where is None else _chosen(layer, where, got)
    gap = largest_gap(got, want, chosen, nan_equal=nan)
    return replace(
        row,
        difference=gap.difference,
        scale=gap.scale,
        index=gap.index,
        ours=got[gap.index].item(),
        theirs=want[gap.index].item(),
    )
