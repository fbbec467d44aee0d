"""Each public function of handmade.text, called with what it cannot take.

One row a function: right arguments, and for each of them values that are
wrong. The error must be a ValueError or TypeError that names the argument,
says what came and what is wanted. What is wrong for any function of the kind
is in `test_every_argument`, which also sees to it that none is left out; here
is what only these know to be wrong.
"""

import re

import pytest
import torch
from handmade.text import (
    bpe,
    bpe_train,
    data,
    embeddings,
    normalize,
    pretokenize,
    tokenizer,
    unigram,
    unigram_train,
    wordpiece,
)

WORDS = {"ab": 3, "b": 1}
SCORES = {"a": -1.0, "b": -1.0, "ab": -2.0}
VOCAB = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3}
LETTERS = {"a": 0, "b": 1, "ab": 2}
PIECES = [("<unk>", 0.0), ("a", -1.0), ("▁", -1.0)]
TABLE = torch.ones(3, 2)
IDS = torch.tensor([[0, 1]])

NO_TEXT = (None, 3, b"ab", ["ab"], torch.tensor(1))
NO_TEXTS = (None, 3, "ab", b"ab", [None], [3], ["\ud800"])
NO_NAMES = (None, 3, "ab", [None], [""])
NO_FLAG = (None, 1, "yes", [])
NO_COUNTS = (None, [], "ab", {}, {"a": "1"}, {"a": 0}, {3: 1})
NO_VOCAB = (
    *(None, [], "ab", {}, {"a": "0"}, {"a": 0, "b": 0}, {"a": -1}),
    *({"a": 1.0}, {"a": True}, {3: 0}, {"\ud800": 0}),
)
NO_SPECIAL = ([("a", 0)], "a", 3, {"a": "0"}, {"": 0}, {"q": 3, "r": 3})
NO_SCORES = (None, [], "ab", {})
NO_TABLE = (None, [[1.0]], torch.ones(3), torch.ones(3, 2).long())
NO_TABLE += (torch.ones(0, 2),)
NO_ROWS = (None, [0], 1, torch.tensor([0.0]), torch.tensor([True]))
NO_ROWS += (torch.tensor([1], dtype=torch.uint8), torch.tensor([-1]))
NO_ROWS += (torch.tensor([3]),)
NO_COUNT = (None, 0.5, "3", True, -1)
NO_IDS = (None, 3, "12", [0.5], [[1]], [-1], ["1"])


def no_whole(*more):
    return (*NO_COUNT, *more)


def made(kind):
    if kind is bpe.BPETokenizer:
        return kind(LETTERS, [("a", "b")])
    if kind is wordpiece.WordPieceTokenizer:
        return kind(VOCAB)
    return kind(PIECES)


def streamed(tokenizer):
    return lambda **given: list(tokenizer.encode_iterable(**given))


TRAIN = {"texts": ["ab ab"], "vocab_size": 300}
BAD_TRAIN = {
    "texts": (*NO_TEXTS, [], [""]),
    "vocab_size": no_whole(0, 2),
    "special_tokens": NO_NAMES,
}
ENDS = {"before": NO_NAMES, "after": NO_NAMES, "decoder": NO_FLAG}
ENDS |= {"added_tokens": (None, 3, "ab")}
LEARN = {"words": WORDS, "vocab_size": 260}
BAD_LEARN = {
    "words": NO_COUNTS,
    "vocab_size": no_whole(0, 9),
    "special_tokens": NO_NAMES,
}

