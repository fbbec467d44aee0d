"""The exercises of the page on BERT.

B batch · T tokens · D model width · N texts · Q queries
"""

import torch
from torch.nn import functional as F

from handmade.exercises.cases import random_case, randoms
from handmade.exercises.core import Case, Exercise, Mistake
from handmade.models.bert_config import BertConfig
from handmade.models.sentences import mean_pool, search

# -- mean-pool: fn(hidden (B, T, D), attention_mask (B, T)) -> (B, D)


def _pool_case(label: str, *rows: list[int], D: int = 5) -> Case:
    mask = torch.tensor(rows)
    return Case(label, lambda: (*randoms((*mask.shape, D)), mask.clone()))


def _hidden_first(hidden, mask):
    return (hidden * mask[..., None]).sum(1)


MEAN_POOL = Exercise(
    name="mean-pool",
    reference=mean_pool,
    cases=(
        _pool_case("no padding", [1, 1, 1], [1, 1, 1]),
        _pool_case("padding on the right", [1, 1, 1, 1], [1, 1, 0, 0]),
        _pool_case("padding on the left", [0, 0, 0, 1], [0, 1, 1, 1]),
        _pool_case("as wide as long", [1, 1, 0], [1, 0, 0], [1, 1, 1], D=3),
        _pool_case("a row of padding alone", [0, 0, 0], [1, 1, 0]),
    ),
    mistakes=(
        Mistake(
            "the mean runs over the padding too",
            lambda h, m: h.mean(1),
        ),
        Mistake(
            "padding is set to zero, but still counted in the divisor",
            lambda h, m: _hidden_first(h, m) / m.shape[1],
        ),
        Mistake(
            "the sum is not divided",
            _hidden_first,
        ),
        Mistake(
            "it is divided by the number of tokens in the whole batch",
            lambda h, m: _hidden_first(h, m) / m.sum(),
        ),
        Mistake(
            "a row of padding alone is divided by zero",
            lambda h, m: _hidden_first(h, m) / m.sum(1, keepdim=True),
        ),
        Mistake(
            "the first vector is taken, not the mean",
            lambda h, m: h[:, 0],
        ),
        Mistake(
            "the mean runs over the width, not over the tokens",
            lambda h, m: h.mean(-1),
        ),
    ),
)


# -- padded-tokens: fn(lengths, batch_size, by_length) -> int


def _computed(lengths, batch_size, by_length):
    if by_length:
        lengths = sorted(lengths, reverse=True)
    batches = (
        lengths[i : i + batch_size] for i in range(0, len(lengths), batch_size)
    )
    return sum(max(batch) * len(batch) for batch in batches)


def _count_case(label: str, lengths: list[int], size: int, by: bool) -> Case:
    return Case(label, lambda: ([*lengths], size, by))


SOME = [3, 11, 4, 9, 2, 7, 12]
PADDED_TOKENS = Exercise(
    name="padded-tokens",
    reference=_computed,
    cases=(
        _count_case("batches of one", SOME, 1, False),
        _count_case("as they come", SOME, 3, False),
        _count_case("sorted", SOME, 3, True),
        _count_case("all in one batch", SOME, 50, True),
        _count_case("equal lengths", [5] * 7, 2, True),
    ),
    mistakes=(
        Mistake(
            "the real tokens are counted, and no padding",
            lambda n, size, by: sum(n),
        ),
        Mistake(
            "every batch is as long as the longest text of all",
            lambda n, size, by: max(n) * len(n),
        ),
        Mistake(
            "the last batch is counted as full",
            lambda n, size, by: _computed(
                n + [0] * (-len(n) % size), size, by
            ),
        ),
        Mistake(
            "the texts are never sorted",
            lambda n, size, by: _computed(n, size, False),
        ),
        Mistake(
            "the texts are always sorted",
            lambda n, size, by: _computed(n, size, True),
        ),
        Mistake(
            "only the padding is counted",
            lambda n, size, by: _computed(n, size, by) - sum(n),
        ),
    ),
)


# -- find: fn(query (D,), texts (N, D), k) -> (k,) places, best first


def _find(query, texts, k):
    return search(query[None], texts, k).places[0]


