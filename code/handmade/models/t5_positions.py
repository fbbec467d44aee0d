"""T5's positions: one learned number for each bucket of distances.

T query tokens · S key tokens · H heads

Near distances have a bucket each, far ones share theirs, and the farthest
share one: the table is small and no text is too long for it. Left out: a
table for each layer, which T5 has only in the first.
"""

import math

import torch
from torch import nn

from handmade import checks
from handmade.blocks.masks import check_lengths


def relative_bucket(
    distance: torch.Tensor,
    n_buckets: int = 32,
    max_distance: int = 128,
    *,
    both_ways: bool,
) -> torch.Tensor:
    """Sort distances into buckets, any shape of int -> the same shape.

    n = |d|,  e = half of the buckets (of one direction)
    bucket = n                                       for n < e
             e + floor(e ln(n / e) / ln(max / e))    for n >= e, at most 2e - 1

    ``distance`` is the key's position less the query's. With ``both_ways``,
    as in an encoder, keys before the query have the first half of the
    buckets and keys after it the second; without, as in a decoder, keys
    after the query, which are hidden, fall into bucket 0. In float32, as the
    reference has it: a power of two may fall on either side of its border.
    Raises ValueError where the buckets are too few or reach too far.
    [raffel2020]
    """
    _check_buckets(distance, n_buckets, max_distance, both_ways)
    if both_ways:
        n_buckets //= 2
    far = distance.abs() if both_ways else (-distance).clamp(min=0)
    exact = n_buckets // 2
    share = torch.log(far.clamp(min=exact).float() / exact)
    share = share / math.log(max_distance / exact)
    wide = exact + (share * (n_buckets - exact)).long()
    bucket = torch.where(far < exact, far, wide.clamp(max=n_buckets - 1))
    return bucket + n_buckets * (distance > 0) if both_ways else bucket


class RelativeBias(nn.Module):
    """Give each head a number for each bucket, to be added to its scores.

    bias[h, t, s] = weight[bucket(s - t), h],  -> (1, H, T, S)

    The queries are the last T of S positions, as in ``causal_mask``: with a
    cache they stand at its end. Raises ValueError where there are more
    queries than keys. [raffel2020]
    """

    def __init__(
        self,
        n_heads: int,
        n_buckets: int = 32,
        max_distance: int = 128,
        *,
        both_ways: bool,
    ) -> None:
        super().__init__()
        _check_bias(n_heads, n_buckets, max_distance, both_ways)
        self.n_buckets, self.max_distance = n_buckets, max_distance
        self.both_ways = both_ways
        self.weight = nn.Parameter(torch.randn(n_buckets, n_heads))

    def forward(self, T: int, S: int) -> torch.Tensor:
        check_lengths(T, S)
        keys = torch.arange(S, device=self.weight.device)
        distance_TS = keys - keys[S - T :, None]
        bucket_TS = relative_bucket(
            distance_TS,
            self.n_buckets,
            self.max_distance,
            both_ways=self.both_ways,
        )
        return self.weight[bucket_TS].movedim(-1, 0)[None]

    def extra_repr(self) -> str:
        return (
            f"{self.weight.shape[1]}, n_buckets={self.n_buckets}, "
            f"max_distance={self.max_distance}, both_ways={self.both_ways}"
        )


def check_sizes(n_buckets: int, max_distance: int) -> None:
    """Want buckets for both directions, and a border beyond the near ones."""
    checks.whole("n_buckets", n_buckets, at_least=4)
    checks.whole("max_distance", max_distance)
    want = f"more than half of the n_buckets = {n_buckets}"
    far = max_distance > n_buckets // 2
    checks.need(far, "max_distance", max_distance, want)


def _check_buckets(
    distance: torch.Tensor, n_buckets: int, max_distance: int, both_ways: bool
) -> None:
    checks.ids("distance", distance)
    check_sizes(n_buckets, max_distance)
    checks.flag("both_ways", both_ways)


def _check_bias(
    n_heads: int, n_buckets: int, max_distance: int, both_ways: bool
) -> None:
    checks.whole("n_heads", n_heads)
    check_sizes(n_buckets, max_distance)
    checks.flag("both_ways", both_ways)
