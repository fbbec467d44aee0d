"""The exercises of the page on norms.

B batch · T tokens · D model width · F feed-forward width
"""

from handmade.exercises.cases import random_case, randoms
from handmade.exercises.core import Case, Exercise, Mistake

# -- layer-norm: fn(x, gain, bias, eps) -> y


def _layer_norm(x, gain, bias, eps, *, axis=-1, correction=0, outside=False):
    variance = x.var(axis, correction=correction, keepdim=True)
    root = variance.sqrt() + eps if outside else (variance + eps).sqrt()
    return gain * (x - x.mean(axis, keepdim=True)) / root + bias


def _norm_case(label: str, *shape: int, size: float = 1.0, shift=0.0) -> Case:
    def make() -> tuple:
        (x,) = randoms(shape, size=size)
        vectors = randoms((shape[-1],), (shape[-1],))
        return x + shift, *vectors, 1e-5

    return Case(label, make)


LAYER_NORM = Exercise(
    name="layer-norm",
    reference=_layer_norm,
    cases=(
        _norm_case("one vector", 6),
        _norm_case("a batch of tokens", 2, 3, 8),
        _norm_case("as many tokens as axes", 5, 5),
        _norm_case("vectors far from zero", 4, 7, shift=30.0),
        _norm_case("vectors so small that eps counts", 4, 7, size=1e-3),
        _norm_case("a vector whose entries are equal", 1, 4, size=0, shift=2),
    ),
    mistakes=(
        Mistake(
            "the mean is not subtracted, as in RMSNorm",
            lambda x, g, b, eps: (
                g * x / (x.pow(2).mean(-1, True) + eps).sqrt() + b
            ),
        ),
        Mistake(
            "the variance divides by D - 1 instead of D",
            lambda *args: _layer_norm(*args, correction=1),
        ),
        Mistake(
            "eps is added to the standard deviation instead of the variance",
            lambda *args: _layer_norm(*args, outside=True),
        ),
        Mistake(
            "eps is added to the standard deviation, which divides by D - 1",
            lambda *args: _layer_norm(*args, correction=1, outside=True),
        ),
        Mistake(
            "there is no eps",
            lambda x, g, b, eps: _layer_norm(x, g, b, 0.0),
        ),
        Mistake(
            "mean and variance are taken over all tokens together",
            lambda x, g, b, eps: (
                g * (x - x.mean()) / (x.var(correction=0) + eps).sqrt() + b
            ),
        ),
        Mistake(
            "mean and variance are taken over the first axis, not the last",
            lambda *args: _layer_norm(*args, axis=0),
        ),
        Mistake(
            "eps is squared",
            lambda x, g, b, eps: _layer_norm(x, g, b, eps**2),
        ),
        Mistake(
            "the gain multiplies the bias too",
            lambda x, g, b, eps: g * (_layer_norm(x, 1.0, b, eps)),
        ),
        Mistake(
            "the gain is missing",
            lambda x, g, b, eps: _layer_norm(x, 1.0, b, eps),
        ),
        Mistake(
            "it is divided by the variance, without the root",
            lambda x, g, b, eps: (
                g
                * (x - x.mean(-1, True))
                / (x.var(-1, correction=0, keepdim=True) + eps)
                + b
            ),
        ),
    ),
)


# -- batch-norm: fn(x, running_mean, running_var, momentum, eps)
#    -> (y, new running_mean, new running_var)


def _batch_norm(
    x, mean, var, momentum, eps, *, used=0, kept=1, axes=(0, 1), swap=False
):
    batch_mean = x.mean(axes)
    y = (x - batch_mean) / (x.var(axes, correction=used) + eps).sqrt()
    share = 1 - momentum if swap else momentum
    return (
        y,
        mean.lerp(batch_mean, share),
        var.lerp(x.var(axes, correction=kept), share),
    )


def _from_running(x, mean, var, momentum, eps):
    _, new_mean, new_var = _batch_norm(x, mean, var, momentum, eps)
    return (x - mean) / (var + eps).sqrt(), new_mean, new_var


def _batch_case(label: str, *shape: int, momentum: float = 0.1) -> Case:
    def make() -> tuple:
        x, mean, var = randoms(shape, shape[-1:], shape[-1:])
        return 2 * x + 1, mean, var.abs() + 0.5, momentum, 1e-3

    return Case(label, make)


