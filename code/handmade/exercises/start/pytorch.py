"""The exercises of the PyTorch refresher: shapes, strides, an honest score."""

import math

import torch
from torch import nn

from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake

# -- contiguous-strides: fn(shape) -> tuple


def contiguous_strides(shape):
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


CONTIGUOUS_STRIDES_CASES = tuple(
    Case(label, lambda shape=shape: (shape,))
    for label, shape in (
        ("a matrix", (2, 3)),
        ("a vector", (4,)),
        ("four axes", (2, 3, 4, 5)),
        ("an axis of size 1", (5, 1, 2)),
        ("no axis at all", ()),
    )
)

CONTIGUOUS_STRIDES_MISTAKES = (
    Mistake(
        "the first axis is taken to run fastest (column-major); in PyTorch "
        "the last one does",
        lambda s: tuple(math.prod(s[:i]) for i in range(len(s))),
    ),
    Mistake(
        "each stride includes its own axis: the product starts one axis "
        "too early",
        lambda s: tuple(math.prod(s[i:]) for i in range(len(s))),
    ),
    Mistake(
        "strides are counted in bytes of float32; PyTorch counts elements",
        lambda s: tuple(4 * n for n in contiguous_strides(s)),
    ),
    Mistake(
        "only the next axis is multiplied in, where all later ones belong",
        lambda s: (*s[1:], 1) if s else (),
    ),
)

CONTIGUOUS_STRIDES = Exercise(
    name="contiguous-strides",
    reference=contiguous_strides,
    cases=CONTIGUOUS_STRIDES_CASES,
    mistakes=CONTIGUOUS_STRIDES_MISTAKES,
)

# -- broadcast-shape: fn(a, b) -> tuple, or ValueError


def _pairs(a, b):
    n = max(len(a), len(b))
    return zip((1,) * (n - len(a)) + a, (1,) * (n - len(b)) + b, strict=True)


def broadcast_shape(a, b):
    for x, y in _pairs(a, b):
        if x != y and 1 not in (x, y):
            raise ValueError(f"sizes {x} and {y} do not fit")
    return tuple(y if x == 1 else x for x, y in _pairs(a, b))


def _left_aligned(a, b):
    n = max(len(a), len(b))
    return broadcast_shape(a + (1,) * (n - len(a)), b + (1,) * (n - len(b)))


def _with_max(a, b):
    broadcast_shape(a, b)
    return tuple(max(x, y) for x, y in _pairs(a, b))


def _multiples(a, b):
    for x, y in _pairs(a, b):
        if min(x, y) and max(x, y) % min(x, y):
            raise ValueError("sizes do not fit")
    return tuple(0 if 0 in (x, y) else max(x, y) for x, y in _pairs(a, b))


BROADCAST_SHAPE_CASES = tuple(
    Case(label, lambda a=a, b=b: (a, b))
    for label, a, b in (
        ("equal shapes", (2, 3), (2, 3)),
        ("a column against a vector", (4, 1), (4,)),
        ("axes missing on the left", (3, 1, 5), (2, 1)),
        ("a number against a matrix", (), (2, 3)),
        ("sizes that do not fit", (2, 3), (3, 2)),
        ("twice the size", (2,), (4,)),
        ("an empty axis", (0, 3), (1, 3)),
    )
)

BROADCAST_SHAPE_MISTAKES = (
    Mistake(
        "shapes are aligned on the left; missing axes are added in front",
        _left_aligned,
    ),
    Mistake(
        "the larger size wins: 1 stretches to the other size, also to 0",
        _with_max,
    ),
    Mistake(
        "the larger of two sizes is taken and nothing is ever refused",
        lambda a, b: tuple(max(x, y) for x, y in _pairs(a, b)),
    ),
    Mistake(
        "a size is stretched to its multiples; only a size of 1 is stretched",
        _multiples,
    ),
)

BROADCAST_SHAPE = Exercise(
    name="broadcast-shape",
    reference=broadcast_shape,
    cases=BROADCAST_SHAPE_CASES,
    mistakes=BROADCAST_SHAPE_MISTAKES,
)

# -- unbroadcast: fn(grad, shape) -> tensor of that shape


def unbroadcast(grad, shape, reduce=torch.sum):
    extra = grad.ndim - len(shape)
    stretched = [
        i
        for i, size in enumerate(grad.shape)
        if i < extra or (shape[i - extra] == 1 and size != 1)
    ]
    if stretched:
        grad = reduce(grad, stretched, keepdim=True)
    return grad.reshape(shape)


def _only_leading(grad, shape, reduce=torch.sum):
    extra = tuple(range(grad.ndim - len(shape)))
    return reduce(grad, extra) if extra else grad.clone()


def _first_copy(grad, shape):
    for _ in range(grad.ndim - len(shape)):
        grad = grad[0]
    for i, size in enumerate(shape):
        if size == 1:
            grad = grad.narrow(i, 0, 1)
    return grad.clone()


def _without_keepdim(grad, shape):
    out = unbroadcast(grad, shape)
    return out.squeeze() if 1 in shape else out


def _grad(grad_shape: tuple, shape: tuple, dtype=torch.float64):
    def make() -> tuple:
        return *randoms(grad_shape, dtype=dtype), shape

    return make


