"""What the tokenizers of this folder share: specials, cache, file.

A kind of tokenizer says how a text falls into words (`_words`), how a word
becomes ids (`_word_ids`), and what its tokenizer.json holds (`describe`,
`from_description`). The rest is here.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Self

from handmade.text import hf_json

CACHED_WORDS = 100_000  # about 20 MB when full


class WordCache(dict):
    """word -> ids, computed at the first look-up; emptied when full.

    English is so repetitive that nine words in ten are found here. Long
    words are rare and large, so they are not kept.
    """

    def __init__(self, compute, size: int, longest: int = 64) -> None:
        super().__init__()
        self.compute, self.size, self.longest = compute, size, longest

    def __missing__(self, word: str) -> tuple[int, ...]:
        ids = tuple(self.compute(word))
        if len(word) <= self.longest:
            if len(self) >= self.size:
                self.clear()
            self[word] = ids
        return ids


class Tokenizer:
    """Text to ids, word by word; `special_tokens` (text -> id) stay whole."""

    def __init__(self, special_tokens: Mapping[str, int] | None) -> None:
        self.special_tokens = dict(special_tokens or {})
        self._find_special = hf_json.special_splitter(self.special_tokens)
        self._cache = WordCache(self._word_ids, CACHED_WORDS)

    def _words(self, text: str) -> Iterable[str]:
        raise NotImplementedError

    def _word_ids(self, word: str) -> Iterable[int]:
        raise NotImplementedError

    def encode(self, text: str, *, allow_special: bool = True) -> list[int]:
        """Return the ids of a text; special tokens in it become one id.

        With `allow_special=False` they are text like any other, which is
        what text from a stranger should be. Raises ValueError for a lone
        surrogate.
        """
        hf_json.check_text(text)
        ids_of, find = self._cache.__getitem__, self._find_special
        if not allow_special or find is None or not find.search(text):
            return list(chain.from_iterable(map(ids_of, self._words(text))))
        ids: list[int] = []
        for i, part in enumerate(find.split(text)):
            if i % 2:
                ids.append(self.special_tokens[part])
            else:
                ids.extend(chain.from_iterable(map(ids_of, self._words(part))))
        return ids

    def describe(self) -> dict:
        """Return the content of this tokenizer's file."""
        raise NotImplementedError

    @classmethod
    def from_description(cls, described: dict) -> Self:
        """Make a tokenizer from a file's content; refuse what differs."""
        raise NotImplementedError

    def save(self, path: str | Path) -> Path:
        """Write a tokenizer.json that `tokenizers` reads too."""
        added = hf_json.added_tokens(self.special_tokens)
        head = {"version": "1.0", "added_tokens": added}
        return hf_json.save(path, head | self.describe())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a tokenizer.json; a broken one is a ValueError naming it."""
        described = hf_json.load(path)
        try:
            return cls.from_description(described)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def from_hf(cls, tokenizer: Any) -> Self:
        """Take over a Hugging Face tokenizer of this kind: identical ids.

        Raises ValueError where it does something this class does not.
        Truncation and padding are not taken over: nothing is cut here.
        """
        return cls.from_description(hf_json.description(tokenizer))