BATCH_NORM = Exercise(
    name="batch-norm",
    reference=_batch_norm,
    cases=(
        _batch_case("a small batch", 2, 3, 4),
        _batch_case("another momentum", 3, 4, 5, momentum=0.25),
        _batch_case("as many tokens as axes", 3, 5, 5),
        _batch_case("two rows of many tokens", 2, 9, 3),
    ),
    mistakes=(
        Mistake(
            "the running variance keeps the biased one",
            lambda *args: _batch_norm(*args, kept=0),
        ),
        Mistake(
            "the batch is divided by the unbiased standard deviation",
            lambda *args: _batch_norm(*args, used=1),
        ),
        Mistake(
            "momentum is the share of the old value, not of the new one",
            lambda *args: _batch_norm(*args, swap=True),
        ),
        Mistake(
            "the training batch is normalized with the running numbers",
            _from_running,
        ),
        Mistake(
            "each position has its own mean: the average runs over the rows "
            "of the batch only",
            lambda *args: _batch_norm(*args, axes=0),
        ),
        Mistake(
            "the running numbers are replaced by the batch's",
            lambda x, m, v, _, eps: _batch_norm(x, m, v, 1.0, eps),
        ),
        Mistake(
            "the running numbers are not changed",
            lambda x, m, v, *rest: (_batch_norm(x, m, v, *rest)[0], m, v),
        ),
    ),
)


# -- layer-norm-backward: fn(x, grad, eps) -> the gradient at x


def _backward(x, grad, eps, *, mean=True, along=True, over=None):
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.pow(2).mean(-1, keepdim=True) + eps).rsqrt()
    normed = centred * scale
    out = grad
    if mean:
        out = out - grad.mean(-1, keepdim=True)
    if along:
        part = (grad * normed).sum(-1, keepdim=True)
        out = out - normed * part / (over or _width)(normed)
    return out * scale


def _width(normed):
    return normed.shape[-1]


def _backward_case(label: str, *shape: int, size: float = 1.0) -> Case:
    def make() -> tuple:
        x, grad = randoms(shape, shape)
        return size * x + 0.5, grad, 1e-5

    return Case(label, make)


LAYER_NORM_BACKWARD = Exercise(
    name="layer-norm-backward",
    reference=_backward,
    cases=(
        _backward_case("one vector", 5),
        _backward_case("a batch of tokens", 2, 3, 6),
        _backward_case("large vectors", 3, 4, size=50.0),
        _backward_case("vectors so small that eps counts", 3, 4, size=1e-3),
    ),
    mistakes=(
        Mistake(
            "mean and variance are treated as constants",
            lambda x, g, eps: _backward(x, g, eps, mean=False, along=False),
        ),
        Mistake(
            "the variance is treated as a constant",
            lambda x, g, eps: _backward(x, g, eps, along=False),
        ),
        Mistake(
            "the mean is treated as a constant, as in RMSNorm",
            lambda x, g, eps: _backward(x, g, eps, mean=False),
        ),
        Mistake(
            "the part along y is divided by y times y, as a projection is, "
            "not by D: the two differ by eps",
            lambda x, g, eps: _backward(
                x, g, eps, over=lambda y: y.pow(2).sum(-1, keepdim=True)
            ),
        ),
        Mistake(
            "gradient times y is summed, not averaged",
            lambda x, g, eps: _backward(x, g, eps, over=lambda y: 1),
        ),
        Mistake(
            "the division by the standard deviation is forgotten",
            lambda x, g, eps: (
                _backward(x, g, eps)
                * (x.var(-1, correction=0, keepdim=True) + eps).sqrt()
            ),
        ),
    ),
)


# -- fold-norm: fn(gain, bias, weight, proj_bias) -> (weight, bias)


def _fold(gain, bias, weight, proj_bias):
    return weight * gain, weight @ bias + proj_bias


def _fold_case(label: str, F: int, D: int) -> Case:
    shapes = ((D,), (D,), (F, D), (F,))
    return random_case(label, *shapes)


FOLD_NORM = Exercise(
    name="fold-norm",
    reference=_fold,
    cases=(
        _fold_case("as many rows as axes", 4, 4),
        _fold_case("a wide layer", 7, 3),
        _fold_case("a narrow layer", 2, 5),
    ),
    mistakes=(
        Mistake(
            "the gain multiplies the rows of the weight (what comes out) "
            "instead of its columns (what goes in)",
            lambda g, b, w, c: (w * g[:, None], w @ b + c),
        ),
        Mistake(
            "the bias goes through the weight that already has the gain in it",
            lambda g, b, w, c: (w * g, (w * g) @ b + c),
        ),
        Mistake(
            "the norm's bias is added without going through the weight",
            lambda g, b, w, c: (w * g, b + c),
        ),
        Mistake(
            "the norm's bias is dropped",
            lambda g, b, w, c: (w * g, c),
        ),
        Mistake(
            "the layer's own bias is dropped",
            lambda g, b, w, c: (w * g, w @ b),
        ),
        Mistake(
            "the gain is dropped",
            lambda g, b, w, c: (w, w @ b + c),
        ),
    ),
)
