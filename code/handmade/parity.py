"""Parity: the same numbers as the reference, layer by layer.

Both models run once on the same inputs while hooks keep the output of every
named module. The comparison goes in the order our modules finish, so the
first difference is where the fault is, not what it did downstream.

Left out: gradients (a test compares them directly) and whatever happens
inside a module that has no name.
"""

import sys
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from datetime import date
from importlib.metadata import version
from math import inf

import torch
from torch import nn

TOLERANCES = {
    torch.float64: 1e-10,
    torch.float32: 1e-4,
    torch.float16: 2e-2,
    torch.bfloat16: 1e-1,
}

MIME = "application/vnd.handmade.parity+json"


@dataclass(frozen=True)
class ParityRow:
    """One module's outputs: the largest difference, and where it is.

    ``difference`` is relative to ``scale``, the reference's largest number.
    """

    layer: str
    their_layer: str
    pattern: str
    difference: float
    scale: float
    index: tuple[int, ...]
    ours: float | tuple  # the value at index, or the shape if they differ
    theirs: float | tuple
    dtype: torch.dtype


@dataclass(frozen=True)
class ParityReport:
    """What was compared; printing it gives one line a kind of layer."""

    name: str
    dtype: torch.dtype
    tolerance: float
    rows: tuple[ParityRow, ...]

    @property
    def largest(self) -> float:
        """Return the largest relative difference of all layers."""
        return max(row.difference for row in self.rows)

    def by_pattern(self) -> list[tuple[str, int, float]]:
        """Return (pattern, number of layers, largest difference) lines."""
        groups: dict[str, list[float]] = {}
        for row in self.rows:
            groups.setdefault(row.pattern, []).append(row.difference)
        return [(p, len(found), max(found)) for p, found in groups.items()]

    def __str__(self) -> str:
        lines = self.by_pattern()
        width = max(len("layer"), *(len(_shown(p)) for p, _, _ in lines))
        dtype = str(self.dtype).removeprefix("torch.")
        return "\n".join(
            [
                f"{self.name}: equal in {len(self.rows)} places, {dtype}",
                f"{'layer':{width}}  compared  largest difference",
                *(
                    f"{_shown(p):{width}}  {count:8}  {largest:18.1e}"
                    for p, count, largest in lines
                ),
                f"relative to each layer's largest number; allowed "
                f"{self.tolerance:.1e}",
            ]
        )

    __repr__ = __str__

    def ledger(self) -> dict:
        """Return the entry of the book's parity ledger, ready for JSON."""
        return {
            "model": self.name,
            "dtype": str(self.dtype).removeprefix("torch."),
            "tolerance": f"{self.tolerance:.1e}",
            "date": date.today().isoformat(),
            "date": date.today().isoformat(),
            "torch": torch.__version__,
            "transformers": version("transformers"),
            "rows": [
                {"layer": _shown(p), "compared": count, "largest": f"{d:.1e}"}
                for p, count, d in self.by_pattern()
            ],
        }


class ParityError(AssertionError):
    """The models differ; ``row`` is the first layer that does.

    ``equal`` names the layers compared before it, all within tolerance.
    """

    def __init__(self, message: str, row: ParityRow, equal: list[str]):
        super().__init__(message)
        self.row = row
        self.equal = equal


@torch.no_grad()
def parity(
    ours: nn.Module,
    theirs: nn.Module,
    inputs,
    *,
    layers: Mapping[str, str],
    name: str,
    their_inputs=None,
    where: torch.Tensor | None = None,
    rtol: float | None = None,
) -> ParityReport:
    """Compare two models layer by layer, both in eval mode.

    |ours - theirs| <= rtol * max |theirs|  in every layer

    ``inputs`` is a tensor, a tuple or a dict of arguments; ``their_inputs``
    the same for the reference, where its call differs. ``layers`` maps our
    module's path to theirs: ``{}`` stands for the layer's number, "" for the
    whole model. Of an output with several parts the first tensor counts.
    ``where`` (B, T), bool, picks the positions to compare: not the padding.
    ``rtol`` is 1e-4 in float32 and 1e-10 in float64.

    Raises ParityError at the first layer that differs, ValueError where a
    path names no module or nothing can be compared.
    """
    rows: list[ParityRow] = []
    allowed = rtol
    for row in differences(
        ours,
        theirs,
        inputs,
        layers=layers,
        their_inputs=their_inputs,
        where=where,
    ):
        allowed = TOLERANCES.get(row.dtype, 0.0) if rtol is None else rtol
        if not row.difference <= allowed:  # so that nan fails too
            raise _error(name, row, allowed, [r.layer for r in rows])
        rows.append(row)
    report = ParityReport(name, rows[-1].dtype, allowed, tuple(rows))
    _publish(report)
    return report


@torch.no_grad()
def differences(
    ours: nn.Module,
    theirs: nn.Module,
    inputs,
    *,
    layers: Mapping[str, str],
    their_inputs=None,
    where: torch.Tensor | None = None,
) -> list[ParityRow]:
    """Measure every layer and judge none: what ``parity`` judges.

    Arguments and ValueErrors as in ``parity``; rows in the order in which
    our modules finish.
    """
    pairs = _expand(layers, ours, theirs)
    their_inputs = inputs if their_inputs is None else their_inputs
    our_seen = _record(ours, [our for our, _, _ in pairs], inputs)
    wanted = [their for _, their, _ in pairs]
    their_seen = _record(theirs, wanted, their_inputs)

    by_path = {our: (their, pattern) for our, their, pattern in pairs}
    rows: list[ParityRow] = []
    for our, got in our_seen.items():
        their, pattern = by_path.pop(our)
        if their not in their_seen:
            raise ValueError(f"layers: {their!r} did not run in theirs")
        want = their_seen[their]
        rows.append(_compare(our, their, pattern, got, want, where))
    if by_path or not rows:
        raise ValueError(f"layers: {[*by_path]} did not run in ours")
    return rows


