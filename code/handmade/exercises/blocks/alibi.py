"""The exercises of the page on ALiBi.

B batch · T query tokens · S key tokens · H heads
"""

import math
from functools import partial

import torch

from handmade.blocks.alibi import alibi_slopes
from handmade.exercises.core import Case, Exercise, Mistake

# -- alibi-slopes: fn(n_heads) -> (H,) float32


def _powers(n: int, *, first: int = 1, top: float = 8.0) -> list[float]:
    return [2.0 ** (-top * h / n) for h in range(first, n + first)]


def _floor_power(n: int) -> int:
    return 2 ** int(math.log2(n))


def _ceil_power(n: int) -> int:
    return 2 ** math.ceil(math.log2(n))


def _next_in_row(n: int) -> torch.Tensor:
    P = _floor_power(n)
    return torch.tensor(_powers(P) + _powers(2 * P)[: n - P])


def _extra(n: int, *, start: int = 0, sort: bool = False) -> torch.Tensor:
    P = _floor_power(n)
    slopes = _powers(P) + _powers(2 * P)[start::2][: n - P]
    return torch.tensor(sorted(slopes, reverse=True) if sort else slopes)


SLOPES = Exercise(
    name="alibi-slopes",
    reference=alibi_slopes,
    cases=(
        Case("8 heads", lambda: (8,)),
        Case("4 heads", lambda: (4,)),
        Case("one head", lambda: (1,)),
        Case("16 heads", lambda: (16,)),
        Case("12 heads, as in ALiBi models of 12", lambda: (12,)),
        Case("9 heads", lambda: (9,)),
    ),
    mistakes=(
        Mistake(
            "the slopes of other head counts are taken from the formula for "
            "powers of two",
            lambda n: torch.tensor(_powers(n)),
        ),
        Mistake(
            "the formula counts heads from 0, so that the first slope is 1",
            lambda n: torch.tensor(_powers(n, first=0)),
        ),
        Mistake(
            "the exponent is -h, right for 8 heads only",
            lambda n: torch.tensor([2.0**-h for h in range(1, n + 1)]),
        ),
        Mistake(
            "of twice as many slopes the second, fourth, sixth are added: "
            "those the list has already",
            partial(_extra, start=1),
        ),
        Mistake(
            "of twice as many slopes the first ones are added, not every "
            "second one: half of them the list has already",
            _next_in_row,
        ),
        Mistake(
            "they are the first slopes of the next larger power of two",
            lambda n: torch.tensor(_powers(_ceil_power(n))[:n]),
        ),
        Mistake(
            "the slopes are sorted: the heads trained with them stand in "
            "another order",
            partial(_extra, sort=True),
        ),
        Mistake("they are negative", lambda n: -alibi_slopes(n)),
    ),
)


# -- alibi-bias: fn(slopes (H,), T, S) -> (H, T, S), the future -inf


def _bias(
    slopes, T, S, *, sign: int = 1, first: int | None = None, hide=True
) -> torch.Tensor:
    start = S - T if first is None else first
    distance = torch.arange(S) - torch.arange(start, start + T)[:, None]
    bias = sign * slopes[:, None, None] * distance
    return bias.masked_fill(distance > 0, -math.inf) if hide else bias


def _absolute(slopes, T, S):
    hidden = _bias(slopes, T, S).isinf()
    ramp = slopes[:, None, None] * torch.arange(S)
    return ramp.expand(-1, T, -1).masked_fill(hidden, -math.inf)


def _bias_case(label: str, H: int, T: int, S: int) -> Case:
    return Case(label, lambda: (alibi_slopes(H), T, S))


