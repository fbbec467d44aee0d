"""The exercises of the page on data: what a packed row needs, and resuming.

B batch · T query tokens · S key/value tokens
"""

import torch

from handmade.exercises.cases import rows
from handmade.exercises.core import Case, Exercise, Mistake
from handmade.text.data import IGNORE, document_mask, order

# -- mask-from-positions: fn(positions) -> bool (B, 1, T, T)


def mask_from_positions(positions):
    return document_mask((positions == 0).cumsum(1))


def _pairs(x):
    return x[:, None, :, None], x[:, None, None, :]


def _equal(x):
    return torch.eq(*_pairs(x))


MASK_FROM_POSITIONS_CASES = (
    Case("one document", rows([0, 1, 2])),
    Case("two documents", rows([0, 1, 2, 0, 1])),
    Case("a batch", rows([0, 1, 0, 1], [0, 0, 1, 2])),
    Case("padding, whose positions are 0", rows([0, 1, 2, 0, 0])),
)

MASK_FROM_POSITIONS_MISTAKES = (
    Mistake(
        "the documents are ignored: a token sees all before it in its row",
        lambda p: torch.ones_like(_equal(p)).tril(),
    ),
    Mistake(
        "a token sees later tokens of its own document",
        lambda p: _equal((p == 0).cumsum(1)),
    ),
    Mistake(
        "equal positions are compared, and every document has the same ones",
        lambda p: _equal(p).tril(),
    ),
    Mistake(
        "smaller positions are allowed: earlier documents have them too",
        lambda p: torch.ge(*_pairs(p)).tril(),
    ),
    Mistake(
        "the number of the document rises one token late, so the first "
        "token of a document belongs to the one before",
        lambda p: _equal((p.roll(1, 1) == 0).cumsum(1)).tril(),
    ),
    Mistake(
        "True marks what is hidden; here True means may attend",
        lambda p: ~mask_from_positions(p),
    ),
    Mistake(
        "the axis for the heads is missing, (B, 1, T, T)",
        lambda p: mask_from_positions(p)[:, 0],
    ),
)

MASK_FROM_POSITIONS = Exercise(
    name="mask-from-positions",
    reference=mask_from_positions,
    cases=MASK_FROM_POSITIONS_CASES,
    mistakes=MASK_FROM_POSITIONS_MISTAKES,
)

# -- packed-positions: fn(documents) -> int64 (B, T)


def packed_positions(documents):
    out = torch.zeros_like(documents)
    for t in range(1, documents.shape[1]):
        same = documents[:, t] == documents[:, t - 1]
        out[:, t] = torch.where(same, out[:, t - 1] + 1, 0)
    return out.masked_fill(documents == -1, 0)


def _along(documents):
    return torch.arange(documents.shape[1]).expand_as(documents).clone()


def _over_the_batch(documents):
    flat = packed_positions(documents.reshape(1, -1))
    return flat.reshape(documents.shape)


PACKED_POSITIONS_CASES = (
    Case("one document", rows([0, 0, 0])),
    Case("two documents", rows([0, 0, 1, 1, 1])),
    Case("a batch", rows([0, 1, 1, 2], [2, 2, 2, 3])),
    Case("padding", rows([0, 0, 1, -1, -1], [0, 1, -1, -1, -1])),
)

PACKED_POSITIONS_MISTAKES = (
    Mistake("positions run through the row and do not restart", _along),
    Mistake("positions start at 1", lambda d: packed_positions(d) + 1),
    Mistake(
        "the rows of the batch are counted as one long row",
        _over_the_batch,
    ),
    Mistake(
        "padding is counted like a document; its positions are 0",
        lambda d: packed_positions(d + 1),
    ),
    Mistake(
        "the document's number is returned, not the place within it",
        lambda d: d.clamp(min=0),
    ),
)

PACKED_POSITIONS = Exercise(
    name="packed-positions",
    reference=packed_positions,
    cases=PACKED_POSITIONS_CASES,
    mistakes=PACKED_POSITIONS_MISTAKES,
)

# -- packed-labels: fn(ids, documents) -> int64 (B, T)


def packed_labels(ids, documents):
    out = torch.full_like(ids, IGNORE)
    same = documents[:, 1:] == documents[:, :-1]
    keep = same & (documents[:, 1:] != -1)
    out[:, :-1] = ids[:, 1:].where(keep, IGNORE)
    return out


def _wraps_where_alone(ids, documents):
    same = documents == documents.roll(-1, 1)
    return ids.roll(-1, 1).where(same & (documents != -1), IGNORE)


def _asked_for_padding(ids, documents):
    out = packed_labels(ids, documents)
    last = (documents[:, :-1] != -1) & (documents[:, 1:] == -1)
    out[:, :-1] = torch.where(last, ids[:, 1:], out[:, :-1])
    return out


def _padding_learned(ids, documents):
    return packed_labels(ids, documents + 1)


