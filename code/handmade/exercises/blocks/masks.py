"""The exercises of the page on masks.

Other shapes, another format, several layers. The causal mask and the test
for leaks are exercises of the page on attention.

T query tokens · S key/value tokens
"""

import math

import torch

from handmade.blocks.masks import (
    causal_mask,
    prefix_mask,
    sliding_window_mask,
)
from handmade.exercises.core import Case, Exercise, Mistake


def _distance(T: int, S: int) -> torch.Tensor:
    """Position of the query minus position of the key, (T, S)."""
    return torch.arange(S - T, S)[:, None] - torch.arange(S)


def _swapped(fn):
    """The package puts S last, after the number that shapes the mask."""
    return lambda T, S, number: fn(T, number, S)


# -- sliding-window-mask: fn(T, S, window) -> bool (T, S)

SLIDING_WINDOW_MASK_CASES = (
    Case("as many keys as queries", lambda: (6, 6, 3)),
    Case("more keys than queries", lambda: (3, 8, 2)),
    Case("one query, as in decoding", lambda: (1, 7, 4)),
    Case("a window of one", lambda: (4, 4, 1)),
    Case("a window wider than the text", lambda: (4, 5, 9)),
)


def _window_top_left(T, S, window):
    d = torch.arange(T)[:, None] - torch.arange(S)
    return (d >= 0) & (d < window)


SLIDING_WINDOW_MASK_MISTAKES = (
    Mistake(
        "the window is one token too wide: the query itself counts as one "
        "of the tokens in it",
        lambda T, S, w: (_distance(T, S) >= 0) & (_distance(T, S) <= w),
    ),
    Mistake(
        "the query itself is left out: the window is counted from the key "
        "before it",
        lambda T, S, w: (_distance(T, S) > 0) & (_distance(T, S) <= w),
    ),
    Mistake(
        "the window reaches to both sides, so a query sees its future",
        lambda T, S, w: _distance(T, S).abs() < w,
    ),
    Mistake(
        "nothing hides the future: only keys that are too old are hidden",
        lambda T, S, w: _distance(T, S) < w,
    ),
    Mistake(
        "the corner is aligned top left: with more keys than queries, the "
        "queries are the last positions",
        _window_top_left,
    ),
    Mistake(
        "the inside of the window is hidden and the distant past is shown",
        lambda T, S, w: _distance(T, S) >= w,
    ),
    Mistake(
        "True marks what is hidden; here True means may attend",
        lambda T, S, w: ~sliding_window_mask(T, w, S),
    ),
)

SLIDING_WINDOW_MASK = Exercise(
    name="sliding-window-mask",
    reference=_swapped(sliding_window_mask),
    cases=SLIDING_WINDOW_MASK_CASES,
    mistakes=SLIDING_WINDOW_MASK_MISTAKES,
)

# -- prefix-mask: fn(T, S, prefix) -> bool (T, S)

PREFIX_MASK_CASES = (
    Case("as many keys as queries", lambda: (5, 5, 2)),
    Case("the prefix is in the cache", lambda: (2, 7, 3)),
    Case("a cache ends inside the prefix", lambda: (4, 6, 4)),
    Case("no prefix", lambda: (4, 4, 0)),
    Case("nothing but prefix", lambda: (4, 4, 4)),
)


def _prefix_rows(T, S, prefix):
    mask = _distance(T, S) >= 0
    mask[:prefix] = True
    return mask


def _prefix_of_queries(T, S, prefix):
    mask = _distance(T, S) >= 0
    mask[:, S - T : S - T + prefix] = True
    return mask


def _prefix_top_left(T, S, prefix):
    d = torch.arange(T)[:, None] - torch.arange(S)
    return (d >= 0) | (torch.arange(S) < prefix)


def _prefix_alone(T, S, prefix):
    return (torch.arange(S) < prefix).expand(T, S).clone()


PREFIX_MASK_MISTAKES = (
    Mistake(
        "the rows of the prefix are opened, not its columns: the prompt "
        "then sees the answer",
        _prefix_rows,
    ),
    Mistake(
        "the prefix is counted from the first query; with a cache it starts "
        "at the first key",
        _prefix_of_queries,
    ),
    Mistake(
        "the corner of the causal part is aligned top left",
        _prefix_top_left,
    ),
    Mistake(
        "every query sees the prefix and nothing else; the causal part is "
        "missing",
        _prefix_alone,
    ),
    Mistake(
        "the prefix is one token too long",
        lambda T, S, p: prefix_mask(T, p + 1, S),
    ),
    Mistake(
        "the prefix is left out: this is the causal mask",
        lambda T, S, p: prefix_mask(T, 0, S),
    ),
)