BIAS = Exercise(
    name="alibi-bias",
    reference=_bias,
    cases=(
        _bias_case("one head", 1, 4, 4),
        _bias_case("several heads", 4, 5, 5),
        _bias_case("as many heads as tokens", 4, 4, 4),
        _bias_case("queries after a cache", 3, 2, 7),
        _bias_case("one new token", 2, 1, 6),
    ),
    mistakes=(
        Mistake(
            "far keys are marked up instead of down: the sign is wrong",
            partial(_bias, sign=-1),
        ),
        Mistake(
            "the queries stand at the first T positions, not at the last",
            partial(_bias, first=0),
        ),
        Mistake(
            "the future is not hidden: later keys get a bonus",
            partial(_bias, hide=False),
        ),
        Mistake(
            "the slope is multiplied by the key's position, as BLOOM has it: "
            "the same weights after the softmax, another bias",
            _absolute,
        ),
        Mistake(
            "the future gets a large negative number instead of -inf, "
            "which the exercise asks for",
            lambda m, T, S: _bias(m, T, S).clamp(min=-1e9),
        ),
        Mistake(
            "all heads share the first slope",
            lambda m, T, S: _bias(m[:1].expand(len(m)), T, S),
        ),
        Mistake(
            "the axes of heads and queries are exchanged",
            lambda m, T, S: _bias(m, T, S).transpose(0, 1),
        ),
    ),
)


# -- bloom-bias: fn(attention_mask (B, S), slopes (H,)) -> (B, H, 1, S)


def _bloom(mask, slopes):
    at = (mask.cumsum(-1) - 1) * mask
    return slopes[:, None, None] * at[:, None, None, :]


def _mask_case(label: str, *rows: list[int], H: int = 4) -> Case:
    return Case(label, lambda: (torch.tensor(rows), alibi_slopes(H)))


BLOOM_BIAS = Exercise(
    name="bloom-bias",
    reference=_bloom,
    cases=(
        _mask_case("no padding", [1, 1, 1, 1, 1]),
        _mask_case("padding on the left", [0, 0, 1, 1, 1], [1, 1, 1, 1, 1]),
        _mask_case("padding on the right", [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]),
        _mask_case("as many rows as heads", *[[0, 1, 1]] * 4),
    ),
    mistakes=(
        Mistake(
            "padding is counted as if it were text",
            lambda mask, m: (
                m[:, None, None]
                * torch.arange(mask.shape[1]).expand(mask.shape)[:, None, None]
            ),
        ),
        Mistake(
            "the first token is at 1",
            lambda mask, m: (
                m[:, None, None] * (mask.cumsum(-1) * mask)[:, None, None]
            ),
        ),
        Mistake(
            "padding on the left gets -1",
            lambda mask, m: (
                m[:, None, None] * (mask.cumsum(-1) - 1)[:, None, None]
            ),
        ),
        Mistake(
            "padding gets -inf: this row is only the bias, and hiding is "
            "left to the mask",
            lambda mask, m: _bloom(mask, m).masked_fill(
                mask[:, None, None] == 0, -math.inf
            ),
        ),
        Mistake(
            "the sign is wrong: with key positions instead of distances, "
            "later keys must gain",
            lambda mask, m: -_bloom(mask, m),
        ),
        Mistake(
            "positions are counted along the batch",
            lambda mask, m: (
                m[:, None, None] * ((mask.cumsum(0) - 1) * mask)[:, None, None]
            ),
        ),
    ),
)


# -- alibi-reach: fn(slope, share) -> int


def _reach(slope: float, share: float) -> int:
    # keys 0 .. n-1 tokens away hold 1 - e^(-slope n) of an endless past;
    # rounded first, so that a share met exactly does not need one key more
    return math.ceil(round(-math.log(1 - share) / slope, 9))


REACH = Exercise(
    name="alibi-reach",
    reference=_reach,
    cases=(
        Case("half the weight, slope 1/2", lambda: (0.5, 0.5)),
        Case("half the weight, slope 1/256", lambda: (1 / 256, 0.5)),
        Case("nearly all, slope 1/16", lambda: (1 / 16, 0.99)),
        Case("a tenth, a steep head", lambda: (1.0, 0.1)),
    ),
    mistakes=(
        Mistake(
            "it is one key short: rounded down, or the distance of the last "
            "key, while the query's own is at distance 0",
            lambda m, p: _reach(m, p) - 1,
        ),
        Mistake(
            "the logarithm is taken of the share that is kept, not of the "
            "rest",
            lambda m, p: math.ceil(-math.log(p) / m),
        ),
        Mistake(
            "the logarithm is to the base 2: the slopes are powers of two, "
            "the softmax is of e",
            lambda m, p: math.ceil(round(-math.log2(1 - p) / m, 9)),
        ),
        Mistake(
            "the logarithm is to the base 10: the softmax is of e",
            lambda m, p: math.ceil(round(-math.log10(1 - p) / m, 9)),
        ),
    ),
)
