"""The exercises of the page on embeddings.

B batch · T query tokens · D model width · V vocabulary
"""

import torch
from torch import nn
from torch.nn.functional import normalize

from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake
from handmade.text.embeddings import nearest, without_common_direction

# -- lookup-backward: fn(ids, grad, vocab_size) -> gradient of the table


def lookup_backward(ids, grad, vocab_size):
    out = grad.new_zeros(vocab_size, grad.shape[-1])
    return out.index_add_(0, ids.flatten(), grad.flatten(0, -2))


def _last_one_wins(ids, grad, vocab_size):
    out = grad.new_zeros(vocab_size, grad.shape[-1])
    rows = grad.flatten(0, -2)
    for i, row in zip(ids.flatten().tolist(), rows, strict=True):
        out[i] = row
    return out


def _averaged(ids, grad, vocab_size):
    counts = torch.bincount(ids.flatten(), minlength=vocab_size)
    total = lookup_backward(ids, grad, vocab_size)
    return total / counts.clamp(min=1)[:, None].to(grad.dtype)


def _last_times_count(ids, grad, vocab_size):
    counts = torch.bincount(ids.flatten(), minlength=vocab_size)
    return _last_one_wins(ids, grad, vocab_size) * counts[:, None]


def _first_row_of_batch(ids, grad, vocab_size):
    if ids.ndim == 1:
        return lookup_backward(ids, grad, vocab_size)
    return lookup_backward(ids[0], grad[0], vocab_size)


def _ids_and_grad(ids: list, V: int, D: int = 3, dtype=torch.float64):
    def make() -> tuple:
        at = torch.tensor(ids)
        return at, *randoms((*at.shape, D), dtype=dtype), V

    return make


LOOKUP_BACKWARD_CASES = (
    Case("different tokens", _ids_and_grad([2, 0, 3], 5)),
    Case("a token that occurs twice", _ids_and_grad([1, 4, 1], 6)),
    Case("a batch", _ids_and_grad([[0, 3], [3, 3]], 4)),
    Case("float32", _ids_and_grad([[5, 5, 1]], 7, dtype=torch.float32)),
    Case("a single token", _ids_and_grad([0], 2)),
)

LOOKUP_BACKWARD_MISTAKES = (
    Mistake(
        "a row is set and not added to, so the last occurrence of a token "
        "overwrites the earlier ones (out[ids] += grad does that too)",
        _last_one_wins,
    ),
    Mistake(
        "a repeated token's gradients are averaged; they add up",
        _averaged,
    ),
    Mistake(
        "the last gradient of a token is multiplied by how often it occurs",
        _last_times_count,
    ),
    Mistake(
        "only the first sequence of the batch is counted",
        _first_row_of_batch,
    ),
)

LOOKUP_BACKWARD = Exercise(
    name="lookup-backward",
    reference=lookup_backward,
    cases=LOOKUP_BACKWARD_CASES,
    mistakes=LOOKUP_BACKWARD_MISTAKES,
)

# -- nearest-tokens: fn(table, token, k) -> list of ids


def nearest_tokens(table, token, k):
    return nearest(without_common_direction(table), token, k)


def _itself_first(table, token, k):
    x = without_common_direction(table)
    return torch.cosine_similarity(x, x[token][None]).topk(k).indices.tolist()


def _dot_products(x, token, k):
    score = x @ x[token]
    score[token] = -torch.inf
    return score.topk(k).indices.tolist()


def _dot(table, token, k):
    return _dot_products(without_common_direction(table), token, k)


def _euclid(table, token, k):
    x = without_common_direction(table)
    distance = (x - x[token]).norm(dim=1)
    distance[token] = torch.inf
    return (-distance).topk(k).indices.tolist()


def _normalized_too_early(table, token, k):
    x = without_common_direction(normalize(table, dim=1))
    return _dot_products(x, token, k)


def _lengths_of_before(table, token, k):
    x = without_common_direction(table) / table.norm(dim=1, keepdim=True)
    return _dot_products(x, token, k)


def _direction_of_unit_rows(table, token, k):
    x = without_common_direction(normalize(table, dim=1))
    return nearest(x, token, k)


def _direction_not_of_length_one(table, token, k):
    u = table.mean(0)
    return nearest(table - torch.outer(table @ u, u), token, k)


def _farthest(table, token, k):
    x = without_common_direction(table)
    cosine = torch.cosine_similarity(x, x[token][None])
    return (-cosine).topk(k).indices.tolist()


