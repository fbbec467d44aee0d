"""What a Unigram tokenizer reads of a tokenizer.json, and writes into it.

Left out: the compiled normalizer of SentencePiece files, words that are not
cut (`split` false), and a ▁ before the first word of a text only ("first").
"""

from collections.abc import Sequence
from typing import Any

from handmade.text.keys import NEEDED, Keys, kind_of, one_of

SPACE = "▁"  # U+2581, stands for a space

MODEL = Keys(
    taken={
        "vocab": ((list,), NEEDED),
        "unk_id": ((int, type(None)), None),
        "byte_fallback": ((bool,), False),
    },
    fixed={"type": ("Unigram",)},
)
CUT = Keys(
    taken={"prepend_scheme": ((str,), "always")},
    fixed={
        "type": ("Metaspace",),
        "replacement": (SPACE,),
        "split": (True,),
        "add_prefix_space": (True,),  # older files say it twice
    },
)
# only whether the first space is one that was put there matters
JOIN = Keys(
    taken={"prepend_scheme": ((str,), "always")},
    fixed={
        "type": ("Metaspace",),
        "replacement": (SPACE,),
        "add_prefix_space": (True,),
    },
    inert=frozenset({"split"}),
)
STEPS = Keys(
    taken={"decoders": ((list,), NEEDED)}, fixed={"type": ("Sequence",)}
)
BYTES = Keys(fixed={"type": ("ByteFallback",)})


def options(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the tokenizer's arguments; refuse by name what differs."""
    model = MODEL.read(parts["model"], "model")
    one_of(parts["normalizer"], (None,), "normalizer")
    where = "pre_tokenizer"
    kind_of(parts[where], where, ("Metaspace",))
    scheme = CUT.read(parts[where], where)["prepend_scheme"]
    one_of(scheme, ("always", "never"), f"{where}.prepend_scheme")
    return {
        "pieces": model["vocab"],
        "unknown_id": model["unk_id"],
        "prepend": scheme == "always",
        "byte_fallback": model["byte_fallback"],
        "join_bytes": _joins_bytes(parts["decoder"], scheme),
        "decoder": parts["decoder"] is not None,
    }


def _joins_bytes(found: Any, scheme: str) -> bool:
    """Return whether a decoder reads <0x..>; refuse one that differs."""
    kind = kind_of(found, "decoder", (None, "Metaspace", "Sequence"))
    if kind is None:
        return False
    where, last = "decoder", found
    if kind == "Sequence":
        steps = STEPS.read(found, "decoder")["decoders"]
        kinds = [
            kind_of(s, where, ("ByteFallback", "Metaspace")) for s in steps
        ]
        one_of(kinds, (["ByteFallback", "Metaspace"],), "decoder.decoders")
        BYTES.read(steps[0], "decoder.decoders[0]")
        where, last = "decoder.decoders[1]", steps[1]
    joined = JOIN.read(last, where)["prepend_scheme"]
    wanted = ("never",) if scheme == "never" else ("always", "first")
    one_of(joined, wanted, f"{where}.prepend_scheme")
    return bool(kind == "Sequence")


def described(
    pieces: Sequence[tuple[str, float]],
    unknown_id: int | None,
    *,
    prepend: bool,
    byte_fallback: bool,
    join_bytes: bool,
) -> dict[str, Any]:
    """Return the parts of the file."""
    space: dict[str, Any] = {"type": "Metaspace", "replacement": SPACE}
    space |= {"prepend_scheme": "always" if prepend else "never"}
    space |= {"split": True}
    both = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, space]}
    model = {
        "type": "Unigram",
        "unk_id": unknown_id,
        "vocab": pieces,
        "byte_fallback": byte_fallback,
    }
    return {
        "pre_tokenizer": space,
        "decoder": both if join_bytes else space,
        "model": model,
    }
