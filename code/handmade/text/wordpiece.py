"""WordPiece: each word cut into the longest pieces the vocabulary has.

No merges and no scores: from the left, take the longest piece that fits,
then the longest that fits the rest. Pieces inside a word carry ##. A word
that cannot be cut to its end becomes one [UNK], whatever its parts.
[schuster2012] [devlin2019]

Left out: training (the vocabulary comes with the model), offsets, pairs of
sentences, truncation and padding.
"""

from collections.abc import Iterable
from typing import Self

from handmade.text import hf_json
from handmade.text.normalize import bert_normalize, bert_words
from handmade.text.tokenizer import Tokenizer

NORMALIZER = {
    "type": "BertNormalizer",
    "clean_text": True,
    "handle_chinese_chars": True,
    "strip_accents": None,
    "lowercase": True,
}
# what the decoder puts right in each token, in this order
CLEANUP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


class WordPieceTokenizer(Tokenizer):
    """A vocabulary of pieces, as an uncased BERT uses it.

    `vocab` maps pieces to ids; `special_tokens` maps text that is never cut
    to its id, [CLS] and [SEP] among them.
    """

    def __init__(
        self,
        vocab: dict[str, int],
        special_tokens: dict[str, int],
        *,
        unknown: str = "[UNK]",
        prefix: str = "##",
        longest_word: int = 100,
    ) -> None:
        for token in (unknown, "[CLS]", "[SEP]"):
            if token not in vocab:
                raise ValueError(f"vocab: lacks {token!r}")
        self.vocab = dict(vocab)
        super().__init__(special_tokens)
        self.unknown, self.prefix = unknown, prefix
        self.longest_word = longest_word
        self.tokens = {i: token for token, i in self.vocab.items()}
        self.tokens |= {i: t for t, i in self.special_tokens.items()}
        self._longest_piece = max(map(len, vocab))

    def encode(
        self,
        text: str,
        *,
        allow_special: bool = True,
        add_special: bool = True,
    ) -> list[int]:
        """Return [CLS], the ids of the text, [SEP].

        Special tokens written in the text become one id unless
        `allow_special=False`. Raises ValueError for a lone surrogate.
        """
        ids = super().encode(text, allow_special=allow_special)
        if add_special:
            return [self.vocab["[CLS]"], *ids, self.vocab["[SEP]"]]
        return ids

    def _words(self, text: str) -> list[str]:
        return bert_words(bert_normalize(text))

    def _word_ids(self, word: str) -> list[int]:
        return self.cut(word)

    def cut(self, word: str) -> list[int]:
        """Return the ids of one word: longest piece first, left to right."""
        unknown = [self.vocab[self.unknown]]
        if len(word) > self.longest_word:
            return unknown
        ids, start = [], 0
        while start < len(word):
            prefix = self.prefix if start else ""
            end = min(len(word), start + self._longest_piece)
            while end > start:
                piece = self.vocab.get(prefix + word[start:end])
                if piece is not None:
                    break
                end -= 1
            else:
                return unknown
            ids.append(piece)
            start = end
        return ids

    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """Return a text that reads like the ids: pieces joined, by rules.

        Case, accents and spacing are gone; this is a guess. Raises
        ValueError for an unknown id.
        """
        out: list[str] = []
        for i in ids:
            if i not in self.tokens:
                raise ValueError(f"ids: got {i!r}, not in the vocabulary")
            token = self.tokens[i]
            if skip_special and token in self.special_tokens:
                continue
            if out and token.startswith(self.prefix):
                token = token.removeprefix(self.prefix)
            elif out:
                token = " " + token
            for wrong, right in CLEANUP:
                token = token.replace(wrong, right)
            out.append(token)
        return "".join(out)

    def describe(self) -> dict:
        one = [
            {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
        ]
        two = {"Sequence": {"id": "B", "type_id": 1}}
        ends = {
            token: {"id": token, "ids": [self.vocab[token]], "tokens": [token]}
            for token in ("[CLS]", "[SEP]")
        }
        template = {"single": one, "pair": [*one, two, one[2]]}
        model = {
            "type": "WordPiece",
            "unk_token": self.unknown,
            "continuing_subword_prefix": self.prefix,
            "max_input_chars_per_word": self.longest_word,
            "vocab": self.vocab,
        }
        return {
            "normalizer": NORMALIZER,
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing",
                **template,
                "special_tokens": ends,
            },
            "decoder": {
                "type": "WordPiece",
                "prefix": self.prefix,
                "cleanup": True,
            },
            "model": model,
        }

    @classmethod
    def from_description(cls, described: dict) -> Self:
        model, need = described["model"], hf_json.require
        need(model.get("type"), ("WordPiece",), "model")
        normalizer = dict(described.get("normalizer") or {})
        if normalizer.get("strip_accents") is True:
            normalizer["strip_accents"] = None  # follows lowercase
        need(normalizer, (NORMALIZER,), "normalizer")
        cut = (described.get("pre_tokenizer") or {}).get("type")
        need(cut, ("BertPreTokenizer",), "pre-tokenizer")
        return cls(
            model["vocab"],
            hf_json.special_tokens(described),
            unknown=model["unk_token"],
            prefix=model["continuing_subword_prefix"],
            longest_word=model["max_input_chars_per_word"],
        )
