r"""Cut text into words, before any merge: GPT-2's pattern, on bytes.

Byte-level BPE never merges across the cuts this makes: a run of letters, a
run of digits or a run of signs, each with the one space in front of it; and
English contractions ('s, 'll) by themselves. [radford2019]

The pattern is GPT-2's, with its classes spelled out, because `re` has no
\p{L}. Left out: every later pattern (cl100k, Llama 3), which differ in how
they cut digits and contractions.
"""

import re
from collections.abc import Callable
from functools import cache

from handmade.text import unicode_classes as classes
from handmade.text.checks import check_flag, check_str, check_whole

LAST_OF_BMP = 0xFFFF


def byte_alphabet() -> dict[int, str]:
    """Return byte -> the printable character that stands for it.

    GPT-2's trick: bytes that print stand for themselves, the other 68 are
    numbered from U+0100 on, so a space (32) is written Ġ (U+0120). A
    vocabulary of bytes can then be stored as plain text.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {byte: chr(byte) for byte in printable}
    alphabet |= {byte: chr(256 + i) for i, byte in enumerate(others)}
    return alphabet


def splitter(split_digits: bool = False) -> Callable[[str], list[str]]:
    """Return the function text -> words; the words join to the text.

    With `split_digits` every digit is a word, as SmolLM2 wants it.
    """
    return _splitter(check_flag(split_digits, "split_digits"))


@cache
def _splitter(split_digits: bool) -> Callable[[str], list[str]]:
    # a class that ends at U+FFFF is a look-up table for `re`, one that goes
    # on is searched range by range: rare characters get the slow pattern
    fast = re.compile(gpt2_pattern(split_digits, LAST_OF_BMP))
    beyond = re.compile("[\U00010000-\U0010ffff]")

    @cache
    def slow() -> re.Pattern[str]:
        return re.compile(gpt2_pattern(split_digits))

    def split(text: str) -> list[str]:
        check_str(text)
        if text.isascii() or not beyond.search(text):
            return fast.findall(text)
        return slow().findall(text)

    return split


def gpt2_pattern(split_digits: bool, last: int = 0x10FFFF) -> str:
    r"""Return GPT-2's pattern over code points up to `last`.

    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

    Where digits are cut first, the end of a piece is also the end of its
    white space, so a digit counts as an end in the look-ahead.
    """
    check_flag(split_digits, "split_digits")
    check_whole(last, "last", 0, 0x10FFFF)
    digits = classes.rust_numbers() if split_digits else classes.numbers()
    L = _class(classes.letters(), last)
    N = _class(digits, last)
    s = _class(classes.spaces(), last)
    numbers = f"[{N}]" if split_digits else f" ?[{N}]+"
    ends = s + N if split_digits else s
    return (
        f" ?[{L}]+|'(?:[stmd]|re|ve|ll)|{numbers}"
        f"| ?[^{s}{L}{N}]+|[{s}]+(?![^{ends}])|[{s}]+"
    )


def _class(points: frozenset[int], last: int) -> str:
    return classes.pattern_class(point for point in points if point <= last)
