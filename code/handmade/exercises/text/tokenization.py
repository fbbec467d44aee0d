"""The exercises on text as bytes: where characters start, what losses mean.

A text is a `str`, its UTF-8 a `bytes`; a loss is in nats per token.
"""

import math

from handmade.exercises.core import Case, Exercise, Mistake
from handmade.text.samples import ARTICLE_1

# -- bits-per-byte: fn(loss, n_tokens, text) -> float


def bits_per_byte(loss, n_tokens, text):
    """Spread the whole text's loss over its bytes, in bits."""
    return loss * n_tokens / math.log(2) / len(text.encode())


BITS_PER_BYTE_CASES = (
    Case("English", lambda: (3.2, 40, ARTICLE_1["English"])),
    Case("Greek", lambda: (2.1, 210, ARTICLE_1["Greek"])),
    Case("one token", lambda: (5.0, 1, "hello")),
    Case("a perfect model", lambda: (0.0, 3, "日本語")),
)
BITS_PER_BYTE_MISTAKES = (
    Mistake(
        "the loss stays in nats: divide by ln 2 to have bits",
        lambda loss, n, text: loss * n / len(text.encode()),
    ),
    Mistake(
        "the loss is spread over characters; a Greek letter is two bytes",
        lambda loss, n, text: loss * n / math.log(2) / len(text),
    ),
    Mistake(
        "the loss per token is taken for that of the whole text: multiply "
        "by the number of tokens",
        lambda loss, n, text: loss / math.log(2) / len(text.encode()),
    ),
    Mistake(
        "it is still per token: a tokenizer with longer tokens looks worse",
        lambda loss, n, text: loss / math.log(2),
    ),
    Mistake(
        "the loss is multiplied by ln 2: a bit is ln 2 nats, so divide",
        lambda loss, n, text: loss * n * math.log(2) / len(text.encode()),
    ),
    Mistake(
        "the ratio is upside down: these are bytes per bit",
        lambda loss, n, text: len(text.encode()) * math.log(2) / (loss * n),
    ),
)

BITS_PER_BYTE = Exercise(
    name="bits-per-byte",
    reference=bits_per_byte,
    cases=BITS_PER_BYTE_CASES,
    mistakes=BITS_PER_BYTE_MISTAKES,
)

# -- character-starts: fn(data) -> list[int]


def character_starts(data):
    """Every byte that is not of the form 10xxxxxx starts a character."""
    return [i for i, byte in enumerate(data) if byte & 0xC0 != 0x80]


CHARACTER_STARTS_CASES = (
    Case("ASCII", lambda: (b"to be",)),
    Case("an accent", lambda: ("café au lait".encode(),)),
    Case("Thai", lambda: (ARTICLE_1["Thai"][:5].encode(),)),
    Case("emoji", lambda: ("a😀b👍🏽".encode(),)),
    Case("nothing", lambda: (b"",)),
)
CHARACTER_STARTS_MISTAKES = (
    Mistake(
        "only ASCII counts as a start: the first byte of a longer character "
        "is above 127 too",
        lambda data: [i for i, byte in enumerate(data) if byte < 0x80],
    ),
    Mistake(
        "every byte counts as a character, as in Latin-1",
        lambda data: list(range(len(data))),
    ),
    Mistake(
        "characters are numbered, not located: the second is not at byte 1 "
        "if the first takes three",
        lambda data: list(range(len(data.decode()))),
    ),
    Mistake(
        "only bytes from 0xC0 on count; an ASCII letter starts itself",
        lambda data: [i for i, byte in enumerate(data) if byte >= 0xC0],
    ),
    Mistake(
        "the continuations are listed: the bytes 10xxxxxx are those at "
        "which no character starts",
        lambda data: [i for i, byte in enumerate(data) if byte >> 6 == 2],
    ),
)

CHARACTER_STARTS = Exercise(
    name="character-starts",
    reference=character_starts,
    cases=CHARACTER_STARTS_CASES,
    mistakes=CHARACTER_STARTS_MISTAKES,
)

# -- unknown-share: fn(texts, text) -> float, the share of unknown words


def unknown_share(train, text):
    """Count words of the text, with repeats, that training never saw."""
    known, words = set(train.split()), text.split()
    return sum(word not in known for word in words) / max(1, len(words))


UNKNOWN_SHARE_CASES = (
    Case("half", lambda: ("to be or not", "to see or look")),
    Case("repeats", lambda: ("a b", "c c c a")),
    Case("all known", lambda: ("the cat sat", "cat the")),
    Case("no words", lambda: ("a b", "  \n")),
    Case("a single word", lambda: ("a b", "c")),
    Case("case counts", lambda: ("the", "The the THE the x")),
    Case("parts of words", lambda: ("the total", "he to a the")),
)
COUNTS_KNOWN = "the known words are counted, not the unknown"


def _known_share(train, text):
    known, words = set(train.split()), text.split()
    return sum(word in known for word in words) / max(1, len(words))


UNKNOWN_SHARE_MISTAKES = (
    Mistake(
        "distinct words are counted; a reader meets every repeat",
        lambda train, text: (
            len(set(text.split()) - set(train.split()))
            / max(1, len(set(text.split())))
        ),
    ),
    Mistake(COUNTS_KNOWN, _known_share),
    Mistake(COUNTS_KNOWN, lambda train, text: 1 - unknown_share(train, text)),
    Mistake(
        "the word is looked for inside the training text as a string, so "
        "“o” is known because of “to”, and “he” because of “the”",
        lambda train, text: (
            sum(word not in train for word in text.split())
            / max(1, len(text.split()))
        ),
    ),
    Mistake(
        "case is ignored: “The” and “the” are two words to a model",
        lambda train, text: unknown_share(train.lower(), text.lower()),
    ),
)

UNKNOWN_SHARE = Exercise(
    name="unknown-share",
    reference=unknown_share,
    cases=UNKNOWN_SHARE_CASES,
    mistakes=UNKNOWN_SHARE_MISTAKES,
)