def _shifted_twice(ids, documents):
    out = torch.full_like(ids, IGNORE)
    out[:, :-1] = packed_labels(ids, documents)[:, 1:]
    return out


def _ids_and_documents(*numbers: list[int]):
    def make() -> tuple:
        documents = torch.tensor(numbers)
        g = torch.Generator().manual_seed(documents.numel())
        ids = torch.randint(10, 99, documents.shape, generator=g)
        return ids.masked_fill(documents == -1, 0), documents

    return make


PACKED_LABELS_CASES = (
    Case("one document", _ids_and_documents([0, 0, 0, 0])),
    Case("two documents", _ids_and_documents([0, 0, 1, 1, 1])),
    Case("a batch", _ids_and_documents([0, 1, 1, 2], [0, 0, 0, 1])),
    Case("padding", _ids_and_documents([0, 0, 0, 1, 1, -1, -1, -1])),
)

PACKED_LABELS_MISTAKES = (
    Mistake(
        "the last token of a document is asked for the first of the next",
        lambda ids, d: packed_labels(ids, d.clamp(max=0)),
    ),
    Mistake(
        "the labels are not shifted: each token is its own label, and a "
        "model learns to copy",
        lambda ids, d: ids.where(d != -1, IGNORE),
    ),
    Mistake(
        "the labels are shifted twice: the model is asked for the token "
        "after next",
        _shifted_twice,
    ),
    Mistake(
        "the ids are only rolled: the labels cross into the next document, "
        "wrap round the row, and ask for padding",
        lambda ids, d: ids.roll(-1, 1),
    ),
    Mistake(
        "a row of one document wraps round: its last token is asked for its "
        "first, as the numbers of both are equal",
        _wraps_where_alone,
    ),
    Mistake(
        "the last token before the padding is asked for padding",
        _asked_for_padding,
    ),
    Mistake(
        "padding is learned: its labels must be -100 too",
        _padding_learned,
    ),
)

PACKED_LABELS = Exercise(
    name="packed-labels",
    reference=packed_labels,
    cases=PACKED_LABELS_CASES,
    mistakes=PACKED_LABELS_MISTAKES,
)

# -- batch-at: fn(n, batch_size, step, order) -> rows of that step


def batch_at(n, batch_size, step, order):
    epoch, within = divmod(step, n // batch_size)
    return order(epoch)[within * batch_size : (within + 1) * batch_size]


def _first_epoch_for_ever(n, batch_size, step, order):
    within = step % (n // batch_size)
    return order(0)[within * batch_size : (within + 1) * batch_size]


def _epoch_from_its_start(n, batch_size, step, order):
    return order(step // (n // batch_size))[:batch_size]


def _one_late(n, batch_size, step, order):
    return batch_at(n, batch_size, step + 1, order)


def _short_batch_counted(n, batch_size, step, order):
    epoch, within = divmod(step, -(-n // batch_size))
    return order(epoch)[within * batch_size : (within + 1) * batch_size]


def _left_over_carried(n, batch_size, step, order):
    epoch, within = divmod(step * batch_size, n)
    rows = torch.cat([order(epoch), order(epoch + 1)])
    return rows[within : within + batch_size]


def _not_shuffled(n, batch_size, step, order):
    return batch_at(n, batch_size, step, lambda epoch: torch.arange(n))


def _at(n: int, batch_size: int, step: int):
    return lambda: (n, batch_size, step, lambda epoch: order(n, epoch=epoch))


BATCH_AT_CASES = (
    Case("the first step", _at(12, 4, 0)),
    Case("within the first epoch", _at(12, 4, 2)),
    Case("the third epoch", _at(12, 4, 7)),
    Case("rows that do not fill a batch", _at(18, 4, 9)),
    Case("a batch as large as the data", _at(5, 5, 3)),
)

BATCH_AT_MISTAKES = (
    Mistake("every epoch has the order of the first", _first_epoch_for_ever),
    Mistake(
        "a resumed epoch starts over: the steps done within it are lost",
        _epoch_from_its_start,
    ),
    Mistake("the run resumes one step late", _one_late),
    Mistake(
        "a short batch is counted at the end of each epoch; every batch has "
        "batch_size rows",
        _short_batch_counted,
    ),
    Mistake(
        "the rows left over are carried into the next epoch; they are left "
        "out, so every epoch has n // batch_size steps",
        _left_over_carried,
    ),
    Mistake(
        "each step has a permutation of its own, so within an epoch some "
        "rows come twice and some never",
        lambda n, batch_size, step, order: order(step)[:batch_size],
    ),
    Mistake("the rows are not shuffled", _not_shuffled),
)

BATCH_AT = Exercise(
    name="batch-at",
    reference=batch_at,
    cases=BATCH_AT_CASES,
    mistakes=BATCH_AT_MISTAKES,
)
