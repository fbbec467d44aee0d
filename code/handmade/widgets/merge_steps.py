"""Explorable: type a text and step through the merges that make its tokens.

The whole list of merges travels with the page, so any text can be typed. A
merge is two numbers, each a byte (0 to 255) or an earlier merge (256 + its
rank): four bytes a merge, 261 KB for SmolLM2's 48,900 in base64, against 430
KB of text. Ids follow from the order; a tokenizer whose ids do not is
refused.
"""

import base64

import ipywidgets
import numpy as np
import traitlets

from handmade.text.bpe import BPETokenizer
from handmade.text.pretokenize import byte_alphabet
from handmade.widgets.base import (
    TRACK,
    Explorable,
    Explorer,
    assets,
    check_labels,
    explorer,
)


class MergeSteps(Explorable):
    """Words as chips, their competing pairs by rank, one merge a step.

    A word in the page's text may set the `text` that is read and the number
    of merges done (`step`).
    """

    _esm, _css = assets("merge_steps")
    sets = ("text", "step")
    text = traitlets.Unicode("").tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    merges = traitlets.Unicode("").tag(sync=True)
    byte_ids = traitlets.List().tag(sync=True)  # -1: not in the vocabulary
    first_id = traitlets.Int(256).tag(sync=True)  # of merge number 0
    split_digits = traitlets.Bool(False).tag(sync=True)


def merge_steps(tokenizer: BPETokenizer, text: str) -> Explorer:
    """Return the explorable with its text field, linked in the page."""
    check_labels("text", [text])
    return explorer(
        MergeSteps(text=text, **pack(tokenizer)),
        text=ipywidgets.Text(text, description="your text", **TRACK),
    )


def pack(tokenizer: BPETokenizer) -> dict:
    """Return the widget's traits for a tokenizer.

    Raises ValueError where ids do not follow the order of the merges.
    """
    if not isinstance(tokenizer, BPETokenizer):
        got = type(tokenizer).__name__
        raise ValueError(f"tokenizer: got {got}, want a BPETokenizer")
    alphabet = byte_alphabet()
    vocab = tokenizer.vocab
    number = {char: byte for byte, char in alphabet.items()}
    pairs, ids = [], []
    for rank, (a, b) in enumerate(tokenizer.merges):
        pairs.append((number[a], number[b]))
        number[a + b] = 256 + rank
        ids.append(vocab[a + b])
    first = ids[0] if ids else 256
    if ids != list(range(first, first + len(ids))) or len(number) > 2**16:
        raise ValueError(
            f"tokenizer: got {len(ids)} merges with ids from {first}, want "
            "at most 65,280, whose ids are consecutive numbers in the order "
            "of the merges"
        )
    packed = np.array(pairs, dtype="<u2").tobytes()
    return {
        "merges": base64.b64encode(packed).decode("ascii"),
        "byte_ids": [vocab.get(alphabet[byte], -1) for byte in range(256)],
        "first_id": first,
        "split_digits": tokenizer.split_digits,
    }
