"""Right answers by the tokenizers library."""

from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer


def wordpiece_word(word, vocab):
    numbered = {piece: i for i, piece in enumerate(["[UNK]", *sorted(vocab)])}
    model = WordPiece(vocab=numbered, unk_token="[UNK]")
    return [(t.value, *t.offsets) for t in model.tokenize(word)]


def strip_accents(text):
    normalizer = BertNormalizer(
        clean_text=False,
        handle_chinese_chars=False,
        strip_accents=True,
        lowercase=False,
    )
    return normalizer.normalize_str(text)
