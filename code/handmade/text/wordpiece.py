"""WordPiece: each word cut into the longest pieces the vocabulary has.

No merges and no scores: from the left, take the longest piece that fits,
then the longest that fits the rest. Pieces inside a word carry ##. A word
that cannot be cut to its end becomes one [UNK], whatever its parts.
[schuster2012] [devlin2019]

Left out: training (the vocabulary comes with the model), offsets, pairs of
sentences, truncation, and the normalization of cased models.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from handmade.text import checks
from handmade.text.added_tokens import AddedToken
from handmade.text.checks import check_str
from handmade.text.keys import NEEDED, Keys, kind_of
from handmade.text.normalize import bert_normalize, bert_words
from handmade.text.tokenizer import Tokenizer

LONGEST_WORD = 100_000  # what a file may ask for

NORMALIZER = Keys(
    fixed={
        "type": ("BertNormalizer",),
        "clean_text": (True,),
        "handle_chinese_chars": (True,),
        "strip_accents": (None, True),  # null follows lowercase
        "lowercase": (True,),
    }
)
PRETOKENIZER = Keys(fixed={"type": ("BertPreTokenizer",)})
MODEL = Keys(
    taken={
        "vocab": ((dict,), NEEDED),
        "unk_token": ((str,), NEEDED),
        "continuing_subword_prefix": ((str,), NEEDED),
        "max_input_chars_per_word": ((int,), NEEDED),
    },
    fixed={"type": ("WordPiece",)},
)
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
    to its id. Around a text stand [CLS] and [SEP], unless `before` and
    `after` say otherwise. `cleanup`: decoding takes spaces away before
    punctuation.
    """

    cut_before = " \t\n\r"  # not what is removed as a control, such as \x0b

    def __init__(
        self,
        vocab: Mapping[str, int],
        special_tokens: Mapping[str, int] | None = None,
        *,
        unknown: str = "[UNK]",
        prefix: str = "##",
        longest_word: int = 100,
        cleanup: bool = True,
        added_tokens: Iterable[AddedToken] = (),
        before: Sequence[str] = ("[CLS]",),
        after: Sequence[str] = ("[SEP]",),
        decoder: bool = True,
    ) -> None:
        checks.check_vocab(vocab, longest=checks.LONGEST_PIECE)
        checks.check_text(unknown, "unknown")
        checks.check_text(prefix, "prefix")
        if unknown not in vocab:
            raise ValueError(
                f"unknown: got {unknown!r}, want a token of the vocabulary"
            )
        super().__init__(
            vocab,
            special_tokens,
            added_tokens,
            before=before,
            after=after,
            decoder=decoder,
        )
        self.unknown, self.prefix = unknown, prefix
        self.cleanup = checks.check_flag(cleanup, "cleanup")
        self.longest_word = checks.check_whole(
            longest_word, "longest_word", 0, LONGEST_WORD
        )
        self._longest_piece = max(map(len, vocab))

    def _normalize(self, text: str) -> str:
        return bert_normalize(text)

    def _words(self, text: str) -> list[str]:
        return bert_words(text)

    def _word_ids(self, word: str) -> list[int]:
        return self.cut(word)

    def cut(self, word: str) -> list[int]:
        """Return the ids of one word: longest piece first, left to right."""
        check_str(word, "word")
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

    def _joined(self, ids: list[int]) -> str:
        """Return a text that reads like the ids: pieces joined, by rules.

        Case, accents and spacing are gone; this is a guess.
        """
        out: list[str] = []
        for i in ids:
            token = self._shown[i]
            if out and token.startswith(self.prefix):
                token = token.removeprefix(self.prefix)
            elif out:
                token = " " + token
            for wrong, right in CLEANUP if self.cleanup else ():
                token = token.replace(wrong, right)
            out.append(token)
        return "".join(out)

    def _describe(self) -> dict[str, Any]:
        normalizer = {
            key: values[0] for key, values in NORMALIZER.fixed.items()
        }
        model = {
            "type": "WordPiece",
            "unk_token": self.unknown,
            "continuing_subword_prefix": self.prefix,
            "max_input_chars_per_word": self.longest_word,
            "vocab": self.vocab,
        }
        decoder = {"type": "WordPiece", "prefix": self.prefix}
        return {
            "normalizer": normalizer,
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "decoder": decoder | {"cleanup": self.cleanup},
            "model": model,
        }

    @classmethod
    def _options(cls, parts: dict[str, Any]) -> dict[str, Any]:
        model = MODEL.read(parts["model"], "model")
        NORMALIZER.read(parts["normalizer"], "normalizer")
        kind_of(parts["pre_tokenizer"], "pre_tokenizer", ("BertPreTokenizer",))
        PRETOKENIZER.read(parts["pre_tokenizer"], "pre_tokenizer")
        prefix = model["continuing_subword_prefix"]
        decoder = {"cleanup": True}
        if kind_of(parts["decoder"], "decoder", (None, "WordPiece")):
            keys = Keys(
                taken={"cleanup": ((bool,), NEEDED)},
                # pieces must be joined as they were cut
                fixed={"type": ("WordPiece",), "prefix": (prefix,)},
            )
            decoder = keys.read(parts["decoder"], "decoder")
        return {
            "vocab": model["vocab"],
            "unknown": model["unk_token"],
            "prefix": prefix,
            "longest_word": model["max_input_chars_per_word"],
            "cleanup": decoder["cleanup"],
            "decoder": parts["decoder"] is not None,
        }
