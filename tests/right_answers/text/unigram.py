"""Right answers by trying every cut, from the end, and by gradients."""

import math
from itertools import pairwise, product

import torch


def two_best_cuts(word, scores):
    cuts = []
    for marks in product((False, True), repeat=len(word) - 1):
        inner = [i + 1 for i, mark in enumerate(marks) if mark]
        cut = [word[i:j] for i, j in pairwise((0, *inner, len(word)))]
        if all(piece in scores for piece in cut):
            cuts.append((math.fsum(map(scores.get, cut)), cut))
    cuts.sort(key=lambda pair: pair[0], reverse=True)
    return [cut for _, cut in cuts[:2]]


def _log_sum(word, scores):
    """The log-probability of each end of the word, from the last letter."""
    rest = {len(word): torch.zeros((), dtype=torch.float64)}
    for start in reversed(range(len(word))):
        ways = [
            scores[word[start:end]] + rest[end]
            for end in rest
            if word[start:end] in scores
        ]
        rest[start] = torch.stack(ways).logsumexp(0)
    return rest[0]


def word_logprob(word, scores):
    longest = max(map(len, scores))
    rest = [0.0]  # of the last letters: none, one, two, ...
    for n in range(1, len(word) + 1):
        tail = word[len(word) - n :]
        ways = [
            scores[tail[:k]] + rest[n - k]
            for k in range(1, min(n, longest) + 1)
            if tail[:k] in scores
        ]
        rest.append(torch.tensor(ways).double().logsumexp(0).item())
    return rest[-1]


def expected_uses(word, scores):
    leaves = {
        piece: torch.tensor(score, dtype=torch.float64, requires_grad=True)
        for piece, score in scores.items()
        if piece in word
    }
    uses = torch.autograd.grad(_log_sum(word, leaves), list(leaves.values()))
    return {piece: use.item() for piece, use in zip(leaves, uses, strict=True)}
