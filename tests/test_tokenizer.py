"""What all three tokenizers share: specials, the word cache, the file.

The oracle is the `tokenizers` library, which reads the file we save.
"""

import inspect
import random
from functools import partial

import numpy as np
import pytest
import torch
from handmade.text import stream
from handmade.text.added_tokens import AddedToken
from handmade.text.bpe import BPETokenizer
from handmade.text.samples import ARTICLE_1, HARD
from handmade.text.tokenizer import Tokenizer as Base
from handmade.text.unigram import UnigramTokenizer
from handmade.text.word_cache import WordCache
from handmade.text.wordpiece import WordPieceTokenizer
from handmade.weights.minilm import minilm
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


# -- one interface for all three


def test_encode_and_decode_take_the_same_arguments_everywhere():
    kinds = Base.__subclasses__()
    assert len(kinds) == 3
    for kind in kinds:
        for name in ("encode", "decode", "encode_batch", "encode_iterable"):
            assert getattr(kind, name) is getattr(Base, name)
        options = inspect.signature(kind).parameters
        for name in ("added_tokens", "before", "after", "decoder"):
            assert options[name].kind is inspect.Parameter.KEYWORD_ONLY


def test_vocab_size_is_the_rows_of_an_embedding_table(ours, saved):
    theirs = Tokenizer.from_file(str(saved))
    assert ours.vocab_size == theirs.get_vocab_size() == max(ours.tokens) + 1


@pytest.mark.parametrize(
    "made",
    [
        list,
        tuple,
        iter,
        np.array,
        torch.tensor,
        lambda ids: np.array(ids, dtype=np.uint16),
        lambda ids: list(torch.tensor(ids)),
        lambda ids: list(np.array(ids)),
    ],
)
def test_ids_may_be_a_list_an_array_or_a_tensor(ours, made):
    ids = ours.encode("to be or not to be")
    assert ours.decode(made(ids)) == ours.decode(ids)


@pytest.mark.parametrize(
    "bad",
    [
        "12",
        None,
        7,
        [[1, 2]],
        [1.0],
        [True],
        ["1"],
        [-1],
        [10**9],
        np.array([1.5]),
        np.array([[1]]),
        torch.tensor([True]),
        torch.tensor(3),
    ],
)
def test_what_are_no_ids_is_refused(ours, bad):
    with pytest.raises(ValueError, match=r"ids: got .* want"):
        ours.decode(bad)


