"""The exercises of the page on feed-forward layers.

N tokens · D model width · F feed-forward width
"""

import math

import torch
from torch import nn
from torch.nn import functional

from handmade.blocks import feedforward
from handmade.exercises.cases import random_case, randoms
from handmade.exercises.core import Case, Exercise, Mistake

# -- gelu: fn(x) -> the same shape


def _gelu_case(label: str, *shape: int, size: float = 1.0) -> Case:
    return Case(label, lambda: randoms(shape, size=size))


GELU = Exercise(
    name="gelu",
    reference=feedforward.gelu,
    cases=(
        _gelu_case("a few numbers", 7),
        _gelu_case("a batch of tokens", 2, 3, 4),
        _gelu_case("large numbers of both signs", 9, size=20.0),
    ),
    mistakes=(
        Mistake(
            "the tanh approximation is used",
            feedforward.gelu_tanh,
        ),
        Mistake(
            "the approximation x * sigmoid(1.702 x) is used",
            lambda x: x * torch.sigmoid(1.702 * x),
        ),
        Mistake(
            "erf gets x instead of x / sqrt(2)",
            lambda x: x * (1 + torch.erf(x)) / 2,
        ),
        Mistake(
            "the half is missing",
            lambda x: x * (1 + torch.erf(x / math.sqrt(2))),
        ),
        Mistake(
            "erf takes the place of the normal distribution, which is "
            "(1 + erf(x / sqrt(2))) / 2",
            lambda x: x * torch.erf(x / math.sqrt(2)),
        ),
        Mistake(
            "the share below x is returned, without multiplying by x",
            lambda x: (1 + torch.erf(x / math.sqrt(2))) / 2,
        ),
        Mistake("the weight is a sigmoid: that is SiLU", functional.silu),
    ),
)


# -- swiglu: fn(x, gate (F, D), up (F, D), down (D, F)) -> y


def _swiglu(x, gate, up, down, act=functional.silu):
    return (act(x @ gate.mT) * (x @ up.mT)) @ down.mT


def _swiglu_case(label: str, *lead: int, D: int, F: int) -> Case:
    shapes = ((*lead, D), (F, D), (F, D), (D, F))
    return random_case(label, *shapes)


SWIGLU = Exercise(
    name="swiglu",
    reference=_swiglu,
    cases=(
        _swiglu_case("one token", D=4, F=6),
        _swiglu_case("a batch of tokens", 2, 3, D=5, F=7),
        _swiglu_case("as wide inside as outside", 3, D=4, F=4),
    ),
    mistakes=(
        Mistake(
            "gate and up are swapped",
            lambda x, g, u, d: _swiglu(x, u, g, d),
        ),
        Mistake(
            "the gate is a sigmoid: a GLU, where SiLU is z * sigmoid(z)",
            lambda x, g, u, d: _swiglu(x, g, u, d, torch.sigmoid),
        ),
        Mistake(
            "the gate's activation is GELU: that is GeGLU",
            lambda x, g, u, d: _swiglu(x, g, u, d, feedforward.gelu),
        ),
        Mistake(
            "the gate has no activation",
            lambda x, g, u, d: _swiglu(x, g, u, d, lambda z: z),
        ),
        Mistake(
            "the activation is applied to the product, not to the gate alone",
            lambda x, g, u, d: functional.silu((x @ g.mT) * (x @ u.mT)) @ d.mT,
        ),
        Mistake(
            "both branches go through the activation",
            lambda x, g, u, d: (
                functional.silu(x @ g.mT) * functional.silu(x @ u.mT) @ d.mT
            ),
        ),
        Mistake(
            "the two branches are added, not multiplied",
            lambda x, g, u, d: (functional.silu(x @ g.mT) + x @ u.mT) @ d.mT,
        ),
    ),
)


# -- swiglu-width: fn(d_model, multiple) -> int


