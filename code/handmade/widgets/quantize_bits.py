"""Explorable: how many bits a weight needs, and where the levels should lie.

O rows · D columns · N weights of a group

The cell gives pieces of real weights; they travel as float32, and the drawing
rounds them itself (``quantize_bits.js``). ``rounded`` does the same with the
package: a page asserts with it what a reader is told to see, and a test holds
the two to each other, bit for bit.
"""

from collections.abc import Mapping

import ipywidgets as ipw
import torch
import traitlets

from handmade import checks
from handmade.inference.nf4 import LEVELS, NF4
from handmade.inference.quantization import Grid, absmax, asymmetric
from handmade.widgets.base import (
    TRACK,
    Explorable,
    Explorer,
    assets,
    check_labels,
    check_tensor,
    check_whole,
    explorer,
    pack_float32,
)

SCHEMES = ("absmax", "asymmetric", "NF4")
GROUPS = (16, 32, 64, 128)
MOST = 16_384  # weights of a piece: what a phone rounds at each step


class QuantizeBits(Explorable):
    """Histogram, levels and error; ``explore_bits`` adds the controls.

    A word in the text may set the `piece` (which weights, from 0), the
    `scheme` (0: absmax, 1: asymmetric, 2: NF4), the `bits`, and the `group`
    (a place in `groups`; the last two are a row and all weights).
    """

    _esm, _css = assets("quantize_bits")
    sets = ("piece", "scheme", "bits", "group")
    labels = traitlets.List().tag(sync=True)
    weights = traitlets.List().tag(sync=True)  # one base64 float32 a piece
    levels = traitlets.List().tag(sync=True)  # NF4's
    groups = traitlets.List().tag(sync=True)  # numbers of weights
    piece = traitlets.Int(0).tag(sync=True)
    scheme = traitlets.Int(0).tag(sync=True)
    bits = traitlets.Int(4).tag(sync=True)
    group = traitlets.Int(0).tag(sync=True)  # into groups


def explore_bits(
    weights: Mapping[str, torch.Tensor],
    *,
    scheme: str = "absmax",
    bits: int = 4,
    group: int = 64,
) -> Explorer:
    """The explorable with its controls, joined in the front end.

    `weights` maps a label to a piece (O, D) of a matrix; all have one shape.
    Raises ValueError where shapes differ, for more than 16,384 weights, and
    for a group that is not offered: 16, 32, 64 or 128 where they divide D,
    D, and O D.
    """
    checks.mapping("weights", weights, "a dict from a label to (O, D)")
    labels = check_labels("weights", [*weights])
    rows, width = _shape(weights)
    _check_scheme(scheme)
    bits = check_whole("bits", bits, 2, 8)
    groups = [n for n in GROUPS if n < width and width % n == 0]
    groups += [width, rows * width]
    group = check_whole("group", group, 1, rows * width)
    checks.need(group in groups, "group", group, f"one of {groups}")
    words = [f"{n}" for n in groups[:-2]] + ["a row", "all"]
    drawing = QuantizeBits(
        labels=labels,
        weights=[pack_float32(w.detach().cpu()) for w in weights.values()],
        levels=[*LEVELS],
        groups=groups,
        scheme=SCHEMES.index(scheme),
        bits=bits,
        group=groups.index(group),
    )
    return explorer(
        drawing,
        piece=ipw.Dropdown(
            options=[(label, i) for i, label in enumerate(labels)],
            description="weights",
            **TRACK,
        ),
        scheme=ipw.Dropdown(
            options=[*SCHEMES],
            index=drawing.scheme,
            description="levels",
            **TRACK,
        ),
        bits=ipw.IntSlider(bits, 2, 8, description="bits", **TRACK),
        group=ipw.SelectionSlider(
            options=words,
            index=drawing.group,
            description="a scale for",
            **TRACK,
        ),
    )


def rounded(
    w: torch.Tensor, *, scheme: str, bits: int, group: int
) -> Grid | NF4:
    """Return what the drawing shows at one place of its controls.

    (O, D); NF4 has four bits whatever `bits` says, and a group of O D is the
    whole matrix.
    """
    check_tensor("w", w, "O", "D")
    _check_scheme(scheme)
    bits = check_whole("bits", bits, 2, 8)
    group = check_whole("group", group, 1, w.numel())
    if scheme == "NF4":
        return NF4(w, block=group)
    fn = absmax if scheme == "absmax" else asymmetric
    return fn(w, bits=bits, group=None if group == w.numel() else group)


def _shape(weights: Mapping[str, torch.Tensor]) -> tuple[int, int]:
    shapes = set()
    for w in weights.values():
        check_tensor("weights", w, "O", "D")
        shapes.add(tuple(w.shape))
    rows, width = next(iter(shapes))
    if len(shapes) > 1 or rows < 2 or width % 8 or rows * width > MOST:
        raise ValueError(
            f"weights: got shapes {sorted(shapes)}, want one (O, D), D a "
            f"multiple of 8, O at least 2, at most {MOST:,} weights"
        )
    return rows, width


def _check_scheme(scheme: str) -> None:
    checks.text("scheme", scheme)
    checks.need(scheme in SCHEMES, "scheme", repr(scheme), f"of {SCHEMES}")
