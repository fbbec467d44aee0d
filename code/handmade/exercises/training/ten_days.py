"""The exercises of the page on the ten-day model.

B batch · H heads · T tokens · K head width · N tokens · E experts
V vocabulary · D model width · F feed-forward width
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from handmade.blocks.mixture_of_experts import load_balancing_loss
from handmade.blocks.rope import apply_rope, rope_angles
from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake
from handmade.training.experts import balancing

# -- mixture-parameters: fn(V, D, layers, H, G, F, E, k) -> (all, met)


def _sizes(
    V, D, layers, H, G, width, E, k, *,
    ends=1, kv=None, matrices=3, router=None, norms=True,
):  # fmt: skip
    kv = D * G // H if kv is None else kv
    router = D * E if router is None else router
    expert = matrices * D * width
    rest = 2 * D * D + 2 * D * kv + router + 2 * D * norms
    outside = ends * V * D + D * norms
    return (
        outside + layers * (rest + E * expert),
        outside + layers * (rest + k * expert),
    )


MIXTURE_PARAMETERS = Exercise(
    name="mixture-parameters",
    reference=_sizes,
    cases=tuple(
        Case(label, lambda sizes=sizes: sizes)
        for label, sizes in (
            ("a small one", (50, 12, 2, 6, 3, 20, 5, 2)),
            ("as many key/value heads as heads", (50, 12, 3, 4, 4, 20, 4, 1)),
            ("one expert", (50, 12, 2, 4, 2, 20, 1, 1)),
            ("the ten-day model", (10_000, 768, 8, 8, 4, 2048, 8, 3)),
        )
    ),
    mistakes=(
        Mistake(
            "the table is counted twice: tied, it is the head as well",
            lambda *sizes: _sizes(*sizes, ends=2),
        ),
        Mistake(
            "keys and values are as wide as queries: with grouped heads they "
            "have G / H of the width",
            lambda V, D, *rest: _sizes(V, D, *rest, kv=D),
        ),
        Mistake(
            "an expert has two matrices, as without a gate",
            lambda *sizes: _sizes(*sizes, matrices=2),
        ),
        Mistake(
            "the routers are left out",
            lambda *sizes: _sizes(*sizes, router=0),
        ),
        Mistake(
            "the gains of the norms are left out: two a block, one at the end",
            lambda *sizes: _sizes(*sizes, norms=False),
        ),
        Mistake(
            "all parameters are scaled by k / E: a token meets attention, "
            "table and router whole",
            lambda *sizes: (
                _sizes(*sizes)[0],
                _sizes(*sizes)[0] * sizes[7] // sizes[6],
            ),
        ),
        Mistake(
            "all experts count as met",
            lambda *sizes: (_sizes(*sizes)[0],) * 2,
        ),
    ),
)


# -- turns-by-token: fn(rotate) -> bool

SHAPE = (2, 5, 5, 8)  # (B, H, T, K): equal axes, so that a mix-up runs


def _turns(
    rotate: Callable, *, tokens=True, heads=True, rows=True, apart=range(1, 5)
) -> bool:
    x = randoms((8,))[0].expand(SHAPE)
    y = rotate(x)
    found = []
    if tokens:  # any two places are turned unlike each other
        for n in apart:
            moved = (y[:, :, n:] - y[:, :, :-n]).abs() > 1e-6
            found.append(bool(moved.any(-1).all()))
    if heads:
        found.append(torch.allclose(y, y[:, :1].expand(SHAPE)))
    if rows:
        found.append(torch.allclose(y, y[:1].expand(SHAPE)))
    return all(found)


def _by_place(x):
    return apply_rope(x, rope_angles(torch.arange(5)[None], 8))


def _by_head(x):
    return _by_place(x.transpose(1, 2)).transpose(1, 2)


def _from_the_end(x):
    return apply_rope(x, rope_angles(torch.arange(5).flip(0)[None], 8))


def _by_row(x):
    return apply_rope(x, rope_angles(torch.arange(2)[:, None].repeat(1, 5), 8))


def _to_and_fro(x):
    places = torch.arange(5)[None] % 2
    return apply_rope(x, rope_angles(places, 8))


def _flipped(x):
    return x.flip(-1)


TURNS_BY_TOKEN = Exercise(
    name="turns-by-token",
    reference=_turns,
    cases=tuple(
        Case(label, lambda rotate=rotate: (rotate,))
        for label, rotate in (
            ("by token", _by_place),
            ("by head", _by_head),
            ("by token, counted from the end", _from_the_end),
            ("by token and by head", lambda x: _by_head(_by_place(x))),
            ("not at all", lambda x: 1.0 * x),
            ("the same for all", _flipped),
            ("made longer, and not turned", lambda x: 2.0 * x),
            ("by row of the batch", _by_row),
            ("by token, each as the one before the last", _to_and_fro),
        )
    ),
    mistakes=(
        Mistake(
            "only lengths are compared, which no rotation changes",
            lambda rotate: torch.allclose(
                rotate(randoms(SHAPE)[0]).norm(dim=-1),
                randoms(SHAPE)[0].norm(dim=-1),
            ),
        ),
        Mistake(
            "anything that changes its input passes",
            lambda rotate: (
                not torch.allclose(
                    rotate(randoms(SHAPE)[0]), randoms(SHAPE)[0]
                )
            ),
        ),
        Mistake(
            "tokens are compared, and heads are not: what turns by both "
            "passes",
            lambda rotate: _turns(rotate, heads=False, rows=False),
        ),
        Mistake(
            "heads are compared, and tokens are not: what turns nothing "
            "passes",
            lambda rotate: _turns(rotate, tokens=False, rows=False),
        ),
        Mistake(
            "each place is compared with its neighbour alone: what turns to "
            "and fro passes",
            lambda rotate: _turns(rotate, apart=(1,)),
        ),
        Mistake(
            "the input is random, so that each token and head differs "
            "already: give all of them the same vector",
            lambda rotate: bool(
                rotate(randoms(SHAPE)[0]).diff(dim=2).abs().amax(-1).min()
                > 1e-6
            ),
        ),
    ),
)


# -- still-random: fn(model, x) -> bool


class _Drops(nn.Module):
    """A linear layer and a dropout: a module, or a function."""

    def __init__(self, p=0.5, how="module", evaluating=False):
        super().__init__()
        self.linear, self.p, self.how = nn.Linear(16, 16).double(), p, how
        (weight,) = randoms((16, 16))
        self.linear.weight.data.copy_(weight)
        self.linear.bias.data.zero_()
        self.drop = nn.Dropout(p)
        self.train(not evaluating)

    def train(self, mode=True):
        super().train(mode)
        if self.how == "stubborn":
            self.drop.train()
        return self

    def forward(self, x):
        if self.how == "function":
            return F.dropout(self.linear(x), self.p)
        if self.how == "told":
            return F.dropout(self.linear(x), self.p, training=self.training)
        return self.drop(self.linear(x))


def _still_random(model, x, *, evaluate=True, apart=False):
    modes = {module: module.training for module in model.modules()}
    if evaluate:
        model.eval()
    try:
        if apart:
            outputs = []
            for _ in range(2):
                with torch.random.fork_rng():
                    outputs.append(model(x))
        else:
            with torch.random.fork_rng():
                outputs = [model(x) for _ in range(2)]
    finally:
        for module, mode in modes.items():
            module.training = mode
    return not torch.equal(*outputs)


def _drops_case(label: str, **how) -> Case:
    return Case(label, lambda: (_Drops(**how), *randoms((6, 16))))


STILL_RANDOM = Exercise(
    name="still-random",
    reference=_still_random,
    cases=(
        _drops_case("`nn.Dropout`, in training"),
        _drops_case("`nn.Dropout`, in evaluation", evaluating=True),
        _drops_case("`F.dropout(x, p)`", how="function"),
        _drops_case("`F.dropout(x, p)`, seldom", how="function", p=0.1),
        _drops_case(
            "`F.dropout(x, p)`, in evaluation", how="function", evaluating=True
        ),
        _drops_case("`F.dropout` that is told the mode", how="told"),
        _drops_case("a part that stays in training", how="stubborn"),
    ),
    mistakes=(
        Mistake(
            "the model is asked in training, where dropout should be alive",
            lambda model, x: _still_random(model, x, evaluate=False),
        ),
        Mistake(
            "the random state is put back between the two: both then draw "
            "the same",
            lambda model, x: _still_random(model, x, apart=True),
        ),
        Mistake(
            "modules are looked at: a dropout that is a function is none of "
            "them",
            lambda model, x: any(
                m.how == "stubborn"
                for m in model.modules()
                if isinstance(m, _Drops)
            ),
        ),
        Mistake(
            "the mode alone is asked for", lambda model, x: model.training
        ),
    ),
)


# -- balance-by-layer: fn(layers, k) -> scalar


def _layers_case(label: str, E: int, k: int, *sizes: int, same=False) -> Case:
    def make():
        layers = list(randoms(*[(n, E) for n in sizes], dtype=torch.float32))
        if same:  # what one layer overdoes, the other leaves
            layers = [3 * layers[0], -3 * layers[0]]
        return layers, k

    return Case(label, make)


def _each(layers, k):
    return torch.stack([load_balancing_loss(layer, k) for layer in layers])


BALANCE_BY_LAYER = Exercise(
    name="balance-by-layer",
    reference=balancing,
    cases=(
        _layers_case("one layer", 4, 2, 12),
        _layers_case("three layers", 8, 3, 9, 9, 9),
        _layers_case("two that lean apart", 4, 1, 20, same=True),
    ),
    mistakes=(
        Mistake(
            "all layers are put into one before shares are taken, as in "
            "transformers: leanings of two layers cancel",
            lambda layers, k: load_balancing_loss(torch.cat(layers), k),
        ),
        Mistake(
            "the layers are added: the coefficient then depends on how many "
            "there are",
            lambda layers, k: _each(layers, k).sum(),
        ),
        Mistake(
            "only the last layer is balanced",
            lambda layers, k: load_balancing_loss(layers[-1], k),
        ),
        Mistake(
            "only the first choice of each token is counted",
            lambda layers, k: balancing(layers, 1),
        ),
        Mistake(
            "the counts are shares of all choices, which divides by k",
            lambda layers, k: balancing(layers, k) / k,
        ),
    ),
)
