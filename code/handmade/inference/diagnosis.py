"""Tell the sampler's fault from the model's: three measurements of text.

`score_text` lets a model read a text, a human's or its own, and says of each
token what the model had expected there; `repetition` counts what comes back;
`draws_match` holds drawn tokens to the law they were to be drawn from. The
first looks at the model, the last at the sampler alone.

Left out on purpose: any judgement of quality, and thresholds. What a number
should be depends on the text; compare it with one of human text.

Shapes: B batch, T tokens, V vocabulary, N draws.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from handmade import checks
from handmade.contracts import Decoder, device_of, limit
from handmade.inference.arguments import DECODER


class Scores(NamedTuple):
    """What a model had expected at each token of a text but the first."""

    logps: Tensor  # (B, T - 1), of the token that came, in nats
    ranks: Tensor  # (B, T - 1) int64, how many tokens were likelier
    above: Tensor  # (B, T - 1), the probability of those likelier ones
    entropies: Tensor  # (B, T - 1), of the whole row, in nats
    best: Tensor  # (B, T - 1), the probability of the likeliest token
    real: Tensor  # (B, T - 1) bool, False where padding makes it meaningless


class Match(NamedTuple):
    """How well N draws fit a law."""

    chi2: float  # the sum of (seen - expected)^2 / expected
    freedom: int  # what chi2 is on average, if the law holds
    p: float  # how often chance alone gives as large a chi2
    impossible: int  # draws to which the law gives probability zero


@torch.inference_mode()
def score_text(
    model: Decoder, ids: Tensor, attention_mask: Tensor | None = None
) -> Scores:
    """Read a text as it stands (teacher forcing), score every next token.

    Rows are read one at a time: of a whole batch, the logits alone would
    fill the memory. The softmax is taken in float32 at least. A token lies
    outside the nucleus of top-p exactly where ``above >= p``.

    Shape: (B, T) -> six of (B, T - 1). Raises ValueError on ids that are not
    (B, T) with B >= 1 and T >= 2, or out of the vocabulary, and on a mask
    that does not fit.
    """
    mask = _check_text(model, ids, attention_mask)
    ids = ids.to(device_of(model) or ids.device).long()
    rows = []
    for b in range(len(ids)):
        row = slice(b, b + 1)
        seen = None if mask is None else mask[row]
        logits = model(ids[row], seen)[:, :-1]
        rows.append(_expected(logits, ids[row, 1:]))
    logps, ranks, above, entropies, best = (
        torch.cat(parts) for parts in zip(*rows, strict=True)
    )
    if mask is None:
        real = torch.ones_like(ranks, dtype=torch.bool)
    else:
        real = (mask[:, 1:] & mask[:, :-1]).bool()
    return Scores(logps, ranks, above, entropies, best, real)


def repetition(ids: Tensor, n: int = 4) -> float:
    """Return the share of n-token sequences that stood before in their row.

    1 - distinct / all, over the T - n + 1 sequences of every row.

    Shape: (B, T) -> a number in [0, 1). Raises ValueError unless
    1 <= n <= T.
    """
    _check_grams(ids, n)
    grams = [
        [tuple(row[i : i + n]) for i in range(len(row) - n + 1)]
        for row in ids.tolist()
    ]
    return 1 - sum(len(set(g)) for g in grams) / sum(map(len, grams))


def draws_match(draws: Tensor, logits: Tensor, least: float = 5.0) -> Match:
    """Test draws against softmax(logits): Pearson's chi-square.

    chi2 = sum over cells of (seen - expected)^2 / expected. Tokens expected
    less than ``least`` times share one cell, since the sum follows its
    distribution only where no cell is nearly empty. Where the law leaves a
    single cell, chi2 is 0 and p is 1: nothing can be told. One draw of what
    the law forbids is proof enough: chi2 is then infinite, and p is 0.

    Shape: draws (N,), logits (V,), what is cut being -inf. Raises ValueError
    on ids outside [0, V), on least <= 0, and on a row without a law.
    """
    _check_draws(draws, logits, least)
    N, V = len(draws), len(logits)
    seen = torch.bincount(draws.cpu(), minlength=V).double()
    expected = N * logits.detach().cpu().double().softmax(-1)
    impossible = int(seen[expected == 0].sum())
    often = expected >= least
    cells = torch.stack((seen, expected), dim=1)
    pooled = cells[~often].sum(0, keepdim=True)
    cells = torch.cat((cells[often], pooled[pooled[:, 1] > 0]))
    if impossible:
        return Match(math.inf, max(len(cells) - 1, 0), 0.0, impossible)
    chi2 = ((cells[:, 0] - cells[:, 1]) ** 2 / cells[:, 1]).sum()
    freedom = len(cells) - 1
    if freedom == 0:
        return Match(0.0, 0, 1.0, 0)
    half = torch.tensor(freedom / 2, dtype=torch.float64)
    return Match(
        float(chi2), freedom, float(torch.special.gammaincc(half, chi2 / 2)), 0
    )


def _expected(logits: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
    """Score tokens (B, T) by logits (B, T, V): the first five of Scores."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logps = logits.log_softmax(-1)
    probs = logps.exp()
    token = logps.gather(2, ids[:, :, None])
    likelier = logps > token
    return (
        token[:, :, 0],
        likelier.sum(-1),
        (probs * likelier).sum(-1),
        torch.special.entr(probs).sum(-1),
        probs.amax(-1),
    )


