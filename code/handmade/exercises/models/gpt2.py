"""The exercises of the page on GPT-2.

B batch · S tokens of a text, padding included · T new ones · D model width
"""

import math
import re
from collections.abc import Callable

import torch

from handmade.blocks.rope import token_positions
from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake
from handmade.models.load import Split, Transposed

# -- qkv-of-conv1d: fn(weight (D, 3 D)) -> three (D, D)


def _qkv(weight):
    D = weight.shape[0]
    cut = Transposed(Split("q", "k", "v")).cut(weight, [(D, D)] * 3)
    return tuple(part.clone() for part in cut)


def _square(label: str, D: int) -> Case:
    return Case(label, lambda: randoms((D, 3 * D), dtype=torch.float32))


QKV_OF_CONV1D = Exercise(
    name="qkv-of-conv1d",
    reference=_qkv,
    cases=(
        _square("width 2", 2),
        _square("width 6", 6),
        _square("width 12", 12),
    ),
    mistakes=(
        Mistake(
            "each part is still (in, out): its rows and columns fit "
            "nn.Linear either way, its numbers do not",
            lambda w: w.chunk(3, dim=1),
        ),
        Mistake(
            "the matrix is reshaped to (3 D, D) instead of transposed: the "
            "right shape, and every number in another place",
            lambda w: w.reshape(3 * len(w), len(w)).chunk(3),
        ),
        Mistake(
            "every third row is q: q, k and v lie one after the other in "
            "whole blocks, not mixed",
            lambda w: tuple(w.T[i::3] for i in range(3)),
        ),
        Mistake(
            "the first third is k: the order in the file is q, k, v",
            lambda w: tuple(w.T.chunk(3)[i] for i in (1, 0, 2)),
        ),
        Mistake(
            "k and v are exchanged",
            lambda w: tuple(w.T.chunk(3)[i] for i in (0, 2, 1)),
        ),
        Mistake(
            "the rows of the file are cut, which are the inputs, and not "
            "its columns",
            lambda w: tuple(part.T for part in w.chunk(3)),
        ),
    ),
)


# -- weights-of-a-file: fn(names) -> those of weights, in their order


def _weights(names):
    mask = r"(transformer\.)?h\.\d+\.attn\.(masked_)?bias"
    return [name for name in names if not re.fullmatch(mask, name)]


def _without(*endings: str) -> Callable[[list[str]], list[str]]:
    return lambda names: [n for n in names if not n.endswith(endings)]


def _file(
    label: str,
    layers: tuple[int, ...],
    *,
    prefix: str = "",
    masks: bool = True,
    head: bool = False,
) -> Case:
    names = [f"{prefix}wte.weight", f"{prefix}wpe.weight"]
    for layer in layers:
        at = f"{prefix}h.{layer}"
        names += [f"{at}.ln_1.weight", f"{at}.ln_1.bias"]
        names += [f"{at}.attn.bias", f"{at}.attn.masked_bias"] * masks
        for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
            names += [f"{at}.{part}.weight", f"{at}.{part}.bias"]
    names += [f"{prefix}ln_f.weight", f"{prefix}ln_f.bias"]
    names += ["lm_head.weight"] * head
    return Case(label, lambda: (list(names),))


WEIGHTS_OF_A_FILE = Exercise(
    name="weights-of-a-file",
    reference=_weights,
    cases=(
        _file("a new file, without masks", (0, 1), masks=False),
        _file("an old file", (0, 1)),
        _file("an old file of many layers", (0, 9, 10, 47)),
        _file("an old file with a prefix", (0, 11), prefix="transformer."),
        _file("an old file with a head of its own", (0,), head=True),
    ),
    mistakes=(
        Mistake(
            "names that end in attn.bias are left out: so does "
            "attn.c_attn.bias, which is a weight",
            _without("attn.bias", "attn.masked_bias"),
        ),
        Mistake(
            "every bias is left out, where only the masks are none",
            _without("bias"),
        ),
        Mistake("masked_bias is kept", _without(".attn.bias")),
        Mistake("attn.bias is kept", _without(".attn.masked_bias")),
        Mistake("every name is kept", lambda names: names[:]),
        Mistake(
            "lm_head.weight is left out: it is a weight, the embedding's "
            "second name or, untied, a matrix of its own",
            _without(".attn.bias", ".attn.masked_bias", "lm_head.weight"),
        ),
        Mistake(
            "a name is taken for a mask only without the prefix that some "
            "files put before it",
            lambda names: [
                name
                for name in names
                if not re.fullmatch(r"h\.\d+\.attn\.(masked_)?bias", name)
            ],
        ),
        Mistake(
            "layers of two digits are not looked at",
            lambda names: [
                name
                for name in names
                if not re.search(r"\bh\.\d\.attn\.(masked_)?bias$", name)
            ],
        ),
    ),
)


# -- spread-at-the-start: fn(name, n_layers) -> float


