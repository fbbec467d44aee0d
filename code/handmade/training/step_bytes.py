"""What one step of training holds, counted while it is taken.

Counted, not looked up: every tensor that the step makes, as long as it
lives. Weights, gradients and the optimizer's state are there before the
forward pass of any step but the first, so the second one is counted. Left
out: scratch space inside of one operation, and what an allocator keeps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from handmade import checks
from handmade.inference.memory_count import MemoryCount
from handmade.inference.quantization import held_bytes


@dataclass(frozen=True)
class StepBytes:
    """Bytes of a step: what stays, and what lives while it is taken.

    `weights` are parameters and buffers, `activations` what the forward pass
    leaves for the backward pass, and `peak` the most that lives at once, all
    of the others included.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    peak: int


def step_bytes(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[..., torch.Tensor],
    batch: Sequence[torch.Tensor],
) -> StepBytes:
    """Take two steps on a batch, and count the second.

    The model is changed by both. Raises ValueError where nothing learns.
    """
    checks.module("model", model)
    optimizes = torch.optim.Optimizer
    checks.kind("optimizer", optimizer, optimizes, "a torch.optim.Optimizer")
    checks.function("loss_of", loss_of, "a function of model and batch")
    want = "tensors, as loss_of takes them"
    checks.several("batch", batch, want)
    for part in batch:
        checks.kind("batch", part, torch.Tensor, want)
    learn = [p for p in model.parameters() if p.requires_grad]
    got = "no parameter that asks for a gradient"
    checks.need(bool(learn), "model", got, "one at least")
    loss_of(model, *batch).backward()
    optimizer.step()
    state = [
        x
        for kept in optimizer.state.values()
        for x in kept.values()
        if isinstance(x, torch.Tensor)
    ]
    optimizer.zero_grad()
    with MemoryCount() as count:
        loss = loss_of(model, *batch)
        activations = count.now
        loss.backward()
        del loss
        optimizer.step()
    gradients = [p.grad for p in learn if p.grad is not None]
    stays = held_bytes(model) + sum(x.nbytes for x in state)
    return StepBytes(
        weights=held_bytes(model),
        gradients=sum(g.nbytes for g in gradients),
        optimizer=sum(x.nbytes for x in state),
        activations=activations,
        peak=stays + count.peak,
    )
