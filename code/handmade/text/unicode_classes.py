"""The character classes of the tokenizers' Rust code, on any Python.

What counts as a letter depends on the edition of Unicode a program was built
with. Python 3.11 carries edition 14 and 3.13 edition 15.1; the `tokenizers`
library carries edition 16 in its regular expressions, 17 in Rust's standard
library, and one from 2015 in its BERT code. A tokenizer that asks Python
disagrees with the one its model was trained with, on a few thousand code
points. So each class here is Python's, plus and minus the ranges written out
below; a test compares every code point with the library.
"""

import sys
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache

# hexadecimal ranges: what editions 15 and 16 added to 14
LETTERS_SINCE_14 = """
1C89-1C8A A7CB-A7CD A7DA-A7DC 105C0-105F3 10D4A-10D65 10D6F-10D85
10EC2-10EC4 1123F-11240 11380-11389 1138B 1138E 11390-113B5 113B7 113D1
113D3 11BC0-11BE0 11F02 11F04-11F10 11F12-11F33 1342F 13441-13446
13460-143FA 16100-1611D 16D40-16D6C 18CFF 1B132 1B155 1DF25-1DF2A
1E030-1E06D 1E4D0-1E4EB 1E5D0-1E5ED 1E5F0 2B739 2EBF0-2EE5D 31350-323AF
"""
NUMBERS_SINCE_14 = """
10D40-10D49 116D0-116E3 11BF0-11BF9 11F50-11F59 16130-16139 16D70-16D79
1CCF0-1CCF9 1D2C0-1D2D3 1E4F0-1E4F9 1E5F1-1E5FA
"""
NUMBERS_OF_17 = "11DE0-11DE9 16FF4-16FF6"

# letters, marks, digits and joiners of Rust's \w that edition 14 lacks
WORD_CHARACTERS_SINCE_14 = """
897 CF3 ECE 10D40-10D49 10D69-10D6D 10EFC-10EFF 11241 113B8-113C0 113C2 113C5
113C7-113CA 113CC-113D0 113D2 113E1-113E2 116D0-116E3 11BF0-11BF9 11F00-11F01
11F03 11F34-11F3A 11F3E-11F42 11F50-11F5A 13440 13447-13455 1611E-16139
16D70-16D79 1CCF0-1CCF9 1E08F 1E4EC-1E4F9 1E5EE-1E5EF 1E5F1-1E5FA
"""
# circled and squared letters count as alphabetic, the two joiners besides
WORD_CHARACTERS_BY_PROPERTY = """
200C-200D 24B6-24E9 1F130-1F149 1F150-1F169 1F170-1F189
"""

# Unicode's White_Space; Python's \s has the separators 1C to 1F besides
SPACES = "9-D 20 85 A0 1680 2000-200A 2028-2029 202F 205F 3000"

# the BERT code knows no mark or punctuation younger than 2015
MARKS_UNKNOWN_TO_BERT = """
5C8-5C9 7FD 897-89F 8CA-8E1 9FE AFA-AFF B53-B55 C04 C3C D00 D3B-D3C D81 EBA
ECE 180F 1885-1886 1ABF-1AF0 1DF6-1DFB A82C A8C5 A8FF A9BD 10D24-10D27
10D69-10D6D 10EAB-10EAC 10ECB-10ECF 10EF0-10EFF 10F46-10F50 10F82-10F85 11070
11073-11074 110C2 111C9 111CF 1123E 11241 1133B 113BB-113C0 113CE 113D0 113D2
113E1-113E2 11438-1143F 11442-11444 11446 1145E 1182F-11837 11839-1183A
1193B-1193C 1193E 11943 119D4-119D7 119DA-119DB 119E0 11A01-11A0A 11A33-11A38
11A3B-11A3E 11A47 11A51-11A56 11A59-11A5B 11A8A-11A96 11A98-11A99 11B60
11B62-11B64 11B66 11C30-11C36 11C38-11C3D 11C3F 11C92-11CA7 11CAA-11CB0
11CB2-11CB3 11CB5-11CB6 11D31-11D36 11D3A 11D3C-11D3D 11D3F-11D45 11D47
11D90-11D91 11D95 11D97 11DF0 11EF3-11EF4 11F00-11F01 11F36-11F3A 11F40 11F42
11F5A 13440 13447-13455 1611E-16129 1612D-1612F 16F4F 16FE4 1CF00-1CF2D
1CF30-1CF46 1D127-1D128 1D25B-1D25C 1E000-1E006 1E008-1E018 1E01B-1E021
1E023-1E024 1E026-1E02A 1E08F 1E130-1E136 1E2AE 1E2EC-1E2EF 1E4EC-1E4EF
1E5EE-1E5EF 1E6E3 1E6E6 1E6EE-1E6EF 1E6F5 1E944-1E94A
"""
PUNCTUATION_UNKNOWN_TO_BERT = """
61D 9FD A76 C77 C84 1B4E-1B4F 1B7D-1B7F 2E43-2E4F 2E52-2E5D 2E60-2E63 10D6E
10EAD 10ED0 10F55-10F59 10F86-10F89 113D4-113D5 113D7-113D8 1144B-1144F
1145A-1145B 1145D 11660-1166C 116B9 1183B 11944-11946 119E2 11A3F-11A46
11A9A-11A9C 11A9E-11AA2 11B00-11B09 11BE1 11C41-11C45 11C70-11C71 11EF7-11EF8
11F43-11F4F 11FFF 12FF1-12FF2 16D6D-16D6F 16E97-16E9A 16FE2 1E5FF 1E95E-1E95F
"""
# its canonical decomposition is from 2019: these it leaves where they are
UNMOVED_BY_BERT = """
5C8-5C9 7FD 897-89F 8CA-8D3 9FE C3C D3B-D3C EBA 1715 1ABF-1AF0 1DF6-1DFA A82C
10D24-10D27 10D69-10D6D 10EAB-10EAC 10ECB-10ECF 10EF0-10EFB 10EFD-10EFF
10F46-10F50 10F82-10F85 11070 1133B 113CE-113D0 1145E 11839-1183A 11938
1193D-1193E 11943 119E0 11A34 11A47 11A99 11D42 11D44-11D45 11D97 11F41-11F42
1612F 16FF0-16FF1 1D127-1D128 1D250-1D252 1D25B-1D25C 1D25F 1D280-1D281 1E08F
1E130-1E136 1E2AE 1E2EC-1E2EF 1E4EC-1E4EF 1E5EE-1E5EF 1E6E3 1E6E6 1E6EE-1E6EF
1E6F5
"""
CONTROLS_UNKNOWN_TO_BERT = "890-891 8E2 110CD 13430-1343F"

