"""Parity: the same numbers as the reference, layer by layer.

Both models run once on the same inputs while hooks keep the output of every
named module. The comparison goes in the order our modules finish, so the
first difference is where the fault is, not what it did downstream.

Left out: gradients (a test compares them directly) and whatever happens
inside a module that has no name.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
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
    dtype: torch.dtype
    difference: float
    scale: float
    index: tuple[int, ...]
    ours: float | tuple  # the value at index, or the shape if they differ
    theirs: float | tuple


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

    def __str__(self) -> str:
        entry = self.ledger()
        width = max(len(r["layer"].ljust(5)) for r in entry["rows"])
        n, s = len(self.rows), "s" if len(self.rows) > 1 else ""
        lines = [
            f"{self.name}: equal in {n} place{s}, {entry['dtype']}",
            f"{'layer':{width}}  compared  largest difference",
            *(
                f"{r['layer']:{width}}  {r['compared']:8}  {r['largest']:>18}"
                for r in entry["rows"]
            ),
            f"of each layer's largest number; allowed {entry['tolerance']}",
        ]
        return "\n".join(lines)

    __repr__ = __str__

    def ledger(self) -> dict:
        """Return the entry of the book's parity ledger, ready for JSON."""
        groups = {}
        for row in self.rows:
            groups.setdefault(_shown(row.pattern), []).append(row.difference)
        return {
            "model": self.name,
            "dtype": str(self.dtype).removeprefix("torch."),
            "tolerance": f"{self.tolerance:.1e}",
            "date": date.today().isoformat(),
            "torch": torch.__version__,
            "transformers": version("transformers"),
            "rows": [
                {"layer": p, "compared": len(d), "largest": f"{max(d):.1e}"}
                for p, d in groups.items()
            ],
        }


class ParityError(AssertionError):
    """The models differ: ``row`` is the first layer that does.

    ``equal`` names the layers compared before it.
    """

    def __init__(self, message: str, row: ParityRow, equal: list[str]):
        super().__init__(message)
        self.row, self.equal = row, equal


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
    rows, allowed = [], rtol
    how = {"layers": layers, "their_inputs": their_inputs, "where": where}
    for row in differences(ours, theirs, inputs, **how):
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
    places = _expand(layers, ours, theirs)
    their_inputs = inputs if their_inputs is None else their_inputs
    our_seen = _record(ours, [*places], inputs)
    wanted = [their for their, _ in places.values()]
    their_seen = _record(theirs, wanted, their_inputs)
    for our, (their, _) in places.items():
        _known("our run", our, our_seen)
        _known("their run", their, their_seen)
    return [
        _compare(our, *places[our], got, their_seen[places[our][0]], where)
        for our, got in our_seen.items()
    ]


def _expand(layers: Mapping, ours: nn.Module, theirs: nn.Module) -> dict:
    """Map every path of ours, ``{}`` filled in, to (theirs, pattern)."""
    our_names = dict(ours.named_modules())
    their_names = dict(theirs.named_modules())
    places = {}
    for pattern, their_pattern in layers.items():
        if pattern.count("{}") != their_pattern.count("{}"):
            both = f"{pattern!r} and {their_pattern!r}"
            raise ValueError(f"layers: got {both}, want {{}} in both or none")
        count = 1
        while "{}" in pattern and (
            pattern.format(count) in our_names
            or their_pattern.format(count) in their_names
        ):
            count += 1
        for number in range(count):
            our, their = pattern.format(number), their_pattern.format(number)
            _known("our model", our, our_names)
            _known("their model", their, their_names)
            places[our] = (their, pattern)
    return places


def _known(whose: str, path: str, names: Mapping) -> None:
    if path not in names:
        some = ", ".join([*names][1:6])
        raise ValueError(
            f"layers: {whose} has no module {path!r}; it has {some}, ..."
        )


def _record(model: nn.Module, paths: list[str], inputs) -> dict:
    """Run the model; return path -> output, in the order they finish."""
    seen: dict[str, torch.Tensor] = {}

    def keep(path: str):
        def hook(module, args, output):
            if path in seen:
                raise ValueError(f"layers: {path!r} runs twice in one pass")
            # a copy: a later layer may change its input in place
            seen[path] = _first_tensor(path, output).clone()

        return hook

    handles = [
        model.get_submodule(path).register_forward_hook(keep(path))
        for path in paths
    ]
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        if isinstance(inputs, Mapping):
            model(**inputs)
        else:
            model(*(inputs if isinstance(inputs, tuple) else (inputs,)))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return seen


def _first_tensor(path: str, output) -> torch.Tensor:
    if isinstance(output, torch.Tensor):
        return output
    for part in output.values() if isinstance(output, Mapping) else output:
        if isinstance(part, torch.Tensor):
            return part
    raise ValueError(f"layers: the output of {path!r} has no tensor")


def _compare(our, their, pattern, got, want, where) -> ParityRow:
    if got.dtype != want.dtype or not got.is_floating_point():
        what = f"{_shown(our)}: got {got.dtype}, theirs {want.dtype}"
        raise ValueError(f"{what}, want one floating dtype")
    names = (our, their, pattern, got.dtype)
    if got.shape != want.shape:
        shapes = tuple(got.shape), tuple(want.shape)
        return ParityRow(*names, inf, inf, (), *shapes)
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
    index = tuple(int(i) for i in torch.unravel_index(gap.argmax(), gap.shape))
    scale = want.abs().max().item() or 1.0
    values = got[index].item(), want[index].item()
    return ParityRow(*names, gap[index].item() / scale, scale, index, *values)


def _error(name, row, rtol, equal) -> ParityError:
    if isinstance(row.ours, tuple):
        what = f"ours has shape {row.ours}, theirs {row.theirs}"
    else:
        what = (
            f"ours {row.ours:.6g}, theirs {row.theirs:.6g} at index "
            f"{list(row.index)}\n  largest difference {row.difference:.1e} of "
            f"the layer's largest number, allowed {rtol:.1e}"
        )
    message = (
        f"{name}: the first layer that differs is {_shown(row.layer)} "
        f"(theirs: {_shown(row.their_layer)})\n  {what}\n"
        f"  places compared before it, all equal: {len(equal)}"
    )
    return ParityError(message, row, equal)


def _shown(path: str) -> str:
    return path or "(whole model)"


def _publish(report: ParityReport) -> None:
    """In a notebook, leave the ledger's entry among the cell's outputs."""
    if "IPython" in sys.modules:
        shell = sys.modules["IPython"].get_ipython()
        if shell is not None:
            shell.display_pub.publish({MIME: report.ledger()})
