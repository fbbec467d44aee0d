"""How a diagnosis names what came: a type, or two numbers."""

from typing import Any


def named_kind(value: Any) -> str:
    """The type of a value with its article, such as "an int"."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def both_numbers(got: float, want: float, digits: int = 3) -> str:
    """Both numbers, in as many digits as it takes to tell them apart."""
    shown = [f"{x:.{digits}g}" for x in (got, want)]
    if shown[0] == shown[1] and digits < 17:
        return both_numbers(got, want, digits + 1)
    return f"{shown[0]}, want {shown[1]}"
