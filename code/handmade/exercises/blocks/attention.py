"""The exercises of the page on attention.

B batch · T query tokens · S key/value tokens · H heads · K head width
"""

import math
from collections.abc import Callable
from functools import wraps

import torch

from handmade.blocks.attention import attention
from handmade.blocks.masks import causal_mask, padding_mask
from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake

# -- scaled-dot-product: fn(q, k, v, mask=None) -> out


def _qkv(
    *lead: int,
    T: int = 5,
    S: int = 5,
    K: int = 7,
    V: int = 7,
    dtype: torch.dtype = torch.float64,
    mask: torch.Tensor | None = None,
    size: float = 1.0,
    strided: bool = False,
) -> Callable[[], tuple]:
    """A recipe for q (…, T, K), k (…, S, K), v (…, S, V) and the mask."""

    def make() -> tuple:
        shapes = ((*lead, T, K), (*lead, S, K), (*lead, S, V))
        tensors = randoms(*shapes, size=size, dtype=dtype)
        if strided:  # the same numbers, laid out column by column
            tensors = tuple(x.mT.contiguous().mT for x in tensors)
        return tensors if mask is None else (*tensors, mask.clone())

    return make


def _gradients(fn: Callable) -> Callable:
    """The gradients of q, k and v when only rows that see are read."""

    def call(q, k, v, mask):
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        out = fn(*inputs, mask)
        want = (*q.shape[:-1], v.shape[-1])
        if not isinstance(out, torch.Tensor) or out.shape != want:
            return out  # wrong already, as the other cases say
        seeing = mask.any(-1, keepdim=True).expand(want)
        return torch.autograd.grad(out[seeing].sum(), inputs)

    return call


_PADDING = padding_mask(torch.tensor([[1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1]]))
_EMPTY = causal_mask(4, 6) & padding_mask(torch.tensor([[0, 0, 0, 0, 1, 1]]))

SCALED_DOT_PRODUCT_CASES = (
    Case("no batch axis", _qkv(T=3, S=3, K=4, V=4)),
    Case("more keys than queries", _qkv(T=3, S=5, K=4, V=6)),
    Case("batch and heads", _qkv(2, 3)),
    Case("float32", _qkv(2, 3, T=9, S=11, K=5, dtype=torch.float32)),
    Case("a causal mask", _qkv(2, 3, mask=causal_mask(5))),
    Case("a padding mask", _qkv(2, 3, T=4, S=6, mask=_PADDING)),
    Case("large scores", _qkv(1, 2, K=64, dtype=torch.float32, size=20.0)),
    Case("not contiguous", _qkv(2, 3, T=4, S=6, strided=True)),
    Case("a third leading axis", _qkv(2, 3, 2, T=4, S=3)),
    Case("a single key", _qkv(1, 2, T=3, S=1)),
    Case("a query with nothing to see", _qkv(1, 2, T=4, S=6, mask=_EMPTY)),
    Case(
        "gradients of q, k, v beside such a query",
        _qkv(1, 2, T=4, S=6, mask=_EMPTY),
        through=_gradients,
    ),
)


def _wrong(
    *,
    divide: Callable = lambda q, k: math.sqrt(q.shape[-1]),
    mask_scores: Callable = lambda s, m: s.masked_fill(~m, -math.inf),
    normalize: Callable = lambda s: s.softmax(-1),
    finish: Callable = lambda w, m: w,
) -> Callable:
    """Attention with one step replaced by another."""

    def fn(q, k, v, mask=None):
        scores = q @ k.mT / divide(q, k)
        allowed = torch.ones_like(scores, dtype=torch.bool)
        if mask is not None:
            allowed = allowed & mask
            scores = mask_scores(scores, mask)
        empty = (scores == -math.inf).all(-1, keepdim=True)
        weights = normalize(scores.masked_fill(empty, 0)).masked_fill(empty, 0)
        return finish(weights, allowed) @ v

    return fn


