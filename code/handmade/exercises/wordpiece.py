"""The exercises on WordPiece: cut greedily, and strip accents.

`vocab` is a set of pieces; those inside a word begin with ##.
"""

import unicodedata

from handmade.exercises.core import Case, Exercise, Mistake

# -- wordpiece-word: fn(word, vocab) -> list[str]


def wordpiece_word(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        for end in range(len(word), start, -1):
            if prefix + word[start:end] in vocab:
                pieces.append(prefix + word[start:end])
                start = end
                break
        else:
            return ["[UNK]"]
    return pieces


def _unknown_rest(word, vocab):
    for end in range(len(word), 0, -1):
        pieces = wordpiece_word(word[:end], vocab)
        if pieces != ["[UNK]"]:
            return pieces if end == len(word) else [*pieces, "[UNK]"]
    return ["[UNK]"] if word else []


def _no_prefix(word, vocab):
    bare = {piece.removeprefix("##") for piece in vocab}
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            if word[start:end] in bare:
                pieces.append(("##" if start else "") + word[start:end])
                start = end
                break
        else:
            return ["[UNK]"]
    return pieces


def _shortest(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        for end in range(start + 1, len(word) + 1):
            if prefix + word[start:end] in vocab:
                pieces.append(prefix + word[start:end])
                start = end
                break
        else:
            return ["[UNK]"]
    return pieces


def _fewest(word, vocab):
    best = {0: []}
    for end in range(1, len(word) + 1):
        options = []
        for start in range(end):
            piece = ("##" if start else "") + word[start:end]
            if start in best and piece in vocab:
                options.append([*best[start], piece])
        if options:
            best[end] = min(options, key=len)
    return best.get(len(word), ["[UNK]"])


VOCAB = (
    "un|##aff|##able|##a|##b|##f|play|##ing|##s|##in|##g|the|##m|them|##self|"
    "##el|##selves|a|ab|abc|##bcd|##d|##e|##cd|b|##c|##i|##n|##l|##ves"
)


def _cut(word):
    return lambda: (word, set(VOCAB.split("|")))


WORDPIECE_WORD = (
    Case("three pieces", _cut("unaffable")),
    Case("a piece that only starts words", _cut("unplay")),
    Case("the longest of several", _cut("themselves")),
    Case("an end that does not fit", _cut("playingx")),
    Case("greedy and long-sighted differ", _cut("abcde")),
    Case("greedy gets stuck", _cut("abcdb")),
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


STRIP_ACCENTS = (
    Case("French", lambda: ("déjà vu à l'œuvre",)),
    Case("an accent already apart", lambda: ("cafe\u0301",)),
    Case("no accent, not ASCII", lambda: ("Straße Łódź Ø 北京",)),
    Case("two accents on a letter", lambda: ("Việt Nam",)),
    Case("ligatures and raised digits", lambda: ("ﬁn x² №",)),
    Case("Hindi", lambda: ("हिन्दी",)),
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
        _normal("NFC", _not_mark),
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

EXERCISES = (
    Exercise(
        name="wordpiece-word",
        reference=wordpiece_word,
        cases=WORDPIECE_WORD,
        mistakes=WORDPIECE_WORD_MISTAKES,
    ),
    Exercise(
        name="strip-accents",
        reference=strip_accents,
        cases=STRIP_ACCENTS,
        mistakes=STRIP_ACCENTS_MISTAKES,
    ),
)
