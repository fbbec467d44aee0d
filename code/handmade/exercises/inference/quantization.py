"""The exercises of the page on quantization.

O outputs · D inputs · N weights of a group · C groups
"""

from collections.abc import Callable

import torch

from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake
from handmade.inference.q4_1 import decode_q4_1


def _weights(*shape: int, seed: int = 0) -> torch.Tensor:
    return randoms(shape, seed=seed + sum(shape), size=0.1)[0]


def _safe(x, scale):
    """x / scale, and 0 where the scale is 0."""
    return torch.where(scale == 0, 0, x / torch.where(scale == 0, 1, scale))


# -- absmax-groups: fn(w (O, D), bits, group) -> (O, D), rounded


def _absmax(
    levels: Callable = lambda bits: 2 ** (bits - 1) - 1,
    reach: Callable = lambda x: x.abs().amax(-1, keepdim=True),
    divide: Callable = _safe,
    turn: Callable = torch.round,
    cut: Callable = lambda w, group: w.reshape(-1, group),
) -> Callable:
    """The reference, or one with a step replaced."""

    def fn(w, bits, group):
        x = cut(w, group)
        most = levels(bits)
        scale = reach(x) / most
        codes = turn(divide(x, scale)).clamp(-most, most)
        return (scale * codes).reshape(w.shape)

    return fn


def _with_zeros() -> tuple:
    w = _weights(3, 16)
    w[1, 8:] = 0
    return w, 4, 8


def _one_sign() -> tuple:
    return -_weights(3, 16).abs(), 4, 8


ABSMAX = Exercise(
    name="absmax-groups",
    reference=_absmax(),
    cases=(
        Case("four bits, groups of 8", lambda: (_weights(3, 16), 4, 8)),
        Case("eight bits, a scale a row", lambda: (_weights(4, 24), 8, 24)),
        Case("three bits, groups of 4", lambda: (_weights(2, 12), 3, 4)),
        Case("all weights of one sign", _one_sign),
        Case("a group of zeros", _with_zeros),
    ),
    mistakes=(
        Mistake(
            "a group of zeros is divided by its scale, which is 0",
            _absmax(divide=torch.div),
        ),
        Mistake(
            "one scale serves the whole matrix",
            _absmax(cut=lambda w, group: w.reshape(1, -1)),
        ),
        Mistake(
            "a scale serves a whole row instead of a group",
            _absmax(cut=lambda w, group: w),
        ),
        Mistake(
            "groups are cut down the columns instead of along the rows",
            lambda w, bits, group: (
                _absmax()(w.T.contiguous(), bits, group).T
                if w.numel() % group == 0
                else w
            ),
        ),
        Mistake(
            "the scale is the largest weight, not the largest size: negative "
            "weights beyond it are cut",
            _absmax(reach=lambda x: x.amax(-1, keepdim=True)),
        ),
        Mistake(
            "codes are cut off towards zero instead of rounded",
            _absmax(turn=torch.trunc),
        ),
        Mistake(
            "codes are rounded down instead of to the nearest",
            _absmax(turn=torch.floor),
        ),
        Mistake(
            "the scale is made for 2^bits levels on each side: the codes "
            "need one bit more than there is",
            _absmax(levels=lambda bits: 2**bits - 1),
        ),
    ),
)

# -- q4_1-block: fn(blocks (n, 20) uint8) -> (n, 32) float32


def _q4_1(
    join: Callable = lambda low, high: torch.cat((low, high), 1),
    value: Callable = lambda d, m, codes: d * codes + m,
) -> Callable:
    def fn(blocks):
        head = blocks[:, :4].contiguous().view(torch.float16).float()
        d, m = head[:, :1], head[:, 1:]
        return value(d, m, join(blocks[:, 4:] & 15, blocks[:, 4:] >> 4))

    return fn


def _raw(count: int) -> Callable:
    def make():
        g = torch.Generator().manual_seed(count)
        data = torch.randint(0, 256, (count, 20), generator=g)
        data = data.to(torch.uint8)
        head = torch.randn(count, 2, generator=g).half()
        data[:, :4] = head.view(torch.uint8)
        return (data,)

    return make


Q4_1 = Exercise(
    name="q4_1-block",
    reference=lambda blocks: decode_q4_1(blocks.flatten()).view(-1, 32),
    cases=(Case("one block", _raw(1)), Case("seven blocks", _raw(7))),
    mistakes=(
        Mistake(
            "the two codes of a byte become neighbours: byte i holds the "
            "weights i and i + 16",
            _q4_1(lambda low, high: torch.stack((low, high), 2).flatten(1)),
        ),
        Mistake(
            "the high halves come first",
            _q4_1(lambda low, high: torch.cat((high, low), 1)),
        ),
        Mistake(
            "the two codes of a byte become neighbours, the high half first: "
            "that is bitsandbytes' order",
            _q4_1(lambda low, high: torch.stack((high, low), 2).flatten(1)),
        ),
        Mistake(
            "the codes are made less by 8, as in Q4_0, which has no minimum",
            _q4_1(value=lambda d, m, codes: d * (codes.float() - 8) + m),
        ),
        Mistake(
            "scale and minimum are exchanged: the scale stands first",
            _q4_1(value=lambda d, m, codes: m * codes + d),
        ),
        Mistake(
            "the minimum is subtracted",
            _q4_1(value=lambda d, m, codes: d * codes - m),
        ),
        Mistake(
            "the minimum is left out",
            _q4_1(value=lambda d, m, codes: d * codes),
        ),
    ),
)

