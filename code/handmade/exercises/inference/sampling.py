"""The exercises of the page on sampling.

B batch · T tokens seen · V vocabulary · N beams
"""

from collections.abc import Callable

import torch

from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake
from handmade.inference import diagnosis, sampling

CUT = float("-inf")


def _logits(*shape: int, seed: int, dtype=torch.float64) -> torch.Tensor:
    return randoms(shape, seed=seed, size=3.0, dtype=dtype)[0]


def _with(*shape: int, value: float, dtype=torch.float64) -> Callable:
    """A recipe for (logits, value)."""
    return lambda: (_logits(*shape, seed=sum(shape), dtype=dtype), value)


def _after_top_k(p: float) -> Callable:
    return lambda: (sampling.top_k(_logits(3, 19, seed=7), 6), p)


def _exactly_p() -> tuple:
    """Two tokens hold all of it, exactly: the others underflow to 0."""
    z = torch.full((1, 6), -1000.0, dtype=torch.float64)
    z[0, [1, 4]] = 0.0
    return z, 1.0


def _one_sure(p: float) -> Callable:
    """The likeliest token alone holds more than p."""
    return lambda: (_logits(2, 9, seed=4) + 40 * torch.eye(9)[2:4], p)


# -- temperature-probabilities: fn(logits, t) -> probabilities

TEMPERATURE = Exercise(
    name="temperature-probabilities",
    reference=lambda z, t: (z / t).softmax(-1),
    cases=(
        Case("one row, t = 2", _with(1, 5, value=2.0)),
        Case("a batch, t = 0.5", _with(3, 7, value=0.5)),
        Case("t = 1 changes nothing", _with(2, 6, value=1.0)),
        Case("float32", _with(2, 40, value=1.3, dtype=torch.float32)),
        Case("t = 0.01", _with(3, 11, value=0.01)),
    ),
    mistakes=(
        Mistake(
            "the logits are multiplied by t instead of divided",
            lambda z, t: (z * t).softmax(-1),
        ),
        Mistake(
            "the probabilities are divided by t after the softmax "
            "(normalizing again would undo it)",
            lambda z, t: z.softmax(-1) / t,
        ),
        Mistake(
            "the probabilities are divided by t and normalized again, "
            "which changes nothing: t must act before the exponential",
            lambda z, t: z.softmax(-1),
        ),
        Mistake(
            "the softmax runs over the batch instead of the vocabulary",
            lambda z, t: (z / t).softmax(0),
        ),
        Mistake(
            "scaled logits are returned, before any softmax",
            lambda z, t: z / t,
        ),
    ),
)

# -- top-p: fn(logits, p) -> logits with -inf for what is cut


def _top_p(cut_sorted: Callable, back: bool = True, dim: int = -1) -> Callable:
    """top_p over descending probabilities with one step replaced."""

    def fn(z, p):
        ordered, order = z.sort(dim=-1, descending=True)
        probs = ordered.softmax(-1)
        cut = cut_sorted(probs, probs.cumsum(dim), p)
        if back:
            cut = torch.empty_like(cut).scatter_(-1, order, cut)
        return z.masked_fill(cut, CUT)

    return fn


def _gathered(z, p):
    ordered, order = z.sort(dim=-1, descending=True)
    probs = ordered.softmax(-1)
    cut = probs.cumsum(-1) - probs >= p
    return z.masked_fill(cut.gather(-1, order), CUT)


def _in_order_of_ids(z, p):
    probs = z.softmax(-1)
    return z.masked_fill(probs.cumsum(-1) - probs >= p, CUT)


