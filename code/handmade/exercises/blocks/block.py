"""The exercises of the page on the block.

T tokens · D model width · L blocks
"""

import math

import torch

from handmade.exercises.cases import random_case, randoms
from handmade.exercises.core import Case, Exercise, Mistake


# four parts that cannot be mistaken for each other
def _attn_norm(x):
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()


def _ffn_norm(x):
    return 2 * _attn_norm(x) + 0.5


def _attn(x):
    return x.cumsum(-2) / torch.arange(1, x.shape[-2] + 1)[:, None]


def _ffn(x):
    return (x.roll(1, -1) - 0.3).relu()


_PARTS = (_attn_norm, _attn, _ffn_norm, _ffn)


# -- block: fn(x, attn_norm, attn, ffn_norm, ffn, placement) -> x


def _block(x, attn_norm, attn, ffn_norm, ffn, placement):
    if placement == "post":
        x = attn_norm(x + attn(x))
        return ffn_norm(x + ffn(x))
    x = x + attn(attn_norm(x))
    return x + ffn(ffn_norm(x))


def _only(placement, wrong):
    """The mistake in one of the two branches, the other one right."""
    return lambda *parts: (wrong if parts[-1] == placement else _block)(*parts)


def _overwrites(x, attn_norm, attn, ffn_norm, ffn, _):
    x = attn_norm(x)
    x = x + attn(x)
    x = ffn_norm(x)
    return x + ffn(x)


_overwritten = _only("pre", _overwrites)
_side_by_side = _only(
    "pre", lambda x, n1, attn, n2, ffn, _: x + attn(n1(x)) + ffn(n2(x))
)


def _norm_on_branch(x, attn_norm, attn, ffn_norm, ffn, _):
    x = x + attn_norm(attn(x))
    return x + ffn_norm(ffn(x))


def _no_residual(x, attn_norm, attn, ffn_norm, ffn, placement):
    if placement == "post":
        return ffn_norm(ffn(attn_norm(attn(x))))
    return ffn(ffn_norm(attn(attn_norm(x))))


def _norms_swapped(x, attn_norm, attn, ffn_norm, ffn, placement):
    return _block(x, ffn_norm, attn, attn_norm, ffn, placement)


def _other_placement(*parts):
    return _block(*parts[:-1], "pre" if parts[-1] == "post" else "post")


def _block_case(label: str, *shape: int, placement: str) -> Case:
    return random_case(label, shape, then=(*_PARTS, placement))


BLOCK = Exercise(
    name="block",
    reference=_block,
    cases=(
        _block_case("pre", 3, 4, placement="pre"),
        _block_case("post", 3, 4, placement="post"),
        _block_case("pre, a batch", 2, 5, 6, placement="pre"),
        _block_case("post, a batch", 2, 5, 6, placement="post"),
    ),
    mistakes=(
        Mistake(
            "pre adds to the normalized copy instead of the stream: x is "
            "overwritten by its norm",
            _overwritten,
        ),
        Mistake(
            "pre lets both layers read the same x: the feed-forward layer "
            "does not see what attention added",
            _side_by_side,
        ),
        Mistake(
            "post normalizes what the layer returns instead of the sum",
            _only("post", _norm_on_branch),
        ),
        Mistake("nothing is added back: there is no residual", _no_residual),
        Mistake("the two norms change places", _norms_swapped),
        *(
            Mistake(f"{what} in {placement}", _only(placement, wrong))
            for what, wrong in (
                ("nothing is added back", _no_residual),
                ("the two norms change places", _norms_swapped),
            )
            for placement in ("pre", "post")
        ),
        Mistake("pre and post change places", _other_placement),
        Mistake(
            "the placement is ignored: it is always pre",
            _only("post", _other_placement),
        ),
        Mistake(
            "the placement is ignored: it is always post",
            _only("pre", _other_placement),
        ),
    ),
)


# -- keeps-stream: fn(block, x) -> bool; block(x, attn, ffn)


def _zero(x):
    return torch.zeros_like(x)


def _keeps_stream(block, x):
    return torch.allclose(block(x, _zero, _zero), x)


def _as_block(fn, placement="pre"):
    return lambda x, attn, ffn: fn(
        x, _attn_norm, attn, _ffn_norm, ffn, placement
    )


def _halved(x, attn, ffn):
    x = x + attn(_attn_norm(x))
    return (x + ffn(_ffn_norm(x))) / 2


