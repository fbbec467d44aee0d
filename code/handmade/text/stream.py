"""A text that comes in pieces, cut where cutting changes no id.

Tokens depend on what stands around them, so a file cannot be encoded line by
line: the line end belongs to a word too. What can be known is a place where
a word begins whatever follows, and which no added token reaches over.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from handmade.text import checks
from handmade.text import unicode_classes as classes
from handmade.text.added_tokens import AddedVocabulary, Part

CHUNK = 1 << 16  # characters that are encoded at once


def chunks(pieces: Iterable[str], cut: Callable[[str], int]) -> Iterator[str]:
    """Yield the pieces joined, in chunks that end where `cut` says.

    What is held is one chunk, or, where that is more, the longest stretch
    that cannot be cut; it is looked at again when it has doubled.
    """
    waiting, size, wanted = list[str](), 0, CHUNK
    for piece in pieces:
        checks.check_text(piece, "pieces")
        waiting.append(piece)
        size += len(piece)
        if size < wanted:
            continue
        text = "".join(waiting)
        at = cut(text)
        if at:
            yield text[:at]
        waiting, size = [text[at:]], len(text) - at
        wanted = max(CHUNK, 2 * size)
    yield "".join(waiting)


def safe_cut(
    text: str,
    added: AddedVocabulary,
    cut_before: str,
    *,
    allow_special: bool = True,
) -> int:
    """Return a late place where cutting changes no id, 0 for none.

    A word begins there whatever follows, and no added token reaches over
    the place or looks across it: the parts of both sides, joined, are the
    parts of the whole. What begins before the place must end in this text,
    so the length of the longest token is kept free behind it.
    """
    free = 1 + added.longest
    whole = added.split(text, allow_special)
    places = _places(cut_before).finditer(text, 0, len(text) - free)
    for place in reversed(deque(places, maxlen=16)):
        cut = place.start()
        left = added.split(text[:cut], allow_special)
        right = added.split(text[cut:], allow_special)
        if sum(len(p) if isinstance(p, str) else 1 for p in right) < free:
            continue
        if _together(left, right) == whole:
            return cut
    return 0


def _together(left: list[Part], right: list[Part]) -> list[Part]:
    """Return both lists as one; text that meets text is one text."""
    if left and right:
        a, b = left[-1], right[0]
        if isinstance(a, str) and isinstance(b, str):
            return [*left[:-1], a + b, *right[1:]]
    return left + right


@cache
def _places(cut_before: str) -> re.Pattern[str]:
    """Return the pattern of places where white space begins."""
    space = classes.pattern_class(classes.spaces())
    return re.compile(f"(?<=[^{space}])[{re.escape(cut_before)}]")
