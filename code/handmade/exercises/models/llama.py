"""The exercises of the page on Llama.

T tokens · D model width · H heads · K head width
"""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from handmade.blocks.rope import apply_rope, rope_angles, token_positions
from handmade.exercises.cases import randoms, rows
from handmade.exercises.core import Case, Exercise, Mistake
from handmade.models.llama import LlamaConfig

# -- rms-norm: fn(x, gain, eps) -> y


def _rms_norm(x, gain, eps):
    x_float = x.float()
    normed = x_float * torch.rsqrt(x_float.pow(2).mean(-1, True) + eps)
    return gain * normed.to(x.dtype)


def _norm_case(
    label: str, *shape: int, eps: float = 1e-5, size: float = 1.0
) -> Case:
    return Case(
        label,
        lambda: (
            *randoms(shape, shape[-1:], dtype=torch.float32, size=size),
            eps,
        ),
    )  # the gain is random too: 1 would hide that it is missing


def _half_case() -> tuple:
    (x,) = randoms((2, 3, 8), dtype=torch.float16, size=300)
    (gain,) = randoms((8,), dtype=torch.float16)
    return x, gain, 1e-5


RMS_NORM = Exercise(
    name="rms-norm",
    reference=_rms_norm,
    cases=(
        _norm_case("one vector", 6),
        _norm_case("a batch of tokens", 2, 3, 8),
        _norm_case("as many tokens as axes", 5, 5),
        _norm_case("vectors so small that eps counts", 4, 7, size=1e-3),
        Case(
            "a vector of zeros",
            lambda: (torch.zeros(2, 4), torch.ones(4), 1e-5),
        ),
        Case("float16 with large numbers", _half_case),
    ),
    mistakes=(
        Mistake(
            "the mean is subtracted first, as in LayerNorm",
            lambda x, g, eps: F.layer_norm(x, g.shape, g, None, eps),
        ),
        Mistake(
            "x is divided by its length: the squares are summed, not averaged",
            lambda x, g, eps: g * x * torch.rsqrt((x * x).sum(-1, True) + eps),
        ),
        Mistake(
            "eps is added after the root instead of under it",
            lambda x, g, eps: g * x / ((x * x).mean(-1, True).sqrt() + eps),
        ),
        Mistake(
            "there is no eps",
            lambda x, g, eps: g * x / (x * x).mean(-1, True).sqrt(),
        ),
        Mistake(
            "the gain is missing",
            lambda x, g, eps: _rms_norm(x, torch.ones_like(g), eps),
        ),
        Mistake(
            "the mean runs over all tokens together, not over each one's axes",
            lambda x, g, eps: g * x * torch.rsqrt((x * x).mean() + eps),
        ),
        Mistake(
            "the squares are taken in float16, where 300 squared is infinite",
            lambda x, g, eps: g * x * (x.pow(2).mean(-1, True) + eps) ** -0.5,
        ),
        Mistake(
            "x is divided by the mean square, without the root",
            lambda x, g, eps: g * x / ((x * x).mean(-1, True) + eps),
        ),
    ),
)


# -- rotate: fn(x (H, T, K), positions (T,), theta) -> the same shape


def _rotate(x, positions, theta):
    return apply_rope(x, rope_angles(positions, x.shape[-1], theta))


def _turned(
    *,
    shift: int = 0,
    sign: int = 1,
    power: float = 1.0,
    interleaved: bool = False,
    token_axis: int = -2,
) -> Callable:
    """Rotation with one step replaced by another."""

    def fn(x, positions, theta):
        K = x.shape[-1]
        if token_axis != -2:
            positions = torch.arange(x.shape[token_axis])
        frequency = theta ** (-power * torch.arange(0, K, 2) / K)
        angle = sign * (positions + shift)[:, None] * frequency
        if token_axis != -2:
            angle = angle[:, None]
        a, b = (
            (x[..., ::2], x[..., 1::2]) if interleaved else x.chunk(2, dim=-1)
        )
        turned = (
            a * angle.cos() - b * angle.sin(),
            b * angle.cos() + a * angle.sin(),
        )
        if interleaved:
            return torch.stack(turned, dim=-1).flatten(-2)
        return torch.cat(turned, dim=-1)

    return fn


def _rope_case(label: str, H: int, T: int, K: int, start: int = 0) -> Case:
    positions = torch.arange(start, start + T)
    return Case(
        label,
        lambda: (
            *randoms((H, T, K), dtype=torch.float32),
            positions.clone(),
            100.0,
        ),
    )


