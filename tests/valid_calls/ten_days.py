"""Right calls of the ten-day model: its experts, its run, its experiment."""

import torch
from handmade.experiments import ten_days as experiment
from handmade.models.variants import Variant, VariantConfig
from handmade.training import ten_days

from valid_calls import call

TINY = VariantConfig(
    model_type="mixtral", vocab_size=11, max_seq_len=16, d_model=8,
    n_layers=2, n_heads=4, n_kv_heads=2, d_ff=6, n_experts=3, top_k=2,
)  # fmt: skip
SETTINGS = ten_days.TenDaySettings(
    steps=2, batch=2, length=5, warm_up=1, judged=20
)


def mixture():
    torch.manual_seed(0)
    return Variant(TINY)


def drawn(*shape):
    return torch.randint(11, shape, generator=torch.Generator().manual_seed(0))


def begun():
    return ten_days.ten_day_trainer(SETTINGS, drawn(60), mixture())


def logits():
    g = torch.Generator().manual_seed(0)
    return [torch.randn(6, 3, generator=g) for _ in range(2)]


def entered(context):
    with context as seen:
        return seen


CALLS = {
    "training.experts.parameters_by_part": lambda: call(model=mixture()),
    "training.experts.router_logits": lambda: call(
        model=mixture(), then=entered
    ),
    "training.experts.balancing": lambda: call(logits=logits(), top_k=2),
    "training.experts.balanced_loss": lambda: call(
        model=mixture(), ids=drawn(2, 6), balance=0.1
    ),
    "training.experts.expert_use": lambda: call(
        model=mixture(), ids=drawn(2, 6)
    ),
    "training.experts.experts_in_effect": lambda: call(
        shares=torch.tensor([[0.5, 0.5, 0.0]])
    ),
    "training.ten_days.TenDaySettings": lambda: call(
        balance=0.1, seed=1, steps=9, batch=2, length=5, peak_lr=1e-3,
        warm_up=2, weight_decay=0.1, max_norm=1.0, judge_every=2, judged=20,
    ),
    "training.ten_days.ten_day_trainer": lambda: call(
        settings=SETTINGS, ids=drawn(60), model=mixture()
    ),
    "training.ten_days.judged_windows": lambda: call(
        settings=SETTINGS, ids=drawn(60)
    ),
    "training.ten_days.keep_best": lambda folder: call(
        trainer=begun(), batches=[(drawn(2, 6),)], folder=folder / "best",
        steps=2, every=1, settings=SETTINGS, tell=lambda step, measured: None,
    ),
    "experiments.ten_days.TenDayRun": lambda: call(
        balance=0.1, seed=1, steps=9, batch=2, length=5, peak_lr=1e-3,
        warm_up=2, weight_decay=0.1, max_norm=1.0, judge_every=2, judged=20,
        by_head=True,
    ),
    "experiments.ten_days.run": lambda: call(
        settings=experiment.TenDayRun(
            steps=2, batch=1, length=4, warm_up=1, judged=8
        ),
        steps=1,
        tell=lambda step, measured: None,
    ),
}  # fmt: skip
