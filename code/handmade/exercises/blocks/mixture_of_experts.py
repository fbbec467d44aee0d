"""The exercises of the page on mixtures of experts.

N tokens · D model width · E experts · k experts a token
"""

from functools import cache, partial

import torch

from handmade.blocks import mixture_of_experts as moe
from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake

# -- route: fn(logits (N, E), k) -> weights (N, k), experts (N, k)


def _route_case(label: str, N: int, E: int, k: int) -> Case:
    return Case(label, lambda: (*randoms((N, E), dtype=torch.float32), k))


def _softmax_over_tokens(logits, k):
    weights, experts = logits.softmax(0).topk(k, -1)
    return weights / weights.sum(-1, keepdim=True), experts


def _logits_as_weights(logits, k):
    best, experts = logits.topk(k, -1)
    return best / best.sum(-1, keepdim=True), experts


def _twice(logits, k):
    best, experts = logits.softmax(-1).topk(k, -1)
    return best.softmax(-1), experts


ROUTE = Exercise(
    name="route",
    reference=moe.route,
    cases=(
        _route_case("two of four experts", 3, 4, 2),
        _route_case("three of eight experts", 5, 8, 3),
        _route_case("one expert each", 4, 5, 1),
        _route_case("all experts", 4, 3, 3),
    ),
    mistakes=(
        Mistake(
            "the chosen probabilities are not divided by their sum: they add "
            "to less than 1",
            lambda *args: moe.route(*args, renormalize=False),
        ),
        Mistake(
            "the chosen probabilities go through a second softmax, which "
            "makes them nearly equal",
            _twice,
        ),
        Mistake(
            "the softmax runs over the tokens, not over the experts",
            _softmax_over_tokens,
        ),
        Mistake(
            "the logits themselves are divided by their sum, without a "
            "softmax",
            _logits_as_weights,
        ),
        Mistake(
            "the least likely experts are taken",
            lambda logits, k: moe.route(-logits, k),
        ),
    ),
)


# -- mix-experts: fn(x (N, D), logits (N, E), experts, k) -> (N, D)


def _mix(x, logits, experts, k, *, replace=False, within=False, weigh=None):
    weights, chosen = moe.route(logits, k)
    weights = weigh(weights) if weigh else weights
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        token, slot = torch.where(chosen == e)
        w = weights[token, slot, None]
        y = expert(w * x[token]) if within else w * expert(x[token])
        out[token] = y if replace else out[token] + y
    return out


def _mix_by_slot(x, logits, experts, k):
    weights, _ = moe.route(logits, k)
    return sum(experts[slot](x) * weights[:, slot, None] for slot in range(k))


def _mix_unnormalized(x, logits, experts, k):
    best, _ = moe.route(logits, k, renormalize=False)
    return _mix(x, logits, experts, k) * best.sum(-1, keepdim=True)


def _mix_masked(x, logits, experts, k):
    weights, chosen = moe.route(logits, k)
    dense = torch.zeros_like(logits).scatter(-1, chosen, weights)
    return sum(f(x) * dense[:, e, None] for e, f in enumerate(experts))


@cache  # the same functions each time: cases are compared
def _experts(n_experts: int, D: int) -> tuple:
    """Fixed functions of one matrix each, bent so that order matters."""
    matrices = randoms(
        *[(D, D + e) for e in range(n_experts)], dtype=torch.float32
    )

    def expert(e, matrix):
        square = matrix @ matrix.mT / matrix.shape[-1]
        run = lambda rows: (rows @ square).tanh()  # noqa: E731
        run.__name__ = f"expert {e}"
        return run

    return tuple(expert(e, matrix) for e, matrix in enumerate(matrices))


def _rows(fn):
    """In place of the result: how many rows each expert has run."""

    def call(x, logits, experts, k):
        rows = [0] * len(experts)

        def count(e, some):
            rows[e] += some.shape[:-1].numel()
            return experts[e](some)

        fn(x, logits, [partial(count, e) for e in range(len(rows))], k)
        return f"rows run by each expert: {rows}"

    return call


def _mix_case(label: str, N: int, D: int, E: int, k: int, **how) -> Case:
    return Case(
        label,
        lambda: (
            *randoms((N, D), (N, E), dtype=torch.float32),
            _experts(E, D),
            k,
        ),
        **how,
    )


def _unused_case() -> tuple:
    x, logits = randoms((5, 4), (5, 3), dtype=torch.float32)
    logits[:, 1] = -50.0
    return x, logits, list(_experts(3, 4)), 2


