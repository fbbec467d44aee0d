"""Learn merges from word counts: the pair that occurs most often, again.

`learn_merges` keeps the count of every pair up to date and touches, at each
merge, only the words that hold the pair. `recount_merges` counts everything
anew at each merge; it is what the algorithm says, and what to compare with.

A word is a string whose characters are token numbers: `chr(id)`. Merging a
pair in it is then `str.replace`, left to right, without overlaps, in C.
[sennrich2016]
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from handmade.text import checks
from handmade.text.pretokenize import byte_alphabet


@dataclass(frozen=True)
class Learned:
    """A vocabulary, its merges in the order learned, and the work done.

    `words_visited` counts how often a distinct word was looked at.
    """

    vocab: dict[str, int]
    merges: list[tuple[str, str]]
    words_visited: int


def learn_merges(
    words: Counter[str], vocab_size: int, special_tokens: Iterable[str] = ()
) -> Learned:
    """Merge the most frequent pair until the vocabulary is full.

    Of pairs with equal counts, the one with the smaller token numbers goes
    first. Merges, and their order, are those of `tokenizers`' BpeTrainer.
    Fewer merges are learned where no pair is left. Raises ValueError if
    vocab_size has no room for the 256 bytes and the special tokens, and if
    there are no words.
    """
    vocab, spelled, counts = _start(words, vocab_size, special_tokens)
    tokens = list(vocab)
    places: dict[str, list[int]] = defaultdict(
        list
    )  # pair -> the words that hold it
    for i, word in enumerate(spelled):
        for a, b in pairwise(word):
            places[a + b].append(i)
    count_of = counts.__getitem__
    pair_counts = {
        pair: sum(map(count_of, where)) for pair, where in places.items()
    }
    # largest count first; negative, because heapq keeps the smallest on top
    heap = [
        (-pair_counts[pair], pair, where) for pair, where in places.items()
    ]
    heapq.heapify(heap)
    merges: list[tuple[str, str]] = []
    visited = len(spelled)

    while heap and len(tokens) < vocab_size:
        count, pair, where = heapq.heappop(heap)
        if -count != pair_counts[pair]:
            # a merge took some occurrences away since: back in line
            if pair_counts[pair] > 0:
                entry = (-pair_counts[pair], pair, where)
                heapq.heappush(heap, entry)
            continue
        a, b = pair[0], pair[1]
        token = tokens[ord(a)] + tokens[ord(b)]
        merges.append((tokens[ord(a)], tokens[ord(b)]))
        if token not in vocab:  # a+bc and ab+c spell the same token
            vocab[token] = len(tokens)
            tokens.append(token)
        new = chr(vocab[token])
        visited += len(where)
        before, after, twins = _merge_in(spelled, where, pair, new)

        changes = [(x + a, x + new, at) for x, at in before.items()]
        changes += [(b + y, new + y, at) for y, at in after.items()]
        changes += [(b + a, new + new, twins)] if twins else []
        for lost, gained, at in changes:
            number = sum(map(count_of, at))
            pair_counts[lost] -= number
            total = pair_counts.get(gained, 0) + number
            pair_counts[gained] = total
            if total > 0:
                heapq.heappush(heap, (-total, gained, at))
    return Learned(vocab, merges, visited)


Places = dict[str, list[int]]  # a neighbour -> the words it stands in


def _merge_in(
    words: list[str], where: list[int], pair: str, new: str
) -> tuple[Places, Places, list[int]]:
    """Merge `pair` in the words; tell what stood before and after it.

    Returns neighbour -> words (a word as often as it happens), twice, and
    the words where one occurrence follows another directly.
    """
    before: Places = defaultdict(list)
    after: Places = defaultdict(list)
    twins: list[int] = []
    for i in where:
        parts = words[i].split(pair)
        if len(parts) == 1:
            continue  # merged away since, or named twice
        words[i] = new.join(parts)
        left = parts[0]
        if left:
            before[left[-1]].append(i)
        last = len(parts) - 1
        for j in range(1, last + 1):
            part = parts[j]
            if part:
                after[part[0]].append(i)
                if j < last:
                    before[part[-1]].append(i)
            elif j < last:
                twins.append(i)
    return before, after, twins


def recount_merges(
    words: Counter[str], vocab_size: int, special_tokens: Iterable[str] = ()
) -> Learned:
    """Do the same as `learn_merges`, counting every pair at every merge."""
    vocab, spelled, counts = _start(words, vocab_size, special_tokens)
    tokens, visited = list(vocab), 0
    merges: list[tuple[str, str]] = []
    while len(tokens) < vocab_size:
        pair_counts: Counter[str] = Counter()
        for word, count in zip(spelled, counts, strict=True):
            for a, b in pairwise(word):
                pair_counts[a + b] += count
        visited += len(spelled)
        if not pair_counts:
            break
        pair = min(pair_counts, key=lambda p: (-pair_counts[p], p))
        a, b = (tokens[ord(char)] for char in pair)
        merges.append((a, b))
        if a + b not in vocab:
            vocab[a + b] = len(tokens)
            tokens.append(a + b)
        new = chr(vocab[a + b])
        spelled = [word.replace(pair, new) for word in spelled]
    return Learned(vocab, merges, visited)


def _start(
    words: Counter[str], vocab_size: int, special_tokens: Iterable[str]
) -> tuple[dict[str, int], list[str], list[int]]:
    """Number special tokens, then bytes; spell the words in these numbers."""
    alphabet = byte_alphabet()
    special = checks.distinct_texts(special_tokens, "special_tokens")
    vocab: dict[str, int] = {}
    for token in [*special, *sorted(alphabet.values())]:
        vocab.setdefault(token, len(vocab))
    checks.check_counts(words)
    if checks.check_whole(vocab_size, "vocab_size", 1) < len(vocab):
        raise ValueError(
            f"vocab_size: got {vocab_size}, want at least {len(vocab)}: "
            "256 bytes and the special tokens"
        )
    table = {byte: vocab[char] for byte, char in alphabet.items()}
    spelled = [
        word.encode().decode("latin-1").translate(table) for word in words
    ]
    return vocab, spelled, list(words.values())