TOP_P = Exercise(
    name="top-p",
    reference=sampling.top_p,
    cases=(
        Case("one row, p = 0.6", _with(1, 5, value=0.6)),
        Case("a batch, p = 0.9", _with(4, 23, value=0.9)),
        Case("a tiny p still keeps one token", _with(3, 8, value=0.001)),
        Case("one token holds more than p", _one_sure(0.9)),
        Case("what top-k cut stays cut", _after_top_k(0.7)),
        Case("the likeliest tokens hold exactly p", _exactly_p),
        Case("float32", _with(2, 101, value=0.8, dtype=torch.float32)),
    ),
    mistakes=(
        Mistake("nothing is cut", lambda z, p: z.clone()),
        Mistake(
            "the cut is carried back with a gather: entry i of the order "
            "says where sorted entry i goes, so it takes a scatter",
            _gathered,
        ),
        Mistake(
            "a token stays although those before it hold exactly p: the "
            "set is full once it reaches p, so compare with >=, not >",
            _top_p(lambda probs, total, p: total - probs > p),
        ),
        Mistake(
            "the token that crosses p is dropped: the set then holds less "
            "than p, and nothing at all when one token exceeds it",
            _top_p(lambda probs, total, p: total > p),
        ),
        Mistake(
            "the token that crosses p is dropped (the first one excepted)",
            _top_p(
                lambda probs, total, p: (total > p).index_fill(
                    -1, torch.tensor([0]), False
                )
            ),
        ),
        Mistake(
            "the cut is applied in sorted order and never carried back to "
            "the vocabulary's order: a scatter is missing",
            _top_p(lambda probs, total, p: total - probs >= p, back=False),
        ),
        Mistake(
            "probabilities are summed in the order of the ids: a sort, "
            "likeliest first, is missing",
            _in_order_of_ids,
        ),
        Mistake(
            "the sum runs down the batch instead of along the vocabulary",
            _top_p(lambda probs, total, p: total - probs >= p, dim=0),
        ),
        Mistake(
            "one token too many is kept, the one after the crossing",
            _top_p(
                lambda probs, total, p: (
                    total - probs - probs.roll(1, -1) >= p
                ).index_fill(-1, torch.tensor([0]), False)
            ),
        ),
    ),
)

# -- min-p: fn(logits, p) -> logits with -inf for what is cut

MIN_P = Exercise(
    name="min-p",
    reference=sampling.min_p,
    cases=(
        Case("one row, p = 0.2", _with(1, 6, value=0.2)),
        Case("a batch, p = 0.05", _with(4, 31, value=0.05)),
        Case("p = 1 keeps the likeliest", _with(2, 9, value=1.0)),
        Case("p = 0 keeps all", _with(2, 9, value=0.0)),
        Case("what top-k cut stays cut", _after_top_k(0.1)),
        Case("float32", _with(3, 50, value=0.1, dtype=torch.float32)),
    ),
    mistakes=(
        Mistake(
            "the threshold is p itself, not p times the largest probability",
            lambda z, p: z.masked_fill(z.softmax(-1) < p, CUT),
        ),
        Mistake(
            "the threshold is p times the largest logit, where it should "
            "compare probabilities",
            lambda z, p: z.masked_fill(z < p * z.amax(-1, keepdim=True), CUT),
        ),
        Mistake(
            "the largest probability of the whole batch is used for every row",
            lambda z, p: z.masked_fill(
                z.softmax(-1) < p * z.softmax(-1).max(), CUT
            ),
        ),
    ),
)

# -- repetition-penalty: fn(logits, ids, penalty) -> logits


def _seen(z, ids):
    return torch.zeros_like(z, dtype=torch.bool).scatter(1, ids, True)


def _once_per_occurrence(z, ids, penalty):
    z = z.clone()
    for row, seen in enumerate(ids.tolist()):
        for i in seen:
            z[row, i] = z[row, i] * (penalty if z[row, i] < 0 else 1 / penalty)
    return z


def _penalized_logps(logps, ids, penalty):
    return torch.where(_seen(logps, ids), logps * penalty, logps)


def _every_row(z, ids, penalty):
    seen = _seen(z, ids).any(0).expand_as(z)
    weaker = torch.where(z < 0, z * penalty, z / penalty)
    return torch.where(seen, weaker, z)


