"""A loss through torch.compile: written as before, run as a kernel or two.

Eager PyTorch runs one operation at a time, and each writes all its numbers to
memory for the next to read. Compiled, what lies between two matrix products
is one loop in C++ that keeps them in registers, forward and backward. The
price is paid once: some 20 s of compiling, 3 s where the machine's cache has
it. Left out: everything that changes shape from step to step, which would be
compiled again.
"""

import os
import shutil
from collections.abc import Callable

import torch
from torch import nn

from handmade import checks

COMPILERS = ("g++", "clang++", "cl")


def compiled_loss(
    loss_of: Callable[..., torch.Tensor],
) -> Callable[..., torch.Tensor]:
    """Return the same loss, compiled where a gradient will be asked for.

    Without one, as in an evaluation, it is `loss_of` itself: batches come in
    other shapes there, and not often. Raises ValueError where the machine
    has no C++ compiler, which is looked for by the name in CXX, or as g++,
    clang++ or cl.
    """
    checks.function("loss_of", loss_of, "a function of model and batch")
    names = (os.environ["CXX"],) if os.environ.get("CXX") else COMPILERS
    found = any(shutil.which(name) for name in names)
    want = " or ".join(names) + " for a compiled step"
    checks.need(found, "engine", "no C++ compiler", want)
    fast = torch.compile(loss_of, dynamic=False)

    def either(model: nn.Module, *batch: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            loss: torch.Tensor = fast(model, *batch)
            return loss
        return loss_of(model, *batch)

    return either
