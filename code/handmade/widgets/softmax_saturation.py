"""Explorable: how a softmax saturates, and which queries still learn.

N queries · S keys · K head width · W widths

The cell gives queries, keys and the gradient at the weights; what travels is
the dot products over the first 1, 2, 4, … entries. The drawing divides them,
takes the softmax and goes back (``softmax_saturation.js``). ``saturation`` is
the same in PyTorch: a page asserts with it what a reader is told to see.
"""

import ipywidgets as ipw
import torch
import traitlets

from handmade import checks
from handmade.widgets.base import (
    TRACK,
    Explorable,
    Explorer,
    assets,
    check_tensor,
    check_whole,
    explorer,
    pack_float32,
)


class SoftmaxSaturation(Explorable):
    """One of three drawings; ``explore_saturation`` adds the sliders.

    A word in the text may set the `question` (0: who gets the weight, 1:
    what can still move, 2: which queries learn), the head width (`width`, a
    place in `widths`: 2 to that power), the `power` p of the divisor K^p,
    and the `query`.
    """

    _esm, _css = assets("softmax_saturation")
    sets = ("question", "width", "power", "query")
    widths = traitlets.List().tag(sync=True)  # 1, 2, 4, …
    n_keys = traitlets.Int().tag(sync=True)
    dots = traitlets.Unicode().tag(sync=True)  # float32 (W, N, S)
    turned_keys = traitlets.Unicode().tag(sync=True)  # float32 (W, S, S)
    upstream = traitlets.Unicode().tag(sync=True)  # float32 (N, S)
    question = traitlets.Int(0).tag(sync=True)
    width = traitlets.Int(0).tag(sync=True)  # into widths
    power = traitlets.Float(0.5).tag(sync=True)  # the divisor is K^power
    query = traitlets.Int(0).tag(sync=True)


def saturation(
    q_NK: torch.Tensor,
    k_SK: torch.Tensor,
    upstream_NS: torch.Tensor,
    *,
    width: int,
    power: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute what the drawing shows at one place of its sliders.

    w = softmax(q k^T / width^power) over the first `width` entries, and the
    norms of the gradient at each query's scores and at the query
    (N, K), (S, K), (N, S) -> (N, S), (N,), (N,)
    """
    _check(q_NK, k_SK, upstream_NS)
    width = check_whole("width", width, 1, q_NK.shape[1])
    checks.number("power", power, at_least=0)
    q, k, divisor = q_NK[:, :width], k_SK[:, :width], width**power
    weights = (q @ k.T / divisor).softmax(-1)
    # each g_j less the weighted mean of all, as a sum of differences: where
    # one weight is all but 1, g_j less that mean would be rounding
    ahead = upstream_NS[:, :, None] - upstream_NS[:, None]
    at_scores = weights * (ahead * weights[:, None]).sum(-1)
    at_query = at_scores @ k / divisor
    return weights, at_scores.norm(dim=-1), at_query.norm(dim=-1)


def explore_saturation(
    q_NK: torch.Tensor,
    k_SK: torch.Tensor,
    upstream_NS: torch.Tensor,
    *,
    width: int,
    power: float = 0.5,
    query: int = 0,
) -> Explorer:
    """The drawing with its sliders, joined in the front end.

    It opens at the head width `width`, a power of two up to K. Raises
    ValueError where shapes or the width do not fit.
    """
    _check(q_NK, k_SK, upstream_NS)
    N, S = len(q_NK), len(k_SK)
    widths = [2**i for i in range(q_NK.shape[1].bit_length())]
    width = check_whole("width", width, 1, widths[-1])
    checks.need(width in widths, "width", width, f"one of {widths}")
    checks.number("power", power, at_least=0)
    checks.need(power <= 1, "power", power, "a number from 0 to 1")
    query = check_whole("query", query, 0, N - 1)
    q, k = q_NK.double(), k_SK.double()
    dots = torch.stack([q[:, :K] @ k[:, :K].T for K in widths])
    keys = torch.stack([_in_few_axes(k[:, :K]) for K in widths])
    drawing = SoftmaxSaturation(
        widths=widths,
        n_keys=S,
        dots=pack_float32(dots),
        turned_keys=pack_float32(keys),
        upstream=pack_float32(upstream_NS),
        width=widths.index(width),
        power=power,
        query=query,
    )
    return explorer(
        drawing,
        width=ipw.SelectionSlider(
            options=widths, value=width, description="head width K", **TRACK
        ),
        power=ipw.FloatSlider(
            power, min=0, max=1, step=0.05, description="p in K^p",
            **TRACK,
        ),
        query=ipw.IntSlider(query, 0, N - 1, description="query", **TRACK),
    )  # fmt: skip


def _check(
    q_NK: torch.Tensor, k_SK: torch.Tensor, upstream_NS: torch.Tensor
) -> None:
    check_tensor("q", q_NK, "N", "K")
    check_tensor("k", k_SK, "S", "K")
    check_tensor("upstream", upstream_NS, "N", "S")
    want = len(q_NK), len(k_SK)
    if q_NK.shape[1:] != k_SK.shape[1:] or upstream_NS.shape != want:
        raise ValueError(
            f"q, k, upstream: got shapes {tuple(q_NK.shape)}, "
            f"{tuple(k_SK.shape)} and {tuple(upstream_NS.shape)}, want "
            "(N, K), (S, K) and (N, S)"
        )


def _in_few_axes(k_SK: torch.Tensor) -> torch.Tensor:
    """Turn S keys into S axes: sums of them keep their lengths, (S, S)."""
    S = len(k_SK)
    turned = torch.linalg.qr(k_SK.T).R.T  # (S, K) where the keys are narrow
    return torch.nn.functional.pad(turned, (0, S - turned.shape[1]))
