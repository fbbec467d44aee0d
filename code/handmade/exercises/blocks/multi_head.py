"""The exercises on several heads: split, map, compute, take apart.

B batch · T tokens · D model width · H heads · K head width
"""

import math

import torch

from handmade.blocks.attention import attention
from handmade.blocks.masks import causal_mask
from handmade.blocks.multi_head import merge_heads, split_heads
from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake

# -- split-heads: fn(x (B, T, D), n_heads) -> (B, H, T, K)


def _split_case(label: str, B: int, T: int, H: int, K: int) -> Case:
    return Case(label, lambda: (*randoms((B, T, H * K), seed=T), H))


SPLIT_HEADS_CASES = (
    _split_case("all sizes different", 2, 5, 3, 4),
    _split_case("as many heads as tokens", 2, 3, 3, 4),
    _split_case("as many heads as the heads are wide", 1, 5, 4, 4),
    _split_case("a single head", 2, 3, 1, 6),
    _split_case("heads of one number", 2, 3, 5, 1),
)

SPLIT_HEADS_MISTAKES = (
    Mistake(
        "the last two steps are one `view` to (B, H, T, K): the numbers are "
        "cut in the order they lie, so a head holds pieces of several tokens",
        lambda x, H: x.reshape(x.shape[0], H, x.shape[1], -1),
    ),
    Mistake(
        "the axes stay (B, T, H, K): the transpose is missing",
        lambda x, H: x.unflatten(-1, (H, -1)),
    ),
    Mistake(
        "the width is cut as (K, H): head h takes every H-th number instead "
        "of K neighbours",
        lambda x, H: x.unflatten(-1, (-1, H)).permute(0, 3, 1, 2),
    ),
    Mistake(
        "tokens and width are swapped first and cut afterwards: each head "
        "gets the numbers in another order",
        lambda x, H: x.mT.reshape(x.shape[0], H, x.shape[1], -1),
    ),
    Mistake(
        "the last two axes are swapped as well: (B, H, K, T)",
        lambda x, H: split_heads(x, H).mT,
    ),
)

SPLIT_HEADS = Exercise(
    name="split-heads",
    reference=split_heads,
    cases=SPLIT_HEADS_CASES,
    mistakes=SPLIT_HEADS_MISTAKES,
)

# -- split-in-proj: fn(weight (3 D, D), n_heads, head) -> three (K, D)


def _in_proj(weight, n_heads, head):
    K = weight.shape[1] // n_heads
    return tuple(w[head * K : (head + 1) * K] for w in weight.chunk(3))


def _in_proj_case(label: str, H: int, K: int, head: int) -> Case:
    return Case(label, lambda: (*randoms((3 * H * K, H * K), seed=H), H, head))


SPLIT_IN_PROJ_CASES = (
    _in_proj_case("the first head", 3, 2, 0),
    _in_proj_case("a later head", 4, 3, 2),
    _in_proj_case("three heads, the last", 3, 4, 2),
    _in_proj_case("a single head", 1, 4, 0),
)

SPLIT_IN_PROJ_MISTAKES = (
    Mistake(
        "the heads are taken for the outer axis, each with its query, key "
        "and value; in PyTorch all queries come first",
        lambda w, H, h: tuple(w.unflatten(0, (H, 3, -1))[h]),
    ),
    Mistake(
        "columns are cut; a linear layer's outputs are the rows of its weight",
        lambda w, H, h: tuple(x.chunk(H, dim=1)[h].mT for x in w.chunk(3)),
    ),
    Mistake(
        "head h takes every H-th row; its K rows are neighbours",
        lambda w, H, h: tuple(x[h::H] for x in w.chunk(3)),
    ),
    Mistake(
        "the same rows are returned three times: those of the queries",
        lambda w, H, h: (_in_proj(w, H, h)[0],) * 3,
    ),
)

SPLIT_IN_PROJ = Exercise(
    name="split-in-proj",
    reference=_in_proj,
    cases=SPLIT_IN_PROJ_CASES,
    mistakes=SPLIT_IN_PROJ_MISTAKES,
)

# -- multi-head: fn(x, w_q, w_k, w_v, w_o, n_heads, mask=None) -> (B, T, D)


def _multi_head(
    x, w_q, w_k, w_v, w_o, n_heads, mask=None, *, scale=None, merge=merge_heads
):
    q, k, v = (split_heads(x @ w.mT, n_heads) for w in (w_q, w_k, w_v))
    return merge(attention(q, k, v, mask, scale=scale)) @ w_o.mT


