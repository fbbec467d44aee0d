"""The exercises on Unigram: the best cut, the sum over all, expected uses.

`scores` maps a piece to its log-probability; every letter is a piece.
"""

import math
from collections import Counter

from handmade.exercises.core import Case, Exercise, Mistake


def _cuts(word, scores):
    """All cuts of a word into pieces, by recursion."""
    if not word:
        return [[]]
    return [
        [word[:end], *rest]
        for end in range(1, len(word) + 1)
        if word[:end] in scores
        for rest in _cuts(word[end:], scores)
    ]


def _score(cut, scores):
    return sum(scores[piece] for piece in cut)


# -- best-cut: fn(word, scores) -> list[str]


def best_cut(word, scores):
    return max(_cuts(word, scores), key=lambda cut: _score(cut, scores))


def _greedy(word, scores):
    cut = []
    while word:
        ends = range(len(word), 0, -1)
        end = next(end for end in ends if word[:end] in scores)
        cut.append(word[:end])
        word = word[end:]
    return cut


def _fewest(word, scores):
    return min(
        _cuts(word, scores), key=lambda cut: (len(cut), -_score(cut, scores))
    )


def _likeliest_next(word, scores):
    cut = []
    while word:
        ends = [e for e in range(1, len(word) + 1) if word[:e] in scores]
        end = max(ends, key=lambda e: scores[word[:e]])
        cut.append(word[:end])
        word = word[end:]
    return cut


def _best_mean(word, scores):
    return max(
        _cuts(word, scores), key=lambda cut: _score(cut, scores) / len(cut)
    )


SCORES = {
    **{"a": -4.0, "b": -4.5, "c": -5.0, "d": -4.75, "e": -3.0, "s": -3.5},
    **{"ab": -5.25, "abc": -7.5, "cd": -5.5, "bcd": -6.0, "de": -6.5},
    **{"es": -5.75, "abcd": -13.0, "ee": -4.0},
}


def _case(label, word):
    return Case(label, lambda: (word, dict(SCORES)))


WORDS = (
    _case("the longest start is a trap", "abcd"),
    _case("the likeliest first piece is a trap", "abcde"),
    _case("repeated letters", "eeees"),
    _case("single letters", "sad"),
    _case("one letter", "e"),
    _case("two pairs", "cdes"),
    _case("longer", "abcdabces"),
)
BEST_CUT_MISTAKES = (
    Mistake(
        "the longest piece is taken from the left: a good first piece can "
        "spoil the rest",
        _greedy,
    ),
    Mistake(
        "the fewest pieces win: the sum of the scores decides",
        _fewest,
    ),
    Mistake(
        "the likeliest next piece is taken at each step: short pieces are "
        "likelier, and many of them are not",
        _likeliest_next,
    ),
    Mistake(
        "the mean score of the pieces decides: nothing divides by their "
        "number, more pieces are less likely",
        _best_mean,
    ),
)

# -- word-logprob: fn(word, scores) -> float


def word_logprob(word, scores):
    logs = [_score(cut, scores) for cut in _cuts(word, scores)]
    return math.log(sum(map(math.exp, logs)))


WORD_LOGPROB_MISTAKES = (
    Mistake(
        "only the best cut counts: the word can come about in other ways too",
        lambda word, scores: _score(best_cut(word, scores), scores),
    ),
    Mistake(
        "logarithms are added over cuts: probabilities add, logarithms do not",
        lambda word, scores: float(
            sum(_score(cut, scores) for cut in _cuts(word, scores))
        ),
    ),
    Mistake(
        "the probability is returned, not its logarithm",
        lambda word, scores: math.exp(word_logprob(word, scores)),
    ),
    Mistake(
        "the sum is divided by the number of cuts: a mean",
        lambda word, scores: (
            word_logprob(word, scores) - math.log(len(_cuts(word, scores)))
        ),
    ),
)

# -- expected-uses: fn(word, scores) -> dict[str, float]


def _uses(word, scores, weigh):
    cuts = _cuts(word, scores)
    weights = [weigh(cut) for cut in cuts]
    uses = Counter()
    for weight, cut in zip(weights, cuts, strict=True):
        for piece in cut:
            uses[piece] += weight / sum(weights)
    return dict(sorted(uses.items()))


def expected_uses(word, scores):
    return _uses(word, scores, lambda cut: math.exp(_score(cut, scores)))


def _unnormalised(word, scores):
    uses = expected_uses(word, scores)
    whole = math.exp(word_logprob(word, scores))
    return {piece: count * whole for piece, count in uses.items()}


def _best_only(word, scores):
    uses = dict.fromkeys(expected_uses(word, scores), 0.0)
    for piece in best_cut(word, scores):
        uses[piece] += 1.0
    return uses


def _once_a_cut(word, scores):
    cuts = _cuts(word, scores)
    whole = word_logprob(word, scores)
    uses = Counter()
    for cut in cuts:
        for piece in set(cut):
            uses[piece] += math.exp(_score(cut, scores) - whole)
    return dict(sorted(uses.items()))


EXPECTED_USES_MISTAKES = (
    Mistake(
        "the weights are not divided by their sum: a word seen once must "
        "count once, likely or not",
        _unnormalised,
    ),
    Mistake(
        "every cut counts the same: a likelier cut counts for more",
        lambda word, scores: _uses(word, scores, lambda cut: 1.0),
    ),
    Mistake(
        "only the best cut counts: that is hard EM, and a piece that is "
        "second best everywhere gets nothing",
        _best_only,
    ),
    Mistake(
        "a piece counts once a cut, even where the cut uses it twice",
        _once_a_cut,
    ),
)

EXERCISES = (
    Exercise(
        name="best-cut",
        reference=best_cut,
        cases=WORDS,
        mistakes=BEST_CUT_MISTAKES,
    ),
    Exercise(
        name="word-logprob",
        reference=word_logprob,
        cases=WORDS,
        mistakes=WORD_LOGPROB_MISTAKES,
    ),
    Exercise(
        name="expected-uses",
        reference=expected_uses,
        cases=WORDS,
        mistakes=EXPECTED_USES_MISTAKES,
    ),
)
