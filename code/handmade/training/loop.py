"""One training loop for everything that is trained here.

Draw a batch, compute its loss, clip the gradient, step, write it down. The
caller brings what differs: model, optimizer, batches, loss and schedule.
Left out: several devices, mixed precision, accumulated gradients, resuming.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from handmade import checks
from handmade.contracts import device_of


@dataclass(frozen=True)
class Step:
    """What one step measured: loss, gradient norm unclipped, learning rate."""

    loss: float
    grad_norm: float
    lr: float


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    draw: Callable[[torch.Generator], tuple[torch.Tensor, ...]],
    loss_of: Callable[..., torch.Tensor],
    *,
    steps: int,
    generator: torch.Generator,
    schedule: Callable[[int], float] | None = None,
    max_norm: float = math.inf,
    tell: Callable[[int, Step], None] | None = None,
) -> list[Step]:
    """Train for `steps` steps and return what each of them measured.

    theta <- optimizer(theta, g * min(1, max_norm / |g|)),
    g = d loss_of(model, *draw(generator)) / d theta

    Batches are drawn on the CPU, so that every device sees the same ones,
    and go to the model's device. `schedule(step)` is the factor on the
    optimizer's learning rates; without it they are left alone. `tell` hears
    of each step when it is done. Raises ValueError where an argument is
    wrong, and where a loss or gradient is not finite, naming the step.
    """
    _check(model, optimizer, steps, generator, max_norm)
    _check_functions(draw, loss_of, schedule, tell)
    home = device_of(model) or "cpu"
    peaks = [group["lr"] for group in optimizer.param_groups]
    log = []
    model.train()
    for step in range(steps):
        if schedule is not None:
            factor = schedule(step)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
        batch = [part.to(home) for part in draw(generator)]
        loss = loss_of(model, *batch)
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        lr = optimizer.param_groups[0]["lr"]
        log.append(Step(loss.item(), norm.item(), lr))
        _check_finite(step, log[-1])  # before it reaches the weights
        optimizer.step()
        if tell is not None:
            tell(step, log[-1])
    return log


def next_token_loss(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats) of each token, given those before it.

    (B, T + 1) ids -> scalar
    """
    checks.module("model", model)
    _check_text(ids)
    logits = model(ids[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def _check(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    generator: torch.Generator,
    max_norm: float,
) -> None:
    checks.module("model", model)
    optimizes = torch.optim.Optimizer
    checks.kind("optimizer", optimizer, optimizes, "a torch.optim.Optimizer")
    checks.whole("steps", steps)
    checks.generator("generator", generator)
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            "model: got no parameter that asks for a gradient, want one"
        )
    if generator.device.type != "cpu":
        raise ValueError(
            f"generator: got one on {generator.device}, want one on the CPU"
        )
    if max_norm != math.inf:  # which cuts nothing
        checks.positive("max_norm", max_norm)


def _check_functions(
    draw: object, loss_of: object, schedule: object, tell: object
) -> None:
    checks.function("draw", draw, "a function of a generator")
    checks.function("loss_of", loss_of, "a function of model and batch")
    if schedule is not None:
        checks.function(
            "schedule", schedule, "a function of the step, or None"
        )
    if tell is not None:
        checks.function("tell", tell, "a function of step and Step, or None")


def _check_text(ids: torch.Tensor) -> None:
    checks.ids("ids", ids)
    fits = ids.ndim == 2 and ids.shape[1] > 1
    checks.need(fits, "ids", f"shape {tuple(ids.shape)}", "(B, T + 1), T > 0")


def _check_finite(step: int, measured: Step) -> None:
    for name in ("loss", "grad_norm"):
        value = getattr(measured, name)
        if not math.isfinite(value):
            raise ValueError(
                f"{name}: got {value} at step {step}, want a finite number"
            )
