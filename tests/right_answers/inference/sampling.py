"""Right answers by distributions, loops, logarithms and transformers."""

import math

import torch
from transformers import RepetitionPenaltyLogitsProcessor


def temperature_probabilities(logits, t):
    return torch.distributions.Categorical(logits=logits / t).probs


def top_p(logits, p):
    out = logits.clone()
    for row, probs in zip(out, logits.softmax(-1).tolist(), strict=True):
        before = 0.0
        for i in sorted(range(len(probs)), key=lambda i: -probs[i]):
            if before >= p:
                row[i] = -math.inf
            before += probs[i]
    return out


def min_p(logits, p):
    gap = logits.amax(-1, keepdim=True) - logits
    furthest = -math.log(p) if p else math.inf
    return torch.where(gap <= furthest, logits, -math.inf)


def repetition_penalty(logits, ids, penalty):
    return RepetitionPenaltyLogitsProcessor(penalty)(ids, logits.clone())


def beam_step(scores, logps):
    found = [
        (-(score + logp), parent, token)
        for parent, (score, row) in enumerate(zip(scores, logps, strict=True))
        for token, logp in enumerate(row)
    ]
    best = sorted(found)[: len(scores)]
    total, parent, token = zip(*best, strict=True)
    return torch.tensor(parent), torch.tensor(token), -torch.stack(total)


def repetition_rate(ids, n):
    """By windows that torch unfolds and sorts, row by row."""
    windows = [row.unfold(0, n, 1) for row in ids]
    distinct = sum(len(torch.unique(w, dim=0)) for w in windows)
    return 1 - distinct / sum(map(len, windows))