# -- asymmetric-group: fn(x (C, N), bits) -> (C, N), rounded


def _asymmetric(
    low: Callable = lambda x: x.amin(-1, keepdim=True),
    steps: Callable = lambda bits: 2**bits - 1,
    divide: Callable = _safe,
    back: Callable = lambda scale, codes, low: scale * codes + low,
) -> Callable:
    def fn(x, bits):
        bottom = low(x)
        scale = (x.amax(-1, keepdim=True) - bottom) / steps(bits)
        codes = divide(x - bottom, scale).round().clamp(0, 2**bits - 1)
        return back(scale, codes, bottom)

    return fn


def _zero_point(x, bits):
    low = x.amin(-1, keepdim=True)
    scale = (x.amax(-1, keepdim=True) - low) / (2**bits - 1)
    zero = _safe(-low, scale).round().clamp(0, 2**bits - 1)
    codes = (_safe(x, scale).round() + zero).clamp(0, 2**bits - 1)
    return scale * (codes - zero)


def _rounded_zero_point(x, bits):
    low = x.amin(-1, keepdim=True)
    scale = (x.amax(-1, keepdim=True) - low) / (2**bits - 1)
    zero = _safe(-low, scale).round()
    codes = (_safe(x, scale).round() + zero).clamp(0, 2**bits - 1)
    return scale * (codes - zero)


def _constant() -> tuple:
    x = _weights(3, 6)
    x[1] = 0.25
    return x, 4


ASYMMETRIC = Exercise(
    name="asymmetric-group",
    reference=_asymmetric(),
    cases=(
        Case("four bits", lambda: (_weights(3, 8), 4)),
        Case("two bits", lambda: (_weights(5, 6), 2)),
        Case("all weights above 1", lambda: (_weights(3, 8).abs() + 1, 4)),
        Case("all weights below -1", lambda: (-_weights(3, 8).abs() - 1, 3)),
        Case("a constant group", _constant),
    ),
    mistakes=(
        Mistake(
            "a constant group is divided by its scale, which is 0",
            _asymmetric(divide=torch.div),
        ),
        Mistake(
            "the place of zero is kept as a code and cut to the codes there "
            "are: a group of one sign has its zero far outside",
            _zero_point,
        ),
        Mistake(
            "the place of zero is rounded to a code, and the whole grid "
            "moves by up to half a step",
            _rounded_zero_point,
        ),
        Mistake(
            "the lowest weight is not added again",
            _asymmetric(back=lambda scale, codes, low: scale * codes),
        ),
        Mistake(
            "the grid begins at minus the largest size",
            _asymmetric(low=lambda x: -x.abs().amax(-1, keepdim=True)),
        ),
        Mistake(
            "the reach is divided by 2^bits: that many levels have one step "
            "less between them",
            _asymmetric(steps=lambda bits: 2**bits),
        ),
    ),
)

# -- gptq-step: fn(w (O, D), U (D, D), j, rounded (O,)) -> (O, D)


def _step(w, U, j, rounded):
    out = w.clone()
    error = (w[:, j] - rounded) / U[j, j]
    out[:, j] = rounded
    out[:, j + 1 :] -= error[:, None] * U[j, j + 1 :]
    return out


def _plain_error(w, U, j, rounded):
    out = w.clone()
    out[:, j] = rounded
    out[:, j + 1 :] -= (w[:, j] - rounded)[:, None] * U[j, j + 1 :]
    return out


def _added(w, U, j, rounded):
    out = 2 * w - _step(w, U, j, rounded)
    out[:, j] = rounded
    return out


def _everywhere(w, U, j, rounded):
    row = (U + U.triu(1).T)[j]
    out = w - ((w[:, j] - rounded) / U[j, j])[:, None] * row
    out[:, j] = rounded
    return out


def _late(w, U, j, rounded):
    out = w.clone()
    out[:, j] = rounded
    error = (out[:, j] - rounded) / U[j, j]
    out[:, j + 1 :] -= error[:, None] * U[j, j + 1 :]
    return out


def _not_put(w, U, j, rounded):
    out = _step(w, U, j, rounded)
    out[:, j] = w[:, j]
    return out


def _gptq_case(label: str, rows: int, width: int, j: int) -> Case:
    def make():
        w, x = randoms((rows, width), (3 * width, width), seed=width + j)
        inverse = torch.linalg.inv(x.T @ x)
        U = torch.linalg.cholesky(inverse, upper=True)
        return w, U, j, (2 * w[:, j]).round() / 2

    return Case(label, make)


GPTQ = Exercise(
    name="gptq-step",
    reference=_step,
    cases=(
        _gptq_case("the first column", 3, 5, 0),
        _gptq_case("a column in the middle", 4, 7, 3),
        _gptq_case("the last column", 2, 6, 5),
    ),
    mistakes=(
        Mistake(
            "the columns to come do not move: the error is 0, as where it is "
            "taken after the column was replaced",
            _late,
        ),
        Mistake("the error is not divided by U[j, j]", _plain_error),
        Mistake(
            "the correction is added: the columns to come make the error "
            "worse",
            _added,
        ),
        Mistake(
            "columns that are rounded already are moved too, off the grid",
            _everywhere,
        ),
        Mistake("the column itself is not replaced", _not_put),
    ),
)
