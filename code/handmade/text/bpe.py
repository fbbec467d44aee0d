"""Byte-level BPE: text to token ids and back, with nothing unknown.

Text is cut into words (`pretokenize`), a word is spelled in bytes, and
merges join neighbours, the earliest learned first. [sennrich2016]
[radford2019]

Left out: normalisation, dropout, offsets into the text, and every
pre-tokenizer but GPT-2's, with or without cutting digits.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Self

from handmade.text import hf_json
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
    """

    def __init__(
        self,
        vocab: dict[str, int],
        merges: Sequence[tuple[str, str]],
        special_tokens: dict[str, int] | None = None,
        *,
        split_digits: bool = False,
    ) -> None:
        self.vocab = dict(vocab)
        self.merges = [(a, b) for a, b in merges]
        super().__init__(special_tokens)
        self.split_digits = split_digits
        alphabet = byte_alphabet()
        # a word is a str of chr(id): pairs are then two-letter strings
        self._spell = {
            byte: vocab.get(char) for byte, char in alphabet.items()
        }
        self._ranks, self._merged = {}, []
        for rank, (a, b) in enumerate(self.merges):
            if not {a, b, a + b} <= vocab.keys():
                raise ValueError(
                    f"merges: number {rank} is {a!r} + {b!r}, which are not "
                    "all in the vocabulary"
                )
            pair = chr(vocab[a]) + chr(vocab[b])
            self._ranks[pair] = rank
            self._merged.append((pair, chr(vocab[a + b])))
        byte_of = {char: byte for byte, char in alphabet.items()}
        self._bytes = {i: t.encode() for t, i in self.special_tokens.items()}
        for token, i in self.vocab.items():
            if token in self.special_tokens:
                continue
            if not byte_of.keys() >= set(token):
                raise ValueError(f"vocab: {token!r} is not in byte letters")
            self._bytes[i] = bytes(byte_of[char] for char in token)
        self._words = splitter(split_digits)  # the fast path: no method

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
        ValueError where vocab_size is too small for these.
        """
        split, words = splitter(split_digits), Counter()
        special = list(dict.fromkeys(special_tokens))
        if isinstance(texts, str) or "" in special:
            raise ValueError("texts: want several str; special: none empty")
        for text in texts:
            hf_json.check_text(text)
            words.update(split(text))
        learned = learn_merges(words, vocab_size, special)
        ids = {token: learned.vocab[token] for token in special}
        return cls(
            learned.vocab, learned.merges, ids, split_digits=split_digits
        )

    def _word_ids(self, word: str) -> list[int]:
        symbols = word.encode().decode("latin-1").translate(self._spell)
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
        heap = []
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

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids: join the bytes, then read UTF-8.

        Ids that stop inside a character end in U+FFFD, so decode whole
        sequences, not token by token. Raises ValueError for an unknown id.
        """
        try:
            joined = b"".join(map(self._bytes.__getitem__, ids))
        except KeyError as error:
            raise ValueError(
                f"ids: got {error.args[0]!r}, not in the vocabulary"
            ) from None
        return joined.decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes one id stands for."""
        return self._bytes[token_id]

    def describe(self) -> dict:
        level = {"add_prefix_space": False, "trim_offsets": True}
        level = {"type": "ByteLevel", **level, "use_regex": True}
        digits = {"type": "Digits", "individual_digits": True}
        both = {"type": "Sequence", "pretokenizers": [digits, level]}
        model = {"type": "BPE", "vocab": self.vocab, "merges": self.merges}
        return {
            "pre_tokenizer": both if self.split_digits else level,
            "decoder": level,
            "model": model,
        }

    @classmethod
    def from_description(cls, described: dict) -> Self:
        model, need = described["model"], hf_json.require
        need(model.get("type"), ("BPE",), "model")
        need(described.get("normalizer"), (None,), "normalizer")
        need(model.get("ignore_merges", False), (False,), "ignore_merges")
        for option in (
            "unk_token",
            "dropout",
            "continuing_subword_prefix",
            "end_of_word_suffix",
        ):
            need(model.get(option) or None, (None,), option)
        cut = described.get("pre_tokenizer") or {}
        steps = cut.get("pretokenizers", [cut])
        kinds = [step.get("type") for step in steps]
        known = (["ByteLevel"], ["Digits", "ByteLevel"])
        need(kinds, known, "pre-tokenizer")
        need(steps[-1].get("add_prefix_space"), (False,), "prefix space")
        need(steps[-1].get("use_regex", True), (True,), "use_regex")
        if len(steps) == 2:
            need(steps[0].get("individual_digits"), (True,), "digit splitting")
        merges = [
            tuple(merge.split(" ")) if isinstance(merge, str) else merge
            for merge in model["merges"]
        ]
        return cls(
            model["vocab"],
            merges,
            hf_json.special_tokens(described),
            split_digits=len(steps) == 2,
        )
