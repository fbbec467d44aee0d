"""What is global and an answer can change: read before it, put back after.

Where PyTorch is not installed, in a reader's browser, Python's random
numbers are all there is.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from handmade.exercises.tensors import INSTALLED

if TYPE_CHECKING or INSTALLED:
    import numpy as np
    import torch


@dataclass(frozen=True)
class Setting:
    """Something global that a function can change."""

    what: str  # completes "your function changes …"
    read: Callable[[], Any]  # a value that can be compared with ==
    write: Callable[[Any], None]
    plain: Any = None  # what it is while an answer runs; None: left as it is
    drawn: bool = False  # using it changes it: no fault, but worth saying


def _torch_state() -> bytes:
    return torch.get_rng_state().numpy().tobytes()


def _set_torch_state(state: bytes) -> None:
    torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


def _numpy_state() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state(legacy=True)
    return kind, np.asarray(keys).tobytes(), *rest


def _set_numpy_state(state: tuple[Any, ...]) -> None:
    kind, keys, *rest = state
    np.random.set_state((kind, np.frombuffer(keys, np.uint32), *rest))


def _set_grad_enabled(enabled: bool) -> None:
    torch.set_grad_enabled(enabled)


def _set_device(device: "torch.device") -> None:
    # None is what PyTorch starts with; "cpu" would watch every call
    torch.set_default_device(None if device == torch.device("cpu") else device)


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "Python's random numbers",
        random.getstate,
        random.setstate,
        drawn=True,
    ),
)
if INSTALLED:
    SETTINGS = (
        Setting(
            "the default dtype",
            torch.get_default_dtype,
            torch.set_default_dtype,
            plain=torch.float32,
        ),
        Setting(
            "the default device",
            torch.get_default_device,
            _set_device,
            plain=torch.device("cpu"),
        ),
        Setting(
            "whether gradients are recorded (torch.set_grad_enabled)",
            torch.is_grad_enabled,
            _set_grad_enabled,
            plain=True,
        ),
        Setting(
            "whether only deterministic algorithms are allowed",
            torch.get_deterministic_debug_mode,
            torch.set_deterministic_debug_mode,
            plain=0,
        ),
        Setting(
            "the precision of float32 products",
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
            plain="highest",
        ),
        Setting(
            "PyTorch's random numbers",
            _torch_state,
            _set_torch_state,
            drawn=True,
        ),
        *SETTINGS,
        Setting(
            "NumPy's random numbers",
            _numpy_state,
            _set_numpy_state,
            drawn=True,
        ),
    )
