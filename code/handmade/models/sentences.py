"""One vector a sentence, out of one vector a token; and search with them.

B batch · T tokens · D model width · N texts · Q queries

Texts of about one length are computed together, because a short one beside
a long one is mostly padding. Left out: an index that finds neighbours among
millions without a look at each, and texts longer than the model reads.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F

from handmade import checks
from handmade.contracts import device_of
from handmade.text.batch import fill_up

# of ids or vectors, and a mask
Pool = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Found(NamedTuple):
    """The best texts of each query, best first, both (Q, k)."""

    cosines: torch.Tensor
    places: torch.Tensor


def mean_pool(
    hidden: torch.Tensor, attention_mask: torch.Tensor
) -> torch.Tensor:
    """Average the vectors of each text's real tokens.

    y = sum_t m_t x_t / sum_t m_t,  (B, T, D), (B, T) -> (B, D)

    A row of padding alone gives zeros. [reimers2019]
    """
    _check_hidden(hidden, attention_mask)
    real_BT1 = attention_mask.to(hidden.dtype)[..., None]
    return (real_BT1 * hidden).sum(1) / real_BT1.sum(1).clamp(min=1)


def first_token(
    hidden: torch.Tensor, attention_mask: torch.Tensor
) -> torch.Tensor:
    """Return the vector of each text's first real token: BERT's [CLS].

    (B, T, D), (B, T) -> (B, D)
    """
    _check_hidden(hidden, attention_mask)
    start_B = attention_mask.long().argmax(-1)
    row_B = torch.arange(len(hidden), device=hidden.device)
    return hidden[row_B, start_B]


def by_length(
    rows: Sequence[Sequence[int]], batch_size: int
) -> Iterator[list[int]]:
    """Yield the places of rows that are computed together: longest first.

    Sorted, a batch has little padding; a batch that does not fit the memory
    fails at once, not after an hour.
    """
    _check_rows(rows)
    checks.whole("batch_size", batch_size)
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


@torch.no_grad()
def embed(
    model: Pool,
    rows: Sequence[Sequence[int]],
    *,
    pool: Pool = mean_pool,
    batch_size: int = 64,
    pad_id: int = 0,
) -> torch.Tensor:
    """Return a vector of length 1 for each row of ids, (N, D).

    ``model(ids, attention_mask)`` gives a vector a token, as ``Bert`` does,
    and ``pool(hidden, attention_mask)`` makes one of them.
    Raises ValueError where there is no row, or one without a token.
    """
    checks.function("model", model)
    checks.function("pool", pool)
    checks.whole("pad_id", pad_id, at_least=0)
    place = device_of(model)
    parts: list[torch.Tensor] = []
    order: list[int] = []
    for places in by_length(rows, batch_size):
        batch = fill_up([rows[i] for i in places], pad_id, "right")
        ids, mask = (x.to(place) for x in batch)
        parts.append(F.normalize(pool(model(ids, mask), mask), dim=-1))
        order += places
    # back in the order in which they came
    vectors = torch.cat(parts)
    return vectors[torch.tensor(order, device=vectors.device).argsort()]


def search(
    queries_QD: torch.Tensor, texts_ND: torch.Tensor, k: int = 5
) -> Found:
    """Return each query's k texts of the largest cosine, best first.

    cos(q, t) = q . t / (|q| |t|),  (Q, D), (N, D) -> twice (Q, k)

    Raises ValueError on other shapes, and unless 0 < k <= N.
    """
    _check_search(queries_QD, texts_ND, k)
    q, t = (F.normalize(x, dim=-1) for x in (queries_QD, texts_ND))
    return Found(*(q @ t.mT).topk(k))


def _check_hidden(hidden: torch.Tensor, attention_mask: torch.Tensor) -> None:
    checks.floats("hidden", hidden, axes=3)
    checks.yes_or_no("attention_mask", attention_mask)
    fits = attention_mask.shape == hidden.shape[:2] and hidden.ndim == 3
    got = f"{tuple(attention_mask.shape)} with hidden {tuple(hidden.shape)}"
    checks.need(fits, "attention_mask", got, "(B, T) with (B, T, D)")


def _check_rows(rows: Sequence[Sequence[int]]) -> None:
    checks.several("rows", rows, "a list of lists of ids")
    checks.need(len(rows) > 0, "rows", "none", "a text or more")
    for row in rows:
        checks.several("rows", row, "a list of lists of ids")
        checks.need(len(row) > 0, "rows", "a text without a token", "some")
        for token in row:
            checks.whole("rows", token, at_least=0)


def _check_search(queries: torch.Tensor, texts: torch.Tensor, k: int) -> None:
    for name, x in (("queries", queries), ("texts", texts)):
        checks.floats(name, x, axes=2)
        checks.need(x.ndim == 2, name, tuple(x.shape), "two axes")
    checks.width("texts", texts, queries.shape[-1])
    same = texts.dtype == queries.dtype
    checks.need(same, "texts", texts.dtype, f"{queries.dtype}, as queries")
    checks.whole("k", k)
    checks.need(k <= len(texts), "k", k, f"1 to {len(texts)}")
