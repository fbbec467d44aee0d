"""Numbers in words, against lists written by hand and against each other."""

import pytest
from handmade.training.number_words import in_english, in_german

SAID = {
    1: ("one", "eins"),
    7: ("seven", "sieben"),
    11: ("eleven", "elf"),
    16: ("sixteen", "sechzehn"),
    20: ("twenty", "zwanzig"),
    21: ("twenty one", "ein und zwanzig"),
    47: ("forty seven", "sieben und vierzig"),
    70: ("seventy", "siebzig"),
    100: ("one hundred", "ein hundert"),
    101: ("one hundred one", "ein hundert eins"),
    312: ("three hundred twelve", "drei hundert zwölf"),
    1000: ("one thousand", "ein tausend"),
    1001: ("one thousand one", "ein tausend eins"),
    21_030: ("twenty one thousand thirty", "ein und zwanzig tausend dreißig"),
    101_001: (
        "one hundred one thousand one",
        "ein hundert ein tausend eins",
    ),
    999_999: (
        "nine hundred ninety nine thousand nine hundred ninety nine",
        "neun hundert neun und neunzig tausend neun hundert neun und neunzig",
    ),
}


@pytest.mark.parametrize("n", SAID)
def test_numbers_are_said_as_they_are(n):
    english, german = SAID[n]
    assert in_english(n) == english.split()
    assert in_german(n) == german.split()


@pytest.mark.parametrize("say", [in_english, in_german])
def test_no_two_numbers_are_said_alike(say):
    some = [*range(1, 12_000), *range(12_000, 1_000_000, 97)]
    assert len({tuple(say(n)) for n in some}) == len(some)


@pytest.mark.parametrize("n", [0, -1, 1_000_000, 1.5, True, "one"])
def test_others_are_refused(n):
    with pytest.raises(ValueError, match=r"n: got .*, want"):
        in_english(n)
    with pytest.raises(ValueError, match=r"n: got .*, want"):
        in_german(n)
