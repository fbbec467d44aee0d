"""Byte-level BPE: ids as Hugging Face's, and every text comes back.

A training by hand, counts hug 10, pug 5, pun 12, bun 4, hugs 5:

    u+g 20 (hug, pug, hugs) -> ug; u+n 16 -> un; h+ug 15 -> hug
    bug = b ug, mug = m ug, hugs = hug s
"""

import json
import random
import time
from collections import Counter
from itertools import pairwise

import pytest
from handmade.text import pretokenize, unicode_classes
from handmade.text.bpe import LONG, BPETokenizer
from handmade.text.bpe_train import learn_merges, recount_merges
from handmade.text.samples import ARTICLE_1, HARD
from handmade.weights.shakespeare import shakespeare
from handmade.weights.smollm2 import smollm2
from handmade.widgets.merge_steps import merge_steps, pack
from hypothesis import given, settings
from hypothesis import strategies as st
from script_helpers import run_script
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_start|>x", "<pad>")
SAMPLES = {**ARTICLE_1, **HARD}
WORDS = Counter(hug=10, pug=5, pun=12, bun=4, hugs=5)
any_text = st.text(
    st.characters(codec="utf-8") | st.sampled_from(" \n'est19-é😀\x04")
)


def level():
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def theirs_trained(texts, vocab_size, special=()):
    """Train with the library, by the same settings."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = level()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def merges_of(tokenizer):
    return [
        tuple(m) for m in json.loads(tokenizer.to_str())["model"]["merges"]
    ]


@pytest.fixture(scope="module")
def corpus():
    return "\n".join(shakespeare().values())[:300_000]


@pytest.fixture(scope="module")
def trained(corpus):
    return BPETokenizer.train([corpus], 2000, SPECIAL)


@pytest.fixture(scope="module")
def theirs():
    return smollm2().tokenizer()


@pytest.fixture(scope="module")
def ours(theirs):
    return BPETokenizer.from_hf(theirs)


# -- the classes of characters, on every code point


def code_points():
    return [chr(i) for i in range(0x110000) if not 0xD800 <= i <= 0xDFFF]


@pytest.mark.parametrize(
    ("pattern", "ours"),
    [
        (r"\p{L}", unicode_classes.letters),
        (r"\p{N}", unicode_classes.numbers),
        (r"\s", unicode_classes.spaces),
    ],
)
def test_classes_equal_the_librarys_on_every_code_point(pattern, ours):
    everything = "".join(code_points())
    split = pre_tokenizers.Split(Regex(pattern), "isolated", invert=False)
    # isolated: each match alone, so neighbours in the class are separate
    found = set()
    for start in range(0, len(everything), 50_000):
        block = everything[start : start + 50_000]
        parts = split.pre_tokenize_str("".join(f"\x01{c}" for c in block))
        found |= {ord(text) for text, _ in parts if len(text) == 1}
    found.discard(1)
    assert found == ours()


def test_digits_equal_the_librarys_on_every_code_point():
    digits = pre_tokenizers.Digits(individual_digits=True)
    parts = digits.pre_tokenize_str("\x01".join(code_points()))
    found = {ord(t) for t, _ in parts if len(t) == 1} - {1}
    assert found == unicode_classes.rust_numbers()


@pytest.mark.parametrize("split_digits", [False, True])
@given(text=any_text)
def test_words_equal_the_librarys(split_digits, text):
    theirs = level()
    if split_digits:
        digits = pre_tokenizers.Digits(individual_digits=True)
        theirs = pre_tokenizers.Sequence([digits, theirs])
    alphabet = pretokenize.byte_alphabet()
    words = pretokenize.splitter(split_digits)(text)
    assert "".join(words) == text
    spelled = ["".join(alphabet[b] for b in w.encode()) for w in words]
    assert spelled == [word for word, _ in theirs.pre_tokenize_str(text)]


def test_the_byte_alphabet_is_the_librarys():
    ours = pretokenize.byte_alphabet()
    assert sorted(ours.values()) == sorted(level().alphabet())
    assert ours[ord(" ")] == "Ġ"
    assert ours[ord("A")] == "A"
    assert len(set(ours.values())) == 256


# -- encoding with SmolLM2's merges


@pytest.mark.parametrize("name", SAMPLES)
def test_identical_ids_on_hard_text(ours, theirs, name):
    assert ours.encode(SAMPLES[name]) == theirs.encode(SAMPLES[name]).ids


def test_identical_ids_on_shakespeare(ours, theirs):
    text = "\n".join(shakespeare().values())
    # the library is three times as fast on short texts
    parts = [text[i : i + 2000] for i in range(0, len(text), 2000)]
    for part, encoding in zip(parts, theirs.encode_batch(parts), strict=True):
        assert ours.encode(part) == encoding.ids


def test_identical_ids_with_special_tokens_inside(ours, theirs):
    special = list(ours.special_tokens)
    draw = random.Random(0)
    pieces = [*special, "a", " ", "<|im_", "|>", "<", "x y", "\n", "<file_sep"]
    for _ in range(300):
        text = "".join(draw.choices(pieces, k=draw.randint(0, 9)))
        assert ours.encode(text) == theirs.encode(text).ids


@given(text=any_text)
@settings(max_examples=300)
def test_identical_ids_on_any_text(ours, theirs, text):
    ids = ours.encode(text)
    assert ids == theirs.encode(text).ids
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)


@given(ids=st.lists(st.integers(0, 49_151), max_size=30))
def test_any_ids_decode_alike(ours, theirs, ids):
    # any ids: most sequences are no valid UTF-8
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)


def test_from_a_transformers_tokenizer_too(ours):
    again = BPETokenizer.from_hf(smollm2().hf_tokenizer())
    assert again.encode("To be, or not 2 be") == ours.encode(
        "To be, or not 2 be"
    )


def test_the_bytes_smollm2_lacks_are_dropped_as_hugging_face_drops_them(
    ours, theirs
):
    lacking = [
        byte
        for byte, char in pretokenize.byte_alphabet().items()
        if char not in ours.vocab
    ]
    # six controls, eight planes without characters, what UTF-8 never uses
    assert sorted(lacking) == [
        *(0x04, 0x06, 0x13, 0x14, 0x16, 0x1D, 0xC0, 0xC1, 0xF1, 0xF2),
        *range(0xF5, 0x100),
    ]
    assert ours.decode(ours.encode("a\x04b")) == "ab"
    assert theirs.decode(theirs.encode("a\x04b").ids) == "ab"


def test_special_tokens_can_be_switched_off(ours):
    text = "hi<|im_end|>"
    assert ours.encode(text)[-1] == ours.special_tokens["<|im_end|>"]
    plain = ours.encode(text, allow_special=False)
    assert not set(plain) & set(ours.special_tokens.values())
    assert ours.decode(plain) == text


# -- every text comes back


@given(text=any_text)
@settings(max_examples=300)
def test_decode_undoes_encode(trained, text):
    assert trained.decode(trained.encode(text)) == text


@pytest.mark.parametrize("name", SAMPLES)
def test_decode_undoes_encode_on_hard_text(trained, name):
    ids = trained.encode(SAMPLES[name])
    assert trained.decode(ids) == SAMPLES[name]
    joined = b"".join(map(trained.token_bytes, ids))
    assert joined == SAMPLES[name].encode()


@pytest.mark.parametrize("text", ["\ud800", "abc\udfffd", "😀\ud83d"])
def test_a_lone_surrogate_is_refused_with_its_place(trained, text):
    index = next(i for i, c in enumerate(text) if 0xD800 <= ord(c) <= 0xDFFF)
    with pytest.raises(ValueError, match=rf"surrogate U\+D.* index {index}"):
        trained.encode(text)
    with pytest.raises(ValueError, match="surrogate"):
        BPETokenizer.train([text], 300)


def test_wrong_arguments_are_named(trained):
    with pytest.raises(ValueError, match="text: got bytes"):
        trained.encode(b"abc")
    with pytest.raises(ValueError, match="ids: got 999999"):
        trained.decode([5, 999_999])
    with pytest.raises(ValueError, match=r"vocab_size: got 256.*at least 257"):
        BPETokenizer.train(["abc"], 256, ["<s>"])
    with pytest.raises(ValueError, match="texts"):
        BPETokenizer.train("abc", 300)
    with pytest.raises(
        ValueError, match=r"merges: got number 0, .*'x' \+ 'y'"
    ):
        BPETokenizer({"x": 0}, [("x", "y")])


# -- one word


@given(text=st.text("abn ", max_size=LONG), seed=st.integers(0, 9))
def test_the_heap_merges_as_the_plain_loop_does(text, seed):
    # random merges, also in orders that no training would give
    draw = random.Random(seed)
    tokens, merges = list("abnĠ"), []
    for _ in range(12):
        pair = (draw.choice(tokens), draw.choice(tokens))
        if pair not in merges:
            merges.append(pair)
            tokens.append("".join(pair))
    draw.shuffle(merges)
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = BPETokenizer(vocab, merges)
    symbols = "".join(chr(vocab[c.replace(" ", "Ġ")]) for c in text)
    assert tokenizer._merge(symbols) == tokenizer._merge_long(symbols)
    theirs = Tokenizer(models.BPE(vocab, merges))
    assert (
        tokenizer._merge(symbols) == theirs.encode(text.replace(" ", "Ġ")).ids
    )


def test_a_long_run_of_one_letter_is_not_quadratic(ours, theirs):
    def seconds(n):
        start = time.perf_counter()
        ours.encode("a" * n)
        return time.perf_counter() - start

    text = "a" * 100_000
    assert ours.encode(text) == theirs.encode(text).ids
    short = min(seconds(25_000) for _ in range(3))
    # four times the length: 4 if linear, 16 if quadratic
    assert min(seconds(100_000) for _ in range(3)) < 9 * short


# -- training


def test_the_training_by_hand():
    learned = learn_merges(WORDS, 256 + 3)
    assert learned.merges == [("u", "g"), ("u", "n"), ("h", "ug")]
    tokenizer = BPETokenizer(learned.vocab, learned.merges)
    words = {"bug": "b ug", "mug": "m ug", "hugs": "hug s"}
    for word, tokens in words.items():
        ids = tokenizer.encode(word)
        assert [tokenizer.token_bytes(i).decode() for i in ids] == (
            tokens.split()
        )


def test_recounting_learns_the_same(corpus):
    words = Counter(pretokenize.splitter()(corpus[:30_000]))
    fast = learn_merges(words, 600, ["<s>"])
    slow = recount_merges(words, 600, ["<s>"])
    assert (fast.vocab, fast.merges) == (slow.vocab, slow.merges)
    assert fast.words_visited * 10 < slow.words_visited


def test_merges_are_the_librarys(corpus, trained):
    theirs = theirs_trained([corpus], 2000, SPECIAL)
    assert trained.merges == merges_of(theirs)
    assert trained.vocab == theirs.get_vocab()


def test_merges_are_the_librarys_on_many_scripts():
    texts = list(SAMPLES.values())
    theirs = theirs_trained(texts, 1500, ["<s>", "e"])
    ours = BPETokenizer.train(texts, 1500, ["<s>", "e"])
    assert ours.merges == merges_of(theirs)
    assert ours.vocab == theirs.get_vocab()


@given(
    words=st.lists(
        st.text("ab", min_size=1, max_size=12), min_size=1, max_size=8
    ),
    size=st.integers(256, 290),
)
@settings(max_examples=200)
def test_merges_are_the_librarys_where_ties_abound(words, size):
    texts = [" ".join(words)]
    theirs = theirs_trained(texts, size)
    ours = BPETokenizer.train(texts, size)
    assert ours.vocab == theirs.get_vocab()
    # a pair can be merged twice (ab+c and a+bc spell one token); the library
    # keeps the later place, and so does our rank
    last = {pair: i for i, pair in enumerate(ours.merges)}
    assert sorted(last, key=last.get) == merges_of(theirs)


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_nothing_to_learn_from_is_an_error(texts):
    with pytest.raises(ValueError, match="texts: got no word, want"):
        BPETokenizer.train(texts, 300)
    for learn in (learn_merges, recount_merges):
        with pytest.raises(ValueError, match=r"got .*, want"):
            learn(Counter(), 300)


# -- files


def test_digits_are_saved_too(tmp_path):
    tokenizer = BPETokenizer.train(["1 12 12 12 a1"], 260, split_digits=True)
    path = tokenizer.save(tmp_path / "t.json")
    again = BPETokenizer.load(path)
    assert again.split_digits
    assert again.encode("12 12") == tokenizer.encode("12 12")
    assert Tokenizer.from_file(str(path)).encode("12 12").ids == (
        tokenizer.encode("12 12")
    )


@pytest.mark.parametrize(
    "change",
    [
        {"type": "WordPiece"},
        {"dropout": 0.1},
        {"end_of_word_suffix": "</w>"},
        {"invented_later": 7},
        {"merges": [["q", "not there"]]},
        {"vocab": 3},
        {"vocab": {"a b": 0}},
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(trained, tmp_path, change):
    path = trained.save(tmp_path / "odd.json")
    described = json.loads(path.read_text(encoding="utf-8"))
    described["model"] |= change
    path.write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(ValueError, match=r"odd\.json"):
        BPETokenizer.load(path)


def test_other_tokenizers_are_refused():
    other = Tokenizer(models.BPE())
    with pytest.raises(ValueError, match="pre_tokenizer: got null"):
        BPETokenizer.from_hf(other)
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    with pytest.raises(ValueError, match="add_prefix_space: got true"):
        BPETokenizer.from_hf(other)
    with pytest.raises(ValueError, match="want a fast"):
        BPETokenizer.from_hf("SmolLM2")


# -- the explorable: its script against the package

SCRIPT = """
const { ranks, pairs } = unpackMerges(traits.merges);
const options = { ranks, byteIds: traits.byte_ids,
  splitDigits: traits.split_digits };
