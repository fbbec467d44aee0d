"""Which parts of the capstone's recipe earn their place: one left out a run.

T tokens of a window · K head width

The same small model is trained for the same number of steps on the same
windows: by the recipe, and by the recipe with one part changed to what came
before it. ``python -m bookbinder experiments run ablation`` runs each with
every seed; the page reads the losses with ``losses``. Left out: a learning
rate of its own for each change, but for AdamW, whose rates mean something
else.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from handmade import checks
from handmade.blocks.rope import Rope
from handmade.experiments.core import Outcome, Plan, Tell, results
from handmade.training.characters import all_windows, encoded
from handmade.training.loop import Trainer
from handmade.training.mini_gpt import corpus, make_trainer
from handmade.training.mini_gpt_settings import Settings
from handmade.training.schedule import warmup_cosine

SEEDS = range(3)
JUDGED = 32_768  # characters of the held-out side
LOOKED_UP = ("n-grams", "n-grams, no repeats")
ADAMW_RATE = 6e-3  # the best of 1.5e-3, 3e-3, 6e-3 and 1.2e-2 here


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """One run: what is changed in the recipe, and everything else."""

    change: str = "recipe"
    seed: int = 0
    steps: int = 300
    d_model: int = 96
    n_layers: int = 3
    n_heads: int = 2
    d_ff: int = 288
    max_seq_len: int = 64
    batch_size: int = 16
    buckets: int = 16_384  # of each table of n-grams, where there are such

    def __post_init__(self) -> None:
        checks.text("change", self.change)
        known = self.change in CHANGES
        want = f"one of {tuple(CHANGES)}"
        checks.need(known, "change", repr(self.change), want)
        for field in fields(self):
            if field.name != "change":
                value = getattr(self, field.name)
                checks.whole(field.name, value, at_least=0)


def changed_trainer(trial: Ablation) -> tuple[Trainer, torch.Tensor]:
    """Return the trainer with its one change, and the held-out numbers."""
    checks.kind("trial", trial, Ablation, "an Ablation")
    settings = Settings(
        steps=trial.steps,
        d_model=trial.d_model,
        n_layers=trial.n_layers,
        n_heads=trial.n_heads,
        d_ff=trial.d_ff,
        max_seq_len=trial.max_seq_len,
        batch_size=trial.batch_size,
        start="plain" if trial.change == "no written heads" else "copying",
        ngrams=trial.buckets if trial.change in LOOKED_UP else 0,
        seed=trial.seed,
    )
    alphabet, learned, held = encoded(corpus())
    trainer = make_trainer(settings, learned, len(alphabet))
    CHANGES[trial.change](trainer)
    return trainer, held[:JUDGED]


def run(
    trial: Ablation, steps: int | None = None, tell: Tell | None = None
) -> Outcome:
    """Train once, and take the loss of the held-out side."""
    trainer, held = changed_trainer(trial)
    log = trainer.run(trial.steps if steps is None else steps, tell)
    windows = all_windows(held, trial.max_seq_len, 64)
    loss = trainer.evaluate((ids,) for ids in windows)
    return Outcome(log=log, result={"validation_loss": round(loss, 4)})


def losses() -> dict[str, torch.Tensor]:
    """Read the stored results: change -> validation losses (seeds,)."""
    found = results("ablation", PLAN)
    rows: dict[str, list[float]] = {}
    for name, trial in PLAN.runs.items():
        loss = found[name]["validation_loss"]
        rows.setdefault(trial.change, []).append(loss)
    return {change: torch.tensor(row) for change, row in rows.items()}


def _nothing(trainer: Trainer) -> None:
    """Leave the recipe as it is."""


def _no_turning(trainer: Trainer) -> None:
    model: Any = trainer.model
    K = model.config.d_model // model.config.n_heads

    def level(positions: torch.Tensor) -> Rope:
        one = torch.ones(*positions.shape, K, device=positions.device)
        return one, torch.zeros_like(one)

    model.angles = level


def _learned_positions(trainer: Trainer) -> None:
    _no_turning(trainer)
    model: Any = trainer.model
    shape = (model.config.max_seq_len, model.config.d_model)
    table = nn.Parameter(torch.randn(shape) * 0.02)
    model.register_parameter("pos_emb", table)

    def add(_: nn.Module, __: Any, x: torch.Tensor) -> torch.Tensor:
        return x + table[: x.shape[1]]

    model.tok_emb.register_forward_hook(add)
    others = trainer.optimizer.param_groups[1]
    others["params"].append(table)


def _no_qk_norm(trainer: Trainer) -> None:
    model: Any = trainer.model
    for block in model.blocks:
        block.norm_qk = lambda qk: qk


def _gelu(trainer: Trainer) -> None:
    model: Any = trainer.model
    for block in model.blocks:
        block.activation = F.gelu


def _adamw(trainer: Trainer) -> None:
    weights = trainer.model.parameters()
    trainer.optimizer = torch.optim.AdamW(
        weights, lr=ADAMW_RATE, betas=(0.9, 0.95), weight_decay=0.0
    )
    trainer.peaks = [ADAMW_RATE]


@torch.no_grad()
def _no_zero_start(trainer: Trainer) -> None:
    for name, p in trainer.model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            drawn = torch.randn(p.shape) * p.shape[1] ** -0.5
            written = (p != 0).any(0)  # by the heads that copy
            p.copy_(torch.where(written, p, drawn))


def _no_repeats(trainer: Trainer) -> None:
    """Leave what followed in the text at zero: the tables alone learn."""
    model: Any = trainer.model
    model.ngrams.after.requires_grad_(False)


def _cosine(trainer: Trainer) -> None:
    schedule = trainer.schedule
    assert schedule is not None
    steps = next(s for s in range(10**6) if schedule(s) == 0)
    trainer.schedule = warmup_cosine(steps)


CHANGES: dict[str, Callable[[Trainer], None]] = {
    "recipe": _nothing,
    "learned positions": _learned_positions,
    "no positions": _no_turning,
    "no QK-norm": _no_qk_norm,
    "GELU": _gelu,
    "AdamW": _adamw,
    "no zero start": _no_zero_start,
    "no written heads": _nothing,
    "cosine": _cosine,
    "n-grams": _nothing,
    "n-grams, no repeats": _no_repeats,
}


def _runs() -> dict[str, Ablation]:
    return {
        f"{change}, seed {seed}": Ablation(change=change, seed=seed)
        for seed in SEEDS
        for change in CHANGES
    }


PLAN = Plan(runs=_runs(), early=10, loss=0.05, result=0.05)