MIX_EXPERTS = Exercise(
    name="mix-experts",
    reference=_mix,
    cases=(
        _mix_case("two of three experts", 4, 5, 3, 2),
        _mix_case("one expert each", 6, 4, 3, 1),
        _mix_case("as many tokens as axes", 4, 4, 4, 2),
        Case("an expert nobody chose", _unused_case),
        _mix_case("the rows that are run", 6, 4, 3, 2, through=_rows),
    ),
    mistakes=(
        Mistake(
            "the output of a token's later expert replaces that of the "
            "earlier one instead of being added",
            lambda *args: _mix(*args, replace=True),
        ),
        Mistake(
            "slot 0 always goes to expert 0 and slot 1 to expert 1: the "
            "choice is ignored",
            _mix_by_slot,
        ),
        Mistake(
            "the weight multiplies what goes into the expert, not what comes "
            "out",
            lambda *args: _mix(*args, within=True),
        ),
        Mistake(
            "all experts answer, not only the k chosen",
            lambda x, logits, f, k: _mix_masked(x, logits, f, len(f)),
        ),
        Mistake(
            "every expert runs on every token, and what is not wanted is "
            "multiplied by zero",
            _mix_masked,
        ),
        Mistake(
            "the chosen experts all have the same weight",
            lambda *args: _mix(*args, weigh=lambda w: 0 * w + 1 / args[-1]),
        ),
        Mistake(
            "the weights are forgotten: each is 1",
            lambda *args: _mix(*args, weigh=torch.ones_like),
        ),
        Mistake(
            "all experts of a token have the weight of its best",
            lambda *args: _mix(*args, weigh=lambda w: 0 * w + w[:, :1]),
        ),
        Mistake("x itself is added", lambda *args: args[0] + _mix(*args)),
        Mistake(
            "the weights of the chosen experts do not add to 1",
            _mix_unnormalized,
        ),
    ),
)


# -- balance-loss: fn(logits (N, E), k) -> scalar


def _balance(logits, k, pair=lambda f, p: f.mean(0) * p.mean(0)):
    probs = logits.softmax(-1)
    chosen = torch.zeros_like(probs)
    chosen = chosen.scatter(-1, probs.topk(k, -1).indices, 1.0)
    return logits.shape[-1] * pair(chosen, probs).sum()


def _balance_case(label: str, N: int, E: int, k: int, tilt=0.0) -> Case:
    tilted = torch.tensor([tilt] + [0.0] * (E - 1))
    return Case(
        label, lambda: (randoms((N, E), dtype=torch.float32)[0] + tilted, k)
    )


BALANCE_LOSS = Exercise(
    name="balance-loss",
    reference=_balance,
    cases=(
        _balance_case("two of four experts", 20, 4, 2),
        _balance_case("one of five experts", 30, 5, 1),
        _balance_case("an expert everybody wants", 12, 4, 2, tilt=4.0),
    ),
    mistakes=(
        Mistake(
            "the factor E is missing, so the value falls as experts are added",
            lambda logits, k: _balance(logits, k) / logits.shape[-1],
        ),
        Mistake(
            "the mean probability is multiplied by itself: nothing is counted",
            lambda *args: _balance(*args, lambda f, p: p.mean(0) ** 2),
        ),
        Mistake(
            "the counts are multiplied by themselves, which has no gradient",
            lambda *args: _balance(*args, lambda f, p: f.mean(0) ** 2),
        ),
        Mistake(
            "count and probability are multiplied token by token, before the "
            "mean: that rewards spread-out probabilities, not spread-out use",
            lambda *args: _balance(*args, lambda f, p: (f * p).mean(0)),
        ),
        Mistake(
            "only the first choice of each token is counted",
            lambda logits, k: moe.load_balancing_loss(logits, 1),
        ),
        Mistake(
            "the counts are shares of all choices, which divides by k",
            lambda logits, k: _balance(logits, k) / k,
        ),
    ),
)


# -- active-parameters: fn(d_model, d_ff, n_experts, top_k) -> (all, active)


def _count(d_model, d_ff, n_experts, top_k, *, matrices=3, router=None):
    expert = matrices * d_model * d_ff
    router = d_model * n_experts if router is None else router
    return router + n_experts * expert, router + top_k * expert


ACTIVE_PARAMETERS = Exercise(
    name="active-parameters",
    reference=_count,
    cases=tuple(
        Case(label, lambda sizes=sizes: sizes)
        for label, sizes in (
            ("a small one", (8, 20, 4, 2)),
            ("one expert", (8, 20, 1, 1)),
            ("Mixtral's layer", (4096, 14336, 8, 2)),
        )
    ),
    mistakes=(
        Mistake(
            "an expert has two matrices, as without a gate",
            lambda *sizes: _count(*sizes, matrices=2),
        ),
        Mistake(
            "the router is left out", lambda *sizes: _count(*sizes, router=0)
        ),
        Mistake(
            "only the chosen rows of the router count as active; but all "
            "scores are computed before any is chosen",
            lambda D, F, E, k: (_count(D, F, E, k)[0], k * D + k * 3 * D * F),
        ),
        Mistake(
            "the active ones are all divided by the number of experts",
            lambda D, F, E, k: (_count(D, F, E, k)[0], 3 * D * F // E * k),
        ),
    ),
)
