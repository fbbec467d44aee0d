"""Unigram: the likeliest way to cut a text into pieces of a vocabulary.

Every piece has a log-probability; a cut's score is the sum over its pieces.
Dynamic programming finds the best of all cuts: the best way to reach a
position is the best way to reach an earlier one, plus one piece. [kudo2018]

Left out: sampling other cuts (subword regularisation), the compiled
normaliser of SentencePiece files, and offsets.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Self

from handmade.text import hf_json
from handmade.text.tokenizer import Tokenizer
from handmade.text.unigram_train import learn_pieces

UNKNOWN_PENALTY = 10.0  # an unknown character, below the worst piece
SPACE = "▁"  # U+2581, stands for a space


class UnigramTokenizer(Tokenizer):
    """Pieces with log-probabilities; the best cut is found by Viterbi.

    `pieces` are (text, log-probability) in the order of their ids;
    `special_tokens` maps text that is never cut to its id. Words are cut
    before spaces, and a space is written ▁; with `prepend` the first word
    gets one too.
    """

    def __init__(
        self,
        pieces: Sequence[tuple[str, float]],
        special_tokens: dict[str, int] | None = None,
        *,
        unknown_id: int = 0,
        prepend: bool = True,
        byte_fallback: bool = False,
    ) -> None:
        if not 0 <= unknown_id < len(pieces):
            raise ValueError(
                f"unknown_id: got {unknown_id!r}, want the id of a piece"
            )
        self.pieces = [(text, float(score)) for text, score in pieces]
        super().__init__(special_tokens)
        self.unknown_id, self.prepend = unknown_id, prepend
        self.byte_fallback = byte_fallback
        self.ids = {text: i for i, (text, _) in enumerate(self.pieces)}
        self._scores = dict(self.pieces)
        self._longest = max(map(len, self.ids))
        self._unknown_score = min(self._scores.values()) - UNKNOWN_PENALTY

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Iterable[str] = (),
        **options,
    ) -> Self:
        """Learn pieces from texts by expectation-maximisation.

        Ids: special tokens first, <unk> next, then pieces, likeliest first.
        `options` go to `learn_pieces`. Raises ValueError where vocab_size
        has no room for the characters of the texts.
        """
        words: dict[str, int] = {}
        for text in texts:
            hf_json.check_text(text)
            for word in split_words(text):
                words[word] = words.get(word, 0) + 1
        first = list(dict.fromkeys([*special_tokens, "<unk>"]))
        learned = learn_pieces(words, vocab_size - len(first), **options)
        pieces = [(token, 0.0) for token in first] + learned
        special = {token: i for i, token in enumerate(first)}
        return cls(pieces, special, unknown_id=len(first) - 1)

    def _words(self, text: str) -> list[str]:
        return split_words(text, self.prepend)

    def cut(self, word: str) -> list[str]:
        """Return the pieces of a word's best cut; unknown runs are joined.

        best[end] = max over pieces [start:end] of best[start] + score;
        of equal ones, that whose last piece starts first.
        """
        scores, n = self._scores, len(word)
        best = [0.0] + [-math.inf] * n
        last = [(0, False)] * (n + 1)  # where the last piece starts; unknown?
        for start in range(n):
            here = best[start]
            for end in range(start + 1, min(n, start + self._longest) + 1):
                score = scores.get(word[start:end])
                if score is None:
                    if end > start + 1:
                        continue
                    score = self._unknown_score
                if here + score > best[end]:
                    best[end] = here + score
                    known = self.ids.get(word[start:end], self.unknown_id)
                    last[end] = (start, known == self.unknown_id)
        cut: list[str] = []
        end, joined = n, False
        while end > 0:
            start, unknown = last[end]
            if unknown and joined:
                cut[-1] = word[start:end] + cut[-1]
            else:
                cut.append(word[start:end])
            end, joined = start, unknown
        return cut[::-1]

    def score(self, pieces: Iterable[str]) -> float:
        """Return the log-probability of a cut; unknown pieces pay."""
        return sum(self._scores.get(p, self._unknown_score) for p in pieces)

    def _word_ids(self, word: str) -> list[int]:
        ids: list[int] = []
        for piece in self.cut(word):
            spelled = [self.ids.get(f"<0x{b:02X}>") for b in piece.encode()]
            if piece in self.ids:
                ids.append(self.ids[piece])
            elif self.byte_fallback and None not in spelled:
                ids.extend(spelled)
            else:
                ids.append(self.unknown_id)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids; what was unknown is lost.

        Raises ValueError for an unknown id.
        """
        names = {i: text for text, i in self.special_tokens.items()}
        out: list[str] = []
        for i in ids:
            if i not in names and not 0 <= i < len(self.pieces):
                raise ValueError(f"ids: got {i!r}, not in the vocabulary")
            text = names[i] if i in names else self.pieces[i][0]
            text = text.replace(SPACE, " ")
            first = self.prepend and not out
            out.append(text.removeprefix(" ") if first else text)
        return "".join(out)

    def describe(self) -> dict:
        scheme = "always" if self.prepend else "never"
        space = {"type": "Metaspace", "replacement": SPACE}
        space |= {"prepend_scheme": scheme, "split": True}
        model = {
            "type": "Unigram",
            "unk_id": self.unknown_id,
            "vocab": self.pieces,
            "byte_fallback": self.byte_fallback,
        }
        return {"pre_tokenizer": space, "decoder": space, "model": model}

    @classmethod
    def from_description(cls, described: dict) -> Self:
        model, need = described["model"], hf_json.require
        need(model.get("type"), ("Unigram",), "model")
        need(described.get("normalizer"), (None,), "normalizer")
        cut = described.get("pre_tokenizer") or {}
        need(cut.get("type"), ("Metaspace",), "pre-tokenizer")
        need(cut.get("replacement"), (SPACE,), "sign for a space")
        need(cut.get("split", True), (True,), "Metaspace split")
        need(cut.get("prepend_scheme"), ("always", "never"), "prepend_scheme")
        return cls(
            model["vocab"],
            hf_json.special_tokens(described),
            unknown_id=model["unk_id"],
            prepend=cut["prepend_scheme"] == "always",
            byte_fallback=model.get("byte_fallback", False),
        )


def split_words(text: str, prepend: bool = True) -> list[str]:
    """Write spaces as ▁ and cut before each: "a b" -> ["▁a", "▁b"]."""
    text = text.replace(" ", SPACE)
    if text and prepend and not text.startswith(SPACE):
        text = SPACE + text
    return re.findall(f"{SPACE}[^{SPACE}]*|[^{SPACE}]+", text)
