"""What a comparison found: its rows, its table, its entry in the ledger.

A notebook shows a report, and an error that a page caught, as a table.

Left out: the ledger itself, which the binder gathers from the pages.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from handmade import checks
from handmade.tables import Table, table

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
    """What was compared; shown or printed, one line a kind of layer."""

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

    def groups(self) -> dict[str, list[ParityRow]]:
        """Return the rows of each kind of layer, by its pattern."""
        found: dict[str, list[ParityRow]] = {}
        for row in self.rows:
            found.setdefault(shown(row.pattern), []).append(row)
        return found

    def table(self) -> Table:
        """Return one row a kind of layer: the worst of its places."""
        n, s = len(self.rows), "s" if len(self.rows) > 1 else ""
        return _table(
            list(self.groups().values()),
            self.tolerance,
            f"{self.name} against {self.against}: equal in {n} place{s}, "
            f"{_dtype(self.dtype)}.",
        )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.table().html(), "text/plain": str(self)}

    def ledger(self) -> dict[str, Any]:
        """Return the entry of the book's parity ledger, ready for JSON.

        Names are escaped for markdown tables and HTML. There is no date in
        it, and no build of torch: two machines write the same entry.
        """
        checkpoint = self.checkpoint
        return {
            "model": escaped(self.name),
            "against": escaped(self.against),
            "checkpoint": None if checkpoint is None else escaped(checkpoint),
            "device": self.device,
            "dtype": _dtype(self.dtype),
            "tolerance": f"{self.tolerance:.1e}",
            "torch": version("torch").partition("+")[0],
            "transformers": version("transformers"),
            "rows": [
                {
                    "layer": escaped(pattern),
                    "compared": len(rows),
                    "largest": f"{max(row.difference for row in rows):.1e}",
                }
                for pattern, rows in self.groups().items()
            ],
        }


class ParityError(AssertionError):
    """The models differ: ``row`` is the first layer that does.

    ``equal`` names the layers compared before it.
    """

    def __init__(
        self,
        message: str,
        row: ParityRow,
        before: Sequence[ParityRow],
        allowed: float,
    ) -> None:
        super().__init__(message)
        self.row, self.equal = row, [each.layer for each in before]
        self._before, self._allowed = before, allowed

    def table(self) -> Table:
        """Return the layer that differs, and the last two that do not."""
        rows = [*self._before[-2:], self.row]
        head, _, rest = str(self).partition("\n")
        where = rest.partition("\n")[0].strip()
        caption = f"{head}: {where}."
        return _table([[row] for row in rows], self._allowed, caption)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.table().html(), "text/plain": str(self)}


def error(
    name: str, row: ParityRow, rtol: float, before: Sequence[ParityRow]
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
        f"  places compared before it, all equal: {len(before)}"
    )
    return ParityError(message, row, before, rtol)


def _table(
    groups: Sequence[Sequence[ParityRow]], allowed: float, caption: str
) -> Table:
    """Return one row a group of places, all with the same pattern."""
    rows = []
    for places in groups:
        one = len(places) == 1
        place = shown(places[0].layer if one else places[0].pattern)
        worst = max(row.difference for row in places)
        theirs = _common([shown(row.their_layer) for row in places])
        rows.append(
            {
                "place": f"`{place}`",
                "largest difference": worst,
                "allowed": allowed,
                "": "ok" if worst <= allowed else "FAILS",
                "compared with": f"`{theirs}`",
                "places": len(places),
            }
        )
    columns = dict.fromkeys(rows[0], "")
    columns |= {"largest difference": ".1e", "allowed": ".1e"}
    if all(row["places"] == 1 for row in rows):
        del columns["places"]
    if all(row["compared with"] == f"`{shown('')}`" for row in rows):
        del columns["compared with"]
    return table(
        rows,
        columns,
        caption=f"{caption} Differences are shares of each token's largest "
        "number.",
        good=[(i, "") for i, row in enumerate(rows) if row[""] == "ok"],
        bad=[(i, "") for i, row in enumerate(rows) if row[""] != "ok"],
    )


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _common(names: Sequence[str]) -> str:
    """Write several names as one: ``{}`` for the numbers that change."""
    pieces = [re.split(r"(\d+)", name) for name in names]
    if len({len(each) for each in pieces}) > 1:
        return names[0]
    return "".join(
        found[0] if len(set(found)) == 1 else "{}"
        for found in zip(*pieces, strict=True)
    )


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