def _whole_width(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    return _multi_head(
        x, w_q, w_k, w_v, w_o, n_heads, mask, scale=1 / x.shape[-1] ** 0.5
    )


def _one_head(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    return _multi_head(x, w_q, w_k, w_v, w_o, 1, mask)


def _no_transpose(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    return _multi_head(
        x,
        w_q,
        w_k,
        w_v,
        w_o,
        n_heads,
        mask,
        merge=lambda out: out.reshape(x.shape),
    )


def _averaged(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    q, k, v = (split_heads(x @ w.mT, n_heads) for w in (w_q, w_k, w_v))
    weights = attention(q, k, v, mask, return_weights=True)[1]
    return merge_heads(weights.mean(1, keepdim=True) @ v) @ w_o.mT


def _no_output(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    return _multi_head(
        x, w_q, w_k, w_v, torch.eye(x.shape[-1]).to(x), n_heads, mask
    )


def _not_transposed(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    mats = (w.mT for w in (w_q, w_k, w_v, w_o))
    return _multi_head(x, *mats, n_heads, mask)


def _mask_ignored(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    return _multi_head(x, w_q, w_k, w_v, w_o, n_heads)


def _mask_inverted(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    mask = mask if mask is None else ~mask
    return _multi_head(x, w_q, w_k, w_v, w_o, n_heads, mask)


def _layer_case(label, B, T, H, K, mask=None) -> Case:
    def make() -> tuple:
        D = H * K
        x, *weights = randoms((B, T, D), *[(D, D)] * 4, seed=T)
        args = (x, *(w / math.sqrt(D) for w in weights), H)
        return args if mask is None else (*args, mask.clone())

    return Case(label, make)


MULTI_HEAD_CASES = (
    _layer_case("all sizes different", 2, 5, 3, 4),
    _layer_case("a causal mask", 2, 4, 2, 3, causal_mask(4)),
    _layer_case("as many heads as tokens", 1, 3, 3, 2),
    _layer_case("a single head", 2, 3, 1, 4),
)

MULTI_HEAD_MISTAKES = (
    Mistake(
        "the scores are divided by the root of the model's width; each head "
        "only sums over its own",
        _whole_width,
    ),
    Mistake(
        "the width is never split: one head does all the work",
        _one_head,
    ),
    Mistake(
        "the heads are merged without swapping them back behind the tokens",
        _no_transpose,
    ),
    Mistake(
        "the heads' weights are averaged before they meet the values, so "
        "all heads look at the same places",
        _averaged,
    ),
    Mistake(
        "the output projection is left out: the heads never mix",
        _no_output,
    ),
    Mistake(
        "the weights are used as x @ w; a linear layer computes x @ w.T",
        _not_transposed,
    ),
    Mistake("the mask is ignored", _mask_ignored),
    Mistake(
        "the mask is inverted: here True means that a token may look, in "
        "nn.MultiheadAttention that it may not",
        _mask_inverted,
    ),
)

MULTI_HEAD = Exercise(
    name="multi-head",
    reference=_multi_head,
    cases=MULTI_HEAD_CASES,
    mistakes=MULTI_HEAD_MISTAKES,
)

# -- head-parts: fn(out_BHTK, w_o (D, H K)) -> (B, H, T, D)


def _parts(out_BHTK, w_o):
    w_HKD = w_o.mT.unflatten(0, (out_BHTK.shape[1], -1))
    return out_BHTK @ w_HKD


def _parts_case(label: str, B: int, H: int, T: int, K: int, D: int) -> Case:
    return Case(label, lambda: randoms((B, H, T, K), (D, H * K), seed=T))


HEAD_PARTS_CASES = (
    _parts_case("all sizes different", 2, 3, 5, 4, 7),
    _parts_case("D = H K", 2, 2, 5, 3, 6),
    _parts_case("as many heads as they are wide", 1, 3, 4, 3, 5),
)


HEAD_PARTS_MISTAKES = (
    Mistake(
        "the heads are already added up; their sum is what the layer "
        "returns, the parts were asked for",
        lambda out, w: _parts(out, w).sum(1),
    ),
    Mistake(
        "each part is divided by the number of heads; the parts add up as "
        "they are",
        lambda out, w: _parts(out, w) / out.shape[1],
    ),
    Mistake(
        "head h meets every H-th column of the projection; its K columns "
        "are neighbours",
        lambda out, w: (
            out @ w.mT.unflatten(0, (-1, out.shape[1])).transpose(0, 1)
        ),
    ),
    Mistake(
        "all heads meet the columns of the first one",
        lambda out, w: out @ w[:, : out.shape[-1]].mT,
    ),
)

HEAD_PARTS = Exercise(
    name="head-parts",
    reference=_parts,
    cases=HEAD_PARTS_CASES,
    mistakes=HEAD_PARTS_MISTAKES,
)
