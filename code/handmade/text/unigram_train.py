"""Learn the pieces of a Unigram vocabulary: start large, then prune.

All frequent substrings are candidates. Expectation: count how often each
piece is used, over all cuts of all words, weighted by probability
(forward-backward). Maximisation: its probability is its share of the count,
with the digamma of Bayes instead of the logarithm, which takes from the
rare. Then drop the pieces whose loss costs the corpus least. [kudo2018]

Left out: the suffix array that finds substrings of a large corpus; here they
are counted word by word.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping

from handmade.checks import positive
from handmade.text import checks

Scores = dict[str, float]  # piece -> log-probability
Edge = tuple[int, int, str, float]  # start, end, piece, score


def learn_pieces(
    words: Mapping[str, int],
    size: int,
    *,
    longest: int = 16,
    seeds: int = 20_000,
    shrink: float = 0.75,
    steps: int = 2,
) -> list[tuple[str, float]]:
    """Return `size` pieces with log-probabilities, likeliest first.

    Candidates are `seeds` substrings of up to `longest` characters; each
    round takes `steps` steps of EM and keeps the share `shrink`. Every
    character of the words stays a piece, so nothing seen in training is
    unknown. Raises ValueError if these alone are more than `size`, and if
    there are no words.
    """
    checks.check_counts(words)
    checks.check_whole(size, "size", -math.inf)
    checks.check_whole(longest, "longest", 1)
    checks.check_whole(seeds, "seeds", 0)
    checks.check_whole(steps, "steps", 1)
    checks.check_share(shrink, "shrink")  # with 1 no piece would ever go
    characters = {char for word in words for char in word}
    if size < len(characters):
        raise ValueError(
            f"vocab_size: got room for {size} pieces, want at least "
            f"{len(characters)}, the characters of the texts"
        )
    scores = seed_pieces(words, longest, seeds)
    while True:
        for _ in range(steps):
            counts, _ = expected_counts(words, scores)
            scores = maximise(counts, characters)
        if len(scores) <= size:
            break
        keep = max(size, int(shrink * len(scores)))
        scores = prune(words, scores, keep, characters)
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return ordered


def seed_pieces(words: Mapping[str, int], longest: int, seeds: int) -> Scores:
    """Score substrings seen twice or more by count times length."""
    checks.check_counts(words)
    checks.check_whole(longest, "longest", 1)
    checks.check_whole(seeds, "seeds", 0)
    found: Counter[str] = Counter()
    for word, count in words.items():
        for start in range(len(word)):
            stop = min(len(word), start + longest)
            for end in range(start + 1, stop + 1):
                found[word[start:end]] += count
    single = {p: n for p, n in found.items() if len(p) == 1}
    several = [(n * len(p), p) for p, n in found.items() if n > 1 < len(p)]
    several.sort(key=lambda item: (-item[0], item[1]))
    chosen = single | {piece: n for n, piece in several[:seeds]}
    total = math.log(sum(chosen.values()))
    return {piece: math.log(n) - total for piece, n in chosen.items()}


def expected_counts(
    words: Mapping[str, int], scores: Scores
) -> tuple[dict[str, float], float]:
    """Return how often each piece is expected, and the corpus's likelihood.

    For one word, alpha[i] is the log of the sum over all cuts of word[:i],
    beta[i] over those of word[i:]; a piece at [i:j] is used with
    probability exp(alpha[i] + score + beta[j] - alpha[n]).
    """
    expected: dict[str, float] = defaultdict(float)
    likelihood = 0.0
    longest = _longest(words, scores)
    for word, count in words.items():
        edges = find_edges(word, scores, longest)
        alpha, beta = forward_backward(len(word), edges)
        whole = alpha[-1]
        likelihood += count * whole
        for start, end, piece, score in edges:
            weight = alpha[start] + score + beta[end] - whole
            expected[piece] += count * math.exp(weight)
    return expected, likelihood


def _longest(words: Mapping[str, int], scores: Scores) -> int:
    """Return the length of the longest piece; refuse what are no dicts."""
    checks.check_mapping(words, "words", "a dict from word to count")
    checks.check_mapping(scores, "scores", "a dict from piece to score")
    return max(map(len, scores))


def find_edges(word: str, scores: Scores, longest: int) -> list[Edge]:
    """Return all pieces in a word: (start, end, piece, score), by start."""
    checks.check_str(word, "word")
    checks.check_mapping(scores, "scores", "a dict from piece to score")
    checks.check_whole(longest, "longest", 0)
    edges: list[Edge] = []
    n = len(word)
    for start in range(n):
        for end in range(start + 1, min(n, start + longest) + 1):
            piece = word[start:end]
            if piece in scores:
                edges.append((start, end, piece, scores[piece]))
    return edges


def forward_backward(
    n: int, edges: list[Edge]
) -> tuple[list[float], list[float]]:
    """Return the log-sums over all cuts up to and from each position."""
    _check_edges(n, edges)
    alpha = [0.0] + [-math.inf] * n
    beta = [-math.inf] * n + [0.0]
    for start, end, _, score in edges:
        alpha[end] = log_add(alpha[end], alpha[start] + score)
    for start, end, _, score in reversed(edges):
        beta[start] = log_add(beta[start], beta[end] + score)
    return alpha, beta


def _check_edges(n: int, edges: list[Edge]) -> None:
    wanted = "edges as find_edges gives them"
    checks.check_whole(n, "n", 0)
    checks.check_several(edges, "edges", wanted)
    for edge in edges:
        four = isinstance(edge, tuple) and len(edge) == 4
        if not four or not 0 <= edge[0] < edge[1] <= n:
            got = checks.named(edge)
            raise ValueError(f"edges: got {got}, want {wanted}, 0 to n = {n}")


def log_add(a: float, b: float) -> float:
    """Return log(exp(a) + exp(b)) without leaving the logarithms."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))