def _nan_rows(q, k, v, mask=None):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1) @ v


def _repaired_too_late(q, k, v, mask=None):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores + torch.zeros(()).masked_fill(~mask, -math.inf)
    return scores.softmax(-1).nan_to_num(0) @ v


def _in_float32(q, k, v, mask=None):
    return attention(q.float(), k.float(), v.float(), mask).to(q.dtype)


def _scale_after(q, k, v, mask=None):
    return attention(q, k, v, mask, scale=1.0) / math.sqrt(q.shape[-1])


def _naive_exp(scores):
    weights = scores.exp()
    return weights / weights.sum(-1, keepdim=True)


SCALED_DOT_PRODUCT_MISTAKES = (
    Mistake(
        "the root is left out: the scores are not divided by sqrt(K)",
        _wrong(divide=lambda q, k: 1.0),
    ),
    Mistake(
        "the scores are divided by K, not by its square root",
        _wrong(divide=lambda q, k: q.shape[-1]),
    ),
    Mistake(
        "the scores are divided by the root of the number of keys, not of "
        "the width",
        _wrong(divide=lambda q, k: math.sqrt(k.shape[-2])),
    ),
    Mistake(
        "the scale is applied after the softmax, so the weights no longer "
        "sum to one",
        _scale_after,
    ),
    Mistake(
        "the softmax runs over the queries (axis -2) instead of the keys",
        _wrong(normalize=lambda s: s.softmax(-2)),
    ),
    Mistake(
        "the softmax runs over axis 1, which is the heads as soon as there "
        "is a batch axis; count axes from the end",
        _wrong(normalize=lambda s: s.softmax(1)),
    ),
    Mistake(
        "the mask is applied after the softmax",
        _wrong(
            mask_scores=lambda s, m: s,
            finish=lambda w, m: w.masked_fill(~m, 0),
        ),
    ),
    Mistake(
        "the mask is read the wrong way round: True means may attend",
        _wrong(mask_scores=lambda s, m: s.masked_fill(m, -math.inf)),
    ),
    Mistake(
        "the mask is transposed: it hides queries where it should hide keys",
        _wrong(mask_scores=lambda s, m: s.masked_fill(~m.mT, -math.inf)),
    ),
    Mistake(
        "masked scores are set to 0 (or to something tiny, such as 1e-9): "
        "exp(0) is 1, so they still take part",
        _wrong(mask_scores=lambda s, m: s.masked_fill(~m, 0)),
    ),
    Mistake(
        "the bool mask is added to the scores as 0 and 1",
        _wrong(mask_scores=lambda s, m: s + m),
    ),
    Mistake(
        "masked scores are set to a large negative number: a query with "
        "nothing to see then averages every value, where zeros are wanted",
        _wrong(mask_scores=lambda s, m: s.masked_fill(~m, -1e9)),
    ),
    Mistake(
        "a query with nothing to see becomes nan: its scores are all -inf, "
        "and the softmax divides 0 by 0",
        _nan_rows,
    ),
    Mistake(
        "the nan of a query with nothing to see is replaced after the "
        "softmax: the output is right, but on the way back the nan still "
        "reaches the scores, and through them q and k",
        _repaired_too_late,
    ),
    Mistake(
        "the exponential overflows: subtract each row's largest score first",
        _wrong(normalize=_naive_exp),
    ),
    Mistake(
        "the arithmetic is done in float32 although the inputs are float64",
        _in_float32,
    ),
)

SCALED_DOT_PRODUCT = Exercise(
    name="scaled-dot-product",
    reference=attention,
    cases=SCALED_DOT_PRODUCT_CASES,
    mistakes=SCALED_DOT_PRODUCT_MISTAKES,
)

# -- softmax-backward: fn(weights, grad) -> gradient of the scores


def _softmax_backward(weights, grad):
    return weights * (grad - (weights * grad).sum(-1, keepdim=True))


