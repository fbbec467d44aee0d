"""The exercises on byte-level BPE: count, merge, spell, decode.

A word is a list of tokens, `merges` a list of pairs, first learned first.
"""

import codecs
from collections import Counter
from itertools import pairwise

from handmade.exercises.core import Case, Exercise, Mistake
from handmade.text.pretokenize import byte_alphabet

# -- count-pairs: fn(words) -> dict; words: list of (tokens, count)


def _count(words, pairs_of, weigh=True):
    counts = Counter()
    for tokens, count in words:
        for pair in pairs_of(tokens):
            counts[pair] += count if weigh else 1
    return dict(sorted(counts.items()))


def count_pairs(words):
    return _count(words, pairwise)


def _across_words(words):
    text = [token for tokens, n in words for _ in range(n) for token in tokens]
    return dict(sorted(Counter(pairwise(text)).items()))


def _without_overlaps(words):
    def pairs(tokens):
        out, i = [], 0
        while i + 1 < len(tokens):
            out.append((tokens[i], tokens[i + 1]))
            i += 2 if tokens[i] == tokens[i + 1] else 1
        return out

    return _count(words, pairs)


HUGS = [("hug", 10), ("pug", 5), ("pun", 12), ("bun", 4), ("hugs", 5)]
COUNT_PAIRS_CASES = (
    Case(
        "hug, pug, pun, bun, hugs", lambda: ([(list(w), n) for w, n in HUGS],)
    ),
    Case("a pair twice in a word", lambda: ([(list("banana"), 3)],)),
    Case("a run of one letter", lambda: ([(list("aaaa"), 2)],)),
    Case("one-letter words", lambda: ([(["a"], 7), (["b"], 1)],)),
    Case("longer tokens", lambda: ([(["Ġth", "e", "re"], 2)],)),
)
COUNT_PAIRS_MISTAKES = (
    Mistake(
        "the words' own counts are left out: a word seen ten times counts ten",
        lambda words: _count(words, pairwise, weigh=False),
    ),
    Mistake(
        "a pair counts once a word, however often it is in it",
        lambda words: _count(words, lambda tokens: set(pairwise(tokens))),
    ),
    Mistake(
        "pairs are counted across the ends of words: what pre-tokenization "
        "has cut is never merged",
        _across_words,
    ),
    Mistake(
        "overlapping pairs of a run are counted once: aaaa holds (a, a) "
        "three times here, though only two can be merged",
        _without_overlaps,
    ),
)

COUNT_PAIRS = Exercise(
    name="count-pairs",
    reference=count_pairs,
    cases=COUNT_PAIRS_CASES,
    mistakes=COUNT_PAIRS_MISTAKES,
)

# -- bpe-word: fn(tokens, merges) -> list[str]


def _merge_at(tokens, i):
    return [*tokens[:i], tokens[i] + tokens[i + 1], *tokens[i + 2 :]]


def bpe_word(tokens, merges):
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    while True:
        found = [
            (ranks[pair], i)
            for i, pair in enumerate(pairwise(tokens))
            if pair in ranks
        ]
        if not found:
            return list(tokens)
        tokens = _merge_at(tokens, min(found)[1])


def _leftmost(tokens, merges):
    while True:
        found = [i for i, p in enumerate(pairwise(tokens)) if p in merges]
        if not found:
            return list(tokens)
        tokens = _merge_at(tokens, found[0])


def _longest_first(tokens, merges):
    known = {a + b for a, b in merges} | set(tokens)
    text, out = "".join(tokens), []
    while text:
        end = max(i for i in range(1, len(text) + 1) if text[:i] in known)
        out.append(text[:end])
        text = text[end:]
    return out


def _one_pass(tokens, merges):
    out, i = [], 0
    while i < len(tokens):
        both = tuple(tokens[i : i + 2])
        out.append("".join(both) if both in merges else tokens[i])
        i += 2 if both in merges else 1
    return out


def _list_once(tokens, merges):
    for merge in merges:
        tokens = bpe_word(tokens, [merge])
    return list(tokens)


MERGES = [
    ("h", "e"),
    ("t", "h"),
    ("i", "n"),
    ("th", "e"),
    ("t", "he"),
    ("in", "g"),
    ("e", "r"),
    ("he", "r"),
    ("a", "n"),
    ("n", "a"),
    ("an", "a"),
    ("l", "e"),
    ("n", "g"),
]

# a+bc makes abc too, after the merge that uses it
TWO_WAYS = [("b", "c"), ("a", "b"), ("ab", "c"), ("abc", "d"), ("a", "bc")]
UNREACHED = [("a", "b"), ("b", "c"), ("a", "bc")]  # ab goes first, always


def _word(word, merges=None):
    return lambda: (list(word), list(merges or MERGES))


