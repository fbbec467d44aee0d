"""ALiBi: no position is given, far keys are marked down.

T query tokens · S key tokens · H heads

A fixed number is added to each score, in proportion to the distance. Nothing
is learned and nothing runs out. Left out: the symmetric variant for encoders
that look both ways.
"""

import math

import torch

from handmade import checks
from handmade.blocks.masks import check_lengths


def alibi_slopes(n_heads: int) -> torch.Tensor:
    """Give each head its slope: how much a step of distance costs.

    m_h = 2^(-8 h / H), h = 1 .. H,  for H a power of two;  -> (H,)

    For other H: the slopes of the next smaller power of two P, then every
    second one of 2 P, as the paper's code, BLOOM and Falcon have it. In
    nats per token. Raises ValueError for fewer than one head. [press2022]
    """
    checks.whole("n_heads", n_heads)
    power = 2 ** int(math.log2(n_heads))
    slopes = _geometric(power)
    if power < n_heads:
        # between those: the first, third, fifth ... of twice as many
        slopes += _geometric(2 * power)[::2][: n_heads - power]
    return torch.tensor(slopes, dtype=torch.float64).float()


def _geometric(n: int) -> list[float]:
    return [2.0 ** (-8 * h / n) for h in range(1, n + 1)]


def alibi_bias(
    n_heads: int,
    T: int,
    S: int | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Build what is added to the scores: minus slope times distance.

    bias[h, t, s] = m_h * (s - t),  -> (H, T, S)

    The queries are the last T of S positions, as in ``causal_mask``. Keys
    after the query get a positive bias and must be hidden:
    ``bias.masked_fill(~causal_mask(T, S), -math.inf)``. For scores with a
    batch, ``bias[None]``. Half precision is rounded once, at the end.
    Raises ValueError where there are more queries than keys. [press2022]
    """
    S = T if S is None else S
    check_lengths(T, S)
    checks.device("device", device)
    checks.dtype("dtype", dtype)
    wide = torch.promote_types(dtype, torch.float32)
    query_at = torch.arange(S - T, S, device=device)[:, None]
    distance_TS = torch.arange(S, device=device) - query_at
    slopes = alibi_slopes(n_heads).to(device=device, dtype=wide)
    return (slopes[:, None, None] * distance_TS.to(wide)).to(dtype)
