"""WordPiece: ids as MiniLM's own tokenizer gives them, on hard text.

By hand, with the pieces un, ##aff, ##able, ##a, ##b: "unaffable" is un,
then the longest of what fits "affable", ##aff, then ##able. "unx" has no
piece for x, so all of it is [UNK], not un + [UNK].
"""

import json
import random

import pytest
from handmade.text import normalize
from handmade.text.samples import ARTICLE_1, HARD
from handmade.text.wordpiece import WordPieceTokenizer
from handmade.weights.minilm import minilm
from handmade.weights.shakespeare import shakespeare
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

SAMPLES = {**ARTICLE_1, **HARD}
any_text = st.text(
    st.characters(codec="utf-8") | st.sampled_from(" .,'éŁ北e\u0301\u0323")
)


@pytest.fixture(scope="module")
def theirs():
    tokenizer = minilm().tokenizer()
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@pytest.fixture(scope="module")
def ours(theirs):
    return WordPieceTokenizer.from_hf(theirs)


def toy(*pieces, **options):
    tokens = ["[UNK]", "[CLS]", "[SEP]", *pieces]
    vocab = {token: i for i, token in enumerate(tokens)}
    return WordPieceTokenizer(
        vocab, {t: vocab[t] for t in tokens[:3]}, **options
    )


def pieces(tokenizer, word):
    return [tokenizer.tokens[i] for i in tokenizer.cut(word)]


def test_the_example_by_hand():
    tokenizer = toy("un", "##aff", "##able", "##a", "##b")
    assert pieces(tokenizer, "unaffable") == ["un", "##aff", "##able"]
    assert pieces(tokenizer, "unx") == ["[UNK]"]
    assert pieces(tokenizer, "unab") == ["un", "##a", "##b"]
    # greedy is not clever: after ab no piece fits the rest
    greedy = toy("a", "ab", "##bc")
    assert pieces(greedy, "abc") == ["[UNK]"]


@pytest.mark.parametrize("name", SAMPLES)
def test_identical_ids_on_hard_text(ours, theirs, name):
    text = SAMPLES[name]
    ids = theirs.encode(text).ids
    assert ours.encode(text) == ids
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)
    assert ours.decode(ids, skip_special=True) == theirs.decode(ids)


def test_identical_ids_on_shakespeare(ours, theirs):
    text = "\n".join(shakespeare().values())
    parts = [text[i : i + 2000] for i in range(0, len(text), 2000)]
    for part, encoding in zip(parts, theirs.encode_batch(parts), strict=True):
        assert ours.encode(part) == encoding.ids


@given(text=any_text)
@settings(max_examples=400)
def test_identical_ids_on_any_text(ours, theirs, text):
    ids = theirs.encode(text).ids
    assert ours.encode(text) == ids
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)


def test_identical_ids_with_special_tokens_inside(ours, theirs):
    draw = random.Random(0)
    choices = [*ours.special_tokens, "a", " ", "[", "]", "[CL", "[mask]", "é"]
    for _ in range(300):
        text = "".join(draw.choices(choices, k=draw.randint(0, 8)))
        assert ours.encode(text) == theirs.encode(text).ids
        assert ours.encode(text, add_special=False) == (
            theirs.encode(text, add_special_tokens=False).ids
        )


@pytest.mark.parametrize("length", [99, 100, 101, 5000])
def test_the_longest_word(ours, theirs, length):
    text = "a " + "ab" * (length // 2) + "a" * (length % 2)
    assert ours.encode(text) == theirs.encode(text).ids
    assert (ours.vocab["[UNK]"] in ours.encode(text)) == (length > 100)


# -- every code point, in a context where order and neighbours matter


def code_points():
    return [chr(i) for i in range(0x110000) if not 0xD800 <= i <= 0xDFFF]


STEPS = {
    "clean": (normalize.clean, {"clean_text": True}),
    "chinese": (normalize.space_chinese, {"handle_chinese_chars": True}),
    "accents": (normalize.strip_accents, {"strip_accents": True}),
    "lower": (normalize.lower, {"lowercase": True}),
    "all": (
        normalize.bert_normalize,
        {
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": True,
            "lowercase": True,
        },
    ),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("around", ["a{}b", "\u0345{}\u0334"])
def test_normalisation_equals_the_librarys_on_every_code_point(step, around):
    off = dict.fromkeys(
        ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"),
        False,
    )
    ours, on = STEPS[step]
    theirs = normalizers.BertNormalizer(**{**off, **on})
    chars = code_points()
    for i in range(0, len(chars), 1000):
        text = "|".join(around.format(char) for char in chars[i : i + 1000])
        assert ours(text) == theirs.normalize_str(text)


def test_words_equal_the_librarys_on_every_code_point():
    theirs = pre_tokenizers.BertPreTokenizer()
    chars = code_points()
    for i in range(0, len(chars), 5000):
        text = "".join(f"a{char}" for char in chars[i : i + 5000])
        want = [word for word, _ in theirs.pre_tokenize_str(text)]
        assert normalize.bert_words(text) == want


@given(st.text("abc", max_size=12), st.sets(st.text("abc", min_size=1)))
def test_a_word_is_cut_as_the_library_cuts_it(word, tokens):
    found = [t if len(t) % 2 else "##" + t for t in sorted(tokens)]
    ours = toy(*found, longest_word=10)
    theirs = models.WordPiece(
        ours.vocab, unk_token="[UNK]", max_input_chars_per_word=10
    )
    got = ours.cut(word)
    assert got == [token.id for token in theirs.tokenize(word)]


# -- files and errors


def test_a_foreign_file_is_refused_by_name(ours, tmp_path):
    path = ours.save(tmp_path / "t.json")
    described = json.loads(path.read_text(encoding="utf-8"))
    described["normalizer"]["lowercase"] = False
    path.write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(ValueError, match=r"t\.json.*normalizer"):
        WordPieceTokenizer.load(path)


def test_wrong_arguments_are_named(ours):
    with pytest.raises(ValueError, match="ids: got 99999"):
        ours.decode([99_999])
    with pytest.raises(ValueError, match="SEP"):
        WordPieceTokenizer({"[UNK]": 0, "[CLS]": 1}, {})
    with pytest.raises(ValueError, match="model"):
        WordPieceTokenizer.from_hf(Tokenizer(models.BPE()))