def with_ends(kind, **ends):
    pieces = ["<s>", "</s>", "[UNK]", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    if kind is UnigramTokenizer:
        return kind([(p, -1.0) for p in pieces], unknown_id=2, **ends)
    vocab = {piece: i for i, piece in enumerate(pieces)}
    if kind is BPETokenizer:
        base = BPETokenizer.train(["abc"], 258, ["<s>", "</s>"])
        return kind(base.vocab, base.merges, base.special_tokens, **ends)
    return kind(vocab, {"<s>": 0, "</s>": 1}, **ends)


@pytest.mark.parametrize("kind", Base.__subclasses__())
@pytest.mark.parametrize("before", [(), ("<s>",), ("<s>", "</s>")])
@pytest.mark.parametrize("after", [(), ("</s>",)])
def test_the_ends_of_a_text_are_written_and_read(
    kind, before, after, tmp_path
):
    ours = with_ends(kind, before=before, after=after)
    inner = ours.encode("abc", add_special=False)
    ids = [*(0, 1)[: len(before)], *inner, *(1,)[: len(after)]]
    assert ours.encode("abc") == ids
    path = ours.save(tmp_path / "t.json")
    assert Tokenizer.from_file(str(path)).encode("abc").ids == ids
    assert kind.load(path).encode("abc") == ids
    with pytest.raises(ValueError, match="after: got '<x>', want"):
        with_ends(kind, before=before, after=["<x>"])


# -- batches


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_is_the_texts_filled_up(ours, side):
    texts = ["to be", "", "or not to be, that is", "x"]
    batch = ours.encode_batch(texts, pad_id=1, side=side)
    assert batch.ids.dtype == batch.attention_mask.dtype == torch.int64
    rows = [ours.encode(text) for text in texts]
    assert batch.ids.shape == (4, max(map(len, rows)))
    for row, ids, mask in zip(rows, *batch, strict=True):
        assert ids[mask == 1].tolist() == row
        assert (ids[mask == 0] == 1).all()
        n = len(row)
        real = mask[-n:] if side == "left" else mask[:n]
        assert mask.sum() == n
        assert n == 0 or real.all()


def test_a_batch_of_equal_lengths_needs_nothing_to_fill(ours):
    ids, mask = ours.encode_batch(["be", "be"], add_special=False)
    assert ids[0].tolist() == ours.encode("be", add_special=False)
    assert mask.all()


def test_a_batch_says_what_it_lacks(ours):
    with pytest.raises(ValueError, match="pad_id: got None"):
        ours.encode_batch(["be", "or not to be"])
    with pytest.raises(ValueError, match="texts: got str 'be'"):
        ours.encode_batch("be")
    with pytest.raises(ValueError, match="texts: got none"):
        ours.encode_batch([])
    with pytest.raises(ValueError, match="side: got 'top'"):
        ours.encode_batch(["be"], side="top")
    for pad_id in (-1, ours.vocab_size, True, 0.5, "0"):
        with pytest.raises(ValueError, match="pad_id: got"):
            ours.encode_batch(["be"], pad_id=pad_id)


# -- a stream

BITS = ["to", "be", " ", "  ", "\n", "\n\n", "\t", "'", "'re", "re", "12"]
BITS += [".", "é", "e", "\u0301", "北", "\x0b", "\x85", "\u3000", "\u2028"]
BITS += ["<s>", "<s", ">", "<m>", "new york", "new", " york", "▁", "\x00"]


def hard_to_cut(size, draw):
    """Some added tokens that a cut could hurt."""
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    names = ["<m>", "new york", "york be", "  ", "be\n", " to"]
    return [
        AddedToken(
            id=size + i,
            content=name,
            **{flag: draw.random() < 0.4 for flag in flags},
        )
        for i, name in enumerate(draw.sample(names, 3))
    ]


def again_with(base, tokens):
    """The same tokenizer with more added tokens."""
    described = base.describe()
    written = [vars(token) for token in tokens]
    described["added_tokens"] = [*described["added_tokens"], *written]
    return type(base).from_description(described)


def cut(ours, special, text):
    added, before = ours._added, ours.cut_before
    return stream.safe_cut(text, added, before, allow_special=special)


def test_a_stream_gives_the_ids_of_the_whole(ours, monkeypatch):
    draw, cut_somewhere, base = random.Random(3), 0, ours
    for case in range(8):
        tokens = hard_to_cut(base.vocab_size, draw)
        ours = again_with(base, tokens) if case else base
        for _ in range(25):
            monkeypatch.setattr(stream, "CHUNK", draw.choice([1, 2, 7, 40]))
            bits = draw.choices(BITS, k=draw.randint(0, 60))
            special = draw.random() < 0.5
            whole = ours.encode("".join(bits), allow_special=special)
            given = ours.encode_iterable(bits, allow_special=special)
            assert list(given) == whole, (bits, tokens)
            at = partial(cut, ours, special)
            pieces = list(stream.chunks(bits, at))
            assert "".join(pieces) == "".join(bits)
            cut_somewhere += len(pieces) > 1
    assert cut_somewhere > 60


def test_a_stream_is_the_file_and_holds_a_bounded_part_of_it(
    ours, tmp_path, monkeypatch
):
    monkeypatch.setattr(stream, "CHUNK", 1000)
    text = "\n".join([*ARTICLE_1.values(), special_text(ours)] * 3)
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    with path.open(encoding="utf-8") as lines:
        assert list(ours.encode_iterable(lines)) == ours.encode(text)

    # what was read and not yet given out, over a long text
    read, held, longest = 0, [], 0

    def lines():
        nonlocal read
        for i in range(3000):
            line = f"line {i}, to be or not to be\n"
            read += len(line)
            yield line

    sizes = []
    encode = ours._encode

    def watched(part, allow_special):
        sizes.append(len(part))
        held.append(read - sum(sizes))
        return encode(part, allow_special)

    monkeypatch.setattr(ours, "_encode", watched)
    count = sum(1 for _ in ours.encode_iterable(lines()))
    longest = max(sizes)
    assert count > 10_000
    assert len(sizes) > 50
    assert sum(sizes) == read > 80_000
    assert longest < 1100
    assert max(held) < 1100


def test_a_stream_of_one_endless_word_is_tried_at_doubling_sizes(
    ours, monkeypatch
):
    monkeypatch.setattr(stream, "CHUNK", 64)
    tried = []

    def watched(text):
        tried.append(len(text))
        return cut(ours, True, text)

    word = "ab" * 5000
    assert "".join(stream.chunks(iter(word), watched)) == word
    assert len(tried) < 10
    assert list(ours.encode_iterable(iter(word))) == ours.encode(word)


def test_a_stream_says_what_it_wants(ours):
    for bad in ("one text", None, 3):
        with pytest.raises(ValueError, match="pieces: got"):
            ours.encode_iterable(bad)
    for bad in ([b"x"], [None], ["a\ud800"]):
        with pytest.raises(ValueError, match="pieces: got"):
            list(ours.encode_iterable(bad))
