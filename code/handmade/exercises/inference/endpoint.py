"""The exercises of the page on an endpoint: text that may be sent, and cards.

Text comes as the bytes of tokens, or as pieces of it that are whole.
"""

import codecs
import math
from collections.abc import Callable
from itertools import pairwise

from handmade.exercises.core import Case, Exercise, Mistake
from handmade.inference.serve_text import StopStrings

# -- half-character: fn(tokens: list of bytes) -> list of str, one a token


def _whole_characters(tokens):
    decoder = codecs.getincrementaldecoder("utf-8")()
    return [decoder.decode(token) for token in tokens]


def _all_or_nothing(tokens):
    """Send the bytes that are left only where all of them are characters."""
    left, pieces = b"", []
    for token in tokens:
        left += token
        try:
            pieces.append(left.decode())
            left = b""
        except UnicodeDecodeError:
            pieces.append("")
    return pieces


def _said_again(tokens):
    """Send all of the text each time."""
    data = b"".join(tokens)
    ends = [len(b"".join(tokens[: i + 1])) for i in range(len(tokens))]
    return [data[:end].decode(errors="ignore") for end in ends]


def _cut(text: str, *ends: int) -> Callable:
    """A recipe: the bytes of a text, cut at these places."""
    data = text.encode()
    bounds = [0, *ends, len(data)]
    tokens = [data[a:b] for a, b in pairwise(bounds)]
    return lambda: ([*tokens],)


HALF_CHARACTER = Exercise(
    name="half-character",
    reference=_whole_characters,
    cases=(
        Case("letters", _cut("The sky is", 3, 7)),
        Case("a character in one token", _cut("né à", 1, 3)),
        Case("a character in two tokens", _cut("漢字", 2, 3)),
        Case("a character in four tokens", _cut("a🦙b", 2, 3, 4)),
        Case("a letter and half a character", _cut("ok 🦙.", 5, 7)),
        Case("the end of one and a half", _cut("漢字é", 2, 4, 7)),
        Case("no token", lambda: ([],)),
    ),
    mistakes=(
        Mistake(
            "each token is decoded alone, and what is half a character is "
            "shown as U+FFFD, twice or more",
            lambda tokens: [t.decode(errors="replace") for t in tokens],
        ),
        Mistake(
            "each token is decoded alone, and bytes that are no character "
            "by themselves are thrown away: the character never comes",
            lambda tokens: [t.decode(errors="ignore") for t in tokens],
        ),
        Mistake(
            "bytes are sent only where all that are left are characters: a "
            "letter before half a character waits for the other half",
            _all_or_nothing,
        ),
        Mistake(
            "all of the text is sent with each token, where the client adds "
            "up the pieces",
            _said_again,
        ),
        Mistake(
            "each byte is taken for a character, which is Latin-1",
            lambda tokens: [t.decode("latin-1") for t in tokens],
        ),
    ),
)


# -- stop-string: fn(pieces, stop) -> list of str, one a piece and the rest


def _until_stop(pieces, stop):
    strings = StopStrings([stop])
    sent = ["" if strings.found else strings.push(piece) for piece in pieces]
    return [*sent, strings.rest()]


def _each_alone(pieces, stop):
    """Look for the stop string in each piece by itself."""
    sent, over = [], False
    for piece in pieces:
        sent.append("" if over else piece.partition(stop)[0])
        over = over or stop in piece
    return [*sent, ""]


def _nothing_held(pieces, stop):
    """Send at once; end where the text so far has the stop string."""
    sent, text = [], ""
    for piece in pieces:
        end = text.find(stop)
        new = "" if end >= 0 else piece
        text += piece
        end = text.find(stop)
        if new and end >= 0:
            new = new[: max(end - (len(text) - len(piece)), 0)]
        sent.append(new)
    return [*sent, ""]


def _always_held(pieces, stop):
    """Keep as many letters back as a stop string could need."""
    sent, text, done = [], "", 0
    for piece in pieces:
        text += piece
        end = text.find(stop)
        if end < 0:
            end = max(len(text) - len(stop) + 1, done)
        sent.append(text[done:end])
        done = max(done, end)
    return [*sent, "" if stop in text else text[done:]]


def _never_let_go(pieces, stop):
    return [*_until_stop(pieces, stop)[:-1], ""]


def _stop_shown(pieces, stop):
    """Send the stop string too, with the piece that completes it."""
    sent, text = _until_stop(pieces, stop), ""
    for i, piece in enumerate(pieces):
        text += piece
        if stop in text:
            sent[i] += stop
            break
    return sent


