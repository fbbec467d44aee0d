"""Words that were cut before are not cut again."""

from collections.abc import Callable, Iterable

CACHED_WORDS = 100_000  # about 20 MB when full


class WordCache(dict[str, tuple[int, ...]]):
    """word -> ids, computed at the first look-up; emptied when full.

    English is so repetitive that nine words in ten are found here. Long
    words are rare and large, so they are not kept.
    """

    def __init__(
        self,
        compute: Callable[[str], Iterable[int]],
        size: int,
        longest: int = 64,
    ) -> None:
        super().__init__()
        self.compute, self.size, self.longest = compute, size, longest

    def __missing__(self, word: str) -> tuple[int, ...]:
        ids = tuple(self.compute(word))
        if len(word) <= self.longest:
            if len(self) >= self.size:
                self.clear()
            self[word] = ids
        return ids