def _last_token_lost(x, attn, ffn):
    out = _as_block(_block)(x, attn, ffn).clone()
    out[-1] = _attn_norm(out[-1])
    return out


def _turned(x, attn, ffn):
    return x.flip(-1) + attn(_attn_norm(x)) + ffn(_ffn_norm(x))


def _first_half_only(x, attn, ffn):
    x = x + attn(_attn_norm(x))
    return _ffn_norm(x) + ffn(_ffn_norm(x))


_BLOCKS = {
    "a pre block": _as_block(_block),
    "a post block": _as_block(_block, "post"),
    "the stream is overwritten by its norm": _as_block(_overwritten),
    "no residual": _as_block(_no_residual),
    "both layers read the same x": _as_block(_side_by_side),
    "the sum is halved": _halved,
    "the last token is normalized": _last_token_lost,
    "the second half overwrites": _first_half_only,
    "the axes are turned round": _turned,
}

KEEPS_STREAM = Exercise(
    name="keeps-stream",
    reference=_keeps_stream,
    cases=tuple(
        Case(label, lambda block=block: (block, *randoms((4, 6), size=3.0)))
        for label, block in _BLOCKS.items()
    ),
    mistakes=(
        Mistake(
            "one number is compared, such as the size of x, and not x",
            lambda block, x: torch.allclose(
                block(x, _zero, _zero).norm(), x.norm()
            ),
        ),
        Mistake(
            "only the first token is compared",
            lambda block, x: torch.allclose(block(x, _zero, _zero)[0], x[0]),
        ),
        Mistake(
            "a layer is not silenced and still adds, so that no output is x",
            lambda block, x: torch.allclose(block(x, _zero, _ffn), x),
        ),
        Mistake(
            "shapes or types are compared, not values",
            lambda block, x: block(x, _zero, _zero).shape == x.shape,
        ),
    ),
)


# -- residual-std: fn(std, n_blocks) -> float


RESIDUAL_STD = Exercise(
    name="residual-std",
    reference=lambda std, n_blocks: std / math.sqrt(2 * n_blocks),
    cases=tuple(
        Case(f"{n} blocks, std {std}", lambda s=std, n=n: (s, n))
        for std, n in ((0.02, 12), (1.0, 1), (0.5, 48))
    ),
    mistakes=(
        Mistake(
            "blocks are counted, but each adds to the stream twice",
            lambda std, n: std / math.sqrt(n),
        ),
        Mistake(
            "it is divided by the number of additions, without the root: "
            "variances add, not sizes",
            lambda std, n: std / (2 * n),
        ),
        Mistake(
            "it is divided by the number of blocks, without the root: "
            "variances add, not sizes",
            lambda std, n: std / n,
        ),
        Mistake(
            "it grows with depth instead of shrinking",
            lambda std, n: std * math.sqrt(2 * n),
        ),
    ),
)


# -- stream-shares: fn(parts (L + 1, D), eps) -> (L + 1, D)


def _shares(parts, eps):
    return parts / (parts.sum(0).pow(2).mean() + eps).sqrt()


def _divided(square):
    """Divide by the root of another square than that of the sum."""
    return lambda parts, eps: parts / (square(parts) + eps).sqrt()


STREAM_SHARES = Exercise(
    name="stream-shares",
    reference=_shares,
    cases=tuple(
        Case(label, lambda s=shape, z=size: (*randoms(s, size=z), 1e-5))
        for label, shape, size in (
            ("one layer", (2, 5), 1.0),
            ("four layers", (5, 6), 1.0),
            ("small parts", (4, 6), 1e-3),
        )
    ),
    mistakes=(
        Mistake(
            "each part is normalized by itself: their sum is then not what "
            "the model reads",
            _divided(lambda parts: parts.pow(2).mean(-1, keepdim=True)),
        ),
        Mistake(
            "it is divided by the mean square of all parts, not of their sum",
            _divided(lambda parts: parts.pow(2).mean()),
        ),
        Mistake(
            "the squares of the parts are added, not the parts",
            _divided(lambda parts: parts.pow(2).sum(0).mean()),
        ),
        Mistake(
            "it is divided by the length of the sum, not its root mean square",
            _divided(lambda parts: parts.sum(0).pow(2).sum()),
        ),
        Mistake("eps is left out", lambda parts, eps: _shares(parts, 0.0)),
        Mistake(
            "the sum runs along the axes",
            _divided(lambda parts: parts.sum(-1).pow(2).mean()),
        ),
    ),
)