def _at_the_end(pieces, stop):
    return ["" for _ in pieces] + ["".join(pieces).partition(stop)[0]]


STOP_STRING = Exercise(
    name="stop-string",
    reference=_until_stop,
    cases=(
        Case("none comes", lambda: (["The", " sky", " is"], "##")),
        Case("within a piece", lambda: (["Yes", ". User", ": no"], ". ")),
        Case("over two pieces", lambda: (["Yes", "\n", "\nUser"], "\n\n")),
        Case(
            "over four pieces",
            lambda: (["I", " say", " E", "N", "D", " not"], " END"),
        ),
        Case(
            "a beginning that comes to nothing",
            lambda: (["a\n", "b\n", "c"], "\n\n"),
        ),
        Case(
            "a beginning within a beginning",
            lambda: (["x a", "a", "ab", "y"], "aab"),
        ),
        Case("text that ends in a beginning", lambda: (["a", "b#"], "##")),
        Case("a second one", lambda: (["a##", "b##", "c"], "##")),
        Case("nothing at all", lambda: ([], "##")),
    ),
    mistakes=(
        Mistake(
            "each piece is looked at alone: a stop string over two of them "
            "is not seen, and the text goes on",
            _each_alone,
        ),
        Mistake(
            "nothing is held back: the beginning of the stop string has been "
            "sent when its end comes",
            _nothing_held,
        ),
        Mistake(
            "as many letters are held back as the stop string could need, "
            "whether they begin it or not: all text comes late",
            _always_held,
        ),
        Mistake(
            "what is held back at the end of the text is never sent",
            _never_let_go,
        ),
        Mistake("the stop string itself is sent", _stop_shown),
        Mistake(
            "all is held back to the end, and nothing streams",
            _at_the_end,
        ),
    ),
)


# -- how-many-cards: fn(weights, user, users, card, share) -> int


def _doubled(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def _cards(weights, user, users, card, share):
    return _doubled(math.ceil((weights + users * user) / (share * card)))


def _copied(weights, user, users, card, share):
    """Put all the weights on each card; 0 where that leaves no room."""
    left = share * card - weights
    return _doubled(math.ceil(users * user / left)) if left > 0 else 0


CARDS = Exercise(
    name="how-many-cards",
    reference=_cards,
    cases=(
        Case("one card", lambda: (20, 1, 10, 80, 0.75)),
        Case("exactly one card", lambda: (20, 2, 20, 80, 0.75)),
        Case("two, for the users", lambda: (20, 2, 24, 80, 0.75)),
        Case("two, for the weights", lambda: (90, 1, 20, 80, 0.75)),
        Case("few users, long texts", lambda: (50, 20, 5, 80, 0.75)),
        Case("three would do", lambda: (140, 2, 15, 80, 0.75)),
        Case("many users", lambda: (140, 3, 300, 80, 0.75)),
        Case("nobody yet", lambda: (140, 3, 0, 80, 0.75)),
        Case("all of each card", lambda: (60, 1, 20, 80, 1.0)),
    ),
    mistakes=(
        Mistake(
            "the users' keys and values are left out: it fits, and serves "
            "nobody",
            lambda w, user, n, card, share: _cards(w, 0, n, card, share),
        ),
        Mistake(
            "keys and values are counted for one user, not for all",
            lambda w, user, n, card, share: _cards(w, user, 1, card, share),
        ),
        Mistake(
            "the whole card is counted on, the share that may be used is not",
            lambda w, user, n, card, share: _cards(w, user, n, card, 1.0),
        ),
        Mistake(
            "each card holds all of the weights: that is replicas, not a "
            "model that is split",
            _copied,
        ),
        Mistake(
            "the number is not a power of two, and the heads cannot be dealt "
            "out evenly",
            lambda w, user, n, card, share: math.ceil(
                (w + n * user) / (share * card)
            ),
        ),
        Mistake(
            "what fits exactly is said not to fit",
            lambda w, user, n, card, share: _doubled(
                math.floor((w + n * user) / (share * card)) + 1
            ),
        ),
        Mistake(
            "the keys and values of all users are counted on each card, "
            "though they are split with the heads",
            lambda w, user, n, card, share: (
                _doubled(math.ceil(w / (share * card - n * user)))
                if share * card > n * user
                else 0
            ),
        ),
    ),
)