UNBROADCAST_CASES = (
    Case("nothing was stretched", _grad((2, 3), (2, 3))),
    Case("a bias: an axis was added", _grad((4, 3), (3,))),
    Case("an axis of size 1 was stretched", _grad((4, 3), (4, 1))),
    Case("both", _grad((2, 5, 3), (1, 3))),
    Case("stretched to two", _grad((2, 3), (1, 3))),
    Case("a number", _grad((2, 3), ())),
    Case("float32", _grad((6, 2, 3), (2, 1), torch.float32)),
    Case("an axis that was 1 all along", _grad((2, 1, 3), (2, 1, 1))),
)

UNBROADCAST_MISTAKES = (
    Mistake(
        "the copies' gradients are averaged; each copy counts in full",
        lambda g, s: unbroadcast(g, s, torch.mean),
    ),
    Mistake(
        "the copies along an added axis are averaged; each counts in full",
        lambda g, s: unbroadcast(_only_leading(g, s, torch.mean), s),
    ),
    Mistake(
        "the copies along a stretched axis are averaged; each counts in full",
        lambda g, s: unbroadcast(_only_leading(g, s), s, torch.mean),
    ),
    Mistake(
        "only added axes are summed, and stretched ones are left long",
        _only_leading,
    ),
    Mistake(
        "one copy's gradient is returned and the others are forgotten",
        _first_copy,
    ),
    Mistake(
        "the sum drops axes of size 1 (keepdim is missing)",
        _without_keepdim,
    ),
)

UNBROADCAST = Exercise(
    name="unbroadcast",
    reference=unbroadcast,
    cases=UNBROADCAST_CASES,
    mistakes=UNBROADCAST_MISTAKES,
)

# -- accuracy: fn(model, x, y, batch_size) -> float


def _scored(model, x, y, batch_size):
    parts = zip(x.split(batch_size), y.split(batch_size), strict=True)
    return [(model(a), b) for a, b in parts]


def _count_right(*args):
    return sum((out.argmax(-1) == b).sum().item() for out, b in _scored(*args))


@torch.no_grad()
def accuracy(model, x, y, batch_size):
    was_training = model.training
    right = _count_right(model.eval(), x, y, batch_size)
    model.train(was_training)
    return right / len(y)


def _mean_of_means(model, x, y, batch_size):
    sizes = [len(part) for part in y.split(batch_size)]
    parts = zip(x.split(sizes), y.split(sizes), sizes, strict=True)
    return sum(accuracy(model, *part) for part in parts) / len(sizes)


def _table_of_pairs(model, x, y, batch_size):
    parts = _scored(model.eval(), x, y, batch_size)
    tables = [(out.argmax(-1, keepdim=True) == b, len(b)) for out, b in parts]
    return sum(t.double().mean().item() * n for t, n in tables) / len(y)


def _whole_batches(model, x, y, batch_size, over=None):
    n = len(y) // batch_size * batch_size
    right = _count_right(model.eval(), x[:n], y[:n], batch_size) if n else 0
    return right / (over or n or 1)


class InBatches(nn.Sequential):
    """A model that takes at most ``limit`` examples at once."""

    def forward(self, x):
        if len(x) > self.limit:
            got = f"got {len(x)} examples at once"
            raise ValueError(f"model: {got}, want at most {self.limit}")
        return super().forward(x)


def _classifier(n: int, batch_size: int, training: bool):
    def make() -> tuple:
        g = torch.Generator().manual_seed(n)
        model = InBatches(nn.BatchNorm1d(4), nn.Linear(4, 3))
        model.limit = batch_size
        with torch.no_grad():
            model[0].running_mean += torch.randn(4, generator=g)
            model[1].weight.copy_(torch.randn(3, 4, generator=g))
            model[1].bias.copy_(torch.randn(3, generator=g))
        x = torch.randn(n, 4, generator=g) + 1
        y = torch.randint(3, (n,), generator=g)
        return model.train(training), x, y, batch_size

    return make


ACCURACY_CASES = (
    Case("one batch", _classifier(8, 8, False)),
    Case("batches of unequal size", _classifier(31, 7, False)),
    Case("a model left in training mode", _classifier(40, 8, True)),
    Case("both", _classifier(29, 6, True)),
    Case("a batch larger than the data", _classifier(9, 64, False)),
)

ACCURACY_MISTAKES = (
    Mistake(
        "the batches' accuracies are averaged: a short last batch then "
        "counts as much as a full one",
        _mean_of_means,
    ),
    Mistake(
        "the model stays in training mode, where batch norm uses the "
        "batch's own statistics: call model.eval()",
        lambda *args: _count_right(*args) / len(args[2]),
    ),
    Mistake(
        "predictions (B, 1) are compared with labels (B,): that is a table "
        "of all pairs",
        _table_of_pairs,
    ),
    Mistake("the last, shorter batch is left out", _whole_batches),
    Mistake(
        "the last, shorter batch is left out: its examples count as wrong",
        lambda *args: _whole_batches(*args, over=len(args[2])),
    ),
    Mistake(
        "all examples go through the model at once, whatever `batch_size`",
        lambda model, x, y, _: accuracy(model, x, y, len(y)),
    ),
)

ACCURACY = Exercise(
    name="accuracy",
    reference=accuracy,
    cases=ACCURACY_CASES,
    mistakes=ACCURACY_MISTAKES,
)