def _expand(
    layers: Mapping[str, str], ours: nn.Module, theirs: nn.Module
) -> list[tuple[str, str, str]]:
    """Replace ``{}`` by every layer number either model has."""
    our_names = dict(ours.named_modules())
    their_names = dict(theirs.named_modules())
    pairs = []
    for pattern, their_pattern in layers.items():
        count = 1
        while "{}" in pattern + their_pattern and (
            pattern.format(count) in our_names
            or their_pattern.format(count) in their_names
        ):
            count += 1
        for number in range(count):
            our, their = pattern.format(number), their_pattern.format(number)
            for whose, path, names in (
                ("our", our, our_names),
                ("their", their, their_names),
            ):
                if path not in names:
                    some = ", ".join([*names][1:6])
                    raise ValueError(
                        f"layers: {whose} model has no module {path!r}; "
                        f"it has {some}, ..."
                    )
            pairs.append((our, their, pattern))
    return pairs


def _record(model: nn.Module, paths: list[str], inputs) -> dict:
    """Run the model; return path -> output, in the order they finish."""
    seen: dict[str, torch.Tensor] = {}

    def keep(path: str):
        def hook(module, args, output):
            if path in seen:
                raise ValueError(
                    f"layers: {path!r} runs more than once in one pass"
                )
            # a copy: a later layer may change its input in place
            seen[path] = _first_tensor(path, output).clone()

        return hook

    handles = [
        model.get_submodule(path).register_forward_hook(keep(path))
        for path in paths
    ]
    try:
        with _eval_mode(model):
            if isinstance(inputs, Mapping):
                model(**inputs)
            else:
                model(*(inputs if isinstance(inputs, tuple) else (inputs,)))
    finally:
        for handle in handles:
            handle.remove()
    return seen


@contextmanager
def _eval_mode(model: nn.Module):
    """Switch dropout off, and each module back to what it was."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield model.eval()
    finally:
        for module, mode in modes.items():
            module.training = mode


def _first_tensor(path: str, output) -> torch.Tensor:
    if isinstance(output, torch.Tensor):
        return output
    parts = output.values() if isinstance(output, Mapping) else output
    for part in parts if isinstance(parts, tuple | list) else tuple(parts):
        if isinstance(part, torch.Tensor):
            return part
    raise ValueError(f"layers: the output of {path!r} has no tensor")


def _compare(our, their, pattern, got, want, where) -> ParityRow:
    if got.dtype != want.dtype or not got.is_floating_point():
        raise ValueError(
            f"{_shown(our)}: got {got.dtype}, theirs {want.dtype}, want one "
            "floating dtype"
        )
    if got.shape != want.shape:
        ours, theirs = tuple(got.shape), tuple(want.shape)
        return ParityRow(
            our, their, pattern, inf, inf, (), ours, theirs, got.dtype
        )
    if where is not None:
        if where.dtype != torch.bool or where.shape != got.shape[:2]:
            raise ValueError(
                f"where: got {tuple(where.shape)} {where.dtype}, want bool "
                f"{tuple(got.shape[:2])} for {_shown(our)}"
            )
        # hide, but keep the shape: the index reported is the model's own
        hidden = ~where.reshape(*where.shape, *[1] * (got.ndim - 2))
        got, want = got.masked_fill(hidden, 0), want.masked_fill(hidden, 0)
    gap = (got.double() - want.double()).abs().nan_to_num(nan=inf)
    index = torch.unravel_index(gap.argmax(), gap.shape)
    scale = want.abs().max().item() or 1.0
    values = (gap[index] / scale).item(), got[index].item(), want[index].item()
    at = tuple(int(i) for i in index)
    return ParityRow(
        our, their, pattern, values[0], scale, at, *values[1:], got.dtype
    )


def _error(name, row, rtol, equal) -> ParityError:
    if isinstance(row.ours, tuple):
        what = f"  ours has shape {row.ours}, theirs {row.theirs}\n"
    else:
        what = (
            f"  ours {row.ours:.6g}, theirs {row.theirs:.6g} "
            f"at index {list(row.index)}\n"
            f"  largest difference {row.difference:.1e} of the layer's "
            f"largest number, allowed {rtol:.1e}\n"
        )
    message = (
        f"{name}: the first layer that differs is {_shown(row.layer)} "
        f"(theirs: {_shown(row.their_layer)})\n"
        f"{what}  places compared before it, all equal: {len(equal)}"
    )
    return ParityError(message, row, equal)


def _shown(path: str) -> str:
    return path or "(whole model)"


def _publish(report: ParityReport) -> None:
    """In a notebook, leave the ledger's entry among the cell's outputs."""
    if "IPython" not in sys.modules:
        return
    from IPython import get_ipython

    if (shell := get_ipython()) is not None:
        shell.display_pub.publish({MIME: report.ledger()})