def _with_common_direction(V: int, D: int, token: int, k: int, seed: int):
    def make() -> tuple:
        g = torch.Generator().manual_seed(seed)
        table = torch.randn(V, D, generator=g, dtype=torch.float64)
        common = normalize(torch.randn(D, generator=g).double(), dim=0)
        share = 1 + 4 * torch.rand(V, 1, generator=g).double()
        sizes = 0.3 + torch.rand(V, 1, generator=g).double()
        return (table + share * common) * sizes, token, k

    return make


NEAREST_TOKENS_CASES = (
    Case("the nearest one", _with_common_direction(40, 5, 3, 1, 1)),
    Case("the nearest five", _with_common_direction(60, 6, 7, 5, 2)),
    Case("the first token", _with_common_direction(50, 4, 0, 4, 3)),
    Case("a wide table", _with_common_direction(30, 24, 29, 6, 4)),
)

NEAREST_TOKENS_MISTAKES = (
    Mistake("the common direction is left in", nearest),
    Mistake(
        "the mean row is subtracted: rows differ in how much of the common "
        "direction they carry, and that difference stays",
        lambda table, token, k: nearest(table - table.mean(0), token, k),
    ),
    Mistake(
        "the token itself is in the list; it is always its own nearest",
        _itself_first,
    ),
    Mistake(
        "dot products are compared, which favour long rows",
        _dot,
    ),
    Mistake(
        "distances are compared, which favour rows of the same length",
        _euclid,
    ),
    Mistake(
        "the rows are normalized first: once the direction is removed they "
        "are no longer of length 1, and what is compared is no cosine",
        _normalized_too_early,
    ),
    Mistake(
        "each row is divided by the length it had before the direction was "
        "removed, so what is compared is no cosine",
        _lengths_of_before,
    ),
    Mistake(
        "the direction is that of the normalized rows, not of the table's "
        "mean row",
        _direction_of_unit_rows,
    ),
    Mistake(
        "the mean row is not divided by its length before it is used as a "
        "direction",
        _direction_not_of_length_one,
    ),
    Mistake("the smallest cosines are taken", _farthest),
)

NEAREST_TOKENS = Exercise(
    name="nearest-tokens",
    reference=nearest_tokens,
    cases=NEAREST_TOKENS_CASES,
    mistakes=NEAREST_TOKENS_MISTAKES,
)

# -- distinct-parameters: fn(model) -> int


def distinct_parameters(model):
    sizes = {p.data_ptr(): p.numel() for p in model.parameters()}
    return sum(sizes.values())


def _tied(how: str):
    def make() -> tuple:
        model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9, bias=False))
        if how == "one parameter":
            model[1].weight = model[0].weight
        if how == "one memory":
            model[1].weight = nn.Parameter(model[0].weight.data)
        if how == "buffer":
            model.append(nn.BatchNorm1d(9))
        if how == "frozen":
            model[0].requires_grad_(False)
        return (model,)

    return make


DISTINCT_PARAMETERS_CASES = (
    Case("two separate tables", _tied("not")),
    Case("two layers that hold one parameter", _tied("one parameter")),
    Case("two parameters over one memory", _tied("one memory")),
    Case("a model with buffers", _tied("buffer")),
    Case("a frozen table", _tied("frozen")),
)

DISTINCT_PARAMETERS_MISTAKES = (
    Mistake(
        "the state_dict is summed: it names tied weights twice, and it "
        "holds buffers",
        lambda m: sum(x.numel() for x in m.state_dict().values()),
    ),
    Mistake(
        "parameters are told apart as objects: two of them can lie on the "
        "same memory (compare data_ptr)",
        lambda m: sum(p.numel() for p in m.parameters()),
    ),
    Mistake(
        "frozen parameters are left out; they are held in memory too",
        lambda m: sum(
            {
                p.data_ptr(): p.numel()
                for p in m.parameters()
                if p.requires_grad
            }.values()
        ),
    ),
    Mistake(
        "each shape is counted once: two tables of one size need not be one",
        lambda m: sum({p.shape: p.numel() for p in m.parameters()}.values()),
    ),
    Mistake(
        "bytes are counted, not numbers",
        lambda m: 4 * distinct_parameters(m),
    ),
)

DISTINCT_PARAMETERS = Exercise(
    name="distinct-parameters",
    reference=distinct_parameters,
    cases=DISTINCT_PARAMETERS_CASES,
    mistakes=DISTINCT_PARAMETERS_MISTAKES,
)
