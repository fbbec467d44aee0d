"""What all three tokenizers share: specials, the word cache, the file.

The oracle is the `tokenizers` library, which reads the file we save.
"""

import pytest
from handmade.text.bpe import BPETokenizer
from handmade.text.samples import ARTICLE_1, HARD
from handmade.text.tokenizer import Tokenizer as Base
from handmade.text.tokenizer import WordCache
from handmade.text.unigram import UnigramTokenizer
from handmade.text.wordpiece import WordPieceTokenizer
from handmade.weights import minilm
from tokenizers import Tokenizer

TEXTS = [*ARTICLE_1.values(), *HARD.values()]


def bpe():
    return BPETokenizer.train(TEXTS, 700, ["<s>", "</s>"])


def unigram():
    return UnigramTokenizer.train(TEXTS, 1500, ["<s>", "</s>"], seeds=3000)


def wordpiece():
    return WordPieceTokenizer.from_hf(minilm().tokenizer())


@pytest.fixture(scope="module", params=[bpe, wordpiece, unigram])
def ours(request):
    return request.param()


@pytest.fixture
def saved(ours, tmp_path):
    return ours.save(tmp_path / "t.json")


def special_text(ours):
    names = list(ours.special_tokens)
    return f"to {names[0]}be{names[-1]} {names[1]}{names[1]} or not"


def test_special_tokens_in_a_text_are_one_id(ours, saved):
    theirs, text = Tokenizer.from_file(str(saved)), special_text(ours)
    ids = ours.encode(text)
    assert ids == theirs.encode(text).ids
    found = [i for i in ids if i in ours.special_tokens.values()]
    names = list(ours.special_tokens)
    for name in (names[0], names[1], names[1], names[-1]):
        found.remove(ours.special_tokens[name])


def test_special_tokens_can_be_switched_off(ours, saved):
    theirs, text = Tokenizer.from_file(str(saved)), special_text(ours)
    theirs.encode_special_tokens = True
    plain = ours.encode(text, allow_special=False)
    assert plain == theirs.encode(text).ids
    assert plain != ours.encode(text)


@pytest.mark.parametrize("bad", ["a\ud800", b"bytes", None, ["a"]])
def test_what_is_no_text_is_refused(ours, bad):
    with pytest.raises(ValueError, match="text:"):
        ours.encode(bad)


def test_saved_and_reloaded(ours, saved):
    again = type(ours).load(saved)
    theirs = Tokenizer.from_file(str(saved))
    taken = type(ours).from_hf(theirs)
    for text in [*TEXTS, "", special_text(ours)]:
        ids = ours.encode(text)
        assert again.encode(text) == taken.encode(text) == ids
        assert theirs.encode(text).ids == ids


@pytest.mark.parametrize("part", [0, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_refused_by_name(ours, saved, part):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ValueError, match=r"t\.json"):
        type(ours).load(saved)


def test_a_failed_save_leaves_the_old_file(ours, saved, monkeypatch):
    before = saved.read_bytes()
    monkeypatch.setattr(ours, "_describe", lambda: {"model": object()})
    with pytest.raises(TypeError):
        ours.save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["t.json"]


def test_a_tokenizer_of_another_kind_is_refused(ours, saved):
    for kind in Base.__subclasses__():
        if kind is not type(ours):
            with pytest.raises(ValueError, match=r"t\.json.*(BPE|Word|Uni)"):
                kind.load(saved)


def test_the_cache_is_bounded_and_computes_once():
    seen = []

    def compute(word):
        seen.append(word)
        return [len(word)]

    cache = WordCache(compute, size=2, longest=3)
    for word in ("a", "bb", "a", "ccc", "dddd", "dddd"):
        assert cache[word] == (len(word),)
        assert len(cache) <= 2
    assert seen == ["a", "bb", "ccc", "dddd", "dddd"]


def test_a_warm_cache_changes_no_id(ours):
    for text in TEXTS:
        warm = ours.encode(text)
        ours._cache.clear()
        assert ours.encode(text) == warm
