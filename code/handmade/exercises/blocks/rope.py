"""The exercises of the page on RoPE.

B batch · T tokens · D model width · H heads · K head width
"""

import math
from collections.abc import Callable
from functools import partial

import torch

from handmade.blocks.rope import apply_rope, rope_angles
from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake

# -- rope-neighbours: fn(x (H, T, K), positions (T,), theta) -> the same


def _neighbours(x, positions, theta, *, sign=1, join=torch.stack, power=2.0):
    K = x.shape[-1]
    speed = theta ** (-power * torch.arange(K // 2) / K)
    angle = sign * positions[:, None] * speed
    a, b = x[..., ::2], x[..., 1::2]
    turned = (
        a * angle.cos() - b * angle.sin(),
        b * angle.cos() + a * angle.sin(),
    )
    return join(turned, dim=-1).reshape(x.shape)


def _mixed(x, positions, theta):
    cos, sin = rope_angles(positions, x.shape[-1], theta)
    turned = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
    return x * cos + turned * sin


def _halves(x, positions, theta):
    return apply_rope(x, rope_angles(positions, x.shape[-1], theta))


def _rope_case(label: str, H: int, T: int, K: int, start: int = 0) -> Case:
    at = torch.arange(start, start + T)
    return Case(
        label,
        lambda: (*randoms((H, T, K), dtype=torch.float32), at.clone(), 100.0),
    )


NEIGHBOURS = Exercise(
    name="rope-neighbours",
    reference=_neighbours,
    cases=(
        _rope_case("one pair", 1, 3, 2),
        _rope_case("several pairs", 1, 4, 6),
        _rope_case("several heads", 3, 5, 8),
        _rope_case("as many heads as tokens", 4, 4, 6),
        _rope_case("one new token, far from the start", 2, 1, 6, start=37),
    ),
    mistakes=(
        Mistake("axis i is paired with axis i + K/2", _halves),
        Mistake(
            "the turned pairs are not put back side by side: all first axes "
            "stand before all second ones",
            partial(_neighbours, join=torch.cat),
        ),
        Mistake("every pair turns backwards", partial(_neighbours, sign=-1)),
        Mistake(
            "the two axes of a pair are exchanged",
            lambda x, at, theta: _neighbours(
                x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2), at, theta
            ),
        ),
        Mistake(
            "the exponent is -i / K with i = 0 .. K/2 - 1: the factor 2 is "
            "missing",
            partial(_neighbours, power=1.0),
        ),
        Mistake(
            "the heads are turned, each by its number: the angles run along "
            "the wrong axis",
            # (H, 1, K) goes with (H, T, K): the shapes fit for any size
            lambda x, at, theta: _neighbours(
                x, torch.arange(len(x))[:, None], theta
            ),
        ),
        Mistake(
            "the angles stand as for halves, all speeds and then all again, "
            "but neighbours are turned: two axes of a pair get two angles",
            _mixed,
        ),
        Mistake(
            "positions are ignored and counted 0, 1, 2, ... instead",
            lambda x, at, theta: _neighbours(x, torch.arange(len(at)), theta),
        ),
    ),
)


# -- rope-permute: fn(weight (H * K, D), n_heads) -> the same shape


def _permute(weight, n_heads):
    w = weight.unflatten(0, (n_heads, -1, 2))
    return w.transpose(1, 2).flatten(0, 2)


def _permute_back(weight, n_heads):
    w = weight.unflatten(0, (n_heads, 2, -1))
    return w.transpose(1, 2).flatten(0, 2)


def _weight_case(label: str, H: int, K: int, D: int) -> Case:
    return Case(label, lambda: (*randoms((H * K, D), dtype=torch.float32), H))


PERMUTE = Exercise(
    name="rope-permute",
    reference=_permute,
    cases=(
        _weight_case("one head", 1, 6, 5),
        _weight_case("several heads", 3, 8, 7),
        _weight_case("as many rows as columns", 2, 6, 12),
        _weight_case("as many heads as pairs", 4, 8, 9),
    ),
    mistakes=(
        Mistake(
            "it is the way back: from halves to neighbours",
            _permute_back,
        ),
        Mistake(
            "the rows of all heads are sorted together, not head by head",
            lambda w, H: _permute(w, 1),
        ),
        Mistake(
            "the columns are permuted instead of the rows",
            lambda w, H: torch.cat((w[:, ::2], w[:, 1::2]), dim=1),
        ),
        Mistake("nothing is moved", lambda w, H: w.clone()),
        Mistake(
            "the odd rows come first",
            lambda w, H: _permute(
                w.unflatten(0, (-1, 2)).flip(1).flatten(0, 1), H
            ),
        ),
        Mistake(
            "the rows are cut as (K, H), but a head's rows stand together",
            lambda w, H: w.unflatten(0, (-1, H))[
                :, [*range(0, H, 2), *range(1, H, 2)]
            ].flatten(0, 1),
        ),
    ),
)


# -- rope-full-turns: fn(d_head, theta, length) -> int


def _full_turns(d_head, theta, length, *, circle=2 * math.pi, power=2.0):
    speeds = (theta ** (-power * i / d_head) for i in range(d_head // 2))
    return sum(length * speed >= circle for speed in speeds)


FULL_TURNS = Exercise(
    name="rope-full-turns",
    reference=_full_turns,
    cases=(
        Case("a small head", lambda: (8, 100.0, 64)),
        Case("the paper's theta", lambda: (64, 10000.0, 512)),
        Case("SmolLM2, 8,192 tokens", lambda: (64, 100000.0, 8192)),
        Case("too short for any", lambda: (64, 10000.0, 6)),
        Case("long enough for all", lambda: (16, 100.0, 100_000)),
    ),
    mistakes=(
        Mistake(
            "a turn is counted as 1 radian, not 2 pi",
            partial(_full_turns, circle=1.0),
        ),
        Mistake(
            "a turn is counted as 360: the angles are radians",
            partial(_full_turns, circle=360.0),
        ),
        Mistake("half a turn is enough", partial(_full_turns, circle=math.pi)),
        Mistake(
            "the exponent is -i / K: the factor 2 is missing",
            partial(_full_turns, power=1.0),
        ),
        Mistake(
            "axes are counted, not pairs",
            lambda *args: 2 * _full_turns(*args),
        ),
        Mistake(
            "the pairs that do not come round are counted",
            lambda K, theta, n: K // 2 - _full_turns(K, theta, n),
        ),
    ),
)


# -- rope-sound: fn(rotate, q (B, H, T, K), k) -> bool


def _scores(rotate, q, k):
    return rotate(q) @ rotate(k).mT


def _repeated(x):  # the first token's vector at every place
    return x[:, :, :1].expand(x.shape).clone()


def _sound(rotate: Callable, q: torch.Tensor, k: torch.Tensor) -> bool:
    scores = _scores(rotate, _repeated(q), _repeated(k))
    # one vector everywhere: only positions can make a difference now
    same = torch.allclose(scores[..., 1:, 1:], scores[..., :-1, :-1])
    moved = not torch.allclose(scores[..., 1:, :], scores[..., :-1, :])
    return same and moved


def _rotate(x, sign=1):
    positions = sign * torch.arange(x.shape[-2])
    return _halves(x, positions, 100.0)


def _by_head(x):
    # (H, 1, K) goes with (B, H, T, K): the shapes fit for any size
    cos, sin = rope_angles(torch.arange(x.shape[1]), x.shape[-1], 100.0)
    a, b = x.chunk(2, dim=-1)
    turned = torch.cat((-b, a), dim=-1)
    return x * cos[:, None].to(x.dtype) + turned * sin[:, None].to(x.dtype)


def _faster_and_faster(x):
    return _halves(x, torch.arange(x.shape[-2]) ** 2, 100.0)


def _add(x):
    cos, _ = rope_angles(torch.arange(x.shape[-2]), x.shape[-1], 100.0)
    return x + cos.to(x.dtype)


def _cosine_only(x):
    cos, _ = rope_angles(torch.arange(x.shape[-2]), x.shape[-1], 100.0)
    return x * cos.to(x.dtype)


def _sound_case(label: str, rotate: Callable) -> Case:
    def make():
        q, k = randoms((1, 3, 5, 8), (1, 3, 5, 8))
        return rotate, q, k

    return Case(label, make)


SOUND = Exercise(
    name="rope-sound",
    reference=_sound,
    cases=(
        _sound_case("the rotation", _rotate),
        _sound_case("the rotation backwards", partial(_rotate, sign=-1)),
        _sound_case("positions counted along the heads", _by_head),
        _sound_case("no rotation", lambda x: x.clone()),
        _sound_case("something added", _add),
        _sound_case("positions squared", _faster_and_faster),
        _sound_case("the sine left out", _cosine_only),
    ),
    mistakes=(
        Mistake(
            "only lengths, or only scores at distance 0, are checked: a "
            "rotation along the wrong axis keeps both",
            lambda rotate, q, k: torch.allclose(
                rotate(q).norm(dim=-1), q.norm(dim=-1)
            ),
        ),
        Mistake(
            "scores that ignore positions pass: equal at equal distance, and "
            "at every other",
            lambda rotate, q, k: torch.allclose(
                _scores(rotate, _repeated(q), _repeated(k))[..., 1:, 1:],
                _scores(rotate, _repeated(q), _repeated(k))[..., :-1, :-1],
            ),
        ),
        Mistake(
            "it is enough that positions change the scores",
            lambda rotate, q, k: (
                not torch.allclose(_scores(rotate, q, k), q @ k.mT)
            ),
        ),
        Mistake(
            "different tokens are compared: their contents differ, so their "
            "scores do",
            lambda rotate, q, k: torch.allclose(
                _scores(rotate, q, k)[..., 1:, 1:],
                _scores(rotate, q, k)[..., :-1, :-1],
            ),
        ),
    ),
)
