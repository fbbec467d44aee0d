"""Explorable: the whole computation by hand, to scrub through and to change.

V vocabulary · T tokens

The page ships no numbers: the script draws the weights as
`handmade.scalar` does, runs the same functions by the same names, and says
each number once more from what it was computed of (``by_hand.js``).
"""

from collections.abc import Sequence

import ipywidgets as ipw
import traitlets

from handmade import checks, scalar
from handmade.widgets.base import (
    TRACK,
    Explorable,
    Explorer,
    assets,
    check_whole,
    explorer,
)

FORWARD = (*scalar.VALUES, "loss")
# as `handmade.scalar.backward` computes them
BACKWARD = (
    "logits", "norm", "x_ffn", "norm.weight", "norm.bias", "ffn", "bent",
    "down_proj", "up", "ffn_norm", "up_proj", "x_attn", "ffn_norm.weight",
    "ffn_norm.bias", "attn", "merged", "o_proj", "heads", "weights", "scores",
    "v", "q", "k", "attn_norm", "q_proj", "k_proj", "v_proj", "x",
    "attn_norm.weight", "attn_norm.bias", "tok", "pos", "pos_emb", "tok_emb",
)  # fmt: skip
STEPS = (*FORWARD, *(f"∂{name}" for name in BACKWARD))
REACH = 1.6  # how far a weight's slider goes: gains begin near 1


class ByHand(Explorable):
    """The steps and their numbers; ``scrub`` adds the controls.

    A word in the text may set the `step` (its place among `STEPS`), the
    number that is explained (`row` and `column` of the drawing), and the
    weight that is changed: `weight` (its place among `scalar.SHAPES`), `at`
    (its number there, row-major) and its `value`.
    """

    _esm, _css = assets("by_hand")
    sets = ("step", "row", "column", "weight", "at", "value")
    ids = traitlets.List().tag(sync=True)
    targets = traitlets.List().tag(sync=True)
    seed = traitlets.Int(1).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    row = traitlets.Int(0).tag(sync=True)
    column = traitlets.Int(0).tag(sync=True)
    weight = traitlets.Int(0).tag(sync=True)
    at = traitlets.Int(0).tag(sync=True)
    value = traitlets.Float(0.0).tag(sync=True)


def scrub(
    ids: Sequence[int],
    targets: Sequence[int],
    *,
    seed: int = 1,
    step: str = "logits",
    row: int = 0,
    column: int = 0,
    weight: str = "q_proj",
    at: int = 0,
) -> Explorer:
    """The explorable with its controls, joined in the front end.

    ``step`` is the first one shown, a name of `STEPS`; ``weight`` and ``at``
    the number that the slider changes. Raises ValueError where tokens and
    targets are not 1 to P numbers below V, and for a name that is unknown.
    """
    ids = _check_tokens("ids", ids)
    targets = _check_tokens("targets", targets)
    same = len(ids) == len(targets)
    checks.need(same, "targets", len(targets), f"{len(ids)}, as of ids")
    seed = check_whole("seed", seed, 1, 2**31 - 2)
    checks.need(step in STEPS, "step", repr(step), f"one of {STEPS}")
    names = [*scalar.SHAPES]
    checks.need(weight in names, "weight", repr(weight), f"one of {names}")
    numbers = _flat(scalar.initial_weights(seed)[weight])
    at = check_whole("at", at, 0, len(numbers) - 1)
    drawing = ByHand(
        ids=ids,
        targets=targets,
        seed=seed,
        step=STEPS.index(step),
        row=check_whole("row", row, 0, 2**10),
        column=check_whole("column", column, 0, 2**10),
        weight=names.index(weight),
        at=at,
        value=numbers[at],
    )
    first_back = len(FORWARD)
    options = [
        (f"{'forward' if i < first_back else 'back'} {name}", i)
        for i, name in enumerate(STEPS)
    ]
    return explorer(
        drawing,
        step=ipw.SelectionSlider(
            options=options, value=drawing.step, description="step", **TRACK
        ),
        value=ipw.FloatSlider(
            drawing.value, min=-REACH, max=REACH, step=0.01,
            description="the weight", readout_format=".2f", **TRACK,
        ),
    )  # fmt: skip


def _check_tokens(name: str, tokens: Sequence[int]) -> list[int]:
    most = scalar.SIZES["P"]
    checks.several(name, tokens, f"1 to {most} tokens")
    count = len(tokens)
    checks.need(0 < count <= most, name, count, f"1 to {most} of them")
    last = scalar.SIZES["V"] - 1
    return [check_whole(name, token, 0, last) for token in tokens]


def _flat(numbers: list[float] | list[list[float]]) -> list[float]:
    if isinstance(numbers[0], list):
        return [x for row in numbers for x in row]  # type: ignore[union-attr]
    return numbers  # type: ignore[return-value]
