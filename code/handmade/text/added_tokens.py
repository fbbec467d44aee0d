r"""Tokens that stand in a text as they are: found first, cut never.

A special token marks what text cannot say; an added one is a word that was
put into a vocabulary later. Both are searched before anything else happens
to the text, in two passes as the `tokenizers` library does it: those that
are not normalized in the raw text, then the others in the normalized pieces
between them, where the token is normalized too.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from handmade.text import checks
from handmade.text import unicode_classes as classes
from handmade.text.keys import NEEDED, Keys

Part = str | int  # text, or the id of a token found in it
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
KEYS = Keys(
    taken={
        "id": ((int,), NEEDED),
        "content": ((str,), NEEDED),
        **dict.fromkeys(FLAGS, ((bool,), NEEDED)),
    }
)


@dataclass(frozen=True, kw_only=True)
class AddedToken:
    """One token and its flags, as tokenizer.json has them.

    `special`: decoding can leave it out, `allow_special=False` takes it for
    text. `normalized`: it is searched in the normalized text. `single_word`:
    only where no letter or digit touches it. `lstrip`, `rstrip`: it takes
    the white space before or after it along.
    """

    id: int
    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = True


def read_added(found: Any, vocab: Mapping[str, int]) -> list[AddedToken]:
    """Return the tokens of a file's list; refuse ids that are not theirs.

    The library numbers them itself: a token of the vocabulary has the id
    that it has there, others go on from its end. A file that says otherwise
    means two different things to two programs.
    """
    if found is not None and not isinstance(found, list):
        raise ValueError(f"added_tokens: got {found!r}, want a list")
    tokens: list[AddedToken] = []
    last = -1
    for i, item in enumerate(found or []):
        token = AddedToken(**KEYS.read(item, f"added_tokens[{i}]"))
        known = vocab.get(token.content)
        want = max(len(vocab), last + 1) if known is None else known
        if token.id != want:
            raise ValueError(
                f"added_tokens[{i}].id: got {token.id} for "
                f"{token.content!r}, want {want}, the id it has or gets in "
                "the vocabulary"
            )
        last = max(last, want)
        tokens.append(token)
    return tokens


def all_added(
    vocab: Mapping[str, int],
    special_tokens: Mapping[str, int] | None,
    added_tokens: Iterable[AddedToken],
) -> list[AddedToken]:
    """Return special and added tokens in one list; refuse contradictions."""
    if special_tokens:
        checks.check_vocab(special_tokens, name="special_tokens")
    checks.check_several(added_tokens, "added_tokens")
    for token in added_tokens:
        if not isinstance(token, AddedToken):
            raise ValueError(
                f"added_tokens: got {checks.named(token)} among them, want "
                "AddedToken"
            )
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
        checks.check_whole(i, f"added_tokens: {text!r}", 0, checks.LARGEST_ID)
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


def write_added(tokens: Iterable[AddedToken]) -> list[dict[str, Any]]:
    """Return the file's list, by id."""
    return [asdict(token) for token in sorted(tokens, key=lambda t: t.id)]


class Finder:
    """Finds some tokens in a text: the leftmost, of these the longest."""

    def __init__(
        self,
        tokens: Iterable[AddedToken],
        normalize: Callable[[str], str] = str,
    ) -> None:
        self.tokens: dict[str, AddedToken] = {}
        for token in tokens:
            written = normalize(token.content)
            if not written:
                raise ValueError(
                    f"added_tokens: got {token.content!r}, want a token of "
                    "which normalization leaves something"
                )
            # which of two would be found changes from run to run in the
            # library: nobody can have meant it
            if written in self.tokens:
                raise ValueError(
                    f"added_tokens: got {token.content!r} and "
                    f"{self.tokens[written].content!r}, want tokens that "
                    "differ when normalized"
                )
            self.tokens[written] = token
        self.longest = max(map(len, self.tokens), default=0)
        ordered = sorted(self.tokens, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, ordered)))

    def split(self, text: str, allow_special: bool = True) -> list[Part]:
        """Return the text between tokens, and their ids, in order."""
        if not self.tokens or not text:
            return [text] if text else []
        parts: list[Part] = []
        done, spaces = 0, classes.spaces()
        for match in self.pattern.finditer(text):
            start, stop = match.span()
            token = self.tokens[match.group()]
            if token.special and not allow_special:
                continue
            if token.single_word and _touched(text, start, stop):
                continue
            if token.lstrip:
                while start > done and ord(text[start - 1]) in spaces:
                    start -= 1
            if token.rstrip:
                while stop < len(text) and ord(text[stop]) in spaces:
                    stop += 1
            if done < start:
                parts.append(text[done:start])
            parts.append(token.id)
            done = stop
        if done < len(text):
            parts.append(text[done:])
        return parts


def _touched(text: str, start: int, stop: int) -> bool:
    around = text[max(0, start - 1) : start] + text[stop : stop + 1]
    return any(ord(char) in classes.word_characters() for char in around)


class AddedVocabulary:
    """All added tokens of a tokenizer, found in two passes."""

    def __init__(
        self,
        tokens: Sequence[AddedToken],
        normalize: Callable[[str], str],
    ) -> None:
        self.normalize = normalize
        self.raw = Finder([t for t in tokens if not t.normalized])
        self.other = Finder([t for t in tokens if t.normalized], normalize)
        self.longest = max(self.raw.longest, self.other.longest)

    def parts(self, text: str, allow_special: bool) -> Iterator[Part]:
        """Yield the ids of added tokens, and normalized text between them."""
        for part in self.raw.split(text, allow_special):
            if isinstance(part, int):
                yield part
            else:
                part = self.normalize(part)
                yield from self.other.split(part, allow_special)

    def split(self, text: str, allow_special: bool) -> list[Part]:
        """Return the same, or the raw text where no token needs another."""
        if self.other.tokens:
            return list(self.parts(text, allow_special))
        return self.raw.split(text, allow_special)
