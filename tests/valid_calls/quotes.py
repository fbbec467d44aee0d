"""Right calls of `handmade.text.quotes`."""

from valid_calls import call

CALLS = {
    "text.quotes.sentences": lambda: call(
        play="Ber.\nLong live the king!", at_least=2
    ),
    "text.quotes.words_in": lambda: call(text="Long live the king!"),
}
