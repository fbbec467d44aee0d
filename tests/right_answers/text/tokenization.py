"""Right answers by decoding, counting and powers of two."""

import math
from collections import Counter


def character_starts(data):
    starts, at = [], 0
    for character in data.decode():
        starts.append(at)
        at += len(character.encode())
    return starts


def unknown_share(train, text):
    words = Counter(text.split())
    total = sum(words.values())
    for word in train.split():
        words.pop(word, None)
    return sum(words.values()) / total if total else 0.0


def bits_per_byte(loss, n_tokens, text):
    bits_per_token = math.log2(math.exp(loss))
    return n_tokens * bits_per_token / len(bytearray(text, "utf-8"))
