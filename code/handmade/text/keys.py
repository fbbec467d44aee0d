"""Three lists for each object of a tokenizer.json: nothing is read over.

Every key is one we do (`taken`), one that must have a value that we can do
(`fixed`), or one that changes no id and no decoded text (`inert`). Any other
key is refused by name and value: half a tokenizer gives wrong ids quietly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON_NAMES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a whole number",
}
NEEDED = object()  # the default of a key that must be there


@dataclass(frozen=True)
class Keys:
    """The three lists of one kind of object.

    `taken` maps a key to (types, default), the default NEEDED where there is
    none; `fixed` maps a key to the values we can do, the first one standing
    for an absent key.
    """

    taken: Mapping[str, tuple[tuple[type, ...], Any]] = field(
        default_factory=dict
    )
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    inert: frozenset[str] = frozenset()

    def read(self, found: Any, where: str) -> dict[str, Any]:
        """Return the taken keys' values; refuse every other thing by name."""
        if not isinstance(found, dict):
            raise ValueError(f"{where}: got {as_json(found)}, want an object")
        for key, value in found.items():
            if key in self.fixed:
                one_of(value, self.fixed[key], f"{where}.{key}")
            elif key not in self.taken and key not in self.inert:
                raise ValueError(
                    f"{where}.{key}: got {as_json(value)}, want no such key: "
                    "it is not implemented"
                )
        return {
            key: _typed(found.get(key, default), types, f"{where}.{key}")
            for key, (types, default) in self.taken.items()
        }


def one_of(found: Any, wanted: tuple[Any, ...], where: str) -> None:
    """Raise ValueError unless `found` is one of `wanted`, type and value."""
    same = [type(w) is type(found) and w == found for w in wanted]
    if not any(same):
        choices = " or ".join(map(as_json, wanted))
        raise ValueError(f"{where}: got {as_json(found)}, want {choices}")


def kind_of(found: Any, where: str, wanted: tuple[str | None, ...]) -> Any:
    """Return the "type" of an object, None for null; refuse other ones."""
    if found is not None and not isinstance(found, dict):
        raise ValueError(f"{where}: got {as_json(found)}, want an object")
    kind = None if found is None else found.get("type")
    one_of(kind, wanted, where)
    return kind


def as_json(value: Any) -> str:
    """Return a value as JSON says it, cut where it is long."""
    names = {None: "null", True: "true", False: "false"}
    if value is NEEDED:
        return "nothing"
    if value is None or isinstance(value, bool):
        return names[value]
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:56]} ..."


def _typed(value: Any, types: tuple[type, ...], where: str) -> Any:
    # a bool is an int to Python, and not to JSON
    wrong = isinstance(value, bool) and bool not in types
    if wrong or not isinstance(value, types):
        wanted = [JSON_NAMES.get(t, "null") for t in types]
        raise ValueError(
            f"{where}: got {as_json(value)}, want {' or '.join(wanted)}"
        )
    return value
