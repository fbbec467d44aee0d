"""Right answers by the tokenizers library and by tables written out."""

import codecs

from tokenizers.models import BPE


def count_pairs(words):
    counts = {}
    for tokens, count in words:
        for i in range(1, len(tokens)):
            pair = tokens[i - 1], tokens[i]
            counts[pair] = counts.get(pair, 0) + count
    return counts


def bpe_word(tokens, merges):
    pieces = {*tokens, *(a + b for a, b in merges)}
    pieces |= {letter for pair in merges for letter in pair}
    vocab = {piece: i for i, piece in enumerate(sorted(pieces))}
    model = BPE(vocab=vocab, merges=merges)
    return [token.value for token in model.tokenize("".join(tokens))]


def token_bytes(token):
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    out = bytearray()
    for code in map(ord, token):
        out.append(code if code in shown else hidden[code - 256])
    return bytes(out)


def stream_decode(chunks):
    out, kept = [], b""
    for chunk in chunks:
        kept += chunk
        text, used = codecs.utf_8_decode(kept, "replace", False)
        kept = kept[used:]
        out.append(text)
    return [*out, kept.decode(errors="replace")]
