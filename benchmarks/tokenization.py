"""Tokenizers: ours against the `tokenizers` library, same work, one run.

    python benchmarks/tokenization.py

Each row does one piece of work in both and gives the ratio; the two results
are compared before their times are. Ours is one thread of pure Python, the
library's Rust may use every core. Each is timed several times, in turn, and
the fastest counts.
"""

import json
import time
from collections import Counter
from itertools import pairwise

from handmade.text.bpe import BPETokenizer
from handmade.text.bpe_train import learn_merges, recount_merges
from handmade.text.pretokenize import splitter
from handmade.text.unigram import UnigramTokenizer
from handmade.text.wordpiece import WordPieceTokenizer
from handmade.weights.minilm import minilm
from handmade.weights.shakespeare import shakespeare
from handmade.weights.smollm2 import smollm2
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

MEGABYTE = 1_000_000


def fastest(works, repeat):
    """Return the best time of each work, run in turn, and the results."""
    times = [[] for _ in works]
    results = [None] * len(works)
    for _ in range(repeat):
        for i, work in enumerate(works):
            start = time.perf_counter()
            results[i] = work()
            times[i].append(time.perf_counter() - start)
    return [min(row) for row in times], results


def row(work, ours, other, ours_s, other_s, wanted):
    ratio = other_s / ours_s
    verdict = "" if wanted is None else f"want {wanted:g}: "
    verdict += "" if wanted is None else "yes" if ratio >= wanted else "NO"
    print(
        f"{work:<48}{ours:<10}{ours_s:>9.4f} s  {other:<12}{other_s:>9.4f} s"
        f"  {ratio:>8.2f} x  {verdict}"
    )


def train_library(text, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(merge) for merge in merges]


def recount_text(text, vocab_size):
    """Recount the whole text at each merge, repeated words and all."""
    words = splitter()(text)
    symbols = [list(word.encode()) for word in words]
    for new in range(256, vocab_size):
        counts = Counter()
        for word in symbols:
            counts.update(pairwise(word))
        a, b = max(counts, key=counts.get)
        for i, word in enumerate(symbols):
            if a in word:
                symbols[i] = merge(word, a, b, new)
    return symbols


def merge(word, a, b, new):
    out, i = [], 0
    while i < len(word):
        if word[i] == a and i + 1 < len(word) and word[i + 1] == b:
            out.append(new)
            i += 2
        else:
            out.append(word[i])
            i += 1
    return out


def training(text):
    splitter()("warm")
    for size, merges, wanted in (
        (MEGABYTE, 1000, 0.5),
        (len(text), 9744, None),
    ):
        part, vocab_size = text[:size], 256 + merges
        times, results = fastest(
            [
                lambda p=part, v=vocab_size: BPETokenizer.train([p], v).merges,
                lambda p=part, v=vocab_size: train_library(p, v),
            ],
            repeat=3 if size == MEGABYTE else 1,
        )
        assert results[0] == results[1], "merges differ"
        name = f"BPE: learn {merges:,} merges, {size / MEGABYTE:.1f} MB"
        row(name, "ours", "tokenizers", *times, wanted)

    part = text[:100_000]

    def incremental():
        return learn_merges(Counter(splitter()(part)), 1256).merges

    def recounted():
        return recount_merges(Counter(splitter()(part)), 1256).merges

    (ours_s,), _ = fastest([incremental], repeat=5)
    (words_s, text_s), results = fastest(
        [recounted, lambda: recount_text(part, 1256)], repeat=1
    )
    assert results[0] == incremental(), "merges differ"
    name = "BPE: learn 1,000 merges, 0.1 MB"
    row(name, "ours", "recount text", ours_s, text_s, 100)
    row(name, "ours", "recount words", ours_s, words_s, None)


def encoding(text):
    hf = minilm().tokenizer()
    hf.no_padding()
    hf.no_truncation()
    unigram = Tokenizer(models.Unigram())
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=2000,
        unk_token="<unk>",
        special_tokens=["<unk>"],
        show_progress=False,
    )
    unigram.train_from_iterator([text[:200_000]], trainer)
    for name, ours, theirs in (
        ("BPE (SmolLM2)", BPETokenizer, smollm2().tokenizer()),
        ("WordPiece (MiniLM)", WordPieceTokenizer, hf),
        ("Unigram", UnigramTokenizer, unigram),
    ):
        mine = ours.from_hf(theirs)
        mine.encode("warm")
        for size in (1000, 100_000, MEGABYTE):
            part = text[50_000 : 50_000 + size]
            wanted = 3 if ours is BPETokenizer else None

            def cold(mine=mine, part=part):
                mine._cache.clear()
                return mine.encode(part)

            works = [
                lambda mine=mine, part=part: mine.encode(part),
                lambda theirs=theirs, part=part: theirs.encode(part).ids,
                cold,
            ]
            works[0]()
            repeat = max(3, 100_000 // size)
            warm_times, results = fastest(works[:2], repeat)
            assert results[0] == results[1], "ids differ"
            work = f"{name}: encode {size:,} characters"
            row(work, "ours", "tokenizers", *warm_times, wanted)
            (cold_s,), _ = fastest([cold], min(repeat, 5))
            row(work, "  empty cache", "", cold_s, warm_times[1], None)


def main():
    text = "\n".join(shakespeare().values())
    print("work, our seconds, their seconds, how many times faster ours is")
    training(text)
    encoding(text)


if __name__ == "__main__":
    main()
