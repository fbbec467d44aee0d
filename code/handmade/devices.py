"""Where the book computes: the fastest device that keeps its numbers.

Left out: Apple's MPS unless asked for (it has no float64, which parity
needs), and several devices at once.
"""

import os

import torch

VARIABLE = "HANDMADE_DEVICE"


def device() -> torch.device:
    """Return the device to train and compare on.

    The environment variable HANDMADE_DEVICE names it; without one it is CUDA
    where there is a card, else the CPU. Raises ValueError where the variable
    names no device, or one that this machine has not.
    """
    name = os.environ.get(VARIABLE, "").strip()
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        wanted = torch.device(name)
    except RuntimeError:
        raise ValueError(_wrong(name, "cpu, cuda, cuda:1 or mps")) from None
    if not _is_here(wanted):
        raise ValueError(_wrong(name, "a device that this machine has"))
    return wanted


def _is_here(wanted: torch.device) -> bool:
    if wanted.type == "meta":  # every machine has it, and it has no numbers
        return False
    try:
        torch.empty(1, device=wanted)
    # each backend has an error of its own for a machine without it
    except (RuntimeError, AssertionError, NotImplementedError, ImportError):
        return False
    return True


def _wrong(name: str, want: str) -> str:
    return f"{VARIABLE}: got {name!r}, want {want}"
