"""The exercises on masks: build the causal one, and find a leak.

B batch · T query tokens · S key/value tokens · D width
"""

import math
from functools import wraps

import torch

from handmade.blocks.attention import attention
from handmade.blocks.masks import causal_mask
from handmade.exercises.core import Case, Exercise, Mistake

# -- causal-mask: fn(T, S) -> bool (T, S)

CAUSAL_MASK = (
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
        generator = torch.Generator().manual_seed(T)
        x = torch.randn(T, 4, generator=generator, dtype=torch.float64)
        return attend, x

    return Case(layer.__name__.replace("_", " "), make)


LEAKS = (
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

EXERCISES = (
    Exercise(
        name="causal-mask",
        reference=causal_mask,
        cases=CAUSAL_MASK,
        mistakes=CAUSAL_MASK_MISTAKES,
    ),
    Exercise(
        name="leaks",
        reference=leaks,
        cases=LEAKS,
        mistakes=LEAKS_MISTAKES,
    ),
)
