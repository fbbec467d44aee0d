"""The exercises on shared keys and values.

B batch · T query tokens · S key/value tokens · H query heads
G key/value heads · K head width · D model width
"""

import torch

from handmade.blocks.attention import attention, repeat_kv
from handmade.exercises.core import Case, Exercise, Mistake


def _random(seed: int, *shapes: tuple[int, ...]) -> tuple:
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in shapes
    )


# -- repeat-kv: fn(x (B, G, S, K), n_heads) -> (B, H, S, K)

REPEAT = (
    Case("six heads on two", lambda: (*_random(0, (2, 2, 5, 3)), 6)),
    Case("nine heads on three", lambda: (*_random(1, (1, 3, 4, 2)), 9)),
    Case("multi-query: all on one", lambda: (*_random(2, (2, 1, 3, 4)), 4)),
    Case("a head each", lambda: (*_random(3, (2, 3, 4, 5)), 3)),
    Case("as many heads as tokens", lambda: (*_random(4, (1, 2, 4, 4)), 4)),
)


def _tiled(x, n_heads):
    return x.repeat(1, n_heads // x.shape[1], 1, 1)


def _along(axis):
    return lambda x, n: x.repeat_interleave(n // x.shape[1], dim=axis)


REPEAT_MISTAKES = (
    Mistake(
        "the heads are laid out a, b, a, b by `repeat`; neighbours share, so "
        "they must come a, a, b, b (`repeat_interleave`)",
        _tiled,
    ),
    Mistake(
        "the heads are repeated n_heads times each, not n_heads / G times",
        lambda x, n: x.repeat_interleave(n, dim=1),
    ),
    Mistake(
        "the tokens (axis 2) are repeated instead of the heads (axis 1)",
        _along(2),
    ),
    Mistake(
        "every query head gets the first key/value head",
        lambda x, n: x[:, :1].expand(-1, n, -1, -1),
    ),
    Mistake(
        "every query head gets the mean of the key/value heads",
        lambda x, n: x.mean(1, keepdim=True).expand(-1, n, -1, -1),
    ),
)

# -- cache-bytes: fn(layers, heads, kv_heads, d_head, tokens, batch, size)


def _bytes(layers, heads, kv_heads, d_head, tokens, batch, size) -> int:
    return 2 * layers * batch * kv_heads * tokens * d_head * size


BYTES = (
    Case("a toy", lambda: (2, 4, 2, 8, 5, 3, 4)),
    Case("SmolLM2, float32", lambda: (30, 9, 3, 64, 1000, 1, 4)),
    Case(
        "Llama 3 8B, bfloat16, a batch", lambda: (32, 32, 8, 128, 8192, 4, 2)
    ),
    Case("nothing cached yet", lambda: (2, 4, 2, 8, 0, 1, 4)),
)

BYTES_MISTAKES = (
    Mistake(
        "the query heads are counted; only keys and values are kept",
        lambda n, h, g, k, t, b, s: 2 * n * b * h * t * k * s,
    ),
    Mistake(
        "keys are counted and values forgotten, or the other way round",
        lambda n, h, g, k, t, b, s: n * b * g * t * k * s,
    ),
    Mistake(
        "one layer is counted; every layer keeps its own",
        lambda n, h, g, k, t, b, s: 2 * b * g * t * k * s,
    ),
    Mistake(
        "one sequence is counted, whatever the batch",
        lambda n, h, g, k, t, b, s: 2 * n * g * t * k * s,
    ),
    Mistake(
        "the numbers are counted, not their bytes",
        lambda n, h, g, k, t, b, s: 2 * n * b * g * t * k,
    ),
    Mistake(
        "the square of the length is taken: that is the weights, which are "
        "not kept",
        lambda n, h, g, k, t, b, s: 2 * n * b * g * t * t * k * s,
    ),
)

# -- grouped-attention: fn(q (B, H, T, K), k, v (B, G, S, K)) -> (B, H, T, K)

GROUPED = (
    Case(
        "six heads on two",
        lambda: _random(0, (2, 6, 4, 3), (2, 2, 5, 3), (2, 2, 5, 3)),
    ),
    Case(
        "multi-query",
        lambda: _random(1, (1, 4, 3, 5), (1, 1, 6, 5), (1, 1, 6, 5)),
    ),
    Case(
        "a head each",
        lambda: _random(2, (2, 3, 2, 4), (2, 3, 5, 4), (2, 3, 5, 4)),
    ),
    Case(
        "one query, as in decoding",
        lambda: _random(3, (2, 8, 1, 4), (2, 4, 7, 4), (2, 4, 7, 4)),
    ),
    Case(
        "values of another width",
        lambda: _random(4, (1, 4, 3, 5), (1, 2, 6, 5), (1, 2, 6, 2)),
    ),
)


def _with_kv(change):
    """Attention on keys and values given to the query heads by `change`."""
    return lambda q, k, v: attention(
        q, change(k, q.shape[1]), change(v, q.shape[1])
    )


def _crossed(q, k, v):
    return attention(q, repeat_kv(k, q.shape[1]), _tiled(v, q.shape[1]))


GROUPED_MISTAKES = (
    Mistake(
        "query head h reads key/value head h mod G: the heads of a group "
        "must be neighbours, h // (H / G)",
        _with_kv(_tiled),
    ),
    Mistake(
        "the values go to other query heads than their keys",
        _crossed,
    ),
    Mistake(
        "the scores are not divided by the root of the head's width",
        lambda q, k, v: attention(q, k, v, scale=1.0),
    ),
    Mistake(
        "the query heads of a group are averaged first: sharing keys does "
        "not mean sharing questions",
        lambda q, k, v: repeat_kv(
            attention(q.unflatten(1, (k.shape[1], -1)).mean(2), k, v),
            q.shape[1],
        ),
    ),
    Mistake(
        "every query head reads the first key/value head",
        _with_kv(lambda x, n: x[:, :1].expand(-1, n, -1, -1)),
    ),
)

# -- pool-kv-heads: fn(weight (G K, D), n_kv_heads, new) -> (new K, D)


def _pool(weight, n_kv_heads, new):
    heads = weight.unflatten(0, (new, n_kv_heads // new, -1))
    return heads.mean(1).flatten(0, 1)


def _pool_case(label: str, G: int, K: int, D: int, new: int) -> Case:
    return Case(label, lambda: (*_random(G, (G * K, D)), G, new))


POOL = (
    _pool_case("six heads to two", 6, 3, 5, 2),
    _pool_case("to a single head", 4, 2, 7, 1),
    _pool_case("as many heads as they are wide", 4, 4, 3, 2),
    _pool_case("nothing to do", 3, 2, 4, 3),
)

POOL_MISTAKES = (
    Mistake(
        "distant heads are pooled (0 with G/2, …); those that will share "
        "are neighbours",
        lambda w, G, new: (
            w.unflatten(0, (G // new, new, -1)).mean(0).flatten(0, 1)
        ),
    ),
    Mistake(
        "the heads are added up, not averaged: scores and values grow",
        lambda w, G, new: _pool(w, G, new) * (G // new),
    ),
    Mistake(
        "the first head of each group is kept and the others are thrown away",
        lambda w, G, new: w.unflatten(0, (new, G // new, -1))[:, 0].flatten(
            0, 1
        ),
    ),
    Mistake(
        "neighbouring rows are pooled; a head is K rows, and row i must "
        "meet row i of the other heads",
        lambda w, G, new: w.unflatten(0, (-1, G // new)).mean(1),
    ),
)

EXERCISES = (
    Exercise(
        name="repeat-kv",
        reference=repeat_kv,
        cases=REPEAT,
        mistakes=REPEAT_MISTAKES,
    ),
    Exercise(
        name="cache-bytes",
        reference=_bytes,
        cases=BYTES,
        mistakes=BYTES_MISTAKES,
    ),
    Exercise(
        name="grouped-attention",
        reference=attention,
        cases=GROUPED,
        mistakes=GROUPED_MISTAKES,
    ),
    Exercise(
        name="pool-kv-heads",
        reference=_pool,
        cases=POOL,
        mistakes=POOL_MISTAKES,
    ),
)
