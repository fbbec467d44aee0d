"""The exercises of the page on one Llama with switches.

B batch · T new tokens · S all tokens · H query heads · G key/value heads
K head width · L width of the latent vector · R width of the part that turns
N width of a head's key without position · W value width of a head
"""

from collections.abc import Callable
from typing import Any

import torch

from handmade.exercises.blocks.grouped_query import _NoRoom
from handmade.exercises.cases import random_case
from handmade.exercises.core import Case, Exercise, Function, Mistake
from handmade.models.latent_attention import Latent
from handmade.models.variants_config import VariantConfig

# -- window-keys: fn(old (B, G, P, K), new (B, G, T, K), window) -> two of them


def _window_keys(old, new, window):
    seen = torch.cat((old, new), dim=-2)
    return seen, seen[..., max(seen.shape[-2] - window + 1, 0) :, :]


def _window_case(label: str, P: int, T: int, window: int) -> Case:
    shapes = (2, 3, P, 5), (2, 3, T, 5)
    return random_case(label, *shapes, seed=P + T, then=(window,))


def _cut_first(old, new, window):
    seen = torch.cat((old, new), dim=-2)[..., -window:, :]
    return seen, _window_keys(old, new, window)[1]


def _last(x, n):
    return x[..., max(x.shape[-2] - n, 0) :, :]


WINDOW_KEYS = Exercise(
    name="window-keys",
    reference=_window_keys,
    cases=(
        _window_case("one new token, the window full", 3, 1, 4),
        _window_case("the window not yet full", 1, 1, 6),
        _window_case("nothing kept yet, a long prompt", 0, 9, 4),
        _window_case("several new tokens", 3, 2, 4),
        _window_case("a piece longer than the window", 3, 6, 4),
        _window_case("a window of one", 0, 3, 1),
    ),
    mistakes=(
        Mistake(
            "the keys are cut to the window before they are attended to: the "
            "first of several new tokens needs window - 1 keys before it",
            _cut_first,
        ),
        Mistake(
            "one key too many is kept: the next token is itself one of the "
            "keys in its window",
            lambda old, new, w: (
                torch.cat((old, new), -2),
                _last(torch.cat((old, new), -2), w),
            ),
        ),
        Mistake(
            "the end is cut by `x[..., 1 - window:, :]`, which for a window "
            "of 1 is `x[..., 0:, :]` and keeps everything",
            lambda old, new, w: (
                torch.cat((old, new), -2),
                torch.cat((old, new), -2)[..., 1 - w :, :],
            ),
        ),
        Mistake(
            "the oldest keys are kept, not the newest",
            lambda old, new, w: (
                torch.cat((old, new), -2),
                torch.cat((old, new), -2)[..., : w - 1, :],
            ),
        ),
        Mistake(
            "the new keys are not kept: only the old ones are cut",
            lambda old, new, w: (torch.cat((old, new), -2), _last(old, w - 1)),
        ),
        Mistake(
            "only the new keys are attended to: the old ones are lost",
            lambda old, new, w: (new, _window_keys(old, new, w)[1]),
        ),
        Mistake(
            "the new keys stand before the old ones",
            lambda old, new, w: _window_keys(new, old, w),
        ),
        Mistake(
            "everything is kept, as without a window",
            lambda old, new, w: (torch.cat((old, new), -2),) * 2,
        ),
    ),
)


# -- variant-cache-bytes: fn(config, tokens, size) -> int


def _kept(
    c: VariantConfig,
    tokens: int,
    size: int,
    *,
    kinds: Callable[[VariantConfig], Any] = lambda c: c.layer_kinds,
    edge: int = 1,
    each: Callable[[VariantConfig], int] | None = None,
) -> int:
    """Add up the layers; one step of it may be replaced by another."""
    if each is not None:
        numbers = each(c)
    elif c.latent is not None:
        numbers = c.latent.kv_rank + c.latent.d_rope
    else:
        numbers = 2 * c.n_kv_heads * c.d_head
    reach = {"full": tokens, "sliding": (c.window or 0) - edge}
    keys = sum(min(tokens, reach[kind]) for kind in kinds(c))
    return numbers * keys * size


def _each(latent: Callable[[VariantConfig, Latent], int], heads: str = "G"):
    """Count the numbers of a key and its value, of latents in a wrong way."""

    def numbers(c: VariantConfig) -> int:
        if c.latent is not None:
            return latent(c, c.latent)
        return 2 * (c.n_heads if heads == "H" else c.n_kv_heads) * c.d_head

    return numbers


