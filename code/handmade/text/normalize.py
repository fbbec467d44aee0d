"""What BERT does to a text before its vocabulary sees it.

Controls out, white space to spaces, a space around each Chinese character,
accents off, lower case; then cut at spaces and around punctuation. Most of
it cannot be undone: "Café" and "cafe" get the same ids. [devlin2019]

The order matters and is that of the `tokenizers` library. Left out: cased
models' settings.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache

from handmade.text import unicode_classes as classes
from handmade.text.checks import check_str

# what the authors of BERT took for Chinese: also Japanese kanji, no kana
CJK = """
3400-4DBF 4E00-9FFF F900-FAFF 20000-2A6DF 2A700-2B81F 2B920-2CEAF 2F800-2FA1F
"""


@cache
def _compiled(name: str) -> re.Pattern[str]:
    sets: dict[str, Callable[[], Iterable[int]]] = {
        "controls": classes.bert_controls,
        "spaces": classes.spaces,
        "chinese": lambda: classes.parse(CJK),
        "marks": classes.bert_marks,
        "unmoved": lambda: classes.parse(classes.UNMOVED_BY_BERT),
    }
    return re.compile(f"([{classes.pattern_class(sets[name]())}])")


def clean(text: str) -> str:
    """Remove controls and U+FFFD, turn white space into spaces."""
    check_str(text)
    return _compiled("spaces").sub(" ", _compiled("controls").sub("", text))


def space_chinese(text: str) -> str:
    """Put a space on both sides of each Chinese character."""
    check_str(text)
    return text if text.isascii() else _compiled("chinese").sub(r" \1 ", text)


def strip_accents(text: str) -> str:
    """Decompose (é to e + ´, 각 to three jamo), then remove the marks."""
    check_str(text)
    if text.isascii():
        return text
    parts = _compiled("unmoved").split(text)
    # every second part is a mark that the library's tables do not know
    parts[::2] = [unicodedata.normalize("NFD", part) for part in parts[::2]]
    return _compiled("marks").sub("", "".join(parts))


def lower(text: str) -> str:
    """Lower each character by itself: no final ς for a Σ."""
    check_str(text)
    if text.isascii():
        return text.lower()
    text = text.replace("Σ", "σ").translate(classes.LOWERCASE_SINCE_14)
    return text.lower()


def bert_normalize(text: str) -> str:
    """Return the text as an uncased BERT sees it."""
    check_str(text)
    return lower(strip_accents(space_chinese(clean(text))))


@cache
def _words() -> re.Pattern[str]:
    sign = classes.pattern_class(classes.bert_punctuation())
    space = classes.pattern_class(classes.spaces())
    return re.compile(f"[{sign}]|[^{sign}{space}]+")


def bert_words(text: str) -> list[str]:
    """Cut a normalised text at spaces and around each punctuation mark."""
    check_str(text)
    return _words().findall(text)
