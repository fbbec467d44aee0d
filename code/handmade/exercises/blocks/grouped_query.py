"""The exercises on shared keys and values.

B batch · T query tokens · S key/value tokens · H query heads
G key/value heads · K head width · D model width
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from handmade.blocks.attention import attention, repeat_kv
from handmade.exercises.cases import random_case
from handmade.exercises.core import Case, Exercise, Mistake

# -- repeat-kv: fn(x (B, G, S, K), n_heads) -> (B, H, S, K)

REPEAT_KV_CASES = (
    random_case("six heads on two", (2, 2, 5, 3), seed=0, then=(6,)),
    random_case("nine heads on three", (1, 3, 4, 2), seed=1, then=(9,)),
    random_case("multi-query: all on one", (2, 1, 3, 4), seed=2, then=(4,)),
    random_case("a head each", (2, 3, 4, 5), seed=3, then=(3,)),
    random_case("as many heads as tokens", (1, 2, 4, 4), seed=4, then=(4,)),
)


def _tiled(x, n_heads):
    return x.repeat(1, n_heads // x.shape[1], 1, 1)


REPEAT_KV_MISTAKES = (
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
        lambda x, n: x.repeat_interleave(n // x.shape[1], dim=2),
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

REPEAT_KV = Exercise(
    name="repeat-kv",
    reference=repeat_kv,
    cases=REPEAT_KV_CASES,
    mistakes=REPEAT_KV_MISTAKES,
)

# -- cache-bytes: fn(layers, heads, kv_heads, d_head, tokens, batch, size)


def _bytes(layers, heads, kv_heads, d_head, tokens, batch, size) -> int:
    return 2 * layers * batch * kv_heads * tokens * d_head * size


CACHE_BYTES_CASES = (
    Case("a toy", lambda: (2, 4, 2, 8, 5, 3, 4)),
    Case("SmolLM2, float32", lambda: (30, 9, 3, 64, 1000, 1, 4)),
    Case(
        "Llama 3 8B, bfloat16, a batch", lambda: (32, 32, 8, 128, 8192, 4, 2)
    ),
    Case("nothing cached yet", lambda: (2, 4, 2, 8, 0, 1, 4)),
)

CACHE_BYTES_MISTAKES = (
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

CACHE_BYTES = Exercise(
    name="cache-bytes",
    reference=_bytes,
    cases=CACHE_BYTES_CASES,
    mistakes=CACHE_BYTES_MISTAKES,
)

# -- grouped-attention: fn(q (B, H, T, K), k, v (B, G, S, K)) -> (B, H, T, K)


class _NoRoom(TorchDispatchMode):
    """Raise where an operation makes ``limit`` numbers or more."""

    def __init__(self, given: tuple, limit: int) -> None:
        super().__init__()
        self.given = {x.untyped_storage().data_ptr() for x in given}
        self.limit = limit

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        for x in filter(torch.is_tensor, tree_leaves(made)):
            storage = x.untyped_storage()  # a view has that of another
            numbers = storage.nbytes() // x.element_size()
            if storage.data_ptr() not in self.given and numbers >= self.limit:
                raise MemoryError(f"a new tensor of {numbers:,} numbers")
        return made


def _without_copies(fn):
    """Call the function with no room for the keys of each query head."""

    def call(q, k, v):
        with _NoRoom((q, k, v), q.shape[1] * k.shape[2] * k.shape[3]):
            return fn(q, k, v)

    return call


def _grouped_case(label: str, q, k, v=None, through=None) -> Case:
    """A case of these shapes; the values are like the keys unless given."""
    return random_case(label, q, k, v or k, through=through)


GROUPED_ATTENTION_CASES = (
    _grouped_case("six heads on two", (2, 6, 4, 3), (2, 2, 5, 3)),
    _grouped_case("multi-query", (1, 4, 3, 5), (1, 1, 6, 5)),
    _grouped_case("a head each", (2, 3, 2, 4), (2, 3, 5, 4)),
    _grouped_case("one query, as in decoding", (2, 8, 1, 4), (2, 4, 7, 4)),
    _grouped_case(
        "values of another width", (1, 4, 3, 5), (1, 2, 6, 5), (1, 2, 6, 2)
    ),
    _grouped_case(
        "no room for copies of the keys",
        (1, 8, 1, 16),
        (1, 2, 64, 16),
        through=_without_copies,
    ),
)


def _meet(x_BHTX, y_BGXY, tiled: bool = False):
    """Multiply each query head's matrix by that of its group."""
    G, T = y_BGXY.shape[1], x_BHTX.shape[2]
    x_BGRTX = x_BHTX.unflatten(1, (-1, G) if tiled else (G, -1))
    if tiled:  # head h meets h mod G
        x_BGRTX = x_BGRTX.transpose(1, 2)
    z_BGRTY = (x_BGRTX.flatten(2, 3) @ y_BGXY).unflatten(2, (-1, T))
    return (z_BGRTY.transpose(1, 2) if tiled else z_BGRTY).flatten(1, 2)