def _check_text(
    model: Decoder, ids: Tensor, attention_mask: Tensor | None
) -> Tensor | None:
    """Return the mask as int64, or None. Raises ValueError."""
    checks.function("model", model, DECODER)
    checks.ids("ids", ids)
    shape = tuple(ids.shape)
    fits = ids.ndim == 2 and shape[0] >= 1 and shape[1] >= 2
    checks.need(fits, "ids", f"shape {shape}", "(B, T), T > 1")
    low, high = (int(x) for x in ids.aminmax())
    V = limit(model, "vocab_size")
    inside = low >= 0 and (V is None or high < V)
    upper = "more" if V is None else V - 1
    checks.need(inside, "ids", f"{low} to {high}", f"0 to {upper}")
    if attention_mask is None:
        return None
    checks.yes_or_no("attention_mask", attention_mask)
    got = tuple(attention_mask.shape)
    checks.need(got == shape, "attention_mask", f"shape {got}", shape)
    known = bool(((attention_mask == 0) | (attention_mask == 1)).all())
    checks.need(known, "attention_mask", "other numbers", "only 0 and 1")
    return attention_mask.to(device_of(model) or ids.device).long()


def _check_grams(ids: Tensor, n: int) -> None:
    checks.ids("ids", ids)
    shape = tuple(ids.shape)
    checks.need(ids.ndim == 2, "ids", f"shape {shape}", "(B, T)")
    checks.need(shape[0] >= 1, "ids", f"shape {shape}", "one row or more")
    checks.whole("n", n)
    checks.need(n <= shape[1], "n", n, f"1 to {shape[1]}, the tokens of a row")


def _check_draws(draws: Tensor, logits: Tensor, least: float) -> None:
    checks.ids("draws", draws)
    shape = tuple(draws.shape)
    fits = draws.ndim == 1 and shape[0] >= 1
    checks.need(fits, "draws", f"shape {shape}", "(N,), N > 0")
    checks.floats("logits", logits)
    shape = tuple(logits.shape)
    fits = logits.ndim == 1 and shape[0] >= 1
    checks.need(fits, "logits", f"shape {shape}", "(V,), one row")
    checks.positive("least", least)
    largest = logits.detach().amax()
    checks.need(
        bool(largest.isfinite()),
        "logits",
        f"{float(largest)} as its largest number",
        "a finite one",
    )
    low, high = (int(x) for x in draws.aminmax())
    inside = low >= 0 and high < len(logits)
    checks.need(inside, "draws", f"{low} to {high}", f"0 to {len(logits) - 1}")