def _sizes(label: str, tokens: int, size: int, name: str, **changes) -> Case:
    def make():
        return VariantConfig.from_name(name, **changes), tokens, size

    return Case(label, make)


MISTRAL, GEMMA, DEEPSEEK = "mistral-7b", "gemma-3-1b", "deepseek-v3-dense"

VARIANT_CACHE_BYTES = Exercise(
    name="variant-cache-bytes",
    reference=_kept,
    cases=(
        _sizes("Mixtral, grouped heads", 1000, 2, "mixtral-8x7b"),
        _sizes("Mistral, past its window", 9000, 2, MISTRAL),
        _sizes("Mistral, within its window", 300, 2, MISTRAL),
        _sizes("Gemma 3, both kinds of layers", 9000, 2, GEMMA),
        _sizes("Gemma 3, one token", 1, 4, GEMMA),
        _sizes("DeepSeek, latent vectors", 1000, 2, DEEPSEEK),
    ),
    mistakes=(
        Mistake(
            "the window is passed over: a sliding layer keeps no more than "
            "the next token can reach",
            lambda c, t, s: _kept(c, t, s, kinds=lambda c: "full layers"),
        ),
        Mistake(
            "a sliding layer keeps one key too many: the next token is itself "
            "in its window",
            lambda c, t, s: _kept(c, t, s, edge=0),
        ),
        Mistake(
            "every layer of a model with a window is counted as sliding",
            lambda c, t, s: _kept(
                c,
                t,
                s,
                kinds=lambda c: (
                    c.layer_kinds
                    if c.window is None
                    else ["sliding"] * c.n_layers
                ),
            ),
        ),
        Mistake(
            "latent attention is counted as a key and a value for each head; "
            "those are made anew, and only what they are made of is kept",
            lambda c, t, s: _kept(
                c,
                t,
                s,
                each=_each(
                    lambda c, z: c.n_heads * (z.d_nope + z.d_rope + z.d_value)
                ),
            ),
        ),
        Mistake(
            "the part of a key that turns is forgotten: it cannot be made "
            "from the latent vector",
            lambda c, t, s: _kept(c, t, s, each=_each(lambda c, z: z.kv_rank)),
        ),
        Mistake(
            "the part of a key that turns is counted for each head; all heads "
            "share one",
            lambda c, t, s: _kept(
                c,
                t,
                s,
                each=_each(lambda c, z: z.kv_rank + c.n_heads * z.d_rope),
            ),
        ),
        Mistake(
            "latents are counted twice, as keys and as values; both are made "
            "of the same vector",
            lambda c, t, s: _kept(
                c, t, s, each=_each(lambda c, z: 2 * (z.kv_rank + z.d_rope))
            ),
        ),
        Mistake(
            "the query heads are counted; keys and values have fewer",
            lambda c, t, s: _kept(
                c, t, s, each=_each(lambda c, z: z.kv_rank + z.d_rope, "H")
            ),
        ),
        Mistake(
            "numbers are counted, not their bytes",
            lambda c, t, s: _kept(c, t, 1),
        ),
    ),
)


# -- gemma-gain: fn(weight (K,), scalar) -> (K,)


def _gemma_gain(weight, scalar):
    return (1 + weight) * (len(weight) / scalar) ** 0.5


GEMMA_GAIN = Exercise(
    name="gemma-gain",
    reference=_gemma_gain,
    cases=(
        random_case("the usual divisor", (6,), then=(6,)),
        random_case("heads wider than the divisor", (10,), then=(7,)),
        random_case("heads narrower than the divisor", (4,), then=(9,)),
        Case(
            "an untrained norm",
            lambda: (torch.zeros(8, dtype=torch.float64), 2),
        ),
    ),
    mistakes=(
        Mistake(
            "the 1 is forgotten: what is stored is the gain's distance from 1",
            lambda w, s: w * (len(w) / s) ** 0.5,
        ),
        Mistake(
            "only the stored weight is scaled, not the whole gain",
            lambda w, s: 1 + w * (len(w) / s) ** 0.5,
        ),
        Mistake(
            "the factor is upside down: a Llama divides by the root of its "
            "head's width, and that has to be undone",
            lambda w, s: (1 + w) * (s / len(w)) ** 0.5,
        ),
        Mistake(
            "the root is missing",
            lambda w, s: (1 + w) * len(w) / s,
        ),
        Mistake(
            "the divisor is left as it is: right only where it is the root of "
            "the head's width",
            lambda w, s: 1 + w,
        ),
        Mistake(
            "the scores are divided by the root of the scalar a second time: "
            "the Llama's own division by the root of K is not undone",
            lambda w, s: (1 + w) / s**0.5,
        ),
        Mistake(
            "the fourth root is taken, as if keys were scaled as well",
            lambda w, s: (1 + w) * (len(w) / s) ** 0.25,
        ),
    ),
)


