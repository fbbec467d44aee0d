"""Run tests that know nothing of devices on another device.

What a test makes itself (tensors, and the weights of modules it constructs)
goes to the device; what the package makes in the course of a computation
does not, unless the package says so. So a mask made without `device=` in a
forward pass meets the test's tensors, and raises.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

TESTS = str(Path(__file__).parent)
PACKAGE = str(Path(sys.modules["handmade"].__file__ or "").parent)
# transformers places its tensors well; both only pass on what a caller makes
PASSED = (
    str(Path(torch.__file__).parent),
    str(Path(torch.__file__).parents[1] / "transformers"),
)
MAKERS = {
    torch.arange, torch.as_tensor, torch.empty, torch.eye, torch.from_numpy,
    torch.full, torch.linspace, torch.logspace, torch.ones, torch.rand,
    torch.randint, torch.randn, torch.randperm, torch.tensor, torch.zeros,
    torch.tril_indices, torch.triu_indices, torch.normal,
}  # fmt: skip
BUILDERS = ("__init__", "from_hf", "from_weights", "from_name")


class Placed(TorchFunctionMode):
    """Move what test code makes to the device."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        wants = func in MAKERS and options.get("device") is None
        if not (wants and made_by_a_test(sys._getframe(1))):
            return func(*args, **options)
        grad = options.pop("requires_grad", False)
        made: Tensor = func(*args, **options)
        return made.to(self.device).requires_grad_(grad)


def made_by_a_test(frame: FrameType | None) -> bool:
    """Tell whose tensor it is: a test's, or one of a computation's.

    A function of the package that is given no tensor has no device to
    follow: what it makes is what the test asked for. So is what a module
    holds from its construction on.
    """
    outermost: FrameType | None = None
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(TESTS):
            return outermost is None or not has_tensors(outermost)
        if file.startswith(PACKAGE):
            if frame.f_code.co_name in BUILDERS:
                return True
            outermost = frame
        frame = frame.f_back
    return False


def has_tensors(frame: FrameType) -> bool:
    """Tell whether a function was given a tensor, or a module."""
    code, given = frame.f_code, frame.f_locals
    count = code.co_argcount + code.co_kwonlyargcount
    values = [given.get(name) for name in code.co_varnames[:count]]
    return any(isinstance(x, Tensor | nn.Module) for x in tree_leaves(values))
