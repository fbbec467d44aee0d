"""The exercises of the page on the key/value cache.

B batch · T new tokens · S cached tokens · H heads · K head width · W window
"""

from collections.abc import Callable

import torch

from handmade.blocks.attention import attention
from handmade.blocks.masks import causal_mask
from handmade.blocks.rope import token_positions
from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake
from handmade.models.architecture import costs
from handmade.models.variants_config import VariantConfig

# -- kept-bytes: fn(config, length, batch, bytes_a_number) -> a number


def _kept_bytes(c, length, batch, size):
    return batch * costs(c, length, bytes_a_number=size).cache_bytes


def _by_layer(c, length, batch, size, *, window, sliding=None):
    """The same sum, of another window or of other layers that slide."""
    kinds = c.layer_kinds if sliding is None else [sliding] * c.n_layers
    short = length if window is None else min(length, window)
    tokens = sum(short if kind == "sliding" else length for kind in kinds)
    return 2 * c.n_kv_heads * c.d_head * tokens * batch * size


def _config_case(label: str, name: str, *then: int) -> Case:
    return Case(label, lambda: (VariantConfig.from_name(name), *then))


KEPT_BYTES = Exercise(
    name="kept-bytes",
    reference=_kept_bytes,
    cases=(
        _config_case("Mixtral, no window", "mixtral-8x7b", 5000, 3, 2),
        _config_case("Mistral, past its window", "mistral-7b", 5000, 3, 2),
        _config_case("Mistral, short of it", "mistral-7b", 100, 2, 4),
        _config_case("Gemma 3, windows in some", "gemma-3-1b", 4000, 2, 4),
        _config_case("Gemma 3, at its window", "gemma-3-1b", 512, 1, 2),
    ),
    mistakes=(
        Mistake(
            "keys are counted and values are not",
            lambda c, n, b, size: _kept_bytes(c, n, b, size) // 2,
        ),
        Mistake(
            "every query head is given keys of its own",
            lambda c, n, b, size: (
                _kept_bytes(c, n, b, size) * c.n_heads // c.n_kv_heads
            ),
        ),
        Mistake(
            "one text is counted, not the batch",
            lambda c, n, b, size: _kept_bytes(c, n, 1, size),
        ),
        Mistake(
            "the window is not looked at",
            lambda c, n, b, size: _by_layer(c, n, b, size, window=None),
        ),
        Mistake(
            "a sliding layer is given W keys: the newest need not be kept, "
            "for the next token brings its own",
            lambda c, n, b, size: _by_layer(c, n, b, size, window=c.window),
        ),
        Mistake(
            "all layers slide, the full ones too",
            lambda c, n, b, size: _by_layer(
                c,
                n,
                b,
                size,
                window=(c.window or n + 1) - 1,
                sliding="sliding",
            ),
        ),
    ),
)


# -- cached-attention: fn(q, k, v, old_k, old_v) -> (H, T, K)


def _join(old, new):
    return torch.cat((old, new), -2)


def _cached(q, k, v, old_k, old_v):
    T, S = q.shape[-2], old_k.shape[-2]
    mask = causal_mask(T, S + T)
    return attention(q, _join(old_k, k), _join(old_v, v), mask)


def _from_the_left(q, k, v, old_k, old_v):
    k, v = _join(old_k, k), _join(old_v, v)
    seen = torch.ones(q.shape[-2], k.shape[-2]).tril() > 0
    return attention(q, k, v, seen)


def _new_first(q, k, v, old_k, old_v):
    k, v = _join(k, old_k), _join(v, old_v)
    return attention(q, k, v, causal_mask(q.shape[-2], k.shape[-2]))


def _piece(label: str, H: int, T: int, S: int, K: int) -> Case:
    new, old = (H, T, K), (H, S, K)
    return Case(label, lambda: randoms(new, new, new, old, old))


CACHED_ATTENTION = Exercise(
    name="cached-attention",
    reference=_cached,
    cases=(
        _piece("one new token", 2, 1, 5, 4),
        _piece("a piece of three", 3, 3, 4, 6),
        _piece("more new tokens than old", 2, 5, 2, 4),
        _piece("nothing is cached yet", 2, 4, 0, 6),
    ),
    mistakes=(
        Mistake(
            "the mask is aligned to the first keys: a new token looks as "
            "far as if nothing stood before it",
            _from_the_left,
        ),
        Mistake(
            "there is no mask: the first new token sees the ones after it",
            lambda q, k, v, old_k, old_v: attention(
                q, _join(old_k, k), _join(old_v, v)
            ),
        ),
        Mistake(
            "the new keys stand before the old ones, where the mask takes "
            "them for the past",
            _new_first,
        ),
        Mistake(
            "what is cached is not looked at",
            lambda q, k, v, old_k, old_v: attention(
                q, k, v, causal_mask(q.shape[-2])
            ),
        ),
    ),
)


# -- keep-window: fn(k (B, G, S, K), window) -> (B, G, at most W - 1, K)


def _kept(k, window):
    return k[..., max(0, k.shape[-2] - window + 1) :, :]


def _keys(S: int, window: int) -> Callable:
    return lambda: (*randoms((2, 3, S, 4)), window)


KEEP_WINDOW = Exercise(
    name="keep-window",
    reference=_kept,
    cases=(
        Case("longer than the window", _keys(9, 4)),
        Case("shorter than the window", _keys(3, 6)),
        Case("as long as the window", _keys(5, 5)),
        Case("a window of the token alone", _keys(5, 1)),
    ),
    mistakes=(
        Mistake(
            "one key too many is kept: the next token is itself one of the W",
            lambda k, W: k[..., max(0, k.shape[-2] - W) :, :],
        ),
        Mistake(
            "k[..., -(W - 1):, :] keeps everything where W - 1 is 0",
            lambda k, W: k[..., -(W - 1) :, :],
        ),
        Mistake(
            "the first keys are kept, not the last",
            lambda k, W: k[..., : W - 1, :],
        ),
        Mistake(
            "the width is cut, not the tokens",
            lambda k, W: k[..., max(0, k.shape[-1] - W + 1) :],
        ),
    ),
)


# -- step-positions: fn(attention_mask (B, S + T), S) -> (B, T)


def _positions(mask, past):
    return token_positions(mask)[:, past:]


def _left(*pads: int, length: int, past: int) -> Callable:
    mask = [[0] * n + [1] * (length - n) for n in pads]
    return lambda: (torch.tensor(mask), past)


STEP_POSITIONS = Exercise(
    name="step-positions",
    reference=_positions,
    cases=(
        Case("the whole prompt", _left(0, 2, 1, length=5, past=0)),
        Case("one token more", _left(0, 2, 3, length=7, past=6)),
        Case("a chunk of three", _left(1, 0, 4, length=9, past=6)),
        Case("padding in the chunk itself", _left(0, 5, length=7, past=3)),
    ),
    mistakes=(
        Mistake(
            "positions restart at 0 with every piece",
            lambda mask, past: torch.arange(mask.shape[1] - past).expand(
                len(mask), -1
            ),
        ),
        Mistake(
            "padding is counted: a padded row stands too far right",
            lambda mask, past: torch.arange(past, mask.shape[1]).expand(
                len(mask), -1
            ),
        ),
        Mistake(
            "only the mask of the new tokens is counted",
            lambda mask, past: token_positions(mask[:, past:]),
        ),
        Mistake(
            "the first token is counted as 1",
            lambda mask, past: mask.cumsum(-1)[:, past:],
        ),
    ),
)