def _spread(
    name: str,
    n_layers: int,
    *,
    narrow: tuple[str, ...] = ("attn.c_proj", "mlp.c_proj"),
    factor: Callable[[int], float] = lambda N: 1 / math.sqrt(2 * N),
    vectors: tuple[str, ...] = (),
) -> float:
    norm = re.search(r"ln_\w\.weight$", name)
    if name.endswith("bias") or norm:
        return 0.02 if name.endswith(vectors or "nothing") else 0.0
    narrowed = name.endswith(tuple(f"{part}.weight" for part in narrow))
    return 0.02 * (factor(n_layers) if narrowed else 1.0)


def _named(name: str, n_layers: int) -> Case:
    label = f"{name}, {n_layers} layers"
    return Case(label, lambda: (name, n_layers))


SPREAD_AT_THE_START = Exercise(
    name="spread-at-the-start",
    reference=_spread,
    cases=(
        _named("wte.weight", 12),
        _named("wpe.weight", 12),
        _named("h.0.attn.c_attn.weight", 12),
        _named("h.3.mlp.c_fc.weight", 12),
        _named("h.3.attn.c_proj.weight", 12),
        _named("h.3.mlp.c_proj.weight", 12),
        _named("h.47.mlp.c_proj.weight", 48),
        _named("h.3.mlp.c_proj.bias", 12),
        _named("h.3.attn.c_attn.bias", 12),
        _named("h.3.ln_1.weight", 12),
        _named("ln_f.weight", 12),
        _named("ln_f.bias", 12),
    ),
    mistakes=(
        Mistake(
            "the blocks are counted, and each of them adds twice",
            lambda name, N: _spread(
                name, N, factor=lambda N: 1 / math.sqrt(N)
            ),
        ),
        Mistake(
            "the spread is divided by 2 N: it is the variances that add up, "
            "and a spread is the root of one",
            lambda name, N: _spread(name, N, factor=lambda N: 1 / (2 * N)),
        ),
        Mistake(
            "nothing is narrowed: what writes to the stream is as wide as "
            "the rest",
            lambda name, N: _spread(name, N, narrow=()),
        ),
        Mistake(
            "only attention's projection is narrowed",
            lambda name, N: _spread(name, N, narrow=("attn.c_proj",)),
        ),
        Mistake(
            "only the feed-forward layer's projection is narrowed",
            lambda name, N: _spread(name, N, narrow=("mlp.c_proj",)),
        ),
        Mistake(
            "all four Conv1D are narrowed, also the two that read the stream",
            lambda name, N: _spread(
                name, N, narrow=("c_attn", "c_fc", "c_proj")
            ),
        ),
        Mistake(
            "biases are drawn at random: they begin at 0",
            lambda name, N: _spread(name, N, vectors=("bias",)),
        ),
        Mistake(
            "the norms' gains are drawn at random: they begin at 1, all alike",
            lambda name, N: _spread(
                name, N, vectors=("ln_1.weight", "ln_f.weight")
            ),
        ),
    ),
)


# -- positions-after-padding: fn(attention_mask (B, S), past) -> (B, S - past)


def _placed(mask, past):
    return token_positions(mask)[:, past:]


def _cached(label: str, past: int, *numbers: list[int]) -> Case:
    return Case(label, lambda: (torch.tensor(numbers), past))


POSITIONS_AFTER_PADDING = Exercise(
    name="positions-after-padding",
    reference=_placed,
    cases=(
        _cached("the prompt, no padding", 0, [1, 1, 1], [1, 1, 1]),
        _cached("the prompt, padded on the left", 0, [0, 0, 1, 1], [1] * 4),
        _cached("one new token", 3, [1] * 4, [1] * 4),
        _cached(
            "one new token after padding",
            4,
            [0, 0, 1, 1, 1],
            [1] * 5,
            [0, 0, 0, 1, 1],
        ),
        _cached("two new tokens after padding", 3, [0, 1, 1, 1, 1], [1] * 5),
        _cached("a new row of padding", 2, [1, 1, 0], [0, 1, 1]),
    ),
    mistakes=(
        Mistake(
            "the padding is counted: a padded row reads rows of the table "
            "further down than alone",
            lambda m, past: torch.arange(past, m.shape[1]).expand(
                len(m), m.shape[1] - past
            ),
        ),
        Mistake(
            "the new tokens are counted from 0, as if nothing were cached",
            lambda m, past: token_positions(m[:, past:]),
        ),
        Mistake(
            "the first token is at 1",
            lambda m, past: (m.cumsum(-1) * m)[:, past:],
        ),
        Mistake(
            "padding gets -1 or a count of its own, where it wants a row "
            "that exists: 0",
            lambda m, past: (m.cumsum(-1) - 1)[:, past:],
        ),
        Mistake(
            "all positions come back, those of the cached tokens too",
            lambda m, past: token_positions(m),
        ),
        Mistake(
            "every row stands where the first one does",
            lambda m, past: _placed(m[:1], past).expand(len(m), -1),
        ),
    ),
)
