"""A learning rate for each way to fine-tune, chosen on held-out plays.

Ways to teach MiniLM two genres, at equal budget: the same batches, steps,
schedule and loss; what differs is which parameters learn. Each way tries the
same rates with one seed, and the best on the validation plays is what the
experiment `lora` uses, with other seeds and on other plays. Adapters of all
ranks have one alpha, and so the rate of rank 4.
``python -m bookbinder experiments run lora_rates``.
"""

from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any

import torch

from handmade import checks
from handmade.experiments.core import Outcome, Plan, Tell, results
from handmade.training import loop
from handmade.training.genres import (
    Classifier,
    accuracy,
    class_loss,
    genre_classifier,
    genre_rows,
)
from handmade.training.lora import inject, trainable
from handmade.training.schedule import warmup_linear
from handmade.training.step_bytes import step_bytes

# way -> rank of its adapters; 0: none
WAYS = {"head only": 0, "LoRA 1": 1, "LoRA 4": 4, "LoRA 16": 16, "full": 0}
TRIED = ("head only", "LoRA 4", "full")
RATES = (2e-5, 2e-4, 2e-3, 2e-2)


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """One fine-tuning: what learns, how fast, and what it is tested on."""

    way: str
    rate: float
    seed: int = 0
    steps: int = 80
    batch: int = 16
    length: int = 24  # tokens a text is cut to
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    alpha: float = 8.0
    warm_up: int = 8
    weight_decay: float = 0.01
    max_norm: float = 1.0
    side: str = "validation"

    def __post_init__(self) -> None:
        _check_tuning(self)


def tuned(tuning: Tuning) -> tuple[Classifier, torch.optim.Optimizer]:
    """Return a fresh model whose chosen parameters learn, and its AdamW."""
    checks.kind("tuning", tuning, Tuning, "a Tuning")
    torch.manual_seed(tuning.seed)
    model = genre_classifier()
    rank = WAYS[tuning.way]
    if rank:
        inject(model.encoder, tuning.targets, rank=rank, alpha=tuning.alpha)
    model.encoder.requires_grad_(tuning.way == "full")
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.requires_grad_(True)
    learn = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        learn, lr=tuning.rate, weight_decay=tuning.weight_decay, fused=True
    )
    return model, optimizer


def tune(
    tuning: Tuning, steps: int | None = None, tell: Tell | None = None
) -> tuple[Classifier, list[loop.Step]]:
    """Fine-tune on the training plays; return the model and its steps.

    The batches are those of the seed, whatever learns. ``steps`` ends the
    training early; the schedule stays that of the tuning.
    """
    model, optimizer = tuned(tuning)
    log = loop.train(
        model,
        optimizer,
        lambda generator: _draw(tuning, generator),
        class_loss,
        steps=tuning.steps if steps is None else steps,
        generator=torch.Generator().manual_seed(tuning.seed),
        schedule=warmup_linear(tuning.steps, warmup=tuning.warm_up),
        max_norm=tuning.max_norm,
        tell=tell,
    )
    return model.eval(), log


def measured(tuning: Tuning) -> dict[str, int]:
    """Count what learns, and the bytes of a step."""
    model, optimizer = tuned(tuning)
    generator = torch.Generator().manual_seed(tuning.seed)
    batch = _draw(tuning, generator)
    counted = step_bytes(model, optimizer, class_loss, batch)
    return {"trainable": trainable(model)[0], **asdict(counted)}


def run(
    tuning: Tuning, steps: int | None = None, tell: Tell | None = None
) -> Outcome:
    """Fine-tune once; at the end, tell the genres of the held-out side."""
    model, log = tune(tuning, steps, tell)
    result: dict[str, Any] = {}
    if steps is None:  # the first steps alone have learnt nothing to test
        rows = genre_rows(tuning.side, tuning.length)
        result["accuracy"] = round(accuracy(model, rows), 4)
    if tuning.side == "test":
        result |= measured(tuning)
    return Outcome(log=log, result=result)


def _draw(
    tuning: Tuning, generator: torch.Generator
) -> tuple[torch.Tensor, ...]:
    rows = genre_rows("train", tuning.length)
    picked = torch.randint(len(rows[0]), (tuning.batch,), generator=generator)
    return tuple(part[picked] for part in rows)


def _check_tuning(tuning: Tuning) -> None:
    checks.text("way", tuning.way)
    known = tuning.way in WAYS
    checks.need(known, "way", repr(tuning.way), f"one of {[*WAYS]}")
    for field in fields(tuning):
        value = getattr(tuning, field.name)
        if field.type is int:
            checks.whole(field.name, value, at_least=0)
        elif field.type is float:
            checks.number(field.name, value, at_least=0)
    checks.kind("targets", tuning.targets, tuple, "a tuple of names")
    checks.text("side", tuning.side)


PLAN = Plan(
    runs={
        f"{way}, rate {rate:g}": Tuning(way=way, rate=rate)
        for way in TRIED
        for rate in RATES
    },
    early=2,
    whole=0.02,
)


@cache
def chosen_rates() -> dict[str, float]:
    """Return way -> the rate with the best validation accuracy, stored.

    Of two that are equal, the smaller. All ranks have that of rank 4.
    """
    found = results("lora_rates", PLAN)
    best = {
        way: max(
            RATES, key=lambda rate: found[f"{way}, rate {rate:g}"]["accuracy"]
        )
        for way in TRIED
    }
    return {way: best.get(way, best["LoRA 4"]) for way in WAYS}
