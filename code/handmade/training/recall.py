"""Train the models of the recall task, and see what they recall.

B batch · T pairs read

The task and the two models are in `handmade.blocks.why_attention`.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from handmade import checks
from handmade.blocks.why_attention import KEYS, recall_batch
from handmade.contracts import device_of
from handmade.training.loop import train


def train_recall(
    kind: Callable[[int], nn.Module],
    d_model: int,
    *,
    seed: int = 0,
    steps: int = 300,
    rate: float = 1.2e-2,
    longest: int = 16,
) -> nn.Module:
    """Train on sequences of 1 to ``longest`` pairs, a new length each step.

    Both kinds get the same batches, optimizer and schedule: one cycle of
    Adam's learning rate, up to ``rate`` and down to nearly nothing.
    """
    _check(kind, d_model, seed, steps, rate, longest)
    torch.manual_seed(seed)
    model = kind(d_model)
    optimizer = torch.optim.Adam(model.parameters())
    # it moves Adam's momentum too, so it is more than a factor
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=rate, total_steps=steps
    )

    def draw(generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        T = int(torch.randint(1, longest + 1, (1,), generator=generator))
        return recall_batch(T, 64, generator)

    train(
        model,
        optimizer,
        draw,
        recall_loss,
        steps=steps,
        generator=torch.Generator().manual_seed(seed),
        tell=lambda step, measured: cycle.step(),
    )
    return model.eval()


def recall_loss(model: nn.Module, *batch: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats) of the answers: keys, values, asked, answers.

    each (B, T) -> scalar
    """
    checks.module("model", model)
    _check_batch(batch)
    *inputs, answers = batch
    logits = model(*inputs)
    return F.cross_entropy(logits.flatten(0, 1), answers.flatten())


@torch.no_grad()
def recall_accuracy(model: nn.Module, T: int, seed: int = 99) -> float:
    """Return the share of right answers on new sequences of T pairs."""
    checks.module("model", model)
    checks.whole("seed", seed, at_least=0)
    generator = torch.Generator().manual_seed(seed)
    batch = recall_batch(T, 256, generator)
    home = device_of(model) or "cpu"
    *inputs, answers = (part.to(home) for part in batch)
    right = model(*inputs).argmax(-1) == answers
    return float(right.float().mean())


def _check(
    kind: object,
    d_model: int,
    seed: int,
    steps: int,
    rate: float,
    longest: int,
) -> None:
    checks.function("kind", kind, "a model's class")
    checks.whole("d_model", d_model)
    checks.whole("seed", seed, at_least=0)
    checks.whole("steps", steps)
    checks.positive("rate", rate)
    checks.whole("longest", longest)
    checks.need(longest <= KEYS, "longest", longest, f"1 to {KEYS}")


def _check_batch(batch: tuple[torch.Tensor, ...]) -> None:
    got, want = f"{len(batch)} tensors", "keys, values, asked and answers"
    checks.need(len(batch) == 4, "batch", got, want)
    for part in batch:
        checks.ids("batch", part)
    *_, asked, answers = batch
    got, want = f"answers {tuple(answers.shape)}", f"{tuple(asked.shape)}"
    checks.need(answers.shape == asked.shape, "batch", got, want)
