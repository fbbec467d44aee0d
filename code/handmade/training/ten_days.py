"""The ten-day model: a small Mixtral on ten thousand subwords, and its run.

B batch · T tokens

The model is `Variant` with Mixtral's switches. Here stand its two sizes, its
text on two sides, and a run that keeps its best checkpoint. Left out:
dropout, since a run that reads no window twice has little to memorize, and
several processes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

import torch

from handmade import checks
from handmade.models.variants import Variant, VariantConfig
from handmade.text.bpe import BPETokenizer
from handmade.text.data import split
from handmade.training.characters import draw_windows
from handmade.training.checkpoint import load_checkpoint, save_checkpoint
from handmade.training.experts import balanced_loss
from handmade.training.loop import Step, Trainer
from handmade.training.optimizers import adamw_groups
from handmade.training.schedule import warmup_cosine
from handmade.weights.shakespeare import shakespeare

VOCAB = 10_000
END = "<|endoftext|>"
FULL = VariantConfig(
    model_type="mixtral", vocab_size=VOCAB, max_seq_len=1024,
    d_model=768, n_layers=8, n_heads=8, n_kv_heads=4,
    d_ff=2048, n_experts=8, top_k=3, tie_embeddings=True,
)  # fmt: skip
SMALL = VariantConfig(
    model_type="mixtral", vocab_size=VOCAB, max_seq_len=256,
    d_model=128, n_layers=3, n_heads=4, n_kv_heads=2,
    d_ff=96, n_experts=8, top_k=3, tie_embeddings=True,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TenDaySettings:
    """One run of the small model. Raises ValueError where one is wrong."""

    balance: float = 0.01  # the coefficient of the balancing loss
    seed: int = 0
    steps: int = 400
    batch: int = 4  # windows a step
    length: int = 128  # tokens of a window
    peak_lr: float = 3e-3
    warm_up: int = 20
    weight_decay: float = 0.1
    max_norm: float = 1.0
    judge_every: int = 100  # steps between two looks at the held-out side
    judged: int = 8_192  # tokens of it that are looked at

    def __post_init__(self) -> None:
        _check_settings(self)


@dataclass(frozen=True)
class TwoSides:
    """A tokenizer, and the ids of two sides of a corpus, (n) each."""

    tokenizer: BPETokenizer
    train: torch.Tensor
    held_out: torch.Tensor


@cache
def bard_in_subwords() -> TwoSides:
    """Split Shakespeare by works; learn 10,000 tokens on the training side.

    The vocabulary is learned too: with the held-out works in it, their words
    would be tokens because they occur there. Each work ends in END.
    """
    train, held_out = split(shakespeare(), share=0.1)
    tokenizer = BPETokenizer.train(train.values(), VOCAB, [END])
    end = tokenizer.encode(END)
    ids = [
        [i for work in works.values() for i in tokenizer.encode(work) + end]
        for works in (train, held_out)
    ]
    return TwoSides(tokenizer, *map(torch.tensor, ids))


def ten_day_trainer(
    settings: TenDaySettings, ids: torch.Tensor, model: Variant | None = None
) -> Trainer:
    """Return a run that has not begun: AdamW, warm-up, cosine, bfloat16.

    ``model`` instead of a new one of the sizes `SMALL`. Raises ValueError
    for a text shorter than a window.
    """
    _check_trainer(settings, ids)
    if model is None:
        torch.manual_seed(settings.seed)
        model = Variant(SMALL)
    groups = adamw_groups(model, settings.weight_decay)
    s = settings
    return Trainer(
        model,
        torch.optim.AdamW(groups, lr=s.peak_lr, betas=(0.9, 0.95)),
        lambda generator: (draw_windows(ids, s.length, s.batch, generator),),
        lambda model, ids: balanced_loss(model, ids, s.balance),
        generator=torch.Generator().manual_seed(s.seed),
        schedule=warmup_cosine(s.steps, warmup=s.warm_up, lowest=0.1),
        max_norm=s.max_norm,
        count=lambda ids: ids[:, 1:].numel(),
        precision=torch.bfloat16,
    )


def judged_windows(
    settings: TenDaySettings, ids: torch.Tensor
) -> list[tuple[torch.Tensor]]:
    """Return windows spread evenly over the held-out works, (B, T + 1) each.

    Always the same ones, so that two looks differ by the model alone.
    """
    _check_trainer(settings, ids)
    T, count = settings.length, max(1, settings.judged // settings.length)
    starts = torch.linspace(0, len(ids) - T - 1, count).long()
    rows = ids[starts[:, None] + torch.arange(T + 1)]
    return [(part,) for part in rows.split(4 * settings.batch)]


def keep_best(
    trainer: Trainer,
    batches: Sequence[tuple[torch.Tensor, ...]],
    folder: Path | str,
    *,
    steps: int,
    every: int,
    settings: TenDaySettings,
    tell: Callable[[int, Step], None] | None = None,
) -> list[tuple[int, float]]:
    """Train to `steps`; every so many look, and keep the best checkpoint.

    Returns (steps done, loss on `batches`) for each look. The folder holds
    one checkpoint at the end: that of the lowest loss, which stands in its
    ``extra``. A run that goes on has to beat the one it finds there.
    """
    _check_keep(trainer, folder, steps, every, settings)
    looks: list[tuple[int, float]] = []
    best = _kept_loss(folder) if trainer.step else math.inf
    while trainer.step < steps:
        trainer.run(min(trainer.step + every, steps), tell)
        loss = trainer.evaluate(batches)
        if loss < best:
            best, extra = loss, {"held_out_loss": loss}
            save_checkpoint(
                folder, trainer, asdict(settings), extra=extra, keep=1
            )
        looks.append((trainer.step, loss))
    return looks


def _kept_loss(folder: Path | str) -> float:
    """Return the loss of the checkpoint in a folder; infinite without one."""
    try:
        kept = load_checkpoint(folder)
    except ValueError:
        return math.inf
    return float(kept.extra.get("held_out_loss", math.inf))


def _check_settings(settings: TenDaySettings) -> None:
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.type is int:
            least = 0 if field.name in ("seed", "warm_up") else 1
            checks.whole(field.name, value, at_least=least)
        elif field.type is float:
            checks.number(field.name, value, at_least=0)
    checks.positive("max_norm", settings.max_norm)
    fits = settings.length <= SMALL.max_seq_len
    want = f"at most {SMALL.max_seq_len}"
    checks.need(fits, "length", settings.length, want)


def _check_trainer(settings: TenDaySettings, ids: torch.Tensor) -> None:
    checks.kind("settings", settings, TenDaySettings, "TenDaySettings")
    checks.ids("ids", ids, axes=1)
    # refuses a text shorter than a window
    draw_windows(ids, settings.length, 1, torch.Generator())


def _check_keep(
    trainer: Trainer,
    folder: Path | str,
    steps: int,
    every: int,
    settings: TenDaySettings,
) -> None:
    checks.kind("trainer", trainer, Trainer, "a Trainer")
    checks.path("folder", folder)
    checks.whole("steps", steps)
    checks.whole("every", every)
    checks.kind("settings", settings, TenDaySettings, "TenDaySettings")
