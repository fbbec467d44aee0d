"""Added tokens: found as the library finds them, in two passes, by flag."""

import json
import random

import pytest
from handmade.text import unicode_classes
from handmade.text.added_tokens import AddedToken, Finder
from handmade.text.bpe import BPETokenizer
from handmade.text.wordpiece import WordPieceTokenizer
from handmade.weights.minilm import minilm
from handmade.weights.smollm2 import smollm2
from tokenizers import AddedToken as Theirs
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def found(token, text):
    return Finder([token]).split(text)


def test_a_word_added_to_minilm_is_found_in_small_letters(tmp_path):
    theirs = minilm().tokenizer()
    theirs.add_tokens(["COVID19"])
    ours = WordPieceTokenizer.from_hf(theirs)
    for text in ("covid19 kills", "COVID19", "Çovid19s", "co vid19"):
        assert ours.encode(text) == theirs.encode(text).ids
    assert 30_522 in ours.encode("covid19 kills")
    path = ours.save(tmp_path / "t.json")
    kept = json.loads(path.read_text(encoding="utf-8"))["added_tokens"]
    assert kept == json.loads(theirs.to_str())["added_tokens"]
    again = Tokenizer.from_file(str(path))
    assert again.encode("covid19 kills").ids == ours.encode("covid19 kills")


def test_skip_special_drops_special_tokens_only():
    theirs = minilm().tokenizer()
    theirs.add_tokens(["COVID19"])
    ours = WordPieceTokenizer.from_hf(theirs)
    ids = ours.encode("[MASK] covid19")
    assert ours.decode(ids, skip_special=True) == "covid19"
    assert ours.decode(ids) == "[CLS] [MASK] covid19 [SEP]"


def test_the_flags_one_by_one():
    plain = AddedToken(id=7, content="ab")
    assert found(plain, "xab ab") == ["x", 7, " ", 7]
    alone = AddedToken(id=7, content="ab", single_word=True)
    assert found(alone, "xab ab,ab") == ["xab ", 7, ",", 7]
    left = AddedToken(id=7, content="ab", lstrip=True)
    assert found(left, "x \n ab y") == ["x", 7, " y"]
    right = AddedToken(id=7, content="ab", rstrip=True)
    assert found(right, "x ab \n y") == ["x ", 7, "y"]
    special = Finder([plain])
    assert special.split("xab", allow_special=False) == ["xab"]
    added = Finder([AddedToken(id=7, content="ab", special=False)])
    assert added.split("xab", allow_special=False) == ["x", 7]


def test_the_longest_token_wins_and_raw_ones_come_first():
    two = Finder(
        [AddedToken(id=1, content="ab"), AddedToken(id=2, content="abc")]
    )
    assert two.split("abcab") == [2, 1]
    theirs = smollm2().tokenizer()
    theirs.add_tokens([Theirs("xy z", normalized=False)])
    theirs.add_tokens([Theirs("w xy", normalized=True)])
    ours = BPETokenizer.from_hf(theirs)
    # the second begins first, and the first is looked for before it
    assert ours.encode("w xy z") == theirs.encode("w xy z").ids


def test_two_tokens_that_are_one_when_normalized_are_refused():
    # the library finds one of them, and not always the same
    theirs = small(WordPieceTokenizer)
    theirs.add_tokens([Theirs("ABC", normalized=True), Theirs("Äbd")])
    WordPieceTokenizer.from_hf(theirs)
    theirs.add_tokens([Theirs("Abc", normalized=True)])
    with pytest.raises(ValueError, match="added_tokens: got 'Abc' and 'ABC'"):
        WordPieceTokenizer.from_hf(theirs)


def test_word_characters_are_the_librarys_on_every_code_point():
    theirs = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    theirs.add_tokens([Theirs("x", single_word=True, normalized=False)])
    chars = [chr(i) for i in range(0x110000) if not 0xD800 <= i <= 0xDFFF]
    alone = set()
    for start in range(0, len(chars), 2000):
        text = "".join(f"x{c}|" for c in chars[start : start + 2000])
        encoding = theirs.encode(text)
        for i, (_, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if i == 1:
                alone.add(ord(text[end]))
    every = set(map(ord, chars))
    assert every - alone == unicode_classes.word_characters()


def small(kind):
    """A tokenizer of the library with few pieces, made in no time."""
    if kind is BPETokenizer:
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        vocab = {letter: i for i, letter in enumerate(letters)}
        made = Tokenizer(models.BPE(vocab, []))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        return made
    names = ["?", *"abcx_[]e", *(f"##{c}" for c in "abcxe")]
    vocab = {name: i for i, name in enumerate(names)}
    made = Tokenizer(models.WordPiece(vocab, unk_token="?"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


@pytest.mark.parametrize("kind", [BPETokenizer, WordPieceTokenizer])
def test_many_tokens_with_random_flags_are_found_as_the_library_does(kind):
    draw, compared = random.Random(5), 0
    contents = ["ab", "abc", "b c", " b", "A", "[x]", "é", "bc"]
    pieces = [*contents, "a", "b", "c", " ", "\n", "  ", "x", "_", "\u3000"]
    for _ in range(200):
        theirs = small(kind)
        chosen = draw.sample(contents, draw.randint(1, 4))
        theirs.add_tokens(
            [
                Theirs(c, **{f: draw.random() < 0.4 for f in FLAGS})
                for c in chosen
            ]
        )
        ours = kind.from_hf(theirs)
        for _ in range(20):
            text = "".join(draw.choices(pieces, k=draw.randint(1, 9)))
            try:
                want = theirs.encode(text).ids
            except BaseException as error:
                if type(error).__name__ != "PanicException":
                    raise
                continue  # the library's Rust code gave up
            assert ours.encode(text) == want, (text, ours.added_tokens)
            compared += 1
    assert compared > 3000


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ({"content": ""}, "added_tokens: got ''"),
        ({"content": "a", "id": 5}, "added_tokens: got id 5 for 'a'"),
        ({"content": "new", "id": 3}, "added_tokens: got id 3 for 'new'"),
        ({"content": "\x00", "normalized": True}, "leaves something"),
        ({"content": "\ud800"}, "surrogate"),
        ({"id": "7"}, "want a whole number"),
    ],
)
def test_what_contradicts_the_vocabulary_is_refused(token, message):
    vocab = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3}
    given = AddedToken(**{"id": 9, "content": "new", **token})
    with pytest.raises(ValueError, match=message):
        WordPieceTokenizer(vocab, added_tokens=[given])
