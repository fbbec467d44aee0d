"""Unigram: the library's segmentation on the same vocabulary; EM by hand.

Pieces a, b, ab with probabilities 1/4, 1/4, 1/2. The word "ab" has two
cuts: a b with 1/16 and ab with 1/2. Their sum, 9/16, is the word's
probability, so ab is used 8/9 times and a and b 1/9 times each.
"""

import itertools
import json
import math

import pytest
import torch
from handmade.text import unigram_train
from handmade.text.samples import ARTICLE_1, HARD
from handmade.text.unigram import UnigramTokenizer, split_words
from handmade.weights.shakespeare import shakespeare
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SAMPLES = {**ARTICLE_1, **HARD}
any_text = st.text(st.characters(codec="utf-8") | st.sampled_from(" ▁theé\n"))
LOGS = {"a": math.log(1 / 4), "b": math.log(1 / 4), "ab": math.log(1 / 2)}


def library(pieces, **options):
    """Build the library's tokenizer on given pieces."""
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, **options))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


@pytest.fixture(scope="module")
def corpus():
    return "\n".join(shakespeare().values())[:150_000]


@pytest.fixture(scope="module")
def theirs(corpus):
    tokenizer = library([("<unk>", 0.0)])
    trainer = trainers.UnigramTrainer(
        vocab_size=1500,
        unk_token="<unk>",
        special_tokens=["<unk>", "<s>", "</s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([corpus], trainer)
    return tokenizer


@pytest.fixture(scope="module")
def ours(theirs):
    return UnigramTokenizer.from_hf(theirs)


@pytest.fixture(scope="module")
def trained(corpus):
    return UnigramTokenizer.train(
        [corpus[:60_000]], 600, ["<s>"], seeds=4000, longest=10
    )


# -- the library's segmentation


@pytest.mark.parametrize("name", SAMPLES)
def test_identical_ids_on_hard_text(ours, theirs, name):
    ids = theirs.encode(SAMPLES[name]).ids
    assert ours.encode(SAMPLES[name]) == ids
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)


def test_identical_ids_on_shakespeare(ours, theirs):
    for text in list(shakespeare().values())[::6]:
        assert ours.encode(text) == theirs.encode(text).ids


@given(text=any_text)
@settings(max_examples=300)
def test_identical_ids_on_any_text(ours, theirs, text):
    assert ours.encode(text) == theirs.encode(text).ids


@given(
    tokens=st.dictionaries(
        st.text("ab▁é", min_size=1, max_size=4),
        st.sampled_from([-1.0, -2.0, -3.0, -4.0, 0.0, -0.1, -0.2, -0.3]),
        min_size=1,
    ),
    word=st.text("abcdé ", max_size=12),
    fallback=st.booleans(),
)
@settings(max_examples=400)
def test_identical_ids_where_ties_abound(tokens, word, fallback):
    # whole numbers: many cuts of one score, so the choice among equals shows;
    # tenths: sums that differ in their last digit by the order of adding
    pieces = [("<unk>", 0.0), *tokens.items()]
    if fallback:
        pieces += [(f"<0x{b:02X}>", -9.0) for b in "cé".encode()]
    theirs = library(pieces, byte_fallback=fallback)
    ours = UnigramTokenizer.from_hf(theirs)
    assert ours.encode(word) == theirs.encode(word).ids


def test_a_run_of_unknown_characters_is_one_unknown():
    ours = UnigramTokenizer([("<unk>", 0), ("a", -1), ("▁", -1)])
    assert ours.encode("axxxa") == [2, 1, 0, 1]
    assert ours.cut("axxxa") == ["a", "xxx", "a"]


class Counted(str):
    """A text that counts the characters copied out of it and joined."""

    copied = 0

    def __getitem__(self, key):
        return Counted.count(super().__getitem__(key))

    def __add__(self, other):
        return Counted.count(super().__add__(other))

    @staticmethod
    def count(text):
        Counted.copied += len(text)
        return Counted(text)


@pytest.mark.parametrize("word", ["ж", "a", "ab", "aж", "xab", "▁▁"])
def test_the_work_of_a_cut_is_linear_in_the_word(word):
    pieces = [("<unk>", 0.0), ("a", -1.0), ("ab", -1.5), ("▁a", -1.0)]
    ours = UnigramTokenizer([*pieces, ("▁bbb", -2.0), ("▁", -2.0)])
    copied = []
    for n in (1000, 2000, 4000):
        Counted.copied = 0
        assert "".join(ours.cut(Counted(word * n))) == word * n
        copied.append(Counted.copied / n)
    assert copied[2] == pytest.approx(copied[0], rel=0.01)


def plain_cut(word, ours):
    """The definition: every start of every piece, at every end."""
    best, cuts = [0.0], [[]]
    worst = min(score for _, score in ours.pieces) - 10.0
    scores = dict(ours.pieces)
    for end in range(1, len(word) + 1):
        found, taken = -math.inf, None
        for start in range(end):
            piece = word[start:end]
            alone = worst if len(piece) == 1 else -math.inf
            score = best[start] + scores.get(piece, alone)
            if score > found:
                found, taken = score, start
        best.append(found)
        cuts.append([*cuts[taken], (word[taken:end], taken)])
    joined = []
    for piece, _ in cuts[-1]:
        unknown = piece not in scores
        if unknown and joined and joined[-1][1]:
            piece = joined.pop()[0] + piece
        joined.append((piece, unknown))
    return [piece for piece, _ in joined]


@given(
    scores=st.dictionaries(
        st.text("abc", min_size=1, max_size=5), st.floats(-9, -0.1), min_size=1
    ),
    word=st.text("abcxy", max_size=25),
)
@settings(max_examples=300)
def test_the_cut_is_that_of_the_definition(scores, word):
    ours = UnigramTokenizer([("<unk>", -20.0), *scores.items()])
    assert ours.cut(word) == plain_cut(word, ours)


# -- bytes, and no unknown piece at all


def with_bytes(fallback=True, **options):
    pieces = [("<unk>", 0.0), ("▁", -2.0), ("a", -1.0), ("b", -1.5)]
    pieces += [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
    theirs = library(pieces, byte_fallback=fallback)
    if fallback:
        steps = [decoders.ByteFallback(), decoders.Metaspace()]
        theirs.decoder = decoders.Sequence(steps)
    return UnigramTokenizer.from_hf(theirs), theirs


@given(text=any_text)
@settings(max_examples=200)
def test_unknown_characters_are_spelled_in_bytes_and_come_back(text):
    ours, theirs = with_bytes()
    ids = ours.encode(text)
    assert ids == theirs.encode(text).ids
    assert ours.decode(ids) == theirs.decode(ids)


@given(ids=st.lists(st.integers(0, 259), max_size=12))
def test_bytes_that_are_no_text_decode_as_the_librarys_do(ids):
    for fallback in (True, False):
        ours, theirs = with_bytes(fallback)
        assert ours.decode(ids) == theirs.decode(ids)


def test_without_an_unknown_piece_an_unknown_character_is_an_error():
    theirs = Tokenizer(models.Unigram([("▁", -1.0), ("a", -1.0)]))
    theirs.pre_tokenizer = pre_tokenizers.Metaspace()
    described = json.loads(theirs.to_str())
    described["model"]["unk_id"] = None
    ours = UnigramTokenizer.from_description(described)
    assert ours.unknown_id is None
    assert ours.encode("a a") == [0, 1, 0, 1]
    with pytest.raises(ValueError, match="text: got 'ж', want"):
        ours.encode("aжa")
    with pytest.raises(Exception, match="unk_id"):
        Tokenizer.from_str(json.dumps(described)).encode("aжa")


# -- the best cut, against all cuts


def all_cuts(word):
    for flags in itertools.product([0, 1], repeat=max(0, len(word) - 1)):
        places = [i + 1 for i, flag in enumerate(flags) if flag]
        bounds = [0, *places, len(word)]
        yield [word[i:j] for i, j in itertools.pairwise(bounds)]


scored = st.dictionaries(
    st.text("ab", min_size=2, max_size=4), st.floats(-9, -0.1)
).map(lambda more: {"a": -2.5, "b": -3.25, **more})


@given(scores=scored, word=st.text("ab", min_size=1, max_size=9))
def test_viterbi_finds_the_best_of_all_cuts(scores, word):
    ours = UnigramTokenizer([("<unk>", 0.0), *scores.items()])
    possible = [c for c in all_cuts(word) if all(p in scores for p in c)]
    best = max(map(ours.score, possible))
    assert ours.score(ours.cut(word)) == pytest.approx(best)
    again = unigram_train.best_cut(word, scores, 9)
    assert ours.score(again) == pytest.approx(best)


# -- training


def test_the_expectation_by_hand():
    expected, likelihood = unigram_train.expected_counts({"ab": 9}, LOGS)
    assert expected == pytest.approx({"a": 1, "b": 1, "ab": 8})
    assert likelihood == pytest.approx(9 * math.log(9 / 16))


@given(scores=scored, word=st.text("ab", min_size=1, max_size=8))
def test_expected_counts_equal_the_sum_over_all_cuts(scores, word):
    weights, uses = [], []
    for cut in all_cuts(word):
        if all(piece in scores for piece in cut):
            weights.append(math.exp(sum(scores[p] for p in cut)))
            uses.append(cut)
    want = dict.fromkeys(scores, 0.0)
    for weight, cut in zip(weights, uses, strict=True):
        for piece in cut:
            want[piece] += weight / sum(weights)
    got, likelihood = unigram_train.expected_counts({word: 1}, scores)
    assert likelihood == pytest.approx(math.log(sum(weights)))
    for piece, count in want.items():
        assert got.get(piece, 0.0) == pytest.approx(count, abs=1e-9)


def test_each_step_of_plain_em_raises_the_likelihood(corpus):
    words = {}
    for word in split_words(corpus[:20_000]):
        words[word] = words.get(word, 0) + 1
    scores = unigram_train.seed_pieces(words, 6, 800)
    before = -math.inf
    for _ in range(5):
        counts, likelihood = unigram_train.expected_counts(words, scores)
        assert likelihood > before
        before, total = likelihood, sum(counts.values())
        scores = {p: math.log(n / total) for p, n in counts.items() if n}


@pytest.mark.parametrize("x", [1e-3, 0.5, 1, 2.5, 9.99, 10, 1234.5, 1e7])
def test_digamma(x):
    want = torch.digamma(torch.tensor(x, dtype=torch.float64)).item()
    assert unigram_train.digamma(x) == pytest.approx(want, rel=1e-11)
    with pytest.raises(
        ValueError, match="x: got 0, want a finite number above 0"
    ):
        unigram_train.digamma(0)


def test_training_gives_the_size_asked_and_keeps_every_character(
    trained, corpus
):
    assert len(trained.pieces) == 600
    assert trained.special_tokens == {"<s>": 0, "<unk>": 1}
    text = corpus[:60_000].lstrip(" ")
    ids = trained.encode(text)
    assert trained.unknown_id not in ids
    assert trained.decode(ids) == text
    characters = len(set(text)) + 3
    small = UnigramTokenizer.train([text[:5000]], characters)
    assert len(text) / len(ids) > 1.4 * len(text) / len(small.encode(text))
    scores = [score for _, score in trained.pieces[2:]]
    assert scores == sorted(scores, reverse=True)
    assert sum(map(math.exp, scores)) == pytest.approx(1, abs=0.02)


def test_training_cuts_as_well_as_the_librarys(corpus):
    # both trained alike; the number of tokens on text neither has seen
    train, held_out = corpus[:60_000], corpus[100_000:]
    theirs = library([("<unk>", 0.0)])
    trainer = trainers.UnigramTrainer(
        vocab_size=600,
        unk_token="<unk>",
        special_tokens=["<unk>"],
        show_progress=False,
    )
    theirs.train_from_iterator([train], trainer)
    ours = UnigramTokenizer.train([train], 600, seeds=4000, longest=10)
    ratio = len(ours.encode(held_out)) / len(theirs.encode(held_out).ids)
    assert ratio < 1.03


@pytest.mark.parametrize("shrink", [0.01, 0.5, 0.99, 0.9999])
def test_training_ends_whatever_share_is_kept(shrink):
    words = {"abab": 4, "abc": 3, "bcbc": 2, "cab": 5}
    learned = unigram_train.learn_pieces(words, 4, shrink=shrink)
    assert len(learned) <= 4
    assert {"a", "b", "c"} <= {piece for piece, _ in learned}


def test_a_special_token_that_is_a_character_is_one_piece():
    ours = UnigramTokenizer.train(["abc abc"], 8, ["a"])
    names = [text for text, _ in ours.pieces]
    assert names.count("a") == 1
    assert ours.encode("a") == [ours.special_tokens["a"]]


def test_training_is_the_same_each_time(corpus):
    one, two = (
        UnigramTokenizer.train([corpus[:20_000]], 300, seeds=1000)
        for _ in range(2)
    )
    assert one.pieces == two.pieces


# -- files and errors


def test_a_foreign_file_is_refused_by_name(trained, tmp_path):
    path = trained.save(tmp_path / "t.json")
    described = json.loads(path.read_text(encoding="utf-8"))
    described["pre_tokenizer"]["prepend_scheme"] = "first"
    path.write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(ValueError, match=r"t\.json.*prepend_scheme"):
        UnigramTokenizer.load(path)


def test_wrong_arguments_are_named(trained):
    with pytest.raises(ValueError, match="ids: got -1"):
        trained.decode([-1])
    with pytest.raises(ValueError, match="unknown_id"):
        UnigramTokenizer([("a", 0.0)], unknown_id=1)
    with pytest.raises(ValueError, match=r"vocab_size.*characters"):
        UnigramTokenizer.train(["abcdef"], 4)