def _ids(B: int, T: int, V: int, penalty: float, dtype=torch.float64):
    def make():
        g = torch.Generator().manual_seed(B + T + V)
        ids = torch.randint(V, (B, T), generator=g)
        return _logits(B, V, seed=T, dtype=dtype), ids, penalty

    return make


def _positive_only():
    return _logits(1, 6, seed=3).abs(), torch.tensor([[0, 4]]), 1.5


REPETITION = Exercise(
    name="repetition-penalty",
    reference=sampling.repetition_penalty,
    cases=(
        Case("positive logits", _positive_only),
        Case("both signs", _ids(1, 4, 9, 1.5)),
        Case("a batch, each row its own ids", _ids(3, 5, 20, 1.3)),
        Case("tokens seen many times", _ids(2, 30, 6, 1.2)),
        Case("a penalty below 1", _ids(2, 4, 9, 0.5)),
        Case("float32", _ids(2, 7, 40, 1.1, torch.float32)),
    ),
    mistakes=(
        Mistake(
            "every seen logit is divided: a negative one then moves up, and "
            "the token becomes more likely",
            lambda z, ids, c: torch.where(_seen(z, ids), z / c, z),
        ),
        Mistake(
            "every seen logit is multiplied: a positive one then moves up",
            lambda z, ids, c: torch.where(_seen(z, ids), z * c, z),
        ),
        Mistake(
            "the signs are swapped: positive logits are multiplied and "
            "negative ones divided, which rewards repetition",
            lambda z, ids, c: torch.where(
                _seen(z, ids), torch.where(z < 0, z / c, z * c), z
            ),
        ),
        Mistake(
            "the penalty is applied once per occurrence instead of once "
            "per token",
            _once_per_occurrence,
        ),
        Mistake(
            "a token seen in one row is penalized in every row",
            _every_row,
        ),
        Mistake(
            "the penalty is applied to log-probabilities: all of those are "
            "negative, so none is divided, and every row has moved",
            lambda z, ids, c: _penalized_logps(z.log_softmax(-1), ids, c),
        ),
        Mistake(
            "the penalty falls on every token, seen or not",
            lambda z, ids, c: torch.where(z < 0, z * c, z / c),
        ),
    ),
)

# -- beam-step: fn(scores (N,), logps (N, V)) -> (parent, token, scores)


def beam_step(scores: torch.Tensor, logps: torch.Tensor):
    """The N best of all N * V continuations: parent, token and score."""
    N, V = logps.shape
    best, index = (scores[:, None] + logps).flatten().topk(N)
    return index // V, index % V, best


def _best_of_each(scores, logps):
    best, token = (scores[:, None] + logps).max(-1)
    return torch.arange(len(scores)), token, best


def _best_of_each_sorted(scores, logps):
    parent, token, best = _best_of_each(scores, logps)
    order = best.argsort(descending=True)
    return parent[order], token[order], best[order]


def _forgets_the_past(scores, logps):
    N, V = logps.shape
    best, index = logps.flatten().topk(N)
    return index // V, index % V, best


def _wrong_split(scores, logps):
    parent, token, best = beam_step(scores, logps)
    index = parent * logps.shape[1] + token
    return index // len(scores), index % len(scores), best


def _swapped(scores, logps):
    parent, token, best = beam_step(scores, logps)
    return token, parent, best


def _new_scores_only(scores, logps):
    parent, token, _ = beam_step(scores, logps)
    return parent, token, logps[parent, token]


def _beams(N: int, V: int, spread: float, dtype=torch.float64) -> Callable:
    def make():
        (logits,) = randoms((N, V), size=3.0, dtype=dtype)
        logps = logits.log_softmax(-1)
        scores = -spread * torch.arange(N, dtype=dtype) - 0.5
        return scores, logps

    return make


