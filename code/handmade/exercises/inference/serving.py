"""The exercises of the page on serving.

B batch · T new tokens of a row · S keys of a row, cached ones included
P tokens a page
"""

import math
from collections.abc import Callable

import torch

from handmade.exercises.core import Case, Exercise, Mistake

# -- page-slot: fn(table, at, page_size) -> [(page, place), ...]


def _slots(table, at, page_size):
    return [(table[s // page_size], s % page_size) for s in at]


PAGE_SLOT = Exercise(
    name="page-slot",
    reference=_slots,
    cases=(
        Case("one token of the first page", lambda: ([5], [2], 4)),
        Case("the last place of a page", lambda: ([3, 7], [3], 4)),
        Case("the first place of the next", lambda: ([3, 7], [4], 4)),
        Case("tokens of several pages", lambda: ([9, 0, 4], [1, 6, 7, 8], 3)),
        Case("pages of one token", lambda: ([6, 2, 5], [0, 1, 2], 1)),
    ),
    mistakes=(
        Mistake(
            "the block table is skipped: page s // P of the pool is read, "
            "whoever holds it",
            lambda table, at, P: [(s // P, s % P) for s in at],
        ),
        Mistake(
            "quotient and remainder are exchanged",
            lambda table, at, P: [
                (table[(s % P) % len(table)], s // P) for s in at
            ],
        ),
        Mistake(
            "tokens are counted from 1",
            lambda table, at, P: [
                (table[min((s + 1) // P, len(table) - 1)], (s + 1) % P)
                for s in at
            ],
        ),
        Mistake(
            "the place is counted from the beginning of the text, not of the "
            "page",
            lambda table, at, P: [(table[s // P], s) for s in at],
        ),
        Mistake(
            "the table is read from its end",
            lambda table, at, P: [(table[-1 - s // P], s % P) for s in at],
        ),
    ),
)


# -- row-mask: fn(past (B,), T) -> bool (B, 1, T, S)


def _row_mask(past, T):
    at = past[:, None] + torch.arange(T)
    keys = torch.arange(int(past.max()) + T)
    return keys <= at[:, None, :, None]


def _masked(at: Callable) -> Callable:
    """The mask, each token's place worked out in another way."""

    def fn(past, T):
        keys = torch.arange(int(past.max()) + T)
        return keys <= at(past, T)[:, None, :, None]

    return fn


def _past(*numbers: int, T: int) -> Callable:
    return lambda: (torch.tensor(numbers), T)


ROW_MASK = Exercise(
    name="row-mask",
    reference=_row_mask,
    cases=(
        Case("one row, one token", _past(3, T=1)),
        Case("a row that begins", _past(0, T=3)),
        Case("rows of one length", _past(2, 2, T=2)),
        Case("rows of unequal length", _past(1, 5, 3, T=1)),
        Case("several tokens each", _past(4, 0, 2, T=3)),
    ),
    mistakes=(
        Mistake(
            "every row ends where the longest one does: a short row sees "
            "what stands behind its own keys, of other texts",
            _masked(
                lambda past, T: (past.max() + torch.arange(T)).expand(
                    len(past), -1
                )
            ),
        ),
        Mistake(
            "a token does not see itself",
            _masked(lambda past, T: past[:, None] + torch.arange(T) - 1),
        ),
        Mistake(
            "new tokens see those that come after them",
            _masked(
                lambda past, T: (past[:, None] + T - 1).expand(len(past), T)
            ),
        ),
        Mistake(
            "the new tokens are counted from 1, so that each sees one key "
            "too many",
            _masked(lambda past, T: past[:, None] + torch.arange(T) + 1),
        ),
        Mistake(
            "the mask is inverted: True where a key is hidden",
            lambda past, T: ~_row_mask(past, T),
        ),
        Mistake(
            "the axis of the heads is missing: (B, T, S)",
            lambda past, T: _row_mask(past, T)[:, 0],
        ),
    ),
)


# -- let-in: fn(needs, free, places) -> int


def _let_in(needs, free, places):
    count = 0
    for need in needs[:places]:
        if need > free:
            break
        free -= need
        count += 1
    return count


def _overtaken(needs, free, places):
    count = 0
    for need in needs:
        if need <= free and count < places:
            free -= need
            count += 1
    return count


LET_IN = Exercise(
    name="let-in",
    reference=_let_in,
    cases=(
        Case("room for all", lambda: ([2, 3], 9, 4)),
        Case("pages for some", lambda: ([4, 3, 3], 8, 4)),
        Case("pages that are just enough", lambda: ([4, 4], 8, 2)),
        Case("more pages than places", lambda: ([1, 1, 1, 1], 50, 2)),
        Case("a large one first", lambda: ([9, 1, 1], 5, 4)),
        Case("a large one between", lambda: ([2, 7, 1, 1], 5, 4)),
        Case("a large one first that fits", lambda: ([4, 2, 2, 1], 5, 4)),
        Case("nobody waits", lambda: ([], 5, 2)),
        Case("no place", lambda: ([1, 2], 5, 0)),
    ),
    mistakes=(
        Mistake(
            "small requests overtake one that does not fit: as long as small "
            "ones come, it waits",
            _overtaken,
        ),
        Mistake(
            "each is compared with all the free pages: what those before it "
            "took is not subtracted",
            lambda needs, free, places: next(
                (i for i, n in enumerate(needs[:places]) if n > free),
                len(needs[:places]),
            ),
        ),
        Mistake(
            "the places of the batch are not counted",
            lambda needs, free, places: _let_in(needs, free, len(needs)),
        ),
        Mistake(
            "the pages are not counted",
            lambda needs, free, places: len(needs[:places]),
        ),
        Mistake(
            "one page is kept back: a request that fits exactly waits",
            lambda needs, free, places: _let_in(needs, free - 1, places),
        ),
        Mistake(
            "the smallest come first, and whoever wants much waits for ever",
            lambda needs, free, places: _let_in(sorted(needs), free, places),
        ),
    ),
)


# -- percentile: fn(seconds, q) -> float


def _percentile(seconds, q):
    ordered = sorted(seconds)
    # a hair less, for 0.07 * 100 is more than 7
    return ordered[max(math.ceil(q * len(ordered) - 1e-9), 1) - 1]


def _seconds(n: int, seed: int) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.empty(n, dtype=torch.float64)
    return drawn.exponential_(generator=generator).tolist()


def _between(seconds, q):
    return float(torch.tensor(seconds, dtype=torch.float64).quantile(q))


PERCENTILE = Exercise(
    name="percentile",
    reference=_percentile,
    cases=(
        Case("the median of three", lambda: ([0.2, 0.9, 0.4], 0.5)),
        Case("p90 of ten", lambda: (_seconds(10, 0), 0.9)),
        Case("p95 of a hundred", lambda: (_seconds(100, 1), 0.95)),
        Case("p99 of 250", lambda: (_seconds(250, 2), 0.99)),
        Case("p99 of ten: the slowest", lambda: (_seconds(10, 3), 0.99)),
        Case("the slowest", lambda: (_seconds(7, 4), 1.0)),
    ),
    mistakes=(
        Mistake(
            "the waits are not sorted: the p95 of who came when",
            lambda x, q: x[max(math.ceil(q * len(x) - 1e-9), 1) - 1],
        ),
        Mistake(
            "they are sorted from slow to fast",
            lambda x, q: sorted(x, reverse=True)[
                max(math.ceil(q * len(x) - 1e-9), 1) - 1
            ],
        ),
        Mistake(
            "places are counted from 0: the q n-th is one too far",
            lambda x, q: sorted(x)[min(int(q * len(x) + 1e-9), len(x) - 1)],
        ),
        Mistake(
            "a number between two waits is returned, that nobody had: the "
            "default of torch.quantile and numpy",
            _between,
        ),
        Mistake(
            "a mean is scaled: q times the sum over n",
            lambda x, q: q * sum(x) / len(x),
        ),
        Mistake(
            "the longest wait is scaled by q",
            lambda x, q: q * max(x),
        ),
    ),
)