def _width(d_model: int, multiple: int) -> int:
    return -(-(8 * d_model // 3) // multiple) * multiple


SWIGLU_WIDTH = Exercise(
    name="swiglu-width",
    reference=_width,
    cases=tuple(
        Case(f"d_model {d}, a multiple of {m}", lambda d=d, m=m: (d, m))
        for d, m in ((4096, 256), (576, 256), (64, 1), (100, 64), (8, 32))
    ),
    mistakes=(
        Mistake(
            "it is rounded down, so that the layer is smaller than planned",
            lambda d, m: 8 * d // 3 // m * m,
        ),
        Mistake(
            "the quotient 8 D / 3 is not rounded down before the multiple",
            lambda d, m: -(-8 * d // (3 * m)) * m,
        ),
        Mistake(
            "it is rounded to the nearest multiple, not up",
            lambda d, m: (8 * d // 3 + m // 2) // m * m,
        ),
        Mistake(
            "a width that fits already is moved to the next multiple",
            lambda d, m: (8 * d // 3 // m + 1) * m,
        ),
        Mistake(
            "it starts from 4 D: with three matrices that is half as much "
            "again as the plain layer",
            lambda d, m: -(-4 * d // m) * m,
        ),
        Mistake(
            "it starts from 2/3 D instead of 2/3 of 4 D",
            lambda d, m: -(-(2 * d // 3) // m) * m,
        ),
    ),
)


# -- is-affine: fn(layer, x (N, D)) -> bool


def _same(a, b, share: float = 1e-4) -> bool:
    """True where no number is off by more than a share of the largest."""
    return torch.allclose(a, b, rtol=0, atol=share * float(a.abs().max()))


def _is_affine(layer, x, size: float = 100.0, same=_same) -> bool:
    a = size * x
    b = a.roll(1, 0)
    zero = layer(torch.zeros_like(a))
    return same(layer(a + b) + zero, layer(a) + layer(b))


def _odd(layer, x) -> bool:
    zero = layer(0 * x)
    return _same(layer(100 * x) - zero, zero - layer(-100 * x))


def _network(act, bias: bool = True, far: float = 0.0) -> nn.Module:
    torch.manual_seed(5)
    net = feedforward.FeedForward(4, 6, act, bias=bias).double()
    if far:
        nn.init.constant_(net.up_proj.bias, far)
    return net.requires_grad_(False)


def _linear() -> nn.Module:
    torch.manual_seed(5)
    return nn.Linear(64, 64, bias=False).requires_grad_(False)


def _layer_case(label: str, make, *shape: int, dtype=torch.float64) -> Case:
    def build() -> tuple:
        with torch.random.fork_rng():
            layer = make()
        return layer, randoms(shape or (5, 4))[0].to(dtype)

    return Case(label, build)


IS_AFFINE = Exercise(
    name="is-affine",
    reference=_is_affine,
    cases=(
        _layer_case("GELU", lambda: _network(feedforward.gelu)),
        _layer_case("no activation", lambda: _network(nn.Identity(), False)),
        _layer_case(
            "no activation, with biases", lambda: _network(nn.Identity())
        ),
        _layer_case(
            "ReLU without biases", lambda: _network(torch.relu, bias=False)
        ),
        _layer_case(
            "tanh without biases", lambda: _network(torch.tanh, bias=False)
        ),
        _layer_case(
            "ReLU that typical inputs leave open",
            lambda: _network(torch.relu, far=20.0),
        ),
        _layer_case(
            "one Linear in float32", _linear, 64, 64, dtype=torch.float32
        ),
    ),
    mistakes=(
        Mistake(
            "the output at zero, which the biases make, is not subtracted",
            lambda layer, x: _same(
                layer(100 * x + x.roll(1, 0)),
                layer(100 * x) + layer(x.roll(1, 0)),
            ),
        ),
        Mistake(
            "only a factor is tested: ReLU passes f(2 x) = 2 f(x)",
            lambda layer, x: _same(
                layer(200 * x) - layer(0 * x),
                2 * (layer(100 * x) - layer(0 * x)),
            ),
        ),
        Mistake(
            "only the sign is tested: tanh passes f(-x) = -f(x)",
            _odd,
        ),
        Mistake(
            "only inputs of ordinary size are tested: a ReLU with large "
            "biases is open for all of them",
            lambda layer, x: _is_affine(layer, x, size=1.0),
        ),
        Mistake(
            "each number must agree to `allclose`'s own tolerance: float32 "
            "rounds large inputs by more, so allow a share of the largest",
            lambda layer, x: _is_affine(layer, x, same=torch.allclose),
        ),
        Mistake(
            "the layer's type is looked at, not what it does",
            lambda layer, x: isinstance(layer, nn.Linear),
        ),
    ),
)
