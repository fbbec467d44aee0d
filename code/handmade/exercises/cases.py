"""What the cases of many exercises are made of: fixed random numbers."""

from collections.abc import Callable
from typing import Any

import torch

from handmade.exercises.core import Case, Function


def randoms(
    *shapes: tuple[int, ...],
    seed: int | None = None,
    size: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> tuple[torch.Tensor, ...]:
    """Draw a normal tensor of each shape, ``size`` large, always the same.

    Without a seed the shapes choose it. Drawn in float64 and rounded, so
    that a case in float32 has the numbers of its twin in float64.
    """
    seed = sum(map(sum, shapes)) if seed is None else seed
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        (
            size * torch.randn(*shape, generator=generator, dtype=torch.double)
        ).to(dtype)
        for shape in shapes
    )


def random_case(
    label: str,
    *shapes: tuple[int, ...],
    then: tuple[Any, ...] = (),
    seed: int | None = None,
    through: Callable[[Function], Function] | None = None,
) -> Case:
    """Make a case of random float64 tensors and the arguments ``then``."""
    return Case(
        label, lambda: (*randoms(*shapes, seed=seed), *then), through=through
    )


def rows(*numbers: list[int]) -> Callable[[], tuple[torch.Tensor]]:
    """A recipe for one argument: these rows as an integer tensor."""
    return lambda: (torch.tensor(numbers),)
