"""One training loop for everything that is trained here.

Draw a batch, compute its loss, clip the gradient, step, write it down. The
caller brings what differs: model, optimizer, batches, loss and schedule.
`Trainer` is that loop with all it must remember, so that a run which was
stopped goes on as if it had not been; `train` is one run of it.
Left out: several processes, which the page on scaling adds from outside.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
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


class Trainer:
    """Hold a run: what it trains, on what, and how far it has come.

    theta <- optimizer(theta, g * min(1, max_norm / |g|)),
    g = d (sum_i n_i loss_of(model, *batch_i) / sum_i n_i) / d theta

    over `accumulate` batches drawn for one step. n_i is `count(*batch_i)`,
    what the mean in `loss_of` was taken over: its tokens. Without it batches
    count alike, which is right only where all are of one size.
    Batches are drawn on the CPU, so that every device sees the same ones,
    and go to the model's device. `schedule(step)` is the factor on the
    optimizer's learning rates; without it they are left alone. `precision`
    is the dtype of autocast: torch.bfloat16, or None for none. Raises
    ValueError where an argument is wrong.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        draw: Callable[[torch.Generator], tuple[torch.Tensor, ...]],
        loss_of: Callable[..., torch.Tensor],
        *,
        generator: torch.Generator,
        schedule: Callable[[int], float] | None = None,
        max_norm: float = math.inf,
        accumulate: int = 1,
        count: Callable[..., float] | None = None,
        precision: torch.dtype | None = None,
    ) -> None:
        _check(model, optimizer, generator, max_norm)
        _check_functions(draw, loss_of, schedule, count)
        checks.whole("accumulate", accumulate)
        _check_precision(precision)
        self.model, self.optimizer = model, optimizer
        self.draw, self.loss_of, self.generator = draw, loss_of, generator
        self.schedule, self.max_norm = schedule, max_norm
        self.accumulate, self.count = accumulate, count
        self.precision = precision
        self.home = torch.device(device_of(model) or "cpu")
        self.peaks = [group["lr"] for group in optimizer.param_groups]
        self.step = 0  # how many are done

    def train_step(self) -> Step:
        """Take one step, and return what it measured.

        Raises ValueError where a loss or gradient is not finite, before it
        has reached the weights.
        """
        self.model.train()
        if self.schedule is not None:
            factor = self.schedule(self.step)
            groups = self.optimizer.param_groups
            for group, peak in zip(groups, self.peaks, strict=True):
                group["lr"] = peak * factor
        batches = [
            tuple(part.to(self.home) for part in self.draw(self.generator))
            for _ in range(self.accumulate)
        ]
        counts = [_count(self.count, batch) for batch in batches]
        self.optimizer.zero_grad()
        loss = 0.0
        for batch, n in zip(batches, counts, strict=True):
            with self.autocast():
                part = self.loss_of(self.model, *batch) * (n / sum(counts))
            part.backward()  # gradients add up until the next zero_grad
            loss += part.item()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm)
        lr = self.optimizer.param_groups[0]["lr"]
        measured = Step(loss, norm.item(), lr)
        _check_finite(self.step, measured)
        self.optimizer.step()
        self.step += 1
        return measured

    def run(
        self, steps: int, tell: Callable[[int, Step], None] | None = None
    ) -> list[Step]:
        """Go on until `steps` steps are done in all; return the new ones.

        `tell` hears of each step when it is done, by its number from 0.
        """
        checks.whole("steps", steps, at_least=0)
        _check_tell(tell)
        log = []
        while self.step < steps:
            log.append(self.train_step())
            if tell is not None:
                tell(self.step - 1, log[-1])
        return log

    def autocast(self) -> torch.autocast:
        """Return the context in which losses are computed."""
        return torch.autocast(
            self.home.type,
            self.precision or torch.bfloat16,
            enabled=self.precision is not None,
        )

    def evaluate(self, batches: Iterable[tuple[torch.Tensor, ...]]) -> float:
        """Return the mean loss over batches that were drawn beforehand.

        Without dropout and without a gradient; the model's mode and all
        random states are afterwards what they were, so that a run which is
        looked at more often is the same run. Raises ValueError for none.
        """
        want = "batches, as `draw` gives them"
        checks.kind("batches", batches, Iterable, want)
        total, counted, mode = 0.0, 0.0, self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), _same_random_state():
                for batch in batches:
                    checks.several("batches", batch, want)
                    batch = tuple(part.to(self.home) for part in batch)
                    n = _count(self.count, batch)
                    with self.autocast():
                        loss = self.loss_of(self.model, *batch)
                    total, counted = total + n * loss.item(), counted + n
        finally:
            self.model.train(mode)
        checks.need(counted > 0, "batches", "none", "at least one")
        return total / counted


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

    Arguments and errors are those of `Trainer`, and of its `run`.
    """
    checks.whole("steps", steps)
    trainer = Trainer(
        model,
        optimizer,
        draw,
        loss_of,
        generator=generator,
        schedule=schedule,
        max_norm=max_norm,
    )
    return trainer.run(steps, tell)


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
    generator: torch.Generator,
    max_norm: float,
) -> None:
    checks.module("model", model)
    optimizes = torch.optim.Optimizer
    checks.kind("optimizer", optimizer, optimizes, "a torch.optim.Optimizer")
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
    draw: object, loss_of: object, schedule: object, count: object
) -> None:
    checks.function("draw", draw, "a function of a generator")
    checks.function("loss_of", loss_of, "a function of model and batch")
    if schedule is not None:
        checks.function(
            "schedule", schedule, "a function of the step, or None"
        )
    if count is not None:
        checks.function("count", count, "a function of a batch, or None")


def _check_tell(tell: object) -> None:
    if tell is not None:
        checks.function("tell", tell, "a function of step and Step, or None")


def _check_precision(precision: object) -> None:
    known = precision is None or precision is torch.bfloat16
    got, want = repr(precision), "torch.bfloat16 or None"
    checks.need(known, "precision", got, want)


def _count(
    count: Callable[..., float] | None, batch: tuple[torch.Tensor, ...]
) -> float:
    n = 1.0 if count is None else float(count(*batch))
    if not (math.isfinite(n) and n > 0):
        raise ValueError(f"count: got {n} for a batch, want more than 0")
    return n


@contextlib.contextmanager
def _same_random_state() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


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
