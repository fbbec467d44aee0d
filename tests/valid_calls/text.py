"""Right calls of `handmade.text`."""

import itertools

import torch
from handmade.text import bpe, unigram, wordpiece
from handmade.text.added_tokens import AddedToken

from valid_calls import call

WORDS = {"ab": 3, "b": 1}
SCORES = {"a": -1.0, "b": -1.0, "ab": -2.0}
VOCAB = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3}
LETTERS = {"a": 0, "b": 1, "ab": 2}
PIECES = [("<unk>", 0.0), ("a", -1.0), ("▁", -1.0)]


def made():
    return bpe.BPETokenizer(LETTERS, [("a", "b")])


def wordpieces():
    return wordpiece.WordPieceTokenizer(VOCAB)


def pieces():
    return unigram.UnigramTokenizer(PIECES)


def table():
    return torch.rand(3, 2)


def ids():
    return torch.tensor([[0, 1, 2]])


def added():
    return [AddedToken(id=9, content="<a>")]


def hf(made, tmp):
    """The same tokenizer, read by the `tokenizers` library."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(made.save(tmp / "tokenizer.json")))


def first_two(batches):
    return list(itertools.islice(batches, 2))


CALLS = {
    "text.bpe.BPETokenizer": lambda: call(vocab=LETTERS, merges=[("a", "b")]),
    "text.bpe.BPETokenizer.train": lambda: call(
        texts=["ab ab"], vocab_size=260
    ),
    "text.bpe.BPETokenizer.token_bytes": lambda: call(made(), token_id=0),
    "text.bpe_train.learn_merges": lambda: call(words=WORDS, vocab_size=260),
    "text.bpe_train.recount_merges": lambda: call(words=WORDS, vocab_size=260),
    "text.data.split": lambda: call(works={str(i): "x" for i in range(50)}),
    "text.data.ngram_bits": lambda: call(train="ab" * 9, held_out="ab" * 9),
    "text.data.pack": lambda: call(documents=[[1, 2]], T=4),
    "text.data.document_mask": lambda: call(documents_BT=ids()),
    "text.data.order": lambda: call(n=3),
    "text.data.batches": lambda: call(then=first_two, n=3, batch_size=2),
    "text.embeddings.lookup": lambda: call(table_VD=table(), ids=ids()),
    "text.embeddings.without_common_direction": lambda: call(table_VD=table()),
    "text.embeddings.nearest": lambda: call(table_VD=table(), token=1, k=1),
    "text.hf_json.description": lambda tmp: call(tokenizer=hf(made(), tmp)),
    "text.hf_json.file_parts": lambda: call(described=made().describe()),
    "text.hf_json.save": lambda tmp: call(path=tmp / "a", described={"a": 1}),
    "text.hf_json.load": lambda tmp: call(path=made().save(tmp / "a")),
    "text.normalize.clean": lambda: call(text="a"),
    "text.normalize.space_chinese": lambda: call(text="a"),
    "text.normalize.strip_accents": lambda: call(text="a"),
    "text.normalize.lower": lambda: call(text="a"),
    "text.normalize.bert_normalize": lambda: call(text="a"),
    "text.normalize.bert_words": lambda: call(text="a"),
    "text.pretokenize.splitter": lambda: call(),
    "text.pretokenize.gpt2_pattern": lambda: call(split_digits=True),
    "text.unigram.UnigramTokenizer": lambda: call(pieces=PIECES),
    "text.unigram.UnigramTokenizer.train": lambda: call(
        texts=["ab ab"], vocab_size=9
    ),
    "text.unigram.UnigramTokenizer.cut": lambda: call(pieces(), word="a"),
    "text.unigram.UnigramTokenizer.score": lambda: call(
        pieces(), pieces=["a"]
    ),
    "text.unigram.split_words": lambda: call(text="a"),
    "text.unigram.read_bytes": lambda: call(pieces=["a"]),
    "text.unigram_train.learn_pieces": lambda: call(words=WORDS, size=5),
    "text.unigram_train.seed_pieces": lambda: call(
        words=WORDS, longest=3, seeds=9
    ),
    "text.unigram_train.expected_counts": lambda: call(
        words=WORDS, scores=SCORES
    ),
    "text.unigram_train.find_edges": lambda: call(
        word="ab", scores=SCORES, longest=2
    ),
    "text.unigram_train.forward_backward": lambda: call(
        n=1, edges=[(0, 1, "a", -1.0)]
    ),
    "text.unigram_train.maximise": lambda: call(expected=SCORES, keep={"a"}),
    "text.unigram_train.digamma": lambda: call(x=1.0),
    "text.unigram_train.prune": lambda: call(
        words=WORDS, scores=SCORES, size=2, keep={"a", "b"}
    ),
    "text.unigram_train.best_cut": lambda: call(
        word="ab", scores=SCORES, longest=2
    ),
    "text.wordpiece.WordPieceTokenizer": lambda: call(vocab=VOCAB),
    "text.wordpiece.WordPieceTokenizer.cut": lambda: call(
        wordpieces(), word="a"
    ),
    # what all tokenizers share, in one of them
    "text.tokenizer.Tokenizer.encode": lambda: call(made(), text="a"),
    "text.tokenizer.Tokenizer.encode_batch": lambda: call(
        made(), texts=["a"], pad_id=0
    ),
    "text.tokenizer.Tokenizer.encode_iterable": lambda: call(
        made(), then=list, pieces=["a"]
    ),
    "text.tokenizer.Tokenizer.decode": lambda: call(made(), ids=[1]),
    "text.tokenizer.Tokenizer.save": lambda tmp: call(made(), path=tmp / "a"),
    "text.tokenizer.Tokenizer.load": lambda tmp: call(
        bpe.BPETokenizer, path=made().save(tmp / "a")
    ),
    "text.tokenizer.Tokenizer.from_description": lambda: call(
        bpe.BPETokenizer, described=made().describe()
    ),
    "text.tokenizer.Tokenizer.from_hf": lambda tmp: call(
        bpe.BPETokenizer, tokenizer=hf(made(), tmp)
    ),
}
