"""What the tokenizers of this folder share: encode, decode, batch, file.

A kind of tokenizer says how a text is normalized (`_normalize`) and falls
into words (`_words`), how a word becomes ids (`_word_ids`) and tokens a text
again (`_joined`), and what its tokenizer.json holds (`_describe`,
`_options`). The rest is here.
"""

import re
from collections import deque
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch

from handmade.text import added_tokens as added
from handmade.text import checks, hf_json, template
from handmade.text import unicode_classes as classes
from handmade.text.added_tokens import AddedToken, Finder

CACHED_WORDS = 100_000  # about 20 MB when full
CHUNK = 1 << 16  # characters of a stream that are encoded at once


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


class Batch(NamedTuple):
    """Texts as one rectangle, both int64 (B, T); the mask is 0 at padding."""

    ids: torch.Tensor
    attention_mask: torch.Tensor


class Tokenizer:
    """Text to ids and back, word by word.

    `vocab` maps the text of a token to its id; `special_tokens` (text -> id)
    and `added_tokens` (the same with flags) stay whole wherever they stand
    in a text. `before` and `after` are the tokens that `encode` puts around
    a text. With `decoder=False` decoding writes tokens as they are, with
    spaces between them, as the library does where a file names no decoder.
    """

    cut_before: ClassVar[str] = " "  # a stream may be cut before these

    def __init__(
        self,
        vocab: Mapping[str, int],
        special_tokens: Mapping[str, int] | None,
        added_tokens: Iterable[AddedToken],
        *,
        before: Sequence[str],
        after: Sequence[str],
        decoder: bool,
    ) -> None:
        self.vocab = dict(vocab)
        self.added_tokens = _all_added(vocab, special_tokens, added_tokens)
        self.special_tokens = {
            token.content: token.id
            for token in self.added_tokens
            if token.special
        }
        self.tokens = {i: text for text, i in self.vocab.items()}
        self.tokens |= {token.id: token.content for token in self.added_tokens}
        # decoding shows a normalized token as it is found: in small letters
        self._shown = self.tokens | {
            token.id: self._normalize(token.content)
            for token in self.added_tokens
            if token.normalized
        }
        self.decoder = checks.flag(decoder, "decoder")
        self.before = self._ids_of(before, "before")
        self.after = self._ids_of(after, "after")
        raw = [t for t in self.added_tokens if not t.normalized]
        other = [t for t in self.added_tokens if t.normalized]
        self._raw = Finder(raw)
        self._normalized = Finder(other, self._normalize)
        self._cache = WordCache(self._word_ids, CACHED_WORDS)

    def _normalize(self, text: str) -> str:
        return text

    def _words(self, text: str) -> Iterable[str]:
        raise NotImplementedError

    def _word_ids(self, word: str) -> Iterable[int]:
        raise NotImplementedError

    def _joined(self, ids: list[int]) -> str:
        raise NotImplementedError

    def _ids_of(self, names: Sequence[str], argument: str) -> list[int]:
        """Return the ids of tokens; refuse what is not in the vocabulary."""
        checks.check_several(names, argument)
        known = {text: i for i, text in self.tokens.items()}
        for name in names:
            if name not in known:
                raise ValueError(
                    f"{argument}: got {name!r}, want tokens of the vocabulary"
                )
        return [known[name] for name in names]

    @property
    def vocab_size(self) -> int:
        """Return the largest id + 1: the rows an embedding table needs."""
        return max(self.tokens) + 1

    # -- text to ids

    def encode(
        self,
        text: str,
        *,
        allow_special: bool = True,
        add_special: bool = True,
    ) -> list[int]:
        """Return the ids of a text, between the tokens `before` and `after`.

        Special tokens written in the text become one id. With
        `allow_special=False` they are text like any other, which is what
        text from a stranger should be; with `add_special=False` nothing is
        put around. Raises ValueError for a lone surrogate.
        """
        checks.check_text(text)
        _check_flags(allow_special, add_special)
        ids = self._encode(text, allow_special)
        if add_special and (self.before or self.after):
            return [*self.before, *ids, *self.after]
        return ids

    def _encode(self, text: str, allow_special: bool) -> list[int]:
        ids: list[int] = []
        ids_of = self._cache.__getitem__
        for part in self._parts(text, allow_special):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids.extend(chain.from_iterable(map(ids_of, self._words(part))))
        return ids

    def _parts(self, text: str, allow_special: bool) -> Iterator[str | int]:
        """Yield the ids of added tokens, and normalized text between them."""
        for part in self._raw.split(text, allow_special):
            if isinstance(part, int):
                yield part
            else:
                part = self._normalize(part)
                yield from self._normalized.split(part, allow_special)

    def encode_batch(
        self,
        texts: Iterable[str],
        *,
        pad_id: int | None = None,
        side: str = "right",
        allow_special: bool = True,
        add_special: bool = True,
    ) -> Batch:
        """Return the ids of several texts, filled up to one length.

        Rows shorter than the longest get `pad_id` on one `side`, "left" or
        "right". Raises ValueError where a row must be filled and there is
        nothing to fill it with.
        """
        checks.check_several(texts)
        _check_flags(allow_special, add_special)
        texts = list(texts)
        for text in texts:
            checks.check_text(text, "texts")
        if side not in ("left", "right"):
            raise ValueError(f"side: got {side!r}, want 'left' or 'right'")
        if pad_id is not None:
            checks.whole(pad_id, "pad_id", 0, self.vocab_size - 1)
        rows = [
            self.encode(
                text, allow_special=allow_special, add_special=add_special
            )
            for text in texts
        ]
        if not rows:
            raise ValueError("texts: got none, want at least one")
        lengths = [len(row) for row in rows]
        if pad_id is None and min(lengths) < max(lengths):
            raise ValueError(
                f"pad_id: got None, want the id that fills rows up: they "
                f"have {min(lengths)} to {max(lengths)} tokens"
            )
        ids = torch.full((len(rows), max(lengths)), pad_id or 0)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            n = len(row)
            here = slice(0, n) if side == "right" else slice(-n, None)
            if n:
                ids[i, here], mask[i, here] = torch.tensor(row), 1
        return Batch(ids, mask)

    def encode_iterable(
        self,
        pieces: Iterable[str],
        *,
        allow_special: bool = True,
        add_special: bool = True,
    ) -> Iterator[int]:
        """Yield the ids of a text that comes in pieces, such as a file.

        They are the ids of the pieces joined: `encode("".join(pieces))`.
        What is held is a chunk of 64 k characters, or, where that is more,
        the longest stretch that no white space lets us cut.
        """
        checks.check_several(pieces, "pieces")
        _check_flags(allow_special, add_special)
        return self._stream(pieces, allow_special, add_special)

    def _stream(
        self, pieces: Iterable[str], allow_special: bool, add_special: bool
    ) -> Iterator[int]:
        waiting, size, wanted = list[str](), 0, CHUNK
        yield from self.before if add_special else ()
        for piece in pieces:
            checks.check_text(piece, "pieces")
            waiting.append(piece)
            size += len(piece)
            if size < wanted:
                continue
            text = "".join(waiting)
            cut = self._safe_cut(text, allow_special)
            yield from self._encode(text[:cut], allow_special)
            waiting, size = [text[cut:]], len(text) - cut
            # where nothing could be cut, wait until there is twice as much
            wanted = max(CHUNK, 2 * size)
        yield from self._encode("".join(waiting), allow_special)
        yield from self.after if add_special else ()

    def _safe_cut(self, text: str, allow_special: bool) -> int:
        """Return a late place where cutting changes no id, 0 for none.

        A word begins there whatever follows, and no added token reaches
        over the place or looks across it: the parts of both sides, joined,
        are the parts of the whole. What begins before the place must end in
        this text, so a token's length is kept free behind it.
        """
        split = self._parts if self._normalized.tokens else self._raw.split
        free = 1 + max(self._raw.longest, self._normalized.longest)
        whole = list(split(text, allow_special))
        places = _places(self.cut_before).finditer(text, 0, len(text) - free)
        for place in reversed(deque(places, maxlen=16)):
            cut = place.start()
            left = list(split(text[:cut], allow_special))
            right = list(split(text[cut:], allow_special))
            if sum(len(p) if isinstance(p, str) else 1 for p in right) < free:
                continue
            if _together(left, right) == whole:
                return cut
        return 0

    # -- ids to text

    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """Return the text of ids: a list, a NumPy array or a tensor (T,).

        With `skip_special` special tokens are left out, and no other added
        ones. Raises ValueError for an id that is not in the vocabulary.
        """
        checks.flag(skip_special, "skip_special")
        listed = checks.plain_ids(ids)
        if not self.tokens.keys() >= set(listed):
            unknown = next(i for i in listed if i not in self.tokens)
            raise ValueError(
                f"ids: got {unknown!r}, want ids of the vocabulary, "
                f"0 to {self.vocab_size - 1}"
            )
        if skip_special:
            special, shown = self.special_tokens, self._shown
            listed = [i for i in listed if shown[i] not in special]
        if not self.decoder:
            return " ".join(map(self._shown.__getitem__, listed))
        return self._joined(listed)

    # -- the file

    def _describe(self) -> dict[str, Any]:
        """Return the parts of the file that are of this kind."""
        raise NotImplementedError

    @classmethod
    def _options(cls, parts: dict[str, Any]) -> dict[str, Any]:
        """Return the constructor's arguments from a file's parts."""
        raise NotImplementedError

    @classmethod
    def _vocab(cls, options: dict[str, Any]) -> Mapping[str, int]:
        """Return text -> id from the constructor's arguments, checked."""
        checks.check_vocab(options["vocab"])
        vocab: Mapping[str, int] = options["vocab"]
        return vocab

    def describe(self) -> dict[str, Any]:
        """Return the content of this tokenizer's file."""
        before, after = (
            [self.tokens[i] for i in ids] for ids in (self.before, self.after)
        )
        ids = {text: i for i, text in self.tokens.items()}
        described = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added.write(self.added_tokens),
            "normalizer": None,
            "pre_tokenizer": None,
            "post_processor": template.write(before, after, ids),
            **self._describe(),
        }
        if not self.decoder:
            described["decoder"] = None
        return described

    @classmethod
    def from_description(
        cls, described: dict[str, Any], *, ignore: Collection[str] = ()
    ) -> Self:
        """Make a tokenizer from a file's content; refuse what differs.

        `ignore` may hold "truncation" and "padding": what a file says of
        them is then passed over, since this class cuts and fills nothing.
        """
        parts = hf_json.parts(described, ignore)
        options = cls._options(parts)
        vocab = cls._vocab(options)
        tokens = added.read(parts["added_tokens"], vocab)
        names = {i: text for text, i in vocab.items()}
        names |= {token.id: token.content for token in tokens}
        before, after = template.read(parts["post_processor"], names)
        options |= {"added_tokens": tokens, "before": before, "after": after}
        return cls(**options)

    def save(self, path: str | Path) -> Path:
        """Write a tokenizer.json that `tokenizers` reads too."""
        return hf_json.save(path, self.describe())

    @classmethod
    def load(cls, path: str | Path, *, ignore: Collection[str] = ()) -> Self:
        """Read a tokenizer.json; a broken one is a ValueError naming it.

        `ignore` as in `from_description`.
        """
        described = hf_json.load(path)
        try:
            return cls.from_description(described, ignore=ignore)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def from_hf(cls, tokenizer: Any, *, ignore: Collection[str] = ()) -> Self:
        """Take over a Hugging Face tokenizer of this kind: identical ids.

        Raises ValueError where it does something this class does not.
        `ignore` as in `from_description`.
        """
        described = hf_json.description(tokenizer)
        return cls.from_description(described, ignore=ignore)