def maximise(expected: Mapping[str, float], keep: set[str]) -> Scores:
    """Turn counts into log-probabilities, dropping what is hardly used.

    score = digamma(count) - digamma(total). Pieces in `keep` stay, with a
    count of at least 0.5.
    """
    wanted = "a dict from piece to count"
    checks.check_mapping(expected, "expected", wanted)
    checks.str_list(keep, "keep", "a set of pieces")
    counts = {p: n for p, n in expected.items() if n >= 0.5}
    counts |= {p: max(expected.get(p, 0.0), 0.5) for p in keep}
    total = digamma(sum(counts.values()))
    return {piece: digamma(n) - total for piece, n in counts.items()}


def digamma(x: float) -> float:
    """Return the derivative of log-gamma at x > 0, to 1e-12 or better.

    digamma(x) = digamma(x + 1) - 1/x up to x > 10, then the asymptotic
    series log x - 1/2x - 1/12x² + 1/120x⁴ - 1/252x⁶ + …
    """
    positive("x", x)
    result = 0.0
    while x < 10:
        result -= 1 / x
        x += 1
    y = 1 / (x * x)
    series = 1 / 240 - y * (1 / 132 - y * (691 / 32760 - y / 12))
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * series)))
    return result + math.log(x) - 0.5 / x - series


def prune(
    words: Mapping[str, int], scores: Scores, size: int, keep: set[str]
) -> Scores:
    """Drop the pieces whose absence costs least, down to `size`.

    Without a piece its uses are cut in the second-best way. The cost is
    uses * (score - score of the second-best cut): the likelihood lost, if
    the other scores stayed what they are.
    """
    longest = _longest(words, scores)
    _check_kept(size, keep)
    uses: Counter[str] = Counter()
    for word, count in words.items():
        for piece in best_cut(word, scores, longest):
            uses[piece] += count
    costs = {}
    for piece, score in scores.items():
        if piece not in keep:
            others = best_cut(piece, scores, longest, without=piece)
            instead = sum(scores[other] for other in others)
            costs[piece] = uses[piece] * (score - instead)
    dearest = sorted(costs, key=lambda p: (-costs[p], -scores[p], p))
    kept = keep.union(dearest[: max(0, size - len(keep))])
    return {piece: score for piece, score in scores.items() if piece in kept}


def _check_kept(size: int, keep: set[str]) -> None:
    checks.check_whole(size, "size", 0)
    checks.str_list(keep, "keep", "a set of pieces")


def best_cut(
    word: str, scores: Scores, longest: int, without: str = ""
) -> list[str]:
    """Return the likeliest cut of a word, one piece left out if told."""
    checks.check_str(without, "without")
    edges = find_edges(word, scores, longest)
    best = [0.0] + [-math.inf] * len(word)
    last = [0] * (len(word) + 1)
    for start, end, piece, score in edges:
        if piece != without and best[start] + score > best[end]:
            best[end], last[end] = best[start] + score, start
    cut, end = [], len(word)
    while end > 0:
        cut.append(word[last[end] : end])
        end = last[end]
    return cut[::-1]