BPE_WORD_CASES = (
    Case("the earlier merge is further right", _word("the")),
    Case("two merges meet", _word("there")),
    Case("a pair twice", _word("theinthein")),
    Case("overlapping pairs", _word("banana")),
    Case("nothing to merge", _word("xyz")),
    Case("three in a row", _word("aaaaa", [("a", "a"), ("aa", "aa")])),
    Case("a token no merge reaches", _word("abc", UNREACHED)),
    Case("a token that two merges make", _word("abcd", TWO_WAYS)),
    Case("one letter", _word("t")),
    Case("an ending", _word("herangleing")),
)
BPE_WORD_MISTAKES = (
    Mistake(
        "the leftmost pair is merged first: the order is by rank, the merge "
        "learned first, wherever it stands",
        _leftmost,
    ),
    Mistake(
        "the longest known token is taken from the left, as WordPiece does; "
        "BPE replays its merges",
        _longest_first,
    ),
    Mistake(
        "each place is merged at most once, in one pass: merged tokens can "
        "merge again",
        _one_pass,
    ),
    Mistake(
        "the merge learned last goes first",
        lambda tokens, merges: bpe_word(tokens, merges[::-1]),
    ),
    Mistake(
        "the list is gone through once: a late merge can make a token that "
        "an earlier merge uses, so look again from the first",
        _list_once,
    ),
)

BPE_WORD = Exercise(
    name="bpe-word",
    reference=bpe_word,
    cases=BPE_WORD_CASES,
    mistakes=BPE_WORD_MISTAKES,
)

# -- token-bytes: fn(token) -> bytes

BYTE_OF = {char: byte for byte, char in byte_alphabet().items()}


def token_bytes(token):
    return bytes(BYTE_OF[char] for char in token)


TOKEN_BYTES_CASES = (
    Case("a word with its space", lambda: ("Ġthe",)),
    Case("a line break", lambda: ("Ċ",)),
    Case("an accent", lambda: ("Ã©t",)),
    Case("a curly quote", lambda: ("âĢĻ",)),
    Case("half a character", lambda: ("Ġà¤",)),
    Case("plain ASCII", lambda: ("ing",)),
)
TOKEN_BYTES_MISTAKES = (
    Mistake(
        "the letters are taken for the text: Ġ is how byte 32 is written, "
        "not a letter of the token",
        lambda token: token.encode(),
    ),
    Mistake(
        "only Ġ is translated: every byte that does not print has its own "
        "letter, and é is two of them",
        lambda token: token.replace("Ġ", " ").encode(),
    ),
    Mistake(
        "all but Ġ and Ċ is taken for Latin-1: bytes 127 to 160 and 173 "
        "have letters from U+0100 on too",
        lambda token: (
            token.replace("Ġ", " ")
            .replace("Ċ", "\n")
            .encode("latin-1", errors="replace")
        ),
    ),
)

TOKEN_BYTES = Exercise(
    name="token-bytes",
    reference=token_bytes,
    cases=TOKEN_BYTES_CASES,
    mistakes=TOKEN_BYTES_MISTAKES,
)

# -- stream-decode: fn(chunks) -> list[str]


def stream_decode(chunks):
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    out = [decoder.decode(chunk) for chunk in chunks]
    return [*out, decoder.decode(b"", final=True)]


def _each(errors):
    def decode(chunks):
        return [*(chunk.decode("utf-8", errors) for chunk in chunks), ""]

    return decode


def _stripped(chunks):
    data, printed, out = b"", "", []
    for chunk in chunks:
        data += chunk
        text = data.decode(errors="replace").rstrip("\ufffd")
        out.append(text[len(printed) :])
        printed = text
    return [*out, data.decode(errors="replace")[len(printed) :]]


def _all_at_the_end(chunks):
    return [*("" for _ in chunks), b"".join(chunks).decode(errors="replace")]


def _chunks(text, size):
    data = text.encode()
    return [data[i : i + size] for i in range(0, len(data), size)]


STREAM_DECODE_CASES = (
    Case("ASCII", lambda: (_chunks("to be or not", 3),)),
    Case("an accent cut in two", lambda: ([b"caf\xc3", b"\xa9", b"!"],)),
    Case("an emoji, byte by byte", lambda: (_chunks("a😀b", 1),)),
    Case("Hindi in threes", lambda: (_chunks("x सभी मनुष्यों", 3)[:9],)),
    Case("a � in the text", lambda: ([b"a\xef\xbf\xbd", b"b"],)),
    Case("a byte of no character", lambda: ([b"a\xff", b"b\xc3", b"c"],)),
    Case("cut off at the end", lambda: ([b"ok \xf0\x9f", b"\x98"],)),
    Case("nothing", lambda: ([],)),
)
STREAM_DECODE_MISTAKES = (
    Mistake(
        "each token is decoded by itself: a character cut in two becomes two "
        "question marks",
        _each("replace"),
    ),
    Mistake(
        "half characters are ignored: the letter is gone without a trace",
        _each("ignore"),
    ),
    Mistake(
        "everything is held back to the end: nothing is streamed",
        _all_at_the_end,
    ),
    Mistake(
        "all � at the end are taken for half a character: the text can hold "
        "one, and a byte that is part of no character is one at once",
        _stripped,
    ),
    Mistake(
        "what is left when the stream ends is thrown away: it ends inside a "
        "character, and the reader should see that",
        lambda chunks: [*stream_decode(chunks)[:-1], ""],
    ),
)

STREAM_DECODE = Exercise(
    name="stream-decode",
    reference=stream_decode,
    cases=STREAM_DECODE_CASES,
    mistakes=STREAM_DECODE_MISTAKES,
)
