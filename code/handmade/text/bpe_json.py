"""What a byte-level BPE reads of a tokenizer.json, and writes into it.

Left out: normalizers, dropout, marks of a word's inside or end, and every
pre-tokenizer but GPT-2's, with or without cutting digits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from handmade.text.keys import NEEDED, Keys, kind_of, one_of
from handmade.text.pretokenize import byte_alphabet

MODEL = Keys(
    taken={
        "vocab": ((dict,), NEEDED),
        "merges": ((list,), NEEDED),
        "ignore_merges": ((bool,), False),
        # these two say what becomes of a byte that has no token
        "unk_token": ((str, type(None)), None),
        "byte_fallback": ((bool,), False),
    },
    fixed={
        "type": ("BPE",),
        "dropout": (None, 0.0),
        "continuing_subword_prefix": (None, ""),
        "end_of_word_suffix": (None, ""),
    },
    inert=frozenset({"fuse_unk"}),
)
LEVEL = Keys(
    fixed={
        "type": ("ByteLevel",),
        "add_prefix_space": (False,),
        "use_regex": (True,),
    },
    inert=frozenset({"trim_offsets"}),
)
DIGITS = Keys(fixed={"type": ("Digits",), "individual_digits": (True,)})
STEPS = Keys(
    taken={"pretokenizers": ((list,), NEEDED)}, fixed={"type": ("Sequence",)}
)
DECODER = Keys(
    fixed={"type": ("ByteLevel",)},
    inert=frozenset({"add_prefix_space", "trim_offsets", "use_regex"}),
)


def options(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the tokenizer's arguments; refuse by name what differs."""
    model = MODEL.read(parts["model"], "model")
    one_of(parts["normalizer"], (None,), "normalizer")
    if not model["vocab"].keys() >= set(byte_alphabet().values()):
        # a byte can be missing, and what then happens matters
        one_of(model["unk_token"], (None,), "model.unk_token")
        one_of(model["byte_fallback"], (False,), "model.byte_fallback")
    if kind_of(parts["decoder"], "decoder", (None, "ByteLevel")):
        DECODER.read(parts["decoder"], "decoder")
    return {
        "vocab": model["vocab"],
        "merges": model["merges"],
        "ignore_merges": model["ignore_merges"],
        "split_digits": _splits_digits(parts["pre_tokenizer"]),
        "decoder": parts["decoder"] is not None,
    }


def _splits_digits(found: Any) -> bool:
    """Return whether a pre-tokenizer cuts digits first; refuse others."""
    where = "pre_tokenizer"
    if kind_of(found, where, ("ByteLevel", "Sequence")) == "ByteLevel":
        LEVEL.read(found, where)
        return False
    steps = STEPS.read(found, where)["pretokenizers"]
    kinds = [kind_of(step, where, ("ByteLevel", "Digits")) for step in steps]
    one_of(
        kinds,
        (["Digits", "ByteLevel"], ["ByteLevel"]),
        f"{where}.pretokenizers",
    )
    for i, (kind, step) in enumerate(zip(kinds, steps, strict=True)):
        keys = DIGITS if kind == "Digits" else LEVEL
        keys.read(step, f"{where}.pretokenizers[{i}]")
    return len(steps) == 2


def described(
    vocab: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    *,
    split_digits: bool,
    ignore_merges: bool,
) -> dict[str, Any]:
    """Return the parts of the file."""
    level = {"type": "ByteLevel", "add_prefix_space": False}
    level |= {"trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    both = {"type": "Sequence", "pretokenizers": [digits, level]}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": ignore_merges,
        "vocab": vocab,
        "merges": merges,
    }
    return {
        "pre_tokenizer": both if split_digits else level,
        "decoder": level,
        "model": model,
    }
