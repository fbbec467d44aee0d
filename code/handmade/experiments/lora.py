"""Full fine-tuning, LoRA at three ranks, and a head alone: a fair match.

D input width · F output width · R rank

Every way has the rate that `lora_rates` chose for it on other plays, and is
tested once a seed, on plays that no rate was chosen by. What full
fine-tuning, with the first seed, did to each matrix is then cut to a rank,
and tested again. Read the results with ``match()``.
``python -m bookbinder experiments run lora``.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from handmade import checks
from handmade.experiments import lora_rates
from handmade.experiments.core import Outcome, Plan, Tell, results
from handmade.experiments.lora_rates import WAYS, Tuning, chosen_rates, tune
from handmade.training.genres import accuracy, genre_classifier, genre_rows

SEEDS = (1, 2, 3)
RANKS = (0, 1, 4, 16, 64)


def cut_to(
    change: torch.Tensor, ranks: tuple[int, ...]
) -> dict[int, torch.Tensor]:
    """Return the nearest matrix of each rank, from one decomposition.

    sum over r < R of s_r u_r v_r^T,  (F, D) -> (F, D) for each rank
    """
    checks.floats("change", change, axes=2)
    checks.several("ranks", ranks, "whole numbers")
    for rank in ranks:
        checks.whole("ranks", rank, at_least=0)
    U, s, V = torch.linalg.svd(change, full_matrices=False)
    return {rank: (U[:, :rank] * s[:rank]) @ V[:rank] for rank in ranks}


def matrices_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of each matrix of the blocks."""
    checks.module("model", model)
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if ".blocks." in name and parameter.ndim == 2
    }


@torch.no_grad()
def cut_changes(
    model: nn.Module,
    before: Mapping[str, torch.Tensor],
    rows: tuple[torch.Tensor, ...],
) -> dict[str, dict[str, float]]:
    """Cut what was learnt by each matrix of the blocks to a rank, and test.

    For each rank the share of the changes' squared size that is held, and
    the accuracy on ``rows``. All else stays as it was learnt. The model is
    in the end what it was.
    """
    checks.module("model", model)
    checks.mapping("before", before, "a dict from name to matrix")
    checks.need(len(before) > 0, "before", "none", "one matrix at least")
    checks.several("rows", rows, "ids, mask and classes")
    learnt = matrices_of(model)
    changes = {name: learnt[name] - before[name] for name in before}
    cut = {name: cut_to(change, RANKS) for name, change in changes.items()}
    size = sum(float(c.square().sum()) for c in changes.values())
    found: dict[str, dict[str, float]] = {}
    for rank in RANKS:
        held = sum(float(cut[n][rank].square().sum()) for n in changes)
        for name in changes:
            model.get_parameter(name).copy_(before[name] + cut[name][rank])
        found[str(rank)] = {
            "held": round(held / size, 4),
            "accuracy": round(accuracy(model, rows), 4),
        }
    for name, matrix in learnt.items():
        model.get_parameter(name).copy_(matrix)
    return found


def run(
    tuning: Tuning, steps: int | None = None, tell: Tell | None = None
) -> Outcome:
    """Fine-tune once, and test."""
    checks.kind("tuning", tuning, Tuning, "a Tuning")
    first = tuning.way == "full" and tuning.seed == SEEDS[0]
    if not first or steps is not None:
        return lora_rates.run(tuning, steps, tell)
    model, log = tune(tuning, steps, tell)
    rows = genre_rows(tuning.side, tuning.length)
    result: dict[str, Any] = {"accuracy": round(accuracy(model, rows), 4)}
    before = matrices_of(genre_classifier())
    result["cut"] = cut_changes(model, before, rows)
    return Outcome(log=log, result=result | lora_rates.measured(tuning))


PLAN = Plan(
    runs={
        f"{way}, seed {seed}": Tuning(
            way=way, rate=chosen_rates()[way], seed=seed, side="test"
        )
        for way in WAYS
        for seed in SEEDS
    },
    early=2,
    whole=0.02,
)


def match() -> dict[str, list[dict[str, Any]]]:
    """Return way -> what was measured with each seed, as stored."""
    found = results("lora", PLAN)
    return {
        way: [found[f"{way}, seed {seed}"] for seed in SEEDS] for way in WAYS
    }
