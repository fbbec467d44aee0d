"""The small ten-day model: one longer run, and pairs that leave one thing out.

B batch · T tokens

The pairs are short, and each seed sees the same windows in all three: with
balancing, without it, and with rotations that turn by head instead of by
token. ``python -m bookbinder experiments run ten_days`` makes them all. Left
out: the full size, which would take a card some days.
"""

import tempfile
from dataclasses import dataclass
from typing import Any

import torch

from handmade import checks
from handmade.experiments.core import (
    Outcome,
    Plan,
    Tell,
    checkpoint,
    results,
)
from handmade.inference.generate import generate
from handmade.models.variants import Variant
from handmade.training.checkpoint import load_checkpoint
from handmade.training.experts import expert_use, experts_in_effect
from handmade.training.loop import Step
from handmade.training.ten_days import (
    SMALL,
    TenDaySettings,
    bard_in_subwords,
    judged_windows,
    keep_best,
    ten_day_trainer,
)

SEEDS = range(3)
PROMPTS = ("KING.\n", "The king is", "What, art thou")


@dataclass(frozen=True, kw_only=True)
class TenDayRun(TenDaySettings):
    """A run of the page, and which fault is planted in it, if any."""

    by_head: bool = False  # rotations by head: see ``_TurnedByHead``

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.flag("by_head", self.by_head)


class _TurnedByHead(Variant):
    """The model with RoPE on the axis of heads.

    All tokens of a head are then turned alike. Query and key of a head are
    in the same place, or a fixed number of heads apart, so that their
    product holds a fixed rotation: one that its random projections hold
    already. What is left is a model without positions, and so it is written
    here.
    """

    def forward(self, ids: torch.Tensor, *args: Any, **how: Any) -> Any:
        return super().forward(
            ids, *args, positions=torch.zeros_like(ids[:1]), **how
        )


def run(
    settings: TenDayRun, steps: int | None = None, tell: Tell | None = None
) -> Outcome:
    """Train, look at the held-out side on the way, keep the best.

    ``steps`` ends it early; the schedule stays that of the whole run, which
    alone writes texts.
    """
    _check_run(settings, steps, tell)
    text = bard_in_subwords()
    torch.manual_seed(settings.seed)
    model = (_TurnedByHead if settings.by_head else Variant)(SMALL)
    trainer = ten_day_trainer(settings, text.train, model)
    batches = judged_windows(settings, text.held_out)
    log: list[Step] = []
    in_effect: list[list[float]] = []
    samples: list[list[Any]] = []

    def note(step: int, measured: Step) -> None:
        log.append(measured)
        if (step + 1) % settings.judge_every == 0:
            counts = experts_in_effect(_used(model, batches))
            in_effect.append([round(n, 3) for n in counts.tolist()])
            if steps is None:
                text = _continued(model, PROMPTS[0], settings.seed, 40)
                samples.append([step + 1, text])
        if tell is not None:
            tell(step, measured)

    with tempfile.TemporaryDirectory() as folder:
        looks = keep_best(
            trainer,
            batches,
            folder,
            steps=settings.steps if steps is None else steps,
            every=settings.judge_every,
            settings=settings,
            tell=note,
        )
        best = load_checkpoint(folder)
    state = {
        name.removeprefix("model."): tensor
        for name, tensor in best.tensors.items()
        if name.startswith("model.")
    }
    model.load_state_dict(state)
    result = {
        "looks": [[step, round(loss, 4)] for step, loss in looks],
        "best": best.step,
        "in_effect": in_effect,
        "use": [
            [round(share, 4) for share in layer]
            for layer in _used(model, batches).tolist()
        ],
        "samples": samples,
    }
    del state["lm_head.weight"]  # which is the token table
    halves = {name: tensor.half() for name, tensor in state.items()}
    return Outcome(log=log, result=result, tensors=halves)


def _used(model: Variant, batches: list[tuple[torch.Tensor]]) -> torch.Tensor:
    """Return each expert's share of the choices in the first batch, (L, E)."""
    return expert_use(model, batches[0][0][:, :-1])


def _continued(model: Variant, prompt: str, seed: int, n: int) -> str:
    """Draw n tokens after a prompt; the random state stays as it was."""
    tokenizer = bard_in_subwords().tokenizer
    ids = generate(
        model,
        torch.tensor([tokenizer.encode(prompt)]),
        max_new_tokens=n,
        temperature=0.8,
        top_p=0.95,
        generator=torch.Generator().manual_seed(seed),
    )
    return tokenizer.decode(ids[0].tolist())


def trained() -> Variant:
    """Return the best model of the longer run, in evaluation."""
    weights = {
        name: tensor.float() for name, tensor in checkpoint("ten_days").items()
    }
    weights["lm_head.weight"] = weights["tok_emb.weight"]
    model = Variant(SMALL)
    model.load_state_dict(weights)
    return model.eval()


def _check_run(settings: object, steps: int | None, tell: object) -> None:
    checks.kind("settings", settings, TenDayRun, "a TenDayRun")
    if steps is not None:
        checks.whole("steps", steps)
    if tell is not None:
        checks.function("tell", tell, "a function of step and Step, or None")


LONG = "longer"
FAULTS: dict[str, dict[str, Any]] = {
    "balanced": {},
    "not balanced": {"balance": 0.0},
    "turned by head": {"by_head": True},
}


def _runs() -> dict[str, TenDayRun]:
    pairs = {
        f"{name}, seed {seed}": TenDayRun(
            seed=seed, steps=80, judge_every=40, **fault
        )
        for seed in SEEDS
        for name, fault in FAULTS.items()
    }
    return {LONG: TenDayRun(steps=800, judge_every=100), **pairs}


PLAN = Plan(runs=_runs(), early=5, result=0.02, checkpoint=LONG)


def stored_pairs() -> dict[str, list[dict[str, Any]]]:
    """Read the stored pairs: what was done -> results, one a seed."""
    found = results("ten_days", PLAN)
    return {
        name: [found[f"{name}, seed {seed}"] for seed in SEEDS]
        for name in FAULTS
    }