FIND = Exercise(
    name="find",
    reference=_find,
    cases=(
        random_case("a few texts", (4,), (7, 4), then=(3,)),
        random_case("only the best", (6,), (5, 6), then=(1,)),
        random_case("all of them, in order", (3,), (8, 3), then=(8,)),
        Case("texts of unequal length", lambda: _unequal(9, 5, 4)),
        Case("a query that is long", lambda: _long_query(9, 5, 4)),
    ),
    mistakes=(
        Mistake(
            "the dot product is not divided by the texts' lengths",
            lambda q, t, k: (t @ q).topk(k).indices,
        ),
        Mistake(
            "the order is from worst to best",
            lambda q, t, k: _find(q, t, k).flip(0),
        ),
        Mistake(
            "the least similar are returned",
            lambda q, t, k: _find(-q, t, k),
        ),
        Mistake(
            "the cosines are returned, not the places",
            lambda q, t, k: search(q[None], t, k).cosines[0],
        ),
        Mistake(
            "the distance is measured, without giving both length 1",
            lambda q, t, k: (t - q).norm(dim=-1).topk(k, largest=False)[1],
        ),
        Mistake(
            "the texts are normalized along the wrong axis",
            lambda q, t, k: (F.normalize(t, dim=0) @ q).topk(k).indices,
        ),
    ),
)


def _unequal(N: int, D: int, k: int) -> tuple:
    query, texts, sizes = randoms((D,), (N, D), (N, 1))
    return query, texts * (3 * sizes).exp(), k


def _long_query(N: int, D: int, k: int) -> tuple:
    query, texts, sizes = randoms((D,), (N, D), (N, 1), seed=3)
    return 20 * query, texts * sizes.exp(), k


# -- count-bert: fn(config) -> int


def _count(
    c,
    *,
    biases: int = 1,
    attn_biases: int = 1,
    tables: int = 3,
    norms: int = 2,
    emb_norm: int = 1,
    norm: int = 2,
    pooler: bool | None = None,
    matrices: int = 2,
) -> int:
    D, F_ = c.d_model, c.d_ff
    rows = c.vocab_size
    rows += c.max_seq_len if tables > 1 else 0
    rows += c.n_types if tables > 2 else 0
    block = 4 * D * D + matrices * D * F_ + norms * norm * D
    block += biases * (attn_biases * 4 * D + F_ + D)
    with_pooler = c.pooler if pooler is None else pooler
    end = (D * D + biases * D) if with_pooler else 0
    return rows * D + emb_norm * norm * D + c.n_layers * block + end


def _config_case(label: str, **changes) -> Case:
    sizes = {
        "vocab_size": 50, "d_model": 24, "n_layers": 3, "n_heads": 4,
        "d_ff": 40, "max_seq_len": 64, "pooler": False,
    }  # fmt: skip
    return Case(label, lambda: (BertConfig(**{**sizes, **changes}),))


COUNT_BERT = Exercise(
    name="count-bert",
    reference=_count,
    cases=(
        _config_case("a small one without a pooler"),
        _config_case("with a pooler", pooler=True),
        _config_case("other sizes", n_types=5, d_ff=8, max_seq_len=16),
        _config_case("more heads, which changes nothing", n_heads=8),
        _config_case("one layer", n_layers=1),
    ),
    mistakes=(
        Mistake("the biases are missing", lambda c: _count(c, biases=0)),
        Mistake(
            "the biases of attention are missing",
            lambda c: _count(c, attn_biases=0),
        ),
        Mistake(
            "the table of token types is missing",
            lambda c: _count(c, tables=2),
        ),
        Mistake(
            "only the table of tokens is counted",
            lambda c: _count(c, tables=1),
        ),
        Mistake(
            "the norms have a gain and no bias, as in RMSNorm",
            lambda c: _count(c, norm=1),
        ),
        Mistake(
            "the norm behind the embeddings is missing",
            lambda c: _count(c, emb_norm=0),
        ),
        Mistake(
            "the feed-forward layer has three matrices, as with a gate",
            lambda c: _count(c, matrices=3),
        ),
        Mistake(
            "the pooler is never counted",
            lambda c: _count(c, pooler=False),
        ),
        Mistake(
            "the pooler is always counted",
            lambda c: _count(c, pooler=True),
        ),
    ),
)
