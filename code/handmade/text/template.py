"""What a tokenizer writes before and after a text: [CLS] … [SEP].

tokenizer.json calls it the post-processor, and has five spellings of it.
All of them come down to two lists of tokens, either of which may be empty.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from handmade.text.keys import NEEDED, Keys, as_json, kind_of

Ends = tuple[tuple[str, ...], tuple[str, ...]]

KINDS = (
    None,
    "TemplateProcessing",
    "BertProcessing",
    "RobertaProcessing",
    "ByteLevel",
    "Sequence",
)
TYPE = ((str,), NEEDED)
# types of tokens are not given here, and pairs of texts not encoded
TEMPLATE = Keys(
    taken={
        "type": TYPE,
        "single": ((list,), NEEDED),
        "special_tokens": ((dict,), NEEDED),
    },
    inert=frozenset({"pair"}),
)
SPECIAL = Keys(taken={"id": TYPE}, inert=frozenset({"type_id"}))
IDS = Keys(taken={"ids": ((list,), NEEDED)}, inert=frozenset({"id", "tokens"}))
TEXT = Keys(fixed={"id": ("A",)}, inert=frozenset({"type_id"}))
BERT = Keys(
    taken={
        "type": TYPE,
        "cls": ((list,), NEEDED),
        "sep": ((list,), NEEDED),
    },
)
# the flags here and in ByteLevel move only where a token stood in the text
ROBERTA = Keys(
    taken=BERT.taken, inert=frozenset({"trim_offsets", "add_prefix_space"})
)
BYTE_LEVEL = Keys(
    taken={"type": TYPE},
    inert=frozenset({"add_prefix_space", "trim_offsets", "use_regex"}),
)
SEQUENCE = Keys(taken={"type": TYPE, "processors": ((list,), NEEDED)})


def read_template(
    found: Any, names: Mapping[int, str], where: str = "post_processor"
) -> Ends:
    """Return the tokens before and after a text; refuse what differs."""
    kind = kind_of(found, where, KINDS)
    if kind is None:
        return (), ()
    if kind == "ByteLevel":
        BYTE_LEVEL.read(found, where)
        return (), ()
    if kind == "Sequence":
        return _read_steps(SEQUENCE.read(found, where), names, where)
    if kind == "TemplateProcessing":
        return _read_pieces(TEMPLATE.read(found, where), names, where)
    keys = BERT if kind == "BertProcessing" else ROBERTA
    ends = keys.read(found, where)
    for key in ("cls", "sep"):
        if len(ends[key]) != 2:
            raise ValueError(
                f"{where}.{key}: got {as_json(ends[key])}, want a token and "
                "its id"
            )
    first, last = (
        (_name(ends[key][1], names, f"{where}.{key}"),)
        for key in ("cls", "sep")
    )
    return first, last


def _read_steps(
    steps: Mapping[str, Any], names: Mapping[int, str], where: str
) -> Ends:
    found: list[Ends] = []
    for i, step in enumerate(steps["processors"]):
        here = f"{where}.processors[{i}]"
        ends = read_template(step, names, here)
        if step is None or step["type"] == "ByteLevel":
            continue
        # of a second one the library drops an end, or stops
        if found:
            raise ValueError(f"{here}: got a second template, want one")
        found.append(ends)
    return found[0] if found else ((), ())


def _read_pieces(
    ends: Mapping[str, Any], names: Mapping[int, str], where: str
) -> Ends:
    sides: list[list[str]] = [[]]
    for i, item in enumerate(ends["single"]):
        here = f"{where}.single[{i}]"
        if not isinstance(item, dict) or len(item) != 1:
            raise ValueError(f"{here}: got {as_json(item)}, want one piece")
        ((kind, piece),) = item.items()
        if kind == "Sequence":
            TEXT.read(piece, here)
            sides.append([])
            continue
        if kind != "SpecialToken":
            raise ValueError(
                f"{here}: got {as_json(kind)}, want Sequence or SpecialToken"
            )
        name = SPECIAL.read(piece, here)["id"]
        at = f"{where}.special_tokens.{name}"
        meant = IDS.read(ends["special_tokens"].get(name), at)["ids"]
        sides[-1] += [_name(i, names, at) for i in meant]
    if len(sides) != 2:
        raise ValueError(
            f"{where}.single: got {len(sides) - 1} places for the text, "
            "want one $A"
        )
    return tuple(sides[0]), tuple(sides[1])


def _name(i: Any, names: Mapping[int, str], where: str) -> str:
    if type(i) is not int or i not in names:
        raise ValueError(
            f"{where}: got id {as_json(i)}, want one of the vocabulary"
        )
    return names[i]


def write_template(
    before: Sequence[str], after: Sequence[str], ids: Mapping[str, int]
) -> dict[str, Any] | None:
    """Return the post-processor that writes these tokens, or null."""
    if not before and not after:
        return None

    def special(names: Sequence[str], side: int) -> list[dict[str, Any]]:
        return [{"SpecialToken": {"id": n, "type_id": side}} for n in names]

    def text(letter: str, side: int) -> list[dict[str, Any]]:
        return [{"Sequence": {"id": letter, "type_id": side}}]

    single = special(before, 0) + text("A", 0) + special(after, 0)
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": single + text("B", 1) + special(after, 1),
        "special_tokens": {
            name: {"id": name, "ids": [ids[name]], "tokens": [name]}
            for name in dict.fromkeys([*before, *after])
        },
    }
