"""The exercises of the page on positions.

T tokens · D model width
"""

from collections.abc import Callable
from functools import partial

import torch

from handmade.blocks.positions import sinusoidal_positions
from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake

# -- sinusoidal: fn(positions (T,), d_model, theta) -> (T, D) float32


def _waves(
    positions,
    d_model,
    theta,
    *,
    power: float = 2.0,
    start: int = 0,
    sines_first: bool = False,
    cosine_first: bool = False,
    axis_step: bool = False,
) -> torch.Tensor:
    """Sinusoidal positions with one step replaced by another."""
    i = torch.arange(d_model // 2).double()
    speed = theta ** (-power * i / d_model)
    at = (positions + start)[:, None].double()
    sin, cos = (at * speed).sin(), (at * speed).cos()
    if axis_step:  # every column has a speed of its own
        cos = (at * theta ** (-(2 * i + 1) / d_model)).cos()
    if sines_first:
        return torch.cat((sin, cos), dim=-1).float()
    both = (cos, sin) if cosine_first else (sin, cos)
    return torch.stack(both, dim=-1).flatten(-2).float()


def _wave_case(label: str, at: list, D: int, theta: float) -> Case:
    return Case(label, lambda: (torch.tensor(at), D, theta))


SINUSOIDAL = Exercise(
    name="sinusoidal",
    reference=sinusoidal_positions,
    cases=(
        _wave_case("one pair", [0, 1, 2], 2, 10000.0),
        _wave_case("several pairs", [0, 1, 2, 3], 8, 10000.0),
        _wave_case("as many positions as axes", [0, 1, 2, 3, 4, 5], 6, 100.0),
        _wave_case("positions that skip", [7, 0, 90], 10, 10000.0),
    ),
    mistakes=(
        Mistake(
            "all sines come first and all cosines after them, as in Marian; "
            "the paper lets them alternate",
            partial(_waves, sines_first=True),
        ),
        Mistake(
            "cosine comes before sine in each pair",
            partial(_waves, cosine_first=True),
        ),
        Mistake(
            "the exponent is -i / D with i = 0 .. D/2 - 1: the factor 2 is "
            "missing",
            partial(_waves, power=1.0),
        ),
        Mistake(
            "every column has its own speed: sine and cosine of a pair must "
            "share one",
            partial(_waves, axis_step=True),
        ),
        Mistake("positions are counted from 1", partial(_waves, start=1)),
        Mistake(
            "theta is ignored: it is 10,000 in every case",
            lambda p, D, theta: _waves(p, D, 10000.0),
        ),
        Mistake(
            "the exponent is positive: the speeds grow instead of falling",
            partial(_waves, power=-2.0),
        ),
        Mistake(
            "positions are ignored and counted 0, 1, 2, ... instead",
            lambda p, D, theta: _waves(torch.arange(len(p)), D, theta),
        ),
    ),
)


# -- shift-matrix: fn(distance, d_model, theta) -> (D, D) float64


def _shift(
    distance, d_model, theta, *, sign: int = 1, halves: bool = False
) -> torch.Tensor:
    i = torch.arange(d_model // 2).double()
    angle = sign * distance * theta ** (-2 * i / d_model)
    R = torch.zeros(d_model, d_model, dtype=torch.float64)
    half = d_model // 2
    for n, a in enumerate(angle):
        x, y = (n, n + half) if halves else (2 * n, 2 * n + 1)
        R[x, x] = R[y, y] = a.cos()
        R[x, y], R[y, x] = a.sin(), -a.sin()
    return R


def _shift_case(label: str, *args) -> Case:
    return Case(label, lambda: args)


SHIFT_MATRIX = Exercise(
    name="shift-matrix",
    reference=_shift,
    cases=(
        _shift_case("one pair, one step", 1, 2, 10000.0),
        _shift_case("two pairs", 3, 4, 100.0),
        _shift_case("a step back", -2, 6, 10000.0),
        _shift_case("no step", 0, 6, 10000.0),
        _shift_case("far", 500, 8, 10000.0),
    ),
    mistakes=(
        Mistake(
            "it is transposed: y[t] = R y[t + distance], a step back",
            partial(_shift, sign=-1),
        ),
        Mistake(
            "axis i is paired with axis i + D/2, but here sine and cosine "
            "alternate",
            partial(_shift, halves=True),
        ),
        Mistake(
            "all pairs turn at the same speed",
            lambda k, D, theta: _shift(k, D, 1.0),
        ),
        Mistake(
            "theta is ignored: it is 10,000 in every case",
            lambda k, D, theta: _shift(k, D, 10000.0),
        ),
        Mistake(
            "it is always the matrix of one step",
            lambda k, D, theta: _shift(1, D, theta),
        ),
    ),
)


# -- next-positions: fn(n_cached, n_new, max_seq_len) -> (n_new,) or raises


def _next(n_cached, n_new, max_seq_len):
    if n_cached + n_new > max_seq_len:
        raise ValueError("more tokens than the table has rows")
    return torch.arange(n_cached, n_cached + n_new)


NEXT_POSITIONS = Exercise(
    name="next-positions",
    reference=_next,
    cases=(
        Case("a prompt", lambda: (0, 5, 16)),
        Case("one token after a prompt", lambda: (5, 1, 16)),
        Case("several tokens after a prompt", lambda: (5, 3, 16)),
        Case("up to the last row", lambda: (10, 6, 16)),
        Case("one token too many", lambda: (16, 1, 16)),
        Case("a prompt that crosses the end", lambda: (14, 4, 16)),
    ),
    mistakes=(
        Mistake(
            "each call counts from 0 again: what was cached is forgotten",
            lambda c, n, m: torch.arange(n),
        ),
        Mistake(
            "positions past the table stay at its last row, and nobody is "
            "told",
            lambda c, n, m: torch.arange(c, c + n).clamp(max=m - 1),
        ),
        Mistake(
            "positions past the table start again at 0, and nobody is told",
            lambda c, n, m: torch.arange(c, c + n) % m,
        ),
        Mistake(
            "positions past the table are returned: the lookup will fail, or "
            "read rows that were never trained",
            lambda c, n, m: torch.arange(c, c + n),
        ),
        Mistake(
            "the last row is never used: the limit is off by one",
            lambda c, n, m: _next(c, n, m - 1),
        ),
        Mistake(
            "the new tokens start one place too late",
            lambda c, n, m: _next(c, n, m) + 1,
        ),
    ),
)


# -- order-blind: fn(layer, x (T, D)) -> bool


def _order_blind(layer: Callable, x: torch.Tensor, same=torch.allclose):
    plain = layer(x)
    for t in range(len(x) - 1):
        swap = torch.arange(len(x))
        swap[t], swap[t + 1] = t + 1, t
        if not same(layer(x[swap]), plain[swap]):
            return False
    return True


def _attend(x, mask=None):
    scores = x @ x.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ x


def _attend_causally(x):
    return _attend(x, torch.ones(len(x), len(x)).bool().tril())


def _add_ramp(x):
    return _attend(x + torch.arange(len(x))[:, None] / 10)


def _marks(x, at):
    # reversing an odd number of tokens leaves the middle where it is
    y = _attend(x).clone()
    y[at] += 1
    return y


def _near_is_better(x):
    at = torch.arange(len(x))
    scores = x @ x.mT - (at[:, None] - at).abs()
    return scores.softmax(-1) @ x


def _layer_case(label: str, layer: Callable, T: int = 7) -> Case:
    return Case(label, lambda: (layer, *randoms((T, 4))))


ORDER_BLIND = Exercise(
    name="order-blind",
    reference=_order_blind,
    cases=(
        _layer_case("attention", _attend),
        _layer_case("a layer on each token alone", torch.tanh),
        _layer_case("the mean of all tokens", lambda x: 0 * x + x.mean(0)),
        _layer_case("a causal mask", _attend_causally),
        _layer_case("positions added", _add_ramp),
        _layer_case("near keys preferred", _near_is_better),
        _layer_case("only the middle token marked", partial(_marks, at=3)),
        _layer_case("only the last token marked", partial(_marks, at=-1)),
        _layer_case("a neighbour seen, in a ring", lambda x: x + x.roll(1, 0)),
        _layer_case("the determinant added", lambda x: x + x.det(), T=4),
    ),
    mistakes=(
        Mistake(
            "the output is expected to stay as it is: with its tokens the "
            "output must move too",
            lambda layer, x: torch.allclose(layer(x.flip(0)), layer(x)),
        ),
        Mistake(
            "only the reversed order is tried: what depends on the distance "
            "alone looks the same from behind",
            lambda layer, x: torch.allclose(
                layer(x.flip(0)).flip(0), layer(x)
            ),
        ),
        Mistake(
            "only shifts round the end are tried: a layer that sees its "
            "neighbour in a ring passes",
            lambda layer, x: torch.allclose(
                layer(x.roll(1, 0)).roll(-1, 0), layer(x)
            ),
        ),
        Mistake(
            "equality to the last bit is asked: another order of adding "
            "rounds differently (`torch.allclose`)",
            partial(_order_blind, same=torch.equal),
        ),
        Mistake(
            "only the first output is compared",
            lambda layer, x: torch.allclose(
                layer(x[[0, *range(len(x) - 1, 0, -1)]])[0], layer(x)[0]
            ),
        ),
        Mistake(
            "only the shapes are compared",
            lambda layer, x: layer(x.flip(0)).shape == layer(x).shape,
        ),
    ),
)