def _weights_and_grad(*shape: int, dtype=torch.float64, sharp=1.0):
    def make() -> tuple:
        scores, grad = randoms(shape, shape)
        return (scores * sharp).softmax(-1).to(dtype), grad.to(dtype)

    return make


SOFTMAX_BACKWARD_CASES = (
    Case("one row", _weights_and_grad(4)),
    Case("as many rows as columns", _weights_and_grad(3, 3)),
    Case("batch and heads", _weights_and_grad(2, 3, 5, 7)),
    Case("float32", _weights_and_grad(3, 9, dtype=torch.float32)),
    Case("a saturated softmax", _weights_and_grad(4, 6, sharp=30.0)),
)

SOFTMAX_BACKWARD_MISTAKES = (
    Mistake(
        "each score is taken to move its own weight only; raising one "
        "weight lowers the others",
        lambda w, g: w * g,
    ),
    Mistake(
        "the derivative is w(1 - w), the sigmoid's; the softmax has "
        "off-diagonal terms as well",
        lambda w, g: w * (1 - w) * g,
    ),
    Mistake(
        "the plain mean of the gradient is subtracted; it must be the mean "
        "weighted by w",
        lambda w, g: w * (g - g.mean(-1, keepdim=True)),
    ),
    Mistake(
        "the sum is not multiplied by the weights: w g - sum(w g)",
        lambda w, g: w * g - (w * g).sum(-1, keepdim=True),
    ),
    Mistake(
        "the sign is flipped: a key better than the weighted mean has to "
        "gain, not to lose",
        lambda w, g: -_softmax_backward(w, g),
    ),
    Mistake(
        "the weight in front of the bracket is missing: w (g - sum(w g))",
        lambda w, g: g - (w * g).sum(-1, keepdim=True),
    ),
    Mistake(
        "the sum runs over everything, where each row needs its own",
        lambda w, g: w * (g - (w * g).sum()),
    ),
)

SOFTMAX_BACKWARD = Exercise(
    name="softmax-backward",
    reference=_softmax_backward,
    cases=SOFTMAX_BACKWARD_CASES,
    mistakes=SOFTMAX_BACKWARD_MISTAKES,
)

# -- causal-mask: fn(T, S) -> bool (T, S)

CAUSAL_MASK_CASES = (
    Case("as many keys as queries", lambda: (5, 5)),
    Case("more keys than queries", lambda: (3, 7)),
    Case("one query, as in decoding", lambda: (1, 6)),
    Case("a single token", lambda: (1, 1)),
)


def _triangle(T: int, S: int, diagonal: int) -> torch.Tensor:
    return torch.ones(T, S, dtype=torch.bool).tril(diagonal)


CAUSAL_MASK_MISTAKES = (
    Mistake(
        "the corner is aligned top left: with more keys than queries, the "
        "last query must see every key",
        lambda T, S: _triangle(T, S, 0),
    ),
    Mistake(
        "the diagonal is T - S; the queries are the last ones, so it moves "
        "to the right, by S - T",
        lambda T, S: _triangle(T, S, T - S),
    ),
    Mistake(
        "a token may not see itself: the diagonal belongs to the past",
        lambda T, S: _triangle(T, S, S - T - 1),
    ),
    Mistake(
        "each query also sees one token of its future: the diagonal is one "
        "too far right",
        lambda T, S: _triangle(T, S, S - T + 1),
    ),
    Mistake(
        "True marks what is hidden; here True means may attend",
        lambda T, S: ~_triangle(T, S, S - T),
    ),
    Mistake(
        "the triangle is the upper one: queries see only their future",
        lambda T, S: torch.ones(T, S, dtype=torch.bool).triu(S - T),
    ),
    Mistake(
        "the mask is indexed (S, T), keys first",
        lambda T, S: _triangle(T, S, S - T).mT,
    ),
)

CAUSAL_MASK = Exercise(
    name="causal-mask",
    reference=causal_mask,
    cases=CAUSAL_MASK_CASES,
    mistakes=CAUSAL_MASK_MISTAKES,
)

