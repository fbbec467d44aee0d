"""What a comparison found: its rows, its table, its entry in the ledger.

Left out: the ledger itself, which the binder gathers from the pages.
"""

import sys
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from handmade import checks

MIME = "application/vnd.handmade.parity+json"


@dataclass(frozen=True)
class ParityRow:
    """One module's outputs: the largest difference, and where it is.

    ``difference`` is relative to ``scale``, the largest number of the
    reference in the same row: the token's scale.
    """

    layer: str
    their_layer: str
    pattern: str
    dtype: torch.dtype
    difference: float
    scale: float
    index: tuple[int, ...]
    # the value at index, or the shape where the shapes differ
    ours: float | tuple[int, ...]
    theirs: float | tuple[int, ...]


@dataclass(frozen=True)
class ParityReport:
    """What was compared; printing it gives one line a kind of layer."""

    name: str
    against: str  # the reference's class
    checkpoint: str | None
    device: str
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
            f"of each token's largest number; allowed {entry['tolerance']}",
        ]
        return "\n".join(lines)

    __repr__ = __str__

    def ledger(self) -> dict[str, Any]:
        """Return the entry of the book's parity ledger, ready for JSON.

        Names are escaped for markdown tables and HTML. There is no date in
        it, and no build of torch: two machines write the same entry.
        """
        groups: dict[str, list[float]] = {}
        for row in self.rows:
            groups.setdefault(shown(row.pattern), []).append(row.difference)
        checkpoint = self.checkpoint
        return {
            "model": escaped(self.name),
            "against": escaped(self.against),
            "checkpoint": None if checkpoint is None else escaped(checkpoint),
            "device": self.device,
            "dtype": str(self.dtype).removeprefix("torch."),
            "tolerance": f"{self.tolerance:.1e}",
            "torch": version("torch").partition("+")[0],
            "transformers": version("transformers"),
            "rows": [
                {
                    "layer": escaped(pattern),
                    "compared": len(found),
                    "largest": f"{max(found):.1e}",
                }
                for pattern, found in groups.items()
            ],
        }


class ParityError(AssertionError):
    """The models differ: ``row`` is the first layer that does.

    ``equal`` names the layers compared before it.
    """

    def __init__(self, message: str, row: ParityRow, equal: list[str]) -> None:
        super().__init__(message)
        self.row, self.equal = row, equal


def error(
    name: str, row: ParityRow, rtol: float, equal: list[str]
) -> ParityError:
    """Say which layer differs first, and where in it."""
    if isinstance(row.ours, tuple):
        what = f"ours has shape {row.ours}, theirs {row.theirs}"
    else:
        what = (
            f"ours {row.ours:.6g}, theirs {row.theirs:.6g} at index "
            f"{list(row.index)}\n  largest difference {row.difference:.1e} of "
            f"the token's largest number, allowed {rtol:.1e}"
        )
    message = (
        f"{name}: the first layer that differs is {shown(row.layer)} "
        f"(theirs: {shown(row.their_layer)})\n  {what}\n"
        f"  places compared before it, all equal: {len(equal)}"
    )
    return ParityError(message, row, equal)


def shown(path: str) -> str:
    """Name a layer in words: the whole model has no path."""
    return path or "(whole model)"


def class_of(model: nn.Module) -> str:
    """Name a class as one would look for it: transformers.LlamaModel."""
    checks.module("model", model)
    package = type(model).__module__.partition(".")[0]
    kind = type(model).__name__
    return kind if package == "__main__" else f"{package}.{kind}"


def escaped(name: str) -> str:
    """Write a name so that it is one, in a markdown table and in HTML."""
    checks.text("name", name)
    marks = {ord(mark): f"&#{ord(mark)};" for mark in "&<>|`\\"}
    return " ".join(name.translate(marks).split())


def publish(report: ParityReport) -> None:
    """In a notebook, leave the ledger's entry among the cell's outputs."""
    if "IPython" in sys.modules:
        shell = sys.modules["IPython"].get_ipython()
        if shell is not None:
            shell.display_pub.publish({MIME: report.ledger()})