def _check_flags(allow_special: bool, add_special: bool) -> None:
    checks.flag(allow_special, "allow_special")
    checks.flag(add_special, "add_special")


def _all_added(
    vocab: Mapping[str, int],
    special_tokens: Mapping[str, int] | None,
    added_tokens: Iterable[AddedToken],
) -> list[AddedToken]:
    """Return special and added tokens in one list; refuse contradictions."""
    if special_tokens:
        checks.check_vocab(special_tokens, name="special_tokens")
    checks.check_several(added_tokens, "added_tokens")
    tokens = [
        AddedToken(id=i, content=text)
        for text, i in (special_tokens or {}).items()
    ]
    tokens += added_tokens
    owners = {i: text for text, i in vocab.items()}
    seen: set[str] = set()
    for token in tokens:
        text, i = token.content, token.id
        checks.check_text(text, "added_tokens")
        checks.whole(i, f"added_tokens: {text!r}", 0, checks.LARGEST_ID)
        if not text or text in seen:
            raise ValueError(
                f"added_tokens: got {text!r}, want texts, each once"
            )
        seen.add(text)
        if vocab.get(text, i) != i or owners.setdefault(i, text) != text:
            raise ValueError(
                f"added_tokens: got id {i} for {text!r}, want "
                f"{vocab.get(text, 'one that is free')}"
            )
    return tokens


def _together(
    left: list[str | int], right: list[str | int]
) -> list[str | int]:
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
