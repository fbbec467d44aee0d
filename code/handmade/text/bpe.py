"""Byte-level BPE: text to token ids and back, with nothing unknown.

Text is cut into words (`pretokenize`), a word is spelled in bytes, and
merges join neighbours, the earliest learned first. [sennrich2016]
[radford2019]

Left out: normalisation, dropout, offsets into the text, and every
pre-tokenizer but GPT-2's, with or without cutting digits.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from handmade.text import bpe_json, checks
from handmade.text.added_tokens import AddedToken
from handmade.text.bpe_train import learn_merges
from handmade.text.pretokenize import byte_alphabet, splitter
from handmade.text.tokenizer import Tokenizer

LONG = 48  # symbols; beyond it the heap is faster than looking again


class BPETokenizer(Tokenizer):
    """A vocabulary of byte strings and the merges that build them.

    `vocab` maps a token, spelled in the byte alphabet, to its id; `merges`
    are pairs of tokens, first learned first; `special_tokens` maps text
    that is never cut to its id. A byte without a token is dropped, as
    Hugging Face does (SmolLM2 lacks 21); a trained vocabulary has all 256.
    With `ignore_merges` a word that is a token is not built by merges.
    """

    def __init__(
        self,
        vocab: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        special_tokens: Mapping[str, int] | None = None,
        *,
        split_digits: bool = False,
        ignore_merges: bool = False,
        added_tokens: Iterable[AddedToken] = (),
        before: Sequence[str] = (),
        after: Sequence[str] = (),
        decoder: bool = True,
    ) -> None:
        checks.check_vocab(vocab)
        self.merges = [_pair(merge, i) for i, merge in _numbered(merges)]
        self.split_digits = checks.check_flag(split_digits, "split_digits")
        self.ignore_merges = checks.check_flag(ignore_merges, "ignore_merges")
        super().__init__(
            vocab,
            special_tokens,
            added_tokens,
            before=before,
            after=after,
            decoder=decoder,
        )
        self._letters = byte_alphabet()
        # a word is a str of chr(id): pairs are then two-letter strings
        self._spell = {
            byte: vocab.get(char) for byte, char in self._letters.items()
        }
        self._ranks: dict[str, int] = {}
        self._merged: list[tuple[str, str]] = []
        for rank, (a, b) in enumerate(self.merges):
            if not {a, b, a + b} <= vocab.keys():
                raise ValueError(
                    f"merges: got number {rank}, {a!r} + {b!r}, want both "
                    "and what they make in the vocabulary"
                )
            pair = chr(vocab[a]) + chr(vocab[b])
            self._ranks[pair] = rank
            self._merged.append((pair, chr(vocab[a + b])))
        byte_of = {char: byte for byte, char in self._letters.items()}
        others = {token.content for token in self.added_tokens}
        self._bytes: dict[int, bytes] = {}
        for i, token in self.tokens.items():
            if byte_of.keys() >= set(token):
                self._bytes[i] = bytes(byte_of[char] for char in token)
            elif token in others:
                self._bytes[i] = token.encode()
            else:
                raise ValueError(
                    f"vocab: got {token!r}, want tokens in byte letters"
                )
        self._split = splitter(split_digits)

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Iterable[str] = (),
        *,
        split_digits: bool = False,
    ) -> Self:
        """Learn a vocabulary of `vocab_size` tokens from texts.

        Special tokens get the first ids, the 256 bytes the next. Raises
        ValueError where vocab_size is too small for these, and where there
        is no text to learn from.
        """
        split = splitter(split_digits)
        words: Counter[str] = Counter()
        special = checks.distinct_texts(special_tokens, "special_tokens")
        checks.check_several(texts)
        for text in texts:
            checks.check_text(text, "texts")
            words.update(split(text))
        learned = learn_merges(words, vocab_size, special)
        ids = {token: learned.vocab[token] for token in special}
        return cls(
            learned.vocab, learned.merges, ids, split_digits=split_digits
        )

    def _words(self, text: str) -> list[str]:
        return self._split(text)

    def _word_ids(self, word: str) -> list[int]:
        letters = word.encode().decode("latin-1")
        if self.ignore_merges:
            whole = self.vocab.get(letters.translate(self._letters))
            if whole is not None:
                return [whole]
        symbols = letters.translate(self._spell)
        if len(symbols) > LONG:
            return self._merge_long(symbols)
        return self._merge(symbols)

    def _merge(self, symbols: str) -> list[int]:
        """Merge the pair learned first, leftmost, until none is left."""
        ranks = self._ranks
        while True:
            pairs = map(str.__add__, symbols, symbols[1:])
            found = [ranks[pair] for pair in pairs if pair in ranks]
            if not found:
                return list(map(ord, symbols))
            pair, new = self._merged[min(found)]
            symbols = symbols.replace(pair, new, 1)

    def _merge_long(self, symbols: str) -> list[int]:
        """Do the same in O(n log n): a linked list, and a heap of pairs.

        `_merge` looks through all pairs for each merge, which is quadratic:
        many minutes for a line of 100,000 dashes.
        """
        ranks, n = self._ranks, len(symbols)
        symbol = [*symbols, ""]  # the last is the end mark, in no pair
        following, previous = list(range(1, n + 2)), list(range(-1, n))
        heap: list[tuple[int, int]] = []
        for i in range(n - 1):
            rank = ranks.get(symbol[i] + symbol[i + 1])
            if rank is not None:
                heap.append((rank, i))
        heapq.heapify(heap)
        while heap:
            rank, i = heapq.heappop(heap)
            pair, new = self._merged[rank]
            j = following[i]
            if symbol[i] + symbol[j] != pair or not symbol[j]:
                continue  # one of the two was merged away since
            symbol[i], symbol[j] = new, ""
            j = following[i] = following[j]
            previous[j] = i
            for left, right in ((previous[i], i), (i, j)):
                if left >= 0:
                    rank = ranks.get(symbol[left] + symbol[right])
                    if rank is not None:
                        heapq.heappush(heap, (rank, left))
        return [ord(char) for char in symbol if char]

    def _joined(self, ids: list[int]) -> str:
        """Join the bytes, then read UTF-8.

        Ids that stop inside a character end in U+FFFD, so decode whole
        sequences, not token by token.
        """
        joined = b"".join(map(self._bytes.__getitem__, ids))
        return joined.decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes one id stands for."""
        checks.check_whole(token_id, "token_id", 0)
        if token_id not in self._bytes:
            raise ValueError(
                f"token_id: got {token_id!r}, want an id of the vocabulary"
            )
        return self._bytes[token_id]

    def _describe(self) -> dict[str, Any]:
        return bpe_json.described(
            self.vocab,
            self.merges,
            split_digits=self.split_digits,
            ignore_merges=self.ignore_merges,
        )

    @classmethod
    def _options(cls, parts: dict[str, Any]) -> dict[str, Any]:
        return bpe_json.options(parts)


def _numbered(merges: Any) -> list[tuple[int, Any]]:
    if isinstance(merges, str) or not isinstance(merges, Iterable):
        raise ValueError(
            f"merges: got {checks.named(merges)}, want a list of pairs"
        )
    return list(enumerate(merges))


def _pair(merge: Any, number: int) -> tuple[str, str]:
    """Return one merge as a pair; older files write it as one text."""
    parts = merge.split(" ") if isinstance(merge, str) else merge
    two = isinstance(parts, list | tuple) and len(parts) == 2
    if not two or not all(isinstance(part, str) for part in parts):
        raise ValueError(
            f"merges: got number {number}, {checks.named(merge)}, want a "
            "pair of tokens"
        )
    return parts[0], parts[1]
