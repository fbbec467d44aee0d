"""Right answers by divmod, by loops, by cumulative sums and by counting."""

import bisect
from itertools import accumulate

import torch


def page_slot(table, at, page_size):
    places = [(page, place) for page in table for place in range(page_size)]
    return [places[s] for s in at]


def row_mask(past, T):
    S = max(past.tolist()) + T
    return torch.tensor(
        [
            [[[s <= n + t for s in range(S)] for t in range(T)]]
            for n in past.tolist()
        ]
    )


def let_in(needs, free, places):
    return bisect.bisect_right([*accumulate(needs[:places])], free)


def percentile(seconds, q):
    n = len(seconds)
    return min(
        x for x in seconds if sum(y <= x for y in seconds) >= q * n - 1e-9
    )
