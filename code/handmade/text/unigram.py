"""Unigram: the likeliest way to cut a text into pieces of a vocabulary.

Every piece has a log-probability; a cut's score is the sum over its pieces.
Dynamic programming finds the best of all cuts: the best way to reach a
position is the best way to reach an earlier one, plus one piece. [kudo2018]

Left out: sampling other cuts (subword regularisation), the compiled
normaliser of SentencePiece files, and offsets.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from handmade.text import checks, unigram_json
from handmade.text.added_tokens import AddedToken
from handmade.text.tokenizer import Tokenizer
from handmade.text.unigram_json import SPACE
from handmade.text.unigram_train import learn_pieces

UNKNOWN_PENALTY = 10.0  # an unknown character, below the worst piece
BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")  # a piece that spells one byte


class UnigramTokenizer(Tokenizer):
    """Pieces with log-probabilities; the best cut is found by Viterbi.

    `pieces` are (text, log-probability) in the order of their ids;
    `special_tokens` maps text that is never cut to its id. Words are cut
    before spaces, and a space is written ▁; with `prepend` the first word
    gets one too. With `byte_fallback` an unknown character is spelled by
    the pieces <0x00> to <0xFF>, and decoding (`join_bytes`) reads them as
    UTF-8. Without `unknown_id` an unknown character is an error.
    """

    def __init__(
        self,
        pieces: Sequence[tuple[str, float]],
        special_tokens: Mapping[str, int] | None = None,
        *,
        unknown_id: int | None = 0,
        prepend: bool = True,
        byte_fallback: bool = False,
        join_bytes: bool | None = None,
        added_tokens: Iterable[AddedToken] = (),
        before: Sequence[str] = (),
        after: Sequence[str] = (),
        decoder: bool = True,
    ) -> None:
        self.pieces = _scored(pieces)
        vocab = {text: i for i, (text, _) in enumerate(self.pieces)}
        if unknown_id is not None:
            checks.check_whole(unknown_id, "unknown_id", 0, len(pieces) - 1)
        super().__init__(
            vocab,
            special_tokens,
            added_tokens,
            before=before,
            after=after,
            decoder=decoder,
        )
        self.unknown_id = unknown_id
        self.prepend = checks.check_flag(prepend, "prepend")
        self.byte_fallback = checks.check_flag(byte_fallback, "byte_fallback")
        join_bytes = byte_fallback if join_bytes is None else join_bytes
        self.join_bytes = checks.check_flag(join_bytes, "join_bytes")
        self._scores = dict(self.pieces)
        self._steps = _prefixes(self._scores)
        self._longest = max(map(len, vocab))
        self._unknown_score = min(self._scores.values()) - UNKNOWN_PENALTY

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Iterable[str] = (),
        *,
        longest: int = 16,
        seeds: int = 20_000,
        shrink: float = 0.75,
        steps: int = 2,
    ) -> Self:
        """Learn pieces from texts by expectation-maximisation.

        Ids: special tokens first, <unk> next, then pieces, likeliest first.
        The numbers are those of `learn_pieces`. Raises ValueError where
        vocab_size has no room for the characters of the texts, and where
        there is no text to learn from.
        """
        checks.check_several(texts)
        special = checks.distinct_texts(special_tokens, "special_tokens")
        checks.check_whole(vocab_size, "vocab_size", 1)
        words: Counter[str] = Counter()
        for text in texts:
            checks.check_text(text, "texts")
            words.update(split_words(text))
        first = list(dict.fromkeys([*special, "<unk>"]))
        learned = learn_pieces(
            words,
            vocab_size - len(first),
            longest=longest,
            seeds=seeds,
            shrink=shrink,
            steps=steps,
        )
        own = set(first)
        pieces = [(token, 0.0) for token in first]
        pieces += [(text, score) for text, score in learned if text not in own]
        return cls(
            pieces,
            {token: i for i, token in enumerate(first)},
            unknown_id=first.index("<unk>"),
        )

    def _words(self, text: str) -> list[str]:
        return split_words(text, self.prepend)

    def cut(self, word: str) -> list[str]:
        """Return the pieces of a word's best cut; unknown runs are joined.

        best[end] = max over pieces [start:end] of best[start] + score;
        of equal ones, that whose last piece starts first.
        """
        checks.check_text(word, "word")
        score_of, n, longest = self._steps.get, len(word), self._longest
        best = [0.0] + [-math.inf] * n
        last = [0] * (n + 1)  # where the last piece starts
        for start in range(n):
            here = best[start]
            for end in range(start + 1, min(n, start + longest) + 1):
                score = score_of(word[start:end])
                if score is None:
                    break  # no piece begins like this
                if here + score > best[end]:
                    best[end] = here + score
                    last[end] = start
            if word[start] not in self._scores:
                score = here + self._unknown(word[start])
                if score > best[start + 1]:
                    best[start + 1] = score
                    last[start + 1] = start
        return self._walk_back(word, last)

    def _unknown(self, char: str) -> float:
        if self.unknown_id is None:
            raise ValueError(
                f"text: got {char!r}, want characters that are pieces: this "
                "vocabulary has no unknown_id"
            )
        return self._unknown_score

    def _walk_back(self, word: str, last: list[int]) -> list[str]:
        """Return the pieces of the best cut; a run of unknown ones is one."""
        cut: list[str] = []
        end, run = len(word), 0  # run: where a run of unknown pieces ends
        while end > 0:
            start = last[end]
            id_ = self.vocab.get(word[start:end], self.unknown_id)
            if id_ == self.unknown_id:
                run = run or end
            else:
                if run:
                    cut.append(word[end:run])
                    run = 0
                cut.append(word[start:end])
            end = start
        if run:
            cut.append(word[:run])
        return cut[::-1]

    def score(self, pieces: Iterable[str]) -> float:
        """Return the log-probability of a cut; unknown pieces pay."""
        listed = checks.str_list(pieces, "pieces")
        return sum(self._scores.get(p, self._unknown_score) for p in listed)

    def _word_ids(self, word: str) -> list[int]:
        ids: list[int] = []
        for piece in self.cut(word):
            if piece in self.vocab:
                ids.append(self.vocab[piece])
            else:
                ids.extend(self._unknown_ids(piece))
        return ids

    def _unknown_ids(self, run: str) -> list[int]:
        """Spell a run of unknown characters in bytes, or make it <unk>."""
        if self.byte_fallback:
            names = [f"<0x{byte:02X}>" for byte in run.encode()]
            if self.vocab.keys() >= set(names):
                return [self.vocab[name] for name in names]
        return [] if self.unknown_id is None else [self.unknown_id]

    def _joined(self, ids: list[int]) -> str:
        """Join pieces, ▁ as a space; what was unknown is lost.

        The first piece loses its ▁ where `prepend` has put one there.
        """
        pieces = [self._shown[i] for i in ids]
        if self.join_bytes:
            pieces = read_bytes(pieces)
        if self.prepend and pieces:
            pieces[0] = pieces[0].replace(SPACE, "")
        return "".join(pieces).replace(SPACE, " ")

    def _describe(self) -> dict[str, Any]:
        return unigram_json.described(
            self.pieces,
            self.unknown_id,
            prepend=self.prepend,
            byte_fallback=self.byte_fallback,
            join_bytes=self.join_bytes,
        )

    @classmethod
    def _options(cls, parts: dict[str, Any]) -> dict[str, Any]:
        return unigram_json.options(parts)

    @classmethod
    def _vocab(cls, options: dict[str, Any]) -> Mapping[str, int]:
        pieces = _scored(options["pieces"])
        return {text: i for i, (text, _) in enumerate(pieces)}


def split_words(text: str, prepend: bool = True) -> list[str]:
    """Write spaces as ▁ and cut before each: "a b" -> ["▁a", "▁b"]."""
    checks.check_text(text)
    checks.check_flag(prepend, "prepend")
    text = text.replace(" ", SPACE)
    if text and prepend and not text.startswith(SPACE):
        text = SPACE + text
    return re.findall(f"{SPACE}[^{SPACE}]*|[^{SPACE}]+", text)


def read_bytes(pieces: Iterable[str]) -> list[str]:
    """Return pieces with runs of <0x..> read as UTF-8.

    A run that is not whole UTF-8 becomes one U+FFFD for each of its bytes.
    """
    listed = checks.str_list(pieces, "pieces")
    out: list[str] = []
    waiting = bytearray()
    for piece in [*listed, ""]:
        if BYTE.fullmatch(piece):
            waiting.append(int(piece[3:5], 16))
            continue
        if waiting:
            try:
                out.append(waiting.decode())
            except UnicodeDecodeError:
                out.extend("\ufffd" * len(waiting))
            waiting.clear()
        out.append(piece)
    return out[:-1]


def _prefixes(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the pieces' scores, and -inf for what only begins a piece."""
    steps = {
        piece[:end]: -math.inf
        for piece in scores
        for end in range(1, len(piece))
    }
    steps.update(scores)
    return steps


def _scored(pieces: Any) -> list[tuple[str, float]]:
    """Return pieces as (text, score); refuse what is no finite score."""
    checks.check_several(pieces, "pieces")
    scored: list[tuple[str, float]] = []
    for i, pair in enumerate(pieces):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError(
                f"pieces: got {checks.named(pair)} at {i}, want (text, score)"
            )
        text, score = pair
        number = isinstance(score, int | float) and not isinstance(score, bool)
        if not number or not math.isfinite(score):
            raise ValueError(
                f"pieces: got {checks.named(score)} as the score of "
                f"{text!r}, want a finite number"
            )
        checks.check_text(text, "pieces")
        scored.append((text, float(score)))
    vocab = {text: i for i, (text, _) in enumerate(scored)}
    if len(vocab) < len(scored) or not vocab or "" in vocab:
        twice = [t for i, (t, _) in enumerate(scored) if vocab[t] != i]
        found = f"{twice[0]!r} twice" if twice else f"{list(vocab)}"
        raise ValueError(f"pieces: got {found}, want texts, each once")
    checks.check_vocab(vocab, name="pieces", longest=checks.LONGEST_PIECE)
    return scored
