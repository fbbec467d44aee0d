"""Explorable: a query and a key turned by their positions, pair by pair.

K head width · T positions

The drawing turns two vectors that the cell gives, with ``rope.py``'s pairing
of axes i and i + K/2, and shows the score at every distance. All of it is
computed in ``rope_rotator.js``: two short vectors are all that travels.
"""

import ipywidgets as ipw
import torch
import traitlets

from handmade.widgets.base import (
    TRACK,
    Explorable,
    Explorer,
    assets,
    check_tensor,
    check_whole,
    explorer,
)


class RopeRotator(Explorable):
    """The dials, the turned pair and the score; sliders are added below.

    A word in the text may set the places (`query_at`, `key_at`, and `shift`
    that is added to both), the `pair` shown large, and `theta`.
    """

    _esm, _css = assets("rope_rotator")
    sets = ("query_at", "key_at", "shift", "pair", "theta")
    query = traitlets.List().tag(sync=True)  # K numbers
    key = traitlets.List().tag(sync=True)
    query_at = traitlets.Int(0).tag(sync=True)
    key_at = traitlets.Int(0).tag(sync=True)
    shift = traitlets.Int(0).tag(sync=True)  # added to both positions
    pair = traitlets.Int(0).tag(sync=True)
    theta = traitlets.Float(10000.0).tag(sync=True)
    farthest = traitlets.Int(64).tag(sync=True)


def rope_rotator(
    query: torch.Tensor,
    key: torch.Tensor,
    *,
    query_at: int = 12,
    key_at: int = 7,
    pair: int = 1,
    theta: float = 10000.0,
    farthest: int = 64,
) -> Explorer:
    """The drawing of one query and one key (K,) with its controls.

    The sliders move it where no kernel runs. Raises ValueError where the
    vectors do not have the same even width, or a slider no such place.
    """
    query = check_tensor("query", query, "K")
    key = check_tensor("key", key, "K")
    width = len(query)
    if query.shape != key.shape or width % 2:
        raise ValueError(
            f"query, key: got {tuple(query.shape)} and {tuple(key.shape)}, "
            "want one even width"
        )
    farthest = check_whole("farthest", farthest, 1, 10_000)
    query_at = check_whole("query_at", query_at, 0, farthest)
    key_at = check_whole("key_at", key_at, 0, farthest)
    pair = check_whole("pair", pair, 0, width // 2 - 1)
    if not isinstance(theta, float | int) or not 10 <= theta <= 1e6:
        raise ValueError(f"theta: got {theta!r}, want a number from 10 to 1e6")
    drawing = RopeRotator(
        query=[round(x, 3) for x in query.tolist()],
        key=[round(x, 3) for x in key.tolist()],
        query_at=query_at,
        key_at=key_at,
        pair=pair,
        theta=theta,
        farthest=farthest,
    )
    return explorer(
        drawing,
        query_at=ipw.IntSlider(
            query_at, 0, farthest, description="query at", **TRACK
        ),
        key_at=ipw.IntSlider(
            key_at, 0, farthest, description="key at", **TRACK
        ),
        shift=ipw.IntSlider(0, 0, 500, description="both later by", **TRACK),
        theta=ipw.FloatLogSlider(
            theta, min=1, max=6, step=0.25, description="theta",
            readout_format=",.0f", **TRACK,
        ),
    )  # fmt: skip