# capital -> small letter, pairs that edition 14 does not have
LOWERCASE_SINCE_14 = {
    **{i: i + 1 for i in (0x1C89, 0xA7CC, 0xA7CE, 0xA7D2, 0xA7D4, 0xA7DA)},
    **{i: i + 0x20 for i in range(0x10D50, 0x10D66)},
    **{i: i + 0x1B for i in range(0x16EA0, 0x16EB9)},
    0xA7CB: 0x264,
    0xA7DC: 0x19B,
}

Ranges = tuple[tuple[int, int], ...]  # first and last, both in


def parse(text: str) -> set[int]:
    """Return the code points of a text such as "9-D 20"."""
    points: set[int] = set()
    for item in text.split():
        first, _, last = item.partition("-")
        points.update(range(int(first, 16), int(last or first, 16) + 1))
    return points


def ranges(points: Iterable[int]) -> Ranges:
    """Return code points as sorted runs (first, last)."""
    runs: list[list[int]] = []
    for point in sorted(points):
        if runs and runs[-1][1] == point - 1:
            runs[-1][1] = point
        else:
            runs.append([point, point])
    return tuple((first, last) for first, last in runs)


@cache
def _everything() -> str:
    return "".join(map(chr, range(sys.maxunicode + 1)))


def _where(test: Callable[[str], bool]) -> set[int]:
    return {i for i, ok in enumerate(map(test, _everything())) if ok}


def _of_category(*wanted: str) -> set[int]:
    """Return the code points of some categories: "Mn", or "P" for all P*."""
    found = enumerate(map(unicodedata.category, _everything()))
    return {i for i, name in found if name in wanted or name[0] in wanted}


@cache
def letters() -> frozenset[int]:
    r"""Return \p{L}."""
    return frozenset(_where(str.isalpha) | parse(LETTERS_SINCE_14))


@cache
def numbers() -> frozenset[int]:
    r"""Return \p{N}."""
    return frozenset(_of_category("N") | parse(NUMBERS_SINCE_14))


@cache
def rust_numbers() -> frozenset[int]:
    """Return what Rust's char::is_numeric accepts."""
    return numbers() | parse(NUMBERS_OF_17)


@cache
def word_characters() -> frozenset[int]:
    r"""Return what \w of Rust's regular expressions accepts."""
    return frozenset(
        letters()
        | _of_category("M", "Nd", "Nl", "Pc")
        | parse(WORD_CHARACTERS_SINCE_14)
        | parse(WORD_CHARACTERS_BY_PROPERTY)
    )


@cache
def spaces() -> frozenset[int]:
    r"""Return \s as Unicode has it."""
    return frozenset(parse(SPACES))


@cache
def bert_marks() -> frozenset[int]:
    """Return the accents that the BERT normaliser strips."""
    return frozenset(
        (_of_category("Mn") | {0x1734}) - parse(MARKS_UNKNOWN_TO_BERT)
    )


@cache
def bert_punctuation() -> frozenset[int]:
    """Return what BERT splits off: punctuation, and ASCII's symbols too."""
    known = _of_category("P") | {0x166D, 0x111C9}
    ascii_symbols = {ord(char) for char in "$+<=>^`|~"}
    return frozenset(
        (known | ascii_symbols) - parse(PUNCTUATION_UNKNOWN_TO_BERT)
    )


@cache
def bert_controls() -> frozenset[int]:
    """Return what the BERT normaliser removes: controls and U+FFFD."""
    kept = parse(CONTROLS_UNKNOWN_TO_BERT) | {0x9, 0xA, 0xD}
    return frozenset((_of_category("Cc", "Cf", "Co") | {0xFFFD}) - kept)


def pattern_class(points: Iterable[int]) -> str:
    """Return the inside of a [...] of `re` for these code points."""
    return "".join(f"\\U{a:08x}-\\U{b:08x}" for a, b in ranges(points))
