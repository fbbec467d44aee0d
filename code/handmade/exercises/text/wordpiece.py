"""The exercises on WordPiece: cut greedily with places, strip accents.

`vocab` is a set of pieces; those inside a word begin with ##.
"""

import unicodedata

from handmade.exercises.core import Case, Exercise, Mistake

# -- wordpiece-word: fn(word, vocab) -> list[(piece, start, end)]


def _unknown(word):
    return [("[UNK]", 0, len(word))] if word else []


def wordpiece_word(word, vocab):
    spans, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        for end in range(len(word), start, -1):
            if prefix + word[start:end] in vocab:
                spans.append((prefix + word[start:end], start, end))
                start = end
                break
        else:
            return _unknown(word)
    return spans


def _unknown_rest(word, vocab):
    for end in range(len(word), 0, -1):
        spans = wordpiece_word(word[:end], vocab)
        if spans[0][0] != "[UNK]":
            rest = ("[UNK]", end, len(word))
            return spans if end == len(word) else [*spans, rest]
    return _unknown(word)


def _no_prefix(word, vocab):
    bare = {piece.removeprefix("##") for piece in vocab}
    spans, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            if word[start:end] in bare:
                prefix = "##" if start else ""
                spans.append((prefix + word[start:end], start, end))
                start = end
                break
        else:
            return _unknown(word)
    return spans


def _shortest(word, vocab):
    spans, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        for end in range(start + 1, len(word) + 1):
            if prefix + word[start:end] in vocab:
                spans.append((prefix + word[start:end], start, end))
                start = end
                break
        else:
            return _unknown(word)
    return spans


def _fewest(word, vocab):
    best = {0: []}
    for end in range(1, len(word) + 1):
        options = []
        for start in range(end):
            piece = ("##" if start else "") + word[start:end]
            if start in best and piece in vocab:
                options.append([*best[start], (piece, start, end)])
        if options:
            best[end] = min(options, key=len)
    return best.get(len(word), _unknown(word))


def _backtracking(word, vocab):
    def cut(start):
        if start == len(word):
            return []
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            rest = cut(end) if piece in vocab else None
            if rest is not None:
                return [(piece, start, end), *rest]
        return None

    spans = cut(0)
    return _unknown(word) if spans is None else spans


def _hashes_counted(word, vocab):
    spans, start = [], 0
    for piece, _, end in wordpiece_word(word, vocab):
        if piece == "[UNK]":
            return [(piece, 0, end)]
        spans.append((piece, start, start + len(piece)))
        start += len(piece)
    return spans


VOCAB = (
    "un|##aff|##able|##a|##b|##f|play|##ing|##s|##in|##g|the|##m|them|##self|"
    "##el|##selves|a|ab|abc|##bcd|##d|##e|##cd|b|##c|##i|##n|##l|##ves|##ffx"
)


def _cut(word):
    return lambda: (word, set(VOCAB.split("|")))


WORDPIECE_WORD_CASES = (
    Case("three pieces", _cut("unaffable")),
    Case("a piece that only starts words", _cut("unplay")),
    Case("the longest of several", _cut("themselves")),
    Case("an end that does not fit", _cut("playingx")),
    Case("greedy and long-sighted differ", _cut("abcde")),
    Case("greedy gets stuck", _cut("unaffx")),
    Case("a whole word", _cut("play")),
    Case("nothing", _cut("")),
    Case("a start that does not fit", _cut("xplay")),
)
WORDPIECE_WORD_MISTAKES = (
    Mistake(
        "only the rest of the word becomes [UNK]: one letter that does not "
        "fit, and the whole word is unknown",
        _unknown_rest,
    ),
    Mistake(
        "pieces that start words are used inside them: after the first, "
        "only ## pieces fit",
        _no_prefix,
    ),
    Mistake(
        "the shortest piece that fits is taken, not the longest", _shortest
    ),
    Mistake(
        "the cut with the fewest pieces is found: WordPiece takes the "
        "longest piece and never looks back",
        _fewest,
    ),
    Mistake(
        "a shorter piece is tried where the rest does not fit: WordPiece "
        "never looks back, and the word is [UNK]",
        _backtracking,
    ),
    Mistake(
        "the two signs ## count as letters: they are in the piece, not in "
        "the word",
        _hashes_counted,
    ),
)

WORDPIECE_WORD = Exercise(
    name="wordpiece-word",
    reference=wordpiece_word,
    cases=WORDPIECE_WORD_CASES,
    mistakes=WORDPIECE_WORD_MISTAKES,
)

# -- strip-accents: fn(text) -> str


def strip_accents(text):
    return "".join(
        char
        for char in unicodedata.normalize("NFD", text)
        if unicodedata.category(char) != "Mn"
    )


def _normal(form, keep):
    def strip(text):
        return "".join(filter(keep, unicodedata.normalize(form, text)))

    return strip


def _not_mark(char):
    return unicodedata.category(char) != "Mn"


STRIP_ACCENTS_CASES = (
    Case("French", lambda: ("déjà vu à l'œuvre",)),
    Case("an accent already apart", lambda: ("cafe\u0301",)),
    Case("no accent, not ASCII", lambda: ("Straße Łódź Ø 北京",)),
    Case("two accents on a letter", lambda: ("Việt Nam",)),
    Case("ligatures and raised digits", lambda: ("ﬁn x² №",)),
    Case("Hindi", lambda: ("हिन्दी",)),
    Case("Hindi vowel signs", lambda: ("में मैं",)),
    Case("Korean", lambda: ("각",)),
    Case("ASCII", lambda: ("plain",)),
)
STRIP_ACCENTS_MISTAKES = (
    Mistake(
        "everything that is not ASCII is dropped: Ł, ß and 北 are letters, "
        "not accents",
        _normal("NFD", str.isascii),
    ),
    Mistake(
        "marks are removed without decomposing first: é is one character and "
        "keeps its accent",
        lambda text: "".join(filter(_not_mark, text)),
    ),
    Mistake(
        "the text is composed first, with NFC: then each accent sits in its "
        "letter, and none is left to remove",
        _normal("NFC", _not_mark),
    ),
    Mistake(
        "what is left is composed again: the three letters of 각 stay apart",
        lambda text: unicodedata.normalize("NFC", strip_accents(text)),
    ),
    Mistake(
        "`unicodedata.combining` decides: it is 0 for the vowel sign े, which "
        "is of category Mn all the same",
        _normal("NFD", lambda c: not unicodedata.combining(c)),
    ),
    Mistake(
        "the compatible form NFKD is used: it also turns ﬁ into fi and ² "
        "into 2",
        _normal("NFKD", _not_mark),
    ),
    Mistake(
        "all marks are removed, the spacing ones too: the vowel sign ी is "
        "of category Mc and stays",
        _normal("NFD", lambda c: unicodedata.category(c)[0] != "M"),
    ),
)

STRIP_ACCENTS = Exercise(
    name="strip-accents",
    reference=strip_accents,
    cases=STRIP_ACCENTS_CASES,
    mistakes=STRIP_ACCENTS_MISTAKES,
)