# function, right arguments, wrong ones by name
TABLE_OF_CALLS = [
    (
        bpe.BPETokenizer,
        {"vocab": LETTERS, "merges": [("a", "b")]},
        {
            "vocab": NO_VOCAB,
            "merges": (None, 3, "ab", [3], ["abc"], [("a",)], [("a", 1)]),
            "special_tokens": NO_SPECIAL,
            "split_digits": NO_FLAG,
            "ignore_merges": NO_FLAG,
            **ENDS,
        },
    ),
    (
        bpe.BPETokenizer.train,
        TRAIN,
        {**BAD_TRAIN, "split_digits": NO_FLAG},
    ),
    (
        made(bpe.BPETokenizer).token_bytes,
        {"token_id": 0},
        {"token_id": (None, "a", 99, -1)},
    ),
    (bpe_train.learn_merges, LEARN, BAD_LEARN),
    (bpe_train.recount_merges, LEARN, BAD_LEARN),
    (pretokenize.splitter, {}, {"split_digits": NO_FLAG}),
    (pretokenize.splitter(), {"text": "a"}, {"text": NO_TEXT}),
    (
        wordpiece.WordPieceTokenizer,
        {"vocab": VOCAB},
        {
            "vocab": (*NO_VOCAB, {"a" * 300: 1}),
            "special_tokens": NO_SPECIAL,
            "unknown": (*NO_TEXT, "lacking"),
            "prefix": NO_TEXT,
            "longest_word": no_whole(10**9),
            "cleanup": NO_FLAG,
            **ENDS,
        },
    ),
    (
        made(wordpiece.WordPieceTokenizer).cut,
        {"word": "a"},
        {"word": NO_TEXT},
    ),
    (
        unigram.UnigramTokenizer,
        {"pieces": PIECES},
        {
            "pieces": (
                *(None, 3, "ab", [], ["ab"], [("a", "b")], [("a", None)]),
                *([(3, 0.0)], [("a", float("nan"))], [("", 0.0)]),
                *([("a", 0.0)] * 2, [("a" * 300, 0.0)]),
            ),
            "special_tokens": NO_SPECIAL,
            "unknown_id": (0.5, "0", True, -1, 3),
            "prepend": NO_FLAG,
            "byte_fallback": NO_FLAG,
            "join_bytes": NO_FLAG[1:],
            **ENDS,
        },
    ),
    (
        unigram.UnigramTokenizer.train,
        TRAIN,
        {
            **BAD_TRAIN,
            "longest": no_whole(0),
            "seeds": no_whole(),
            "steps": no_whole(0),
            "shrink": (None, "1", 0, 1, 1.5, -1, float("nan")),
        },
    ),
    (made(unigram.UnigramTokenizer).cut, {"word": "a"}, {"word": NO_TEXT}),
    (
        made(unigram.UnigramTokenizer).score,
        {"pieces": ["a"]},
        {"pieces": (None, 3, "ab")},
    ),
    (unigram.split_words, {"text": "a"}, {"text": NO_TEXT}),
    (unigram.read_bytes, {"pieces": ["a"]}, {"pieces": (None, 3, "ab")}),
    (
        unigram_train.learn_pieces,
        {"words": WORDS, "size": 5},
        {
            "words": NO_COUNTS,
            "size": no_whole(1),
            "longest": no_whole(0),
            "seeds": no_whole(),
            "steps": no_whole(0),
            "shrink": (None, "1", 0, 1, 2, -1, float("nan")),
        },
    ),
    (
        unigram_train.seed_pieces,
        {"words": WORDS, "longest": 3, "seeds": 9},
        {"words": NO_COUNTS, "longest": no_whole(0), "seeds": no_whole()},
    ),
    (
        unigram_train.expected_counts,
        {"words": WORDS, "scores": SCORES},
        {"words": NO_SCORES, "scores": NO_SCORES},
    ),
    (
        unigram_train.find_edges,
        {"word": "ab", "scores": SCORES, "longest": 2},
        {"word": NO_TEXT, "scores": NO_SCORES, "longest": no_whole()},
    ),
    (
        unigram_train.maximise,
        {"expected": SCORES, "keep": {"a"}},
        {"expected": NO_SCORES, "keep": (None, 3, "ab")},
    ),
    (
        unigram_train.digamma,
        {"x": 1.0},
        {"x": (None, "1", 0, -1, float("nan"))},
    ),
    (
        unigram_train.prune,
        {"words": WORDS, "scores": SCORES, "size": 2, "keep": {"a", "b"}},
        {
            "words": NO_SCORES,
            "scores": NO_SCORES,
            "size": no_whole(),
            "keep": (None, 3, "ab"),
        },
    ),
    (
        unigram_train.best_cut,
        {"word": "ab", "scores": SCORES, "longest": 2},
        {"word": NO_TEXT, "scores": NO_SCORES, "longest": no_whole()},
    ),
    (
        embeddings.lookup,
        {"table_VD": TABLE, "ids": IDS},
        {"table_VD": NO_TABLE, "ids": NO_ROWS},
    ),
    (
        embeddings.without_common_direction,
        {"table_VD": TABLE},
        {"table_VD": NO_TABLE},
    ),
    (
        embeddings.nearest,
        {"table_VD": TABLE, "token": 1, "k": 1},
        {
            "table_VD": NO_TABLE,
            "token": no_whole(3),
            "k": no_whole(0, 3),
        },
    ),
    (
        data.split,
        {"works": {str(i): "x" for i in range(50)}},
        {
            "works": (None, [], {}, "ab", {"a": 3}, {3: "a"}, {"a": "b"}),
            "share": (None, 0, 1, "0.1", float("nan")),
            "seed": (None, 0.5, "3"),
        },
    ),
    (
        data.ngram_bits,
        {"train": "ab" * 9, "held_out": "ab" * 9},
        {
            "train": (*NO_TEXT, "", "ab", "\ud800"),
            "held_out": (*NO_TEXT, "", "ab", "\ud800"),
            "order": no_whole(8, 100),
        },
    ),
    (
        data.pack,
        {"documents": [[1, 2]], "T": 4},
        {
            "documents": (None, 3, "ab", [], [[]], ["ab"], [3], [[0.5]]),
            "T": no_whole(0),
            "pad_id": NO_COUNT,
        },
    ),
    (
        data.document_mask,
        {"documents_BT": IDS},
        {"documents_BT": (None, [[0]], *NO_ROWS[3:6], IDS[0], IDS[None])},
    ),
    (
        data.order,
        {"n": 3},
        {"n": no_whole(0), "seed": (None, 0.5), "epoch": NO_COUNT},
    ),
    (
        lambda **given: next(data.batches(**given)),
        {"n": 3, "batch_size": 2},
        {
            "n": no_whole(0),
            "batch_size": no_whole(0, 4),
            "seed": (None, 0.5),
            "step": NO_COUNT,
        },
    ),
]
TABLE_OF_CALLS += [
    (getattr(normalize, name), {"text": "a"}, {"text": NO_TEXT})
    for name in (
        *("clean", "space_chinese", "strip_accents", "lower"),
        *("bert_normalize", "bert_words"),
    )
]
for _kind in tokenizer.Tokenizer.__subclasses__():
    TABLE_OF_CALLS += [
        (
            made(_kind).encode,
            {"text": "a"},
            {
                "text": (*NO_TEXT, "\ud800"),
                "allow_special": NO_FLAG,
                "add_special": NO_FLAG,
            },
        ),
        (
            made(_kind).encode_batch,
            {"texts": ["a"]},
            {
                "texts": (*NO_TEXTS, []),
                "pad_id": no_whole(10**6)[1:],
                "side": (None, 3, "top"),
                "allow_special": NO_FLAG,
                "add_special": NO_FLAG,
            },
        ),
        (
            streamed(made(_kind)),
            {"pieces": ["a"]},
            {
                "pieces": NO_TEXTS,
                "allow_special": NO_FLAG,
                "add_special": NO_FLAG,
            },
        ),
        (
            made(_kind).decode,
            {"ids": [1]},
            {"ids": NO_IDS, "skip_special": NO_FLAG},
        ),
        (
            _kind.from_hf,
            {"tokenizer": None},
            {"tokenizer": (None, 3, "gpt2", {})},
        ),
        (
            _kind.from_description,
            {"described": made(_kind).describe()},
            {
                "described": (None, 3, [], "a", {}, {"model": None}),
                "ignore": (None, 3, "padding", ["model"]),
            },
        ),
    ]

# the name in a message, where it is not the argument's own
ALIASES = {
    "table_VD": "table",
    "documents_BT": "documents",
    "described": "tokenizer",
    "special_tokens": "special_tokens|added_tokens",
    "words": "words|texts",
    "size": "size|vocab_size",
    "word": "word|text",
}


def name_of(call):
    return getattr(call, "__qualname__", "call")


@pytest.mark.parametrize("row", TABLE_OF_CALLS, ids=lambda r: name_of(r[0]))
def test_a_wrong_argument_is_named(row):
    call, right, wrong = row
    if "from_hf" not in name_of(call):
        call(**right)
    for argument, values in wrong.items():
        for value in values:
            with pytest.raises((ValueError, TypeError)) as caught:
                call(**{**right, argument: value})
            message = str(caught.value)
            names = ALIASES.get(argument, argument)
            found = re.match(rf"({names})\b.*: got .*, want ", message, re.S)
            found = found or re.match(rf"({names}): got .*want", message, re.S)
            assert found, (argument, value, message)