ROTATE = Exercise(
    name="rotate",
    reference=_rotate,
    cases=(
        _rope_case("one head, one pair", 1, 3, 2),
        _rope_case("several pairs", 1, 4, 6),
        _rope_case("several heads", 3, 5, 8),
        _rope_case("as many heads as tokens", 4, 4, 6),
        _rope_case("one new token, far from the start", 2, 1, 6, start=37),
        Case(
            "positions that skip",
            lambda: (
                *randoms((2, 3, 4), dtype=torch.float32),
                torch.tensor([0, 2, 5]),
                1e4,
            ),
        ),
    ),
    mistakes=(
        Mistake(
            "neighbouring axes are paired, (0, 1), (2, 3), ...: right for "
            "Meta's files, wrong for Hugging Face's, which pair i and i + K/2",
            _turned(interleaved=True),
        ),
        Mistake("every pair turns backwards", _turned(sign=-1)),
        Mistake("positions are counted from 1", _turned(shift=1)),
        Mistake(
            "the exponent is -i / K with i = 0 .. K/2 - 1: the factor 2 is "
            "missing",
            _turned(power=0.5),
        ),
        Mistake("all pairs turn at the same speed", _turned(power=0.0)),
        Mistake("the exponent lost its minus", _turned(power=-1.0)),
        Mistake(
            "the angle depends on the head, not on the token",
            _turned(token_axis=-3),
        ),
        Mistake(
            "positions are ignored and counted 0, 1, 2, ... instead",
            lambda x, p, theta: _rotate(x, torch.arange(len(p)), theta),
        ),
    ),
)


# -- token-positions: fn(attention_mask (B, S)) -> (B, S)


TOKEN_POSITIONS = Exercise(
    name="token-positions",
    reference=token_positions,
    cases=(
        Case("no padding", rows([1, 1, 1, 1])),
        Case("padding on the left", rows([0, 0, 1, 1, 1], [1, 1, 1, 1, 1])),
        Case("padding on the right", rows([1, 1, 1, 0, 0], [1, 1, 1, 1, 1])),
        Case("a row of padding only", rows([0, 0, 0], [0, 1, 1])),
    ),
    mistakes=(
        Mistake(
            "every row counts from 0, padding included",
            lambda m: torch.arange(m.shape[1]).expand(m.shape),
        ),
        Mistake("the first token is at 1", lambda m: m.cumsum(-1) * m),
        Mistake(
            "padding on the left is counted before it is set to 0",
            lambda m: torch.arange(m.shape[1]) * m,
        ),
        Mistake(
            "padding on the left gets -1, an index from the end",
            lambda m: m.cumsum(-1) - 1,
        ),
        Mistake(
            "the count runs along the batch",
            lambda m: (m.cumsum(0) - 1).masked_fill(m == 0, 0),
        ),
        Mistake(
            "padding on the right keeps counting instead of getting 0",
            lambda m: (m.cumsum(-1) - 1).clamp(min=0),
        ),
    ),
)


# -- count-parameters: fn(config) -> int


def _count(
    c: LlamaConfig,
    *,
    n_kv_heads: int = 0,
    matrices: int = 3,
    norms: int = 2,
    final: int = 1,
    tied: bool | None = None,
    d_head: int = 0,
) -> int:
    K, G = d_head or c.d_head, n_kv_heads or c.n_kv_heads
    attn = 2 * c.d_model * c.n_heads * K + 2 * c.d_model * G * K
    block = attn + matrices * c.d_model * c.d_ff + norms * c.d_model
    tied = c.tie_embeddings if tied is None else tied
    tables = 1 if tied else 2
    head = tables * c.vocab_size * c.d_model
    return head + c.n_layers * block + final * c.d_model


def _config_case(label: str, **changes) -> Case:
    sizes = {
        "vocab_size": 50,
        "d_model": 24,
        "n_layers": 3,
        "n_heads": 4,
        "n_kv_heads": 4,
        "d_ff": 40,
        "max_seq_len": 64,
    }
    return Case(label, lambda: (LlamaConfig(**{**sizes, **changes}),))


COUNT_PARAMETERS = Exercise(
    name="count-parameters",
    reference=_count,
    cases=(
        _config_case("as many key/value heads as heads"),
        _config_case("grouped heads", n_kv_heads=2),
        _config_case("tied embeddings", n_kv_heads=2, tie_embeddings=True),
        _config_case("a head width of its own", n_kv_heads=2, d_head=10),
        Case("SmolLM2-135M", lambda: (LlamaConfig.from_name("smollm2-135m"),)),
    ),
    mistakes=(
        Mistake(
            "keys and values have as many heads as queries",
            lambda c: _count(c, n_kv_heads=c.n_heads),
        ),
        Mistake(
            "the feed-forward layer has two matrices, as without a gate",
            lambda c: _count(c, matrices=2),
        ),
        Mistake(
            "the tied embedding is counted twice",
            lambda c: _count(c, tied=False),
        ),
        Mistake(
            "lm_head is always tied to the embedding",
            lambda c: _count(c, tied=True),
        ),
        Mistake(
            "the gain of the last norm is missing",
            lambda c: _count(c, final=0),
        ),
        Mistake(
            "the gains of the norms are missing",
            lambda c: _count(c, norms=0, final=0),
        ),
        Mistake(
            "the head width is always d_model / n_heads",
            lambda c: _count(c, d_head=c.d_model // c.n_heads),
        ),
    ),
)
