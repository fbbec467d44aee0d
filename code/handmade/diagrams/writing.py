"""How large the letters of a drawing are, and what they take of its width."""

from typing import Any

SIZE = 13  # of names, in pixels
SMALL = 12  # of everything else, and the least there is
LINE = 16  # from one line of text to the next
# widths in parts of the size, a little above those of the usual letters
NARROW = {
    **dict.fromkeys("ijl.,:;'|!", 0.3),
    **dict.fromkeys("ftr()[]/ -", 0.4),
}
BROAD = {**dict.fromkeys("mw%@—", 0.88), **dict.fromkeys("MW", 0.95)}


def text_width(text: str, size: float = SIZE, mono: bool = False) -> float:
    """Return about how many pixels a text takes, rather more than less."""
    if mono:
        return 0.61 * size * len(text)
    return size * sum(
        NARROW.get(c) or BROAD.get(c) or (0.7 if c.isupper() else 0.58)
        for c in text
    )


def number(value: float) -> str:
    """Write a length: two decimals at most, so that equal is equal."""
    return f"{round(value, 2) + 0:.2f}".rstrip("0").rstrip(".")


def shape_of(value: Any) -> tuple[int, ...]:
    """Return the shape of a tensor, or of what is one already."""
    return tuple(int(size) for size in getattr(value, "shape", value))


def shape_text(shape: tuple[Any, ...]) -> str:
    """Write a shape as the book does: (B, T, D), (4,)."""
    comma = "," if len(shape) == 1 else ""
    return f"({', '.join(map(str, shape))}{comma})"
