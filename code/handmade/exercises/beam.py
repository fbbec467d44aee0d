"""The exercise on beam search, of the page on sampling.

N beams · V vocabulary
"""

from collections.abc import Callable

import torch

from handmade.exercises.core import Case, Exercise, Mistake

# -- beam-step: fn(scores (N,), logps (N, V)) -> (parent, token, scores)


def beam_step(scores: torch.Tensor, logps: torch.Tensor):
    """The N best of all N * V continuations: parent, token and score."""
    N, V = logps.shape
    best, index = (scores[:, None] + logps).flatten().topk(N)
    return index // V, index % V, best


def _best_of_each(scores, logps):
    best, token = (scores[:, None] + logps).max(-1)
    return torch.arange(len(scores)), token, best


def _best_of_each_sorted(scores, logps):
    parent, token, best = _best_of_each(scores, logps)
    order = best.argsort(descending=True)
    return parent[order], token[order], best[order]


def _forgets_the_past(scores, logps):
    N, V = logps.shape
    best, index = logps.flatten().topk(N)
    return index // V, index % V, best


def _wrong_split(scores, logps):
    parent, token, best = beam_step(scores, logps)
    index = parent * logps.shape[1] + token
    return index // len(scores), index % len(scores), best


def _swapped(scores, logps):
    parent, token, best = beam_step(scores, logps)
    return token, parent, best


def _new_scores_only(scores, logps):
    parent, token, _ = beam_step(scores, logps)
    return parent, token, logps[parent, token]


def _beams(N: int, V: int, spread: float, dtype=torch.float64) -> Callable:
    def make():
        g = torch.Generator().manual_seed(N * V)
        logps = torch.randn(N, V, generator=g, dtype=torch.float64) * 3
        logps = logps.to(dtype).log_softmax(-1)
        scores = -spread * torch.arange(N, dtype=dtype) - 0.5
        return scores, logps

    return make


BEAM_STEP = Exercise(
    name="beam-step",
    reference=beam_step,
    cases=(
        Case("two beams", _beams(2, 5, 0.3)),
        Case("three beams, close together", _beams(3, 7, 0.1)),
        Case("one beam far ahead", _beams(3, 8, 20.0)),
        Case("one beam is greedy", _beams(1, 9, 0.0)),
        Case("float32", _beams(4, 30, 0.2, torch.float32)),
    ),
    mistakes=(
        Mistake(
            "each beam keeps its own best token: beams must compete, so "
            "that a good one can split and a bad one die",
            _best_of_each,
        ),
        Mistake(
            "each beam keeps its own best token and the results are sorted: "
            "the order is right, but the beams still do not compete",
            _best_of_each_sorted,
        ),
        Mistake(
            "the scores so far are left out of the comparison",
            _forgets_the_past,
        ),
        Mistake(
            "the flat index is split by the number of beams instead of the "
            "size of the vocabulary",
            _wrong_split,
        ),
        Mistake(
            "parent and token are returned in each other's place", _swapped
        ),
        Mistake(
            "the returned scores are those of the last token alone",
            _new_scores_only,
        ),
    ),
)