PREFIX_MASK = Exercise(
    name="prefix-mask",
    reference=_swapped(prefix_mask),
    cases=PREFIX_MASK_CASES,
    mistakes=PREFIX_MASK_MISTAKES,
)

# -- additive-mask: fn(mask, dtype) -> numbers to add to the scores


def _additive(mask, dtype):
    return torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, -math.inf)


def _bools(*shape: int, dtype: torch.dtype):
    def make() -> tuple:
        generator = torch.Generator().manual_seed(len(shape))
        return torch.rand(*shape, generator=generator) < 0.6, dtype

    return make


ADDITIVE_MASK_CASES = (
    Case("float32", _bools(3, 5, dtype=torch.float32)),
    Case("float64 with a batch", _bools(2, 1, 3, 4, dtype=torch.float64)),
    Case("half precision", _bools(4, 4, dtype=torch.float16)),
    Case("nothing hidden", lambda: (torch.ones(2, 2).bool(), torch.float32)),
)

ADDITIVE_MASK_MISTAKES = (
    Mistake(
        "yes and no become 1 and 0: added to the scores they hide nothing",
        lambda mask, dtype: mask.to(dtype),
    ),
    Mistake(
        "zero is multiplied by infinity, which is nan, wherever a query may "
        "attend",
        lambda mask, dtype: (1 - mask.to(dtype)) * -math.inf,
    ),
    Mistake(
        "the mask is read the wrong way round: what may be seen gets -inf",
        lambda mask, dtype: _additive(~mask, dtype),
    ),
    Mistake(
        "hidden places get the dtype's lowest number, not -inf: two such "
        "masks added overflow, and an empty row averages all values",
        lambda mask, dtype: torch.zeros(mask.shape, dtype=dtype).masked_fill(
            ~mask, torch.finfo(dtype).min
        ),
    ),
    Mistake(
        "hidden places get -10,000, not -inf: an empty row then attends as "
        "if nothing were hidden",
        lambda mask, dtype: (~mask).to(dtype) * -1e4,
    ),
    Mistake(
        "hidden places get -1e9, not -inf: half precision cannot hold that "
        "number, and an empty row averages all values",
        lambda mask, dtype: torch.zeros(mask.shape, dtype=dtype).masked_fill(
            ~mask, -1e9
        ),
    ),
    Mistake(
        "the result is float32 whatever dtype was asked for",
        lambda mask, dtype: _additive(mask, torch.float32),
    ),
)

ADDITIVE_MASK = Exercise(
    name="additive-mask",
    reference=_additive,
    cases=ADDITIVE_MASK_CASES,
    mistakes=ADDITIVE_MASK_MISTAKES,
)

# -- reach: fn(mask (T, T), layers) -> bool (T, T)


def _reach(mask, layers):
    seen = torch.eye(len(mask), dtype=torch.bool)
    for _ in range(layers):
        seen = (mask.long() @ seen.long()) > 0
    return seen


def _detour():
    mask = torch.eye(5, dtype=torch.bool)
    mask[4, 0] = mask[0, 2] = mask[2, 3] = True
    return mask


REACH_CASES = (
    Case("one layer", lambda: (sliding_window_mask(6, 2), 1)),
    Case("a window, three layers", lambda: (sliding_window_mask(7, 2), 3)),
    Case("a prefix, two layers", lambda: (prefix_mask(5, 2), 2)),
    Case("by way of others, two layers", lambda: (_detour(), 2)),
    Case("by way of others, three layers", lambda: (_detour(), 3)),
    Case("a closed diagonal", lambda: (causal_mask(5).tril(-1), 2)),
    Case("no layer at all", lambda: (sliding_window_mask(4, 3), 0)),
)

REACH_MISTAKES = (
    Mistake(
        "one layer is looked at, however many there are",
        lambda mask, layers: mask.clone(),
    ),
    Mistake("one layer too many is counted", lambda m, n: _reach(m, n + 1)),
    Mistake(
        "no layer at all is counted as one; there, each output is its input",
        lambda mask, layers: _reach(mask, max(layers, 1)),
    ),
    Mistake(
        "every token sees itself, also where the mask's diagonal is closed",
        lambda m, n: _reach(m | torch.eye(len(m), dtype=torch.bool), n),
    ),
    Mistake(
        "the result is transposed: rows are outputs, columns are inputs",
        lambda mask, layers: _reach(mask.mT, layers),
    ),
    Mistake(
        "each place of the mask is combined with itself; a path may lead "
        "through other tokens",
        lambda mask, layers: mask.long().pow(layers) > 0,
    ),
    Mistake(
        "the paths are counted; only whether there is one was asked",
        lambda mask, layers: torch.linalg.matrix_power(mask.long(), layers),
    ),
)

REACH = Exercise(
    name="reach",
    reference=_reach,
    cases=REACH_CASES,
    mistakes=REACH_MISTAKES,
)
