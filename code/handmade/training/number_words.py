"""Numbers in words: two languages in which to try a model that translates.

English says 47 as forty-seven and German as sieben und vierzig: the units
first. So does a translation of one into the other have to look back and
forth, and every number below a million is one to test it with. Left out:
hyphens, and German's habit of writing a number as one long word.
"""

from handmade import checks

ENGLISH = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight",
    "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen",
    "sixteen", "seventeen", "eighteen", "nineteen", "twenty", "thirty",
    "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
]  # fmt: skip
GERMAN = [
    "null", "ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht",
    "neun", "zehn", "elf", "zwölf", "dreizehn", "vierzehn", "fünfzehn",
    "sechzehn", "siebzehn", "achtzehn", "neunzehn", "zwanzig", "dreißig",
    "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig",
]  # fmt: skip


def in_english(n: int) -> list[str]:
    """Say a number from 1 to 999,999: 47 is forty, seven.

    Raises ValueError for any other.
    """
    _check(n)
    words = []
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if n >= size:
            words += [*in_english(n // size), name]
            n %= size
    if n >= 20:
        words.append(ENGLISH[18 + n // 10])
        n %= 10
    return [*words, ENGLISH[n]] if n else words


def in_german(n: int) -> list[str]:
    """Say a number from 1 to 999,999: 47 is sieben, und, vierzig.

    Raises ValueError for any other.
    """
    _check(n)
    words = []
    for size, name in ((1000, "tausend"), (100, "hundert")):
        if n >= size:
            before = in_german(n // size)
            # one thousand is ein tausend, though one alone is eins
            words += [*before[:-1], before[-1].replace("eins", "ein"), name]
            n %= size
    units, tens = n % 10, GERMAN[18 + n // 10]
    if n > 20 and units:
        return [*words, GERMAN[units], "und", tens]
    if n >= 20:
        return [*words, tens]
    last = "eins" if n == 1 else GERMAN[n]
    return [*words, last] if n else words


def _check(n: int) -> None:
    checks.whole("n", n)
    checks.need(n < 1_000_000, "n", n, "less than 1,000,000")
