"""Follow one token through a run: name, shape, numbers, what happened to it.

A strip's stations are the outputs of the real modules in one real run, so it
cannot say anything that did not happen. In a page each is a row of coloured
numbers under what led to it; printed, a strip is a small table.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from handmade import checks
from handmade.plot_svg import colour, escaped
from handmade.record import record

SHOWN = 8  # numbers of a station: what fits a phone
FULL = 55  # percent of colour at most, or ink could not be read on it
_LIST = "list-style:none;margin:0;padding:0;max-width:32rem"
_NUMBERS = (
    f"display:grid;grid-template-columns:repeat({SHOWN},1fr);gap:2px;"
    "text-align:center;font-size:.8rem;line-height:2;"
    "font-variant-numeric:tabular-nums"
)
_NOTE = f"font-size:.8rem;color:{colour('muted')}"


@dataclass(frozen=True)
class Step:
    """One station: what it is called, its tensor, and what happened there.

    ``at`` is the place of the numbers to show, an index of all axes but the
    last, or of all: then it is the one number that is marked. Left out, it is
    the last token of the first text.
    Raises ValueError where the value is no tensor or has no such place.
    """

    name: str
    value: torch.Tensor
    what: str
    at: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        checks.text("name", self.name)
        checks.kind("value", self.value, torch.Tensor, "the station's tensor")
        checks.text("what", self.what)
        place = "a place in its shape, as a tuple"
        checks.kind("at", self.at, (tuple, type(None)), place)
        sizes, at = list(self.value.shape), self.at or ()
        known = len(sizes) - len(at) in (0, 1) and all(
            isinstance(i, int) and 0 <= i < n
            for i, n in zip(at, sizes, strict=False)
        )
        if self.at is not None and not known:
            raise ValueError(
                f"at: got {self.at}, want a place in {sizes}, with or "
                "without its last axis"
            )

    def numbers(self) -> tuple[torch.Tensor, tuple[int, ...], int | None]:
        """Return the vector to show, its place, and the number to mark."""
        value = self.value.detach().cpu()
        if value.is_complex():
            value = value.abs()
        if not value.numel():
            return value.flatten(), (), None
        axes = max(0, value.ndim - 1)
        if self.at is None:
            first, last = [0] * (axes - 1), value.shape[-2:-1]
            at, marked = (*first, *(n - 1 for n in last)), None
        else:
            at, rest = self.at[:axes], self.at[axes:]
            marked = rest[0] if rest else None
        return value[at].reshape(-1), at, marked

    def html(self) -> str:
        """Return its name and shape, and under them its numbers."""
        numbers, at, marked = self.numbers()
        shape = " × ".join(map(str, self.value.shape)) or "one number"
        n, notes = len(numbers), []
        start = max(0, min((marked or 0) - SHOWN // 2, n - SHOWN))
        if n > SHOWN and start:
            notes.append(f"{start:,} to {start + SHOWN - 1:,} of {n:,}")
        elif n > SHOWN:
            notes.append(f"first {SHOWN} of {n:,}")
        if at:
            notes.append(f"at [{', '.join(map(str, at))}]")
        limit = 0.0
        if numbers.is_floating_point():
            numbers = numbers.double()
            known = numbers[numbers.isfinite()]
            limit = known.abs().max().item() if len(known) else 0.0
        if limit:
            notes.append(f"full colour is {brief(limit)}")
        # spaces, for readers whose host drops the style
        cells = " ".join(
            _cell(value, limit, marked == i)
            for i, value in enumerate(numbers.tolist())
            if start <= i < start + SHOWN
        )
        return (
            f"<div><code>{escaped(self.name)}</code> "
            f'<span style="{_NOTE}">{shape}</span></div>'
            f'<div style="{_NUMBERS}">{cells}</div>'
            f'<div style="{_NOTE}">{", ".join(notes)}</div>'
        )


class Strip:
    """Stations in the order the token passed them.

    A notebook shows their numbers: orange below zero, blue above, zero in
    the page's colour, and how large what is drawn in full is. Printed, it is
    a plain table.

    Raises ValueError where there is no station.
    """

    def __init__(self, steps: list[Step]) -> None:
        want = "at least one Step, in a list"
        checks.several("steps", steps, want)
        for step in steps:
            checks.kind("steps", step, Step, want)
        checks.need(len(steps) > 0, "steps", "none", want)
        self.steps = steps

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (name, shape, what happened) of every station."""
        return [
            (step.name, str(list(step.value.shape)), step.what)
            for step in self.steps
        ]

    def __str__(self) -> str:
        rows = [("name", "shape", "what happened"), *self.rows()]
        wide = [max(len(row[i]) for row in rows) for i in (0, 1)]
        return "\n".join(
            f"{name:{wide[0]}}  {shape:{wide[1]}}  {what}"
            for name, shape, what in rows
        )

    __repr__ = __str__

    def html(self) -> str:
        """Return the stations below each other, each under what led to it."""
        items = []
        for i, step in enumerate(self.steps):
            arrow = '<span aria-hidden="true">↓ </span>' if i else ""
            space = "margin:.9rem 0 0" if i else "margin:0"
            what = f"<div>{arrow}{escaped(step.what)}</div>"
            items.append(f'<li style="{space}">{what}{step.html()}</li>')
        return f'<ol class="hm-strip" style="{_LIST}">{"".join(items)}</ol>'

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": str(self)}


def brief(value: float | bool) -> str:
    """Write a number so that eight of them fit a phone."""
    if isinstance(value, int) or math.isnan(value):
        return str(int(value)).replace("-", "−") if value == value else "nan"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size >= 9999.5 or 0 < size < 0.005:
        mantissa, _, power = f"{value:.0e}".partition("e")
        text = f"{mantissa}e{int(power)}"
    else:
        digits = 0 if size >= 99.95 else 1 if size >= 9.995 else 2
        text = f"{value:.{digits}f}" if value else "0"
    return text.replace("-", "−")


def _cell(value: float | int, limit: float, marked: bool) -> str:
    """Return one number on as much colour as it is large."""
    style = "font-weight:700;text-decoration:underline;" if marked else ""
    if limit and math.isfinite(value) and value:
        share = max(1, round(abs(value) / limit * FULL))
        ink = colour("c1" if value > 0 else "c2")
        style += f"background:color-mix(in srgb,{ink} {share}%,transparent)"
    exact = f"{value:.6g}" if isinstance(value, float) else f"{value}"
    kept = f' style="{style}"' if style else ""
    return f'<span title="{exact}"{kept}>{brief(value)}</span>'


def follow(
    model: nn.Module, inputs: Any, stations: Mapping[str, str]
) -> Strip:
    """Run the model once and note what each named module put out.

    ``stations`` maps a name, as in ``recording``, to what happens there, ""
    being the whole model; ``inputs`` are the arguments of the call, a tensor,
    a tuple or a dict. Stations come in the order their modules finish, and
    hold what they put out, also where a later one writes over it.
    Raises ValueError for a name that is no module's or that did not run.
    """
    checks.mapping("stations", stations, "a dict from name to what happens")
    seen = record(model, inputs, stations, copy=True)
    what = {
        key: stations[name] for name in seen.found for key in seen.found[name]
    }
    return Strip(
        [
            Step(key or type(model).__name__, tensor, what[key])
            for key, tensor in seen.items()
        ]
    )
