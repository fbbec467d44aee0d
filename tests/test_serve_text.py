"""Text that may be sent: whole characters, and never part of a stop."""

import random

import pytest
from handmade.inference.serve_text import (
    Detokenizer,
    StopStrings,
    TextStream,
)
from handmade.weights.smollm2 import smollm2
from serve_helpers import END, byte_tokenizer
from tokenizers import Tokenizer, decoders
from tokenizers.decoders import DecodeStream
from tokenizers.models import Unigram


def metaspace() -> Tokenizer:
    """A tokenizer that writes a token differently at the beginning."""
    words = ["<unk>", "▁a", "▁bc", "d", "▁", "é", "▁🙂"]
    tokenizer = Tokenizer(Unigram([(word, -1.0) for word in words], unk_id=0))
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<s>"])
    return tokenizer


MADE = {
    "bytes": byte_tokenizer,
    "metaspace": metaspace,
    "smollm2": lambda: smollm2().tokenizer(),
}


def decode_with(tokenizer):
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("kind", sorted(MADE))
def test_the_pieces_are_the_text_and_those_of_the_library(kind):
    tokenizer = MADE[kind]()
    draw = random.Random(0)
    size = tokenizer.get_vocab_size()
    for _ in range(30):
        ids = [draw.randrange(size) for _ in range(40)]
        theirs = DecodeStream(skip_special_tokens=True)
        ours = Detokenizer(decode_with(tokenizer))
        pieces = [ours.push(i) for i in ids]
        assert pieces == [theirs.step(tokenizer, i) or "" for i in ids]
        assert "".join(pieces) + ours.rest() == tokenizer.decode(ids)
        assert ours.rest() == ""


def test_no_piece_ends_in_half_a_character():
    tokenizer = byte_tokenizer()
    text = "aé日🙂z"
    ours = Detokenizer(decode_with(tokenizer))
    pieces = [ours.push(i) for i in text.encode()]
    assert [piece for piece in pieces if piece] == [*text]
    assert ours.push(0xE6) == ours.push(0x97) == ""
    assert ours.rest() == "\ufffd"


def test_broken_bytes_come_with_the_next_character():
    ours = Detokenizer(decode_with(byte_tokenizer()))
    assert [ours.push(i) for i in (0xFF, 0xC3, ord("a"))] == [
        "", "", "\ufffd\ufffda",
    ]  # fmt: skip


def cut_at_a_stop(text: str, stops: list[str]) -> str:
    """The definition: the stop that is complete first ends the text."""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))]
    return text


def test_where_tokens_end_changes_no_stop():
    """All texts of two letters are full of stops that begin and fail."""
    draw = random.Random(1)
    for _ in range(2000):
        text = "".join(draw.choices("ab", k=draw.randrange(12)))
        stops = [
            "".join(draw.choices("ab", k=draw.randrange(1, 5)))
            for _ in range(draw.randrange(4))
        ]
        stream, sent, left = StopStrings(stops), "", text
        while left and not stream.found:
            n = draw.randrange(1, 5)
            sent += stream.push(left[:n])
            left = left[n:]
            assert not any(stop in sent for stop in stops)
        want = cut_at_a_stop(text, stops)
        assert sent + stream.rest() == want, (text, stops)
        assert stream.found == (want != text)


def test_only_what_could_become_a_stop_is_held_back():
    stream = StopStrings(["\n\nQ:", "END"])
    assert stream.push("one\n") == "one"
    assert stream.push("two EN") == "\ntwo "
    assert stream.push("d") == "ENd"
    assert stream.push("\n\nQ") == ""
    assert (stream.push(": more"), stream.found) == ("", True)


def test_a_stop_may_come_with_the_rest():
    stream = TextStream(decode_with(byte_tokenizer()), ["\ufffd"])
    assert [stream.push(i) for i in (ord("a"), 0xC3)] == ["a", ""]
    assert (stream.rest(), stream.stopped) == ("", True)
    stream = TextStream(decode_with(byte_tokenizer()), ["ab"])
    assert [stream.push(i) for i in (ord("a"), END)] == ["", ""]
    assert (stream.rest(), stream.stopped) == ("a", False)
