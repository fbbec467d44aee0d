"""The exercises on Unigram: two cuts, the sum over all, expected uses.

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


# -- two-best-cuts: fn(word, scores) -> list[list[str]]


def _ways(word, scores):
    """For each end of a piece: where it can start, and its score."""
    longest = max(map(len, scores))
    return [
        [
            (start, scores[word[start:end]])
            for start in range(max(0, end - longest), end)
            if word[start:end] in scores
        ]
        for end in range(1, len(word) + 1)
    ]


def two_best_cuts(word, scores):
    best = [[(0.0, [])]]
    for end, ways in enumerate(_ways(word, scores), start=1):
        found = [
            (total + score, [*cut, word[start:end]])
            for start, score in ways
            for total, cut in best[start]
        ]
        best.append(sorted(found, reverse=True)[:2])
    return [cut for _, cut in best[-1]]


def best_cut(word, scores):
    return two_best_cuts(word, scores)[0]


def _one_kept(word, scores):
    found = [
        [*(best_cut(word[:start], scores) if start else []), word[start:]]
        for start, _ in _ways(word, scores)[-1]
    ]
    found.sort(key=lambda cut: -_score(cut, scores))
    return found[:2]


def _nothing_shared(word, scores):
    best = best_cut(word, scores)
    used = {piece for piece in best if len(piece) > 1}
    rest = {p: score for p, score in scores.items() if p not in used}
    second = best_cut(word, rest)
    return [best] if second == best else [best, second]


def _fewest(word, scores):
    cuts = _cuts(word, scores)
    cuts.sort(key=lambda cut: (len(cut), -_score(cut, scores)))
    return cuts[:2]


def _best_mean(word, scores):
    cuts = _cuts(word, scores)
    cuts.sort(key=lambda cut: -_score(cut, scores) / len(cut))
    return cuts[:2]


def _greedy(word, scores):
    cut, rest = [], word
    while rest:
        ends = range(len(rest), 0, -1)
        end = next(end for end in ends if rest[:end] in scores)
        cut.append(rest[:end])
        rest = rest[end:]
    others = [c for c in two_best_cuts(word, scores) if c != cut]
    return [cut, *others[:1]]


SCORES = {
    "a": -4.0,
    "b": -4.5,
    "c": -5.0,
    "d": -4.75,
    "e": -3.0,
    "s": -3.5,
    "ab": -5.25,
    "abc": -7.5,
    "cd": -5.5,
    "bcd": -6.0,
    "de": -6.5,
    "es": -5.875,
    "abcd": -13.0,
    "ee": -4.0,
}


def _case(label, word):
    return Case(label, lambda: (word, dict(SCORES)))


WORDS = (
    _case("the longest start is a trap", "abcd"),
    _case("the likeliest first piece is a trap", "abcde"),
    _case("repeated letters", "eesee"),
    _case("single letters", "sad"),
    _case("one letter", "e"),
    _case("two pairs", "cdes"),
    _case("longer", "abcdabces"),
)
TWO_BEST_CUTS_MISTAKES = (
    Mistake(
        "one cut is kept for each place: the second-best can begin with a "
        "second-best",
        _one_kept,
    ),
    Mistake(
        "the second cut may use no longer piece of the first: the two can "
        "share all but one place",
        _nothing_shared,
    ),
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
        "the mean score of the pieces decides: nothing divides by their "
        "number, more pieces are less likely",
        _best_mean,
    ),
)

TWO_BEST_CUTS = Exercise(
    name="two-best-cuts",
    reference=two_best_cuts,
    cases=WORDS,
    mistakes=TWO_BEST_CUTS_MISTAKES,
)

# -- word-logprob: fn(word, scores) -> float


def word_logprob(word, scores):
    alpha = [0.0]
    for ways in _ways(word, scores):
        logs = [alpha[start] + score for start, score in ways]
        top = max(logs)
        alpha.append(top + math.log(sum(math.exp(x - top) for x in logs)))
    return alpha[-1]


def _multiplied(word, scores):
    total = [1.0]
    for ways in _ways(word, scores):
        total.append(sum(total[i] * math.exp(score) for i, score in ways))
    return math.log(total[-1])


def _number_of_cuts(word, scores):
    number = [1]
    for ways in _ways(word, scores):
        number.append(sum(number[start] for start, _ in ways))
    return number[-1]


def _logs_added(word, scores):
    number, total = [1], [0.0]
    for ways in _ways(word, scores):
        total.append(sum(total[i] + number[i] * s for i, s in ways))
        number.append(sum(number[i] for i, _ in ways))
    return total[-1]


WORD_LOGPROB_CASES = (*WORDS, _case("300 letters", "ab" * 150))
WORD_LOGPROB_MISTAKES = (
    Mistake(
        "only the best cut counts: the word can come about in other ways too",
        lambda word, scores: _score(best_cut(word, scores), scores),
    ),
    Mistake(
        "logarithms are added over cuts: probabilities add, logarithms do not",
        _logs_added,
    ),
    Mistake(
        "the probability is returned, not its logarithm",
        lambda word, scores: math.exp(word_logprob(word, scores)),
    ),
    Mistake(
        "the sum is divided by the number of cuts: a mean",
        lambda word, scores: (
            word_logprob(word, scores)
            - math.log(_number_of_cuts(word, scores))
        ),
    ),
    Mistake(
        "probabilities are multiplied: of a long word nothing is left but "
        "0.0, and that has no logarithm",
        _multiplied,
    ),
)

WORD_LOGPROB = Exercise(
    name="word-logprob",
    reference=word_logprob,
    cases=WORD_LOGPROB_CASES,
    mistakes=WORD_LOGPROB_MISTAKES,
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

EXPECTED_USES = Exercise(
    name="expected-uses",
    reference=expected_uses,
    cases=WORDS,
    mistakes=EXPECTED_USES_MISTAKES,
)
