"""Heads that copy, written into a model before it has learned anything.

D model width · H heads · K head width · E dimensions of a
character · C dimensions of a character that was brought here

A play is full of names, and what a name begins with tells the rest only to
those who look it up further above. That takes heads in two blocks
[olsson2022]: block 0 brings to each place the characters before it, and
block 1 looks for places with the same characters before them as the present
ones. Training finds such heads by itself, given time; their weights are simple
enough to be written down. They are weights like all others from the first
step on. Left out: the way from what is found to the logits, which the
gradient finds by itself.
"""

import torch
from torch import nn

from handmade import checks
from handmade.training.mini_gpt_model import (
    THETA,
    MiniBlock,
    MiniGPT,
    MiniGPTConfig,
)

ALWAYS = 4.0  # in dimension 0 of every character: a query that needs no text
CODED = 9 / 32  # of the width, for each of the two characters brought
FAINT = 0.1  # what is left of the weights that were drawn there
SHARP = 3.0  # how far the written part stands out from those


def check_room(config: MiniGPTConfig) -> None:
    """Raise ValueError for a model that is too small for these heads."""
    checks.kind("config", config, MiniGPTConfig, "a MiniGPTConfig")
    c = config
    fits = min(c.n_layers, c.n_heads) >= 2 and c.d_model >= 6 * c.n_heads
    got = f"{c.n_layers} layers, {c.n_heads} heads, d_model {c.d_model}"
    want = "2 layers and 2 heads of width 6 at least, or start='plain'"
    checks.need(fits, "start", f"'copying' for {got}", want)


@torch.no_grad()
def write_copying(model: MiniGPT) -> None:
    """Overwrite three heads' weights, so that the third looks for repeats.

    With e_t the embedding of character t and G, R1, R2 random projections:
    head 0 of block 0 writes G e_{t-1} into dimensions of its own, head 1
    writes G e_{t-2}; head 0 of block 1 scores
    (R1 G e_t) . (R1 G e_{s-1}) + (R2 G e_{t-1}) . (R2 G e_{s-2}), which is
    largest where the two characters before s are those that end at t.
    Raises ValueError for a model that is too small.
    """
    checks.kind("model", model, MiniGPT, "a MiniGPT")
    check_room(model.config)
    D, H = model.config.d_model, model.config.n_heads
    K = D // H
    C = min(int(CODED * D), K)
    E = D - 2 * C
    brought = (slice(E, E + C), slice(E + C, D))
    model.tok_emb.weight[:, 0] = ALWAYS
    model.tok_emb.weight[:, E:] = 0
    G = _drawn(C, E, model.tok_emb.weight)
    G[:, 0] = 0

    first, second = model.blocks[:2]
    assert isinstance(first, MiniBlock)
    assert isinstance(second, MiniBlock)
    qkv = _heads(first.qkv_proj, H)
    for head, back in ((0, 1), (1, 2)):
        _look_back(qkv[0, head], qkv[1, head], back)
        qkv[2, head] *= FAINT
        qkv[2, head, :C, :E] += G
        read = slice(head * K, head * K + C)
        first.o_proj.weight[brought[head], read] = torch.eye(C).to(G)

    query, key, _ = _heads(second.qkv_proj, H)[:, 0]
    query *= FAINT
    key *= FAINT
    one, two = _slow_dimensions(K)
    R1, R2 = (_drawn(len(at), C, G) for at in (one, two))
    query[one, :E] += SHARP * R1 @ G
    key[one, brought[0]] += SHARP * R1
    query[two, brought[0]] += SHARP * R2
    key[two, brought[1]] += SHARP * R2


def _heads(qkv_proj: nn.Linear, n_heads: int) -> torch.Tensor:
    """View the weight as (3, H, K, D): queries, keys, values."""
    D = qkv_proj.in_features
    return qkv_proj.weight.view(3, n_heads, D // n_heads, D)


def _look_back(query: torch.Tensor, key: torch.Tensor, back: int) -> None:
    """Make a head look `back` places back, whatever stands there.

    Query and key are the same for every character, but the key is turned
    ahead by `back` places: the position's turn brings them together there.
    Only pairs that turn fast tell one place from the next.
    """
    pairs = len(query) // 2
    fast = max(1, pairs // 8)
    speeds = THETA ** -(torch.arange(fast) / pairs)  # radians a place
    angle = back * speeds.to(query)
    query *= FAINT
    key *= FAINT
    query[:fast, 0] += 1
    key[:fast, 0] += angle.cos()
    key[pairs : pairs + fast, 0] += angle.sin()


def _slow_dimensions(K: int) -> tuple[list[int], list[int]]:
    """Return two sets of dimensions that positions hardly turn.

    Pair i of a head is its dimensions i and i + K / 2.
    """
    pairs = K // 2
    slow = range(pairs // 2, pairs)
    half = len(slow) // 2
    one, two = ([*part] for part in (slow[:half], slow[half : 2 * half]))
    return one + [pairs + i for i in one], two + [pairs + i for i in two]


def _drawn(m: int, n: int, like: torch.Tensor) -> torch.Tensor:
    """Draw a projection (m, n) on the CPU: every device gets the same."""
    return (torch.randn(m, n) / n**0.5).to(like)