const id = (s) => s < 256 ? traits.byte_ids[s] : traits.first_id + s - 256;
return texts.map((text) => {
  const run = trace(text, options);
  const end = after(run, run.merges.length);
  return { words: words(text, traits.split_digits),
    ids: end.flat().map(id), states: run.merges.map((_, n) =>
      after(run, n).flat().map(id)), ranks: run.merges.map((m) => m.rank),
    rivals: run.merges.map((_, n) => rivals(after(run, n), ranks)
      .map(({ rank, word, at }) => [rank, word, at])),
    shown: end.flat().map((s) => show(s, pairs)) };
});
"""


def run_js(tokenizer, texts):
    traits = pack(tokenizer)
    return run_script("merge_steps", SCRIPT, traits=traits, texts=texts)


def merge_by_merge(tokenizer, text):
    """All states of a text: the merge learned first, leftmost, each time."""
    alphabet = pretokenize.byte_alphabet()
    split = pretokenize.splitter(tokenizer.split_digits)
    words = [
        [c for c in map(alphabet.get, w.encode()) if c in tokenizer.vocab]
        for w in split(text)
    ]
    ranks = {pair: i for i, pair in enumerate(tokenizer.merges)}
    states, order, rivals = [], [], []
    while True:
        found = [
            (ranks[pair], w, at)
            for w, word in enumerate(words)
            for at, pair in enumerate(pairwise(word))
            if pair in ranks
        ]
        if not found:
            return states, order, rivals
        states.append([tokenizer.vocab[s] for word in words for s in word])
        rivals.append([list(pair) for pair in sorted(found)])
        rank, w, at = min(found)
        words[w][at : at + 2] = ["".join(tokenizer.merges[rank])]
        order.append(rank)


@pytest.mark.parametrize("which", ["ours", "trained"])
def test_the_explorable_merges_as_the_package_does(which, request):
    tokenizer = request.getfixturevalue(which)
    # node's edition of Unicode differs: newer letters are not compared
    texts = [text[:300] for text in SAMPLES.values()]
    short = [text[:60] for text in ARTICLE_1.values()]
    for text, js in zip(texts, run_js(tokenizer, texts), strict=True):
        split = pretokenize.splitter(tokenizer.split_digits)
        assert js["words"] == split(text)
        assert js["ids"] == tokenizer.encode(text, allow_special=False)
    for text, js in zip(short, run_js(tokenizer, short), strict=True):
        states, order, rivals = merge_by_merge(tokenizer, text)
        assert js["states"] == states
        assert js["ranks"] == order
        assert js["rivals"] == rivals


def test_the_explorable_shows_half_characters_in_hexadecimal(trained):
    (js,) = run_js(trained, ["é the\n"])
    assert js["shown"] == ["C3", "A9", "␣the", "⏎"]


def test_the_explorable_is_small_and_linked():
    tokenizer = BPETokenizer.from_hf(smollm2().tokenizer())
    box = merge_steps(tokenizer, "To be")
    view, field = box.children
    assert field.value == view.text == "To be"
    assert len(view.merges) < 270_000
    assert repr(view) == "MergeSteps()"
    vocab = {"a": 0, "b": 1, "ab": 7, "ba": 3}
    with pytest.raises(ValueError, match="consecutive"):
        pack(BPETokenizer(vocab, [("a", "b"), ("b", "a")]))
