"""Numbers for the cases of this part: lists of floats, always the same."""

from typing import Any


def draw(*sizes: int, seed: int = 1, size: float = 1.0) -> Any:
    """Draw lists in lists of these sizes, from -size to size."""
    state = 1000 * seed + sum(sizes) + 1

    def some(depth: int) -> Any:
        nonlocal state
        if depth < len(sizes):
            return [some(depth + 1) for _ in range(sizes[depth])]
        state = 48271 * state % (2**31 - 1)
        return size * (state % 20001 - 10000) / 10000

    some(0)  # the first states after a small seed are small
    return some(0)
