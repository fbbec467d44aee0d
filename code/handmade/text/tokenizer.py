"""What the tokenizers of this folder share: encode, decode, batch, file.

A kind of tokenizer says how a text is normalized (`_normalize`) and falls
into words (`_words`), how a word becomes ids (`_word_ids`) and tokens a text
again (`_joined`), and what its tokenizer.json holds (`_describe`,
`_options`). The rest is here.
"""

from collections.abc import (
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Self

from handmade.text import added_tokens as added
from handmade.text import checks, hf_json, template
from handmade.text.added_tokens import AddedToken, AddedVocabulary
from handmade.text.batch import Batch, fill_up
from handmade.text.stream import chunks, safe_cut
from handmade.text.word_cache import CACHED_WORDS, WordCache


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
        tokens = added.all_added(vocab, special_tokens, added_tokens)
        self.added_tokens = tokens
        self.special_tokens = {t.content: t.id for t in tokens if t.special}
        self.tokens = {i: text for text, i in self.vocab.items()}
        self.tokens |= {token.id: token.content for token in tokens}
        # decoding shows a normalized token as it is found: in small letters
        self._shown = self.tokens | {
            t.id: self._normalize(t.content) for t in tokens if t.normalized
        }
        self.decoder = checks.check_flag(decoder, "decoder")
        self.before = self._ids_of(before, "before")
        self.after = self._ids_of(after, "after")
        self._added = AddedVocabulary(tokens, self._normalize)
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
        for part in self._added.parts(text, allow_special):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids.extend(chain.from_iterable(map(ids_of, self._words(part))))
        return ids

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
        if pad_id is not None:
            checks.check_whole(pad_id, "pad_id", 0, self.vocab_size - 1)
        rows = [
            self.encode(
                text, allow_special=allow_special, add_special=add_special
            )
            for text in texts
        ]
        return fill_up(rows, pad_id, side)

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
        def cut(text: str) -> int:
            return safe_cut(
                text,
                self._added,
                self.cut_before,
                allow_special=allow_special,
            )

        yield from self.before if add_special else ()
        for chunk in chunks(pieces, cut):
            yield from self._encode(chunk, allow_special)
        yield from self.after if add_special else ()

    # -- ids to text

    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """Return the text of ids: a list, a NumPy array or a tensor (T,).

        With `skip_special` special tokens are left out, and no other added
        ones. Raises ValueError for an id that is not in the vocabulary.
        """
        checks.check_flag(skip_special, "skip_special")
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
            "added_tokens": added.write_added(self.added_tokens),
            "normalizer": None,
            "pre_tokenizer": None,
            "post_processor": template.write_template(before, after, ids),
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
        parts = hf_json.file_parts(described, ignore)
        options = cls._options(parts)
        vocab = cls._vocab(options)
        tokens = added.read_added(parts["added_tokens"], vocab)
        names = {i: text for text, i in vocab.items()}
        names |= {token.id: token.content for token in tokens}
        before, after = template.read_template(parts["post_processor"], names)
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
        hf_json.check_ignore(ignore)
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
    checks.check_flag(allow_special, "allow_special")
    checks.check_flag(add_special, "add_special")