# -- leaks: fn(attend, x) -> bool, for attend: (T, D) -> (T, D)


def no_mask(x):
    return attention(x, x, x)


def causal(x):
    return attention(x, x, x, causal_mask(len(x)))


def mask_after_softmax(x):
    weights = attention(x, x, x, return_weights=True)[1]
    return weights.tril() @ x


def softmax_over_queries(x):
    scores = (x @ x.mT).masked_fill(~causal_mask(len(x)), -math.inf)
    return scores.softmax(0) @ x


def peeks_one_ahead(x):
    return attention(x, x, x, _triangle(len(x), len(x), 1))


def only_token_2_sees_token_3(x):
    mask = causal_mask(len(x))
    mask[2, 3] = True
    return attention(x, x, x, mask)


def the_first_token_sees_the_second(x):
    mask = causal_mask(len(x))
    mask[0, 1] = True
    return attention(x, x, x, mask)


def each_token_alone(x):
    return x * 2 + 1


def past_average(x):
    counts = torch.arange(1, len(x) + 1, dtype=x.dtype)
    return x.cumsum(0) / counts[:, None]


def centred_over_time(x):
    return causal(x - x.mean(0))


def _layer(layer, T: int = 6) -> Case:
    @wraps(layer)
    def attend(x):
        if len(x) != T:
            raise ValueError(
                f"attend always gets all {T} tokens, here {len(x)}: change "
                "a token instead of cutting the text short"
            )
        return layer(x)

    def make() -> tuple:
        return attend, *randoms((T, 4))

    return Case(layer.__name__.replace("_", " "), make)


LEAKS_CASES = (
    _layer(causal),
    _layer(no_mask),
    _layer(each_token_alone),
    _layer(peeks_one_ahead),
    _layer(past_average),
    _layer(mask_after_softmax),
    _layer(softmax_over_queries),
    _layer(only_token_2_sees_token_3),
    _layer(the_first_token_sees_the_second),
    _layer(centred_over_time),
)


def leaks(attend, x) -> bool:
    """Change one token at a time; no earlier output may move."""
    before = attend(x)
    for t in range(1, len(x)):
        changed = x.clone()
        changed[t] += 1.0
        if not torch.allclose(attend(changed)[:t], before[:t]):
            return True
    return False


def _only_the_last_token(attend, x):
    changed = x.clone()
    changed[-1] += 1.0
    return not torch.allclose(attend(changed)[:-1], attend(x)[:-1])


def _only_the_first_output(attend, x):
    changed = x.clone()
    changed[1:] += 1.0
    return not torch.allclose(attend(changed)[0], attend(x)[0])


def _its_own_output_too(attend, x):
    changed = x.clone()
    changed[-1] += 1.0
    return not torch.allclose(attend(changed), attend(x))


def _the_past_is_changed(attend, x):
    changed = x.clone()
    changed[0] += 1.0
    return not torch.allclose(attend(changed)[1:], attend(x)[1:])


def _too_small_a_change(attend, x):
    changed = x.clone()
    changed[-1] += 1e-12
    return not torch.allclose(attend(changed)[:-1], attend(x)[:-1])


LEAKS_MISTAKES = (
    Mistake(
        "only the last token is changed: a leak in the middle goes unseen",
        _only_the_last_token,
    ),
    Mistake(
        "only the first output is watched: a leak in the middle goes unseen",
        _only_the_first_output,
    ),
    Mistake(
        "the changed token's own output is watched too; that one may move",
        _its_own_output_too,
    ),
    Mistake(
        "an early token is changed and later outputs are watched; moving "
        "those is what attention is for",
        _the_past_is_changed,
    ),
    Mistake(
        "the change is so small that it drowns in the tolerance",
        _too_small_a_change,
    ),
)

LEAKS = Exercise(
    name="leaks",
    reference=leaks,
    cases=LEAKS_CASES,
    mistakes=LEAKS_MISTAKES,
)