def _grouped(q, k, v, *, scale=None, axis=-1, keys=False, values=False):
    """Attend; ``keys`` and ``values`` say whether each is laid out tiled."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    weights = (_meet(q, k.mT, keys) * scale).softmax(axis)
    return _meet(weights, v, values)


def _heads_turned(q, k, v):
    out = _grouped(q, k, v).unflatten(1, (k.shape[1], -1))
    return out.transpose(1, 2).flatten(1, 2)


GROUPED_ATTENTION_MISTAKES = (
    Mistake(
        "query head h reads key/value head h mod G: the heads of a group "
        "must be neighbours, h // (H / G)",
        lambda q, k, v: _grouped(q, k, v, keys=True, values=True),
    ),
    Mistake(
        "the values go to other query heads than their keys",
        lambda q, k, v: _grouped(q, k, v, values=True),
    ),
    Mistake(
        "the heads come back in another order: groups and the heads in them "
        "have changed places",
        _heads_turned,
    ),
    Mistake(
        "the scores are not divided by the root of the head's width",
        lambda q, k, v: _grouped(q, k, v, scale=1.0),
    ),
    Mistake(
        "the softmax runs over the queries, not over the keys",
        lambda q, k, v: _grouped(q, k, v, axis=-2),
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
        lambda q, k, v: _grouped(q, k[:, :1], v[:, :1]),
    ),
    Mistake(
        "the keys are copied for each query head that reads them, by "
        "`repeat_interleave`, by `expand` with `flatten`, or by an `@` that "
        "broadcasts one axis between others",
        attention,
    ),
)

GROUPED_ATTENTION = Exercise(
    name="grouped-attention",
    reference=_grouped,
    cases=GROUPED_ATTENTION_CASES,
    mistakes=GROUPED_ATTENTION_MISTAKES,
)

# -- pool-kv-heads: fn(weight (G K, D), n_kv_heads, new) -> (new K, D)


def _pool(weight, n_kv_heads, new):
    heads = weight.unflatten(0, (new, n_kv_heads // new, -1))
    return heads.mean(1).flatten(0, 1)


def _pool_case(label: str, G: int, K: int, D: int, new: int) -> Case:
    return random_case(label, (G * K, D), seed=G, then=(G, new))


POOL_KV_HEADS_CASES = (
    _pool_case("six heads to two", 6, 3, 5, 2),
    _pool_case("to a single head", 4, 2, 7, 1),
    _pool_case("as many heads as they are wide", 4, 4, 3, 2),
    _pool_case("nothing to do", 3, 2, 4, 3),
)

POOL_KV_HEADS_MISTAKES = (
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

POOL_KV_HEADS = Exercise(
    name="pool-kv-heads",
    reference=_pool,
    cases=POOL_KV_HEADS_CASES,
    mistakes=POOL_KV_HEADS_MISTAKES,
)
