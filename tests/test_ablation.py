"""The capstone's experiments: its recipe without a part, and its long run."""

import pytest
import torch
from handmade.experiments import core, long_run
from handmade.experiments.ablation import (
    CHANGES,
    PLAN,
    SEEDS,
    Ablation,
    changed_trainer,
    losses,
    run,
)
from handmade.training.mini_gpt_parts import norm, square_relu
from torch import nn
from torch.nn import functional as F

SMALL = {
    "steps": 6, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 24,
    "max_seq_len": 16, "batch_size": 3, "buckets": 32,
}  # fmt: skip


def made(change):
    torch.set_num_threads(1)
    trainer, _ = changed_trainer(Ablation(change=change, **SMALL))
    return trainer, trainer.model


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_each_change_trains_and_repeats_itself(change):
    trial = Ablation(change=change, **SMALL)
    one, two = run(trial, 2), run(trial, 2)
    assert one.log == two.log
    assert one.result == two.result
    assert len(run(trial).log) == trial.steps


def test_each_change_changes_what_it_says_and_nothing_else():
    recipe, model = made("recipe")
    names = [name for name, _ in model.named_parameters()]
    block = model.blocks[0]
    assert (block.norm_qk, block.activation) == (norm, square_relu)
    assert not any(b.o_proj.weight.any() for b in model.blocks[1:])
    _, drawn = made("no written heads")
    assert not any(b.o_proj.weight.any() for b in drawn.blocks)
    written = model.blocks[0].o_proj.weight.detach().clone()
    assert written.any()

    trainer, model = made("GELU")
    assert all(b.activation is F.gelu for b in model.blocks)
    trainer, model = made("no QK-norm")
    x = torch.randn(2, 3)
    assert all(b.norm_qk(x) is x for b in model.blocks)
    trainer, model = made("no zero start")
    assert all(b.o_proj.weight.all() for b in model.blocks[1:])
    kept = written.any(0)
    now = model.blocks[0].o_proj.weight
    assert torch.equal(now[:, kept], written[:, kept])
    assert now[:, ~kept].all()
    assert not model.lm_head.weight.any()
    trainer, model = made("AdamW")
    assert isinstance(trainer.optimizer, torch.optim.AdamW)
    trainer, model = made("cosine")
    assert trainer.schedule(3) == pytest.approx(0.5)
    assert recipe.schedule(3) == pytest.approx(0.5)
    assert trainer.schedule(1) > recipe.schedule(1) > recipe.schedule(5)
    assert trainer.schedule(6) == pytest.approx(0)
    trainer, model = made("n-grams")
    assert {n for n, _ in model.named_parameters()} - {*names} == {
        "ngrams.table", "ngrams.after",
    }  # fmt: skip
    trainer, model = made("n-grams, no repeats")
    trainer.run(2)
    assert model.ngrams.table.any()
    assert not model.ngrams.after.any()


def test_order_is_told_by_the_table_alone_or_by_nothing():
    ids = torch.tensor([[3, 4, 5, 3, 4, 5]])
    turned = torch.tensor([[4, 3, 5, 3, 4, 5]])
    differs = {}
    for change in ("recipe", "no positions", "learned positions"):
        _, model = made(change)
        for p in model.parameters():
            nn.init.normal_(p, std=0.3)
        with torch.no_grad():
            # one layer's last token sees a set, where nothing tells the order
            model.blocks = model.blocks[:1]
            gap = model.eval()(ids)[:, -1] - model(turned)[:, -1]
        differs[change] = gap.abs().max() > 1e-3
    assert differs == {
        "recipe": True, "no positions": False, "learned positions": True,
    }  # fmt: skip
    trainer, model = made("learned positions")
    before = model.pos_emb.detach().clone()
    trainer.run(3)
    assert not torch.equal(before, model.pos_emb)


def test_an_unknown_change_is_an_error():
    with pytest.raises(ValueError, match="change: got 'rope', want one of"):
        Ablation(change="rope")
    with pytest.raises(ValueError, match="name: got 'short', want one of"):
        long_run.long_run("short")


# -- what is stored


def test_the_stored_table_is_whole():
    found = losses()
    assert tuple(found) == tuple(CHANGES)
    assert all(row.shape == (len(SEEDS),) for row in found.values())
    runs = core.stored("ablation")["runs"]
    assert [r["name"] for r in runs] == list(PLAN.runs)


def test_the_long_run_is_whole_and_its_model_writes_what_it_wrote():
    for name, settings in long_run.RUNS.items():
        found = long_run.long_run(name)
        steps = [s["step"] for s in found["samples"]]
        assert steps == [*long_run.LOOKED, settings.steps]
        assert found["curve"][-1]["step"] == settings.steps
        assert found["curve"][0]["loss"] > found["curve"][-1]["loss"]
        assert found["validation_loss"] < 1.7
    model, alphabet = long_run.long_run_model()
    assert model.config.vocab_size == len(alphabet)
    size = sum(p.numel() for p in model.parameters())
    assert 2 * size < 3_000_000  # bytes that are shipped


def test_a_replay_of_the_long_run_keeps_no_sample():
    early = long_run.run(long_run.RUNS["with n-grams"], 1)
    assert set(early.result) == {"validation_loss"}
    assert early.tensors is None
    assert len(early.log) == 1