BEAM_STEP = Exercise(
    name="beam-step",
    reference=beam_step,
    cases=(
        Case("two beams", _beams(2, 5, 0.3)),
        Case("three beams, close together", _beams(3, 7, 0.1)),
        Case("one beam far ahead", _beams(3, 8, 20.0)),
        Case("one beam is greedy", _beams(1, 9, 0.0)),
        Case("float32", _beams(4, 30, 0.2, torch.float32)),
    ),
    mistakes=(
        Mistake(
            "each beam keeps its own best token: beams must compete, so "
            "that a good one can split and a bad one die",
            _best_of_each,
        ),
        Mistake(
            "each beam keeps its own best token and the results are sorted: "
            "the order is right, but the beams still do not compete",
            _best_of_each_sorted,
        ),
        Mistake(
            "the scores so far are left out of the comparison",
            _forgets_the_past,
        ),
        Mistake(
            "the flat index is split by the number of beams instead of the "
            "size of the vocabulary",
            _wrong_split,
        ),
        Mistake(
            "parent and token are returned in each other's place", _swapped
        ),
        Mistake(
            "the returned scores are those of the last token alone",
            _new_scores_only,
        ),
    ),
)

# -- repetition-rate: fn(ids (B, T), n) -> a number in [0, 1)


def _grams(row: list[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(row[i : i + n]) for i in range(len(row) - n + 1)]


def _joined(ids, n):
    grams = _grams(ids.flatten().tolist(), n)
    return 1 - len(set(grams)) / len(grams)


def _one_set(ids, n):
    grams = [g for row in ids.tolist() for g in _grams(row, n)]
    return 1 - len(set(grams)) / len(grams)


def _apart(ids, n):
    """Cut the rows into pieces of n instead of sliding along them."""
    cut = [_grams(row, n)[::n] for row in ids.tolist()]
    return 1 - sum(len(set(g)) for g in cut) / sum(map(len, cut))


def _by_length(ids, n):
    distinct = sum(len(set(_grams(row, n))) for row in ids.tolist())
    return 1 - distinct / ids.numel()


def _short_by_one(ids, n):
    rows = [_grams(row, n)[:-1] for row in ids.tolist()]
    total = sum(map(len, rows))
    return 1 - sum(len(set(g)) for g in rows) / total if total else 0.0


def _all_of_the_repeated(ids, n):
    rows = [_grams(row, n) for row in ids.tolist()]
    twice = sum(g.count(gram) > 1 for g in rows for gram in g)
    return twice / sum(map(len, rows))


def _text_of(B: int, T: int, V: int, n: int) -> Callable:
    def make():
        g = torch.Generator().manual_seed(B * T + V)
        return torch.randint(V, (B, T), generator=g), n

    return make


REPETITION_RATE = Exercise(
    name="repetition-rate",
    reference=diagnosis.repetition,
    cases=(
        Case("one row that loops", lambda: (torch.arange(12)[None] % 4, 2)),
        Case("two rows, pairs", _text_of(2, 15, 3, 2)),
        Case("five rows, triples", _text_of(5, 40, 3, 3)),
        Case("single tokens", _text_of(3, 11, 6, 1)),
        Case("n is the whole row", _text_of(2, 6, 3, 6)),
    ),
    mistakes=(
        Mistake(
            "the rows are joined into one: sequences then run across the "
            "border, and one text repeats what another said",
            _joined,
        ),
        Mistake(
            "one set is kept for all rows: two texts that begin alike then "
            "count as one that repeats itself",
            _one_set,
        ),
        Mistake(
            "the rows are cut into pieces of n: slide by one token instead, "
            "or a loop of another length goes unseen",
            _apart,
        ),
        Mistake(
            "it is divided by the number of tokens: a row of T has only "
            "T - n + 1 sequences",
            _by_length,
        ),
        Mistake("the last sequence of every row is left out", _short_by_one),
        Mistake(
            "the first occurrence counts as repeated, too: it stood nowhere "
            "before",
            _all_of_the_repeated,
        ),
        Mistake(
            "it is the share of the distinct ones: take it from 1",
            lambda ids, n: 1 - diagnosis.repetition(ids, n),
        ),
    ),
)
