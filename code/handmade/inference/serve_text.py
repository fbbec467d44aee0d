"""From tokens to text that may be sent: whole characters, no stop strings.

A byte-level token may end in the middle of a character, and a stop string
may begin in one token and end in a later one. So what a client is sent lags
behind what the model has said, by as little as it can.

Left out: log-probabilities, which would need each token's own place in it.
"""

from collections.abc import Callable, Sequence

HALF = "\ufffd"  # what a decoder puts where bytes are not yet a character


class Detokenizer:
    """Turn tokens into text, one at a time; never half a character.

    ``decode`` is a tokenizer's, from ids to text. Each step decodes the last
    piece again, with the new token after it: some tokenizers write a token
    differently at the beginning of a text, and the piece keeps it from
    standing there. All that ``push`` returns, and ``rest`` after it, is
    ``decode`` of all ids.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self.decode = decode
        self.ids: list[int] = []
        self.start = 0  # where the last piece begins
        self.read = 0  # where what has not been sent begins

    def push(self, token: int) -> str:
        """Take a token; return what can be sent, "" where nothing can."""
        self.ids.append(token)
        text = self._new()
        if not text or text.endswith(HALF):
            return ""
        self.start, self.read = self.read, len(self.ids)
        return text

    def rest(self) -> str:
        """Return what is left at the end, a broken last character included.

        A text cut by its length may end in half a character; it is shown as
        U+FFFD, as decoding all of it would.
        """
        text = self._new()
        self.start = self.read = len(self.ids)
        return text

    def _new(self) -> str:
        sent = self.decode(self.ids[self.start : self.read])
        return self.decode(self.ids[self.start :])[len(sent) :]


class StopStrings:
    """Let text pass until one of some strings stands in it.

    The one that is complete first counts, so where tokens happen to end
    changes nothing. What could still become a stop string is held back.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self.held = ""
        self.found = False

    def push(self, text: str) -> str:
        """Take new text; return what can no longer be part of a stop."""
        self.held += text
        ends = [
            (self.held.find(stop) + len(stop), -len(stop))
            for stop in self.stops
            if stop in self.held
        ]
        if ends:  # the first end; of two that end together, the longer one
            end, length = min(ends)
            self.found = True
            text, self.held = self.held[: end + length], ""
            return text
        keep = max(map(self._begun, self.stops), default=0)
        cut = len(self.held) - keep
        text, self.held = self.held[:cut], self.held[cut:]
        return text

    def rest(self) -> str:
        """Return what was held back in vain: the text has ended."""
        text, self.held = self.held, ""
        return text

    def _begun(self, stop: str) -> int:
        """Count the letters of a stop that the held text ends with."""
        longest = min(len(stop) - 1, len(self.held))
        return next(
            (n for n in range(longest, 0, -1) if self.held.endswith(stop[:n])),
            0,
        )


class TextStream:
    """Both in a row: tokens in, text that may be sent out."""

    def __init__(
        self, decode: Callable[[list[int]], str], stops: Sequence[str] = ()
    ) -> None:
        self._letters = Detokenizer(decode)
        self._stops = StopStrings(stops)

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come: nothing may follow."""
        return self._stops.found

    def push(self, token: int) -> str:
        """Take a token; return what can be sent."""
        return self._stops.push(self._letters.push(token))

    def rest(self) -> str:
        """Return what is left when no more tokens come."""
        text = self._stops.push(self._letters.rest())
        return text if self.stopped else text + self._stops.rest()