# -- absorb-latent:
#    fn(q (B, H, T, N), c (B, S, L), up (H (N + W), L)) -> (B, H, T, W)


def _matrices(up, H, N):
    """Each head's own part: what makes keys, and what makes values."""
    return up.unflatten(0, (H, -1)).split([N, up.shape[0] // H - N], dim=1)


def _stacked(up, H, N):
    """All keys first, then all values: not how the rows lie."""
    keys, values = up.split([H * N, up.shape[0] - H * N])
    return keys.unflatten(0, (H, N)), values.unflatten(0, (H, -1))


def _absorbed(q, c, up, *, cut=_matrices, scale=None, axis=-1, turned=False):
    H, N = q.shape[1], q.shape[-1]
    keys_HNL, values_HWL = cut(up, H, N)
    keys_HNL = keys_HNL.mT if turned else keys_HNL
    q_BHTL = q @ keys_HNL
    scores_BHTS = q_BHTL @ c[:, None].mT * (scale or N**-0.5)
    return scores_BHTS.softmax(axis) @ c[:, None] @ values_HWL.mT


def _unpacked(q, c, up):
    """Build every key and every value first."""
    H, N = q.shape[1], q.shape[-1]
    keys_HNL, values_HWL = _matrices(up, H, N)
    k, v = (c[:, None] @ x.mT for x in (keys_HNL, values_HWL))
    return (q @ k.mT * N**-0.5).softmax(-1) @ v


def _without_keys(fn: Function) -> Function:
    """Call it with no room for keys of S tokens and all heads."""

    def call(q, c, up):
        H, N = q.shape[1], q.shape[-1]
        limit = c.shape[0] * c.shape[1] * H * min(N, len(up) // H - N)
        with _NoRoom((q, c, up), limit):
            return fn(q, c, up)

    return call


def _latent_case(label, B, H, T, S, N, W, L, through=None) -> Case:
    shapes = (B, H, T, N), (B, S, L), (H * (N + W), L)
    return random_case(label, *shapes, seed=S, through=through)


ABSORB_LATENT = Exercise(
    name="absorb-latent",
    reference=_absorbed,
    cases=(
        _latent_case("one head", 1, 1, 3, 4, 2, 3, 5),
        _latent_case("several heads", 2, 3, 4, 6, 5, 2, 7),
        _latent_case("keys as wide as the latent", 2, 3, 2, 5, 4, 3, 4),
        _latent_case("keys as wide as values", 2, 3, 2, 5, 4, 4, 7),
        _latent_case("one query, as in decoding", 2, 4, 1, 9, 3, 5, 6),
        _latent_case(
            "no room for all keys", 1, 4, 1, 64, 8, 6, 5, _without_keys
        ),
    ),
    mistakes=(
        Mistake(
            "keys and values of all past tokens are built: take the matrices "
            "into the query and the output, which are few",
            _unpacked,
        ),
        Mistake(
            "the first H N rows are taken for the keys: each head's rows lie "
            "together, N for its keys and then W for its values",
            lambda q, c, up: _absorbed(q, c, up, cut=_stacked),
        ),
        Mistake(
            "keys and values have changed places in each head's rows",
            lambda q, c, up: _absorbed(
                q,
                c,
                up,
                cut=lambda up, H, N: _matrices(up, H, up.shape[0] // H - N)[
                    ::-1
                ],
            ),
        ),
        Mistake(
            "the keys' matrix meets the query the wrong way round, which "
            "fits only where keys are as wide as the latent",
            lambda q, c, up: _absorbed(q, c, up, turned=True),
        ),
        Mistake(
            "the scores are divided by the root of the latent's width: the "
            "product is the same as with keys, and so is its size",
            lambda q, c, up: _absorbed(q, c, up, scale=c.shape[-1] ** -0.5),
        ),
        Mistake(
            "the scores are not divided by the root of the key's width",
            lambda q, c, up: _absorbed(q, c, up, scale=1.0),
        ),
        Mistake(
            "the softmax runs over the queries, not over the keys",
            lambda q, c, up: _absorbed(q, c, up, axis=-2),
        ),
        Mistake(
            "every head takes the matrices of the first one",
            lambda q, c, up: _absorbed(
                q, c, up, cut=lambda *a: [x[:1] for x in _matrices(*a)]
            ),
        ),
    ),
)
