"""The experiment on recipes: one thing changed at a time, and judged alike."""

import math
from dataclasses import replace

import pytest
import torch
from handmade.experiments import core
from handmade.experiments.recipes import (
    FIRST,
    PLAN,
    RECIPES,
    SEEDS,
    Recipe,
    RecipeModel,
    frequency_loss,
    how_it_ended,
    recipe_text,
    run,
    stored_recipes,
    trainer_of,
    validation_windows,
)
from handmade.training import loop
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.testing import assert_close

NAMES = sorted(RECIPES)
SMALL = Recipe(
    steps=6, warmup=2, batch_size=3, length=8, d_model=8, n_heads=2,
    n_layers=2, windows=5, every=2,
)  # fmt: skip


def recipe_named(name, **changes):
    return Recipe(**RECIPES[name], **changes)


@pytest.mark.parametrize("name", NAMES)
def test_with_one_seed_all_start_alike_and_draw_the_same(name):
    base, other = (trainer_of(recipe_named(n)) for n in ("baseline", name))
    ours = dict(base.model.named_parameters())
    for key, p in other.model.named_parameters():
        assert_close(p, ours[key].to(p.dtype), rtol=0, atol=0)
    noise = []
    for step in range(1, 28):
        a, b = (t.draw(t.generator)[0] for t in (base, other))
        if not torch.equal(a, b):
            noise.append(step)
    assert noise == ([25] if "noise" in name else [])


def test_another_seed_is_another_run():
    one, two = (trainer_of(Recipe(seed=seed)) for seed in (0, 1))
    a, b = (t.model.lm_head.weight for t in (one, two))
    assert (a - b).abs().max() > 0.1
    assert not torch.equal(one.draw(one.generator)[0],
                           two.draw(two.generator)[0])  # fmt: skip


def test_each_recipe_changes_what_its_name_says():
    found = {name: trainer_of(recipe_named(name)) for name in NAMES}
    base = found["baseline"]
    assert (base.peaks, base.max_norm, base.precision) == ([0.01] * 2, 1, None)
    assert base.schedule(0) == pytest.approx(1 / 30)
    assert base.schedule(29) == base.schedule(30) == 1
    assert base.schedule(200) == pytest.approx(0, abs=1e-9)
    for name, trainer in found.items():
        first = 1 if "no warmup" in name else 1 / 30
        assert trainer.schedule(0) == pytest.approx(first), name
        assert math.isinf(trainer.max_norm) == ("no clipping" in name)
        times = int(name.split(",")[0].split()[2]) if "rate" in name else 1
        assert trainer.peaks[0] == pytest.approx(0.01 * times)
        placement = "post" if "post" in name else "pre"
        assert trainer.model.blocks[3].placement == placement
        norm = isinstance(trainer.model.norm, torch.nn.Identity)
        assert norm == (placement == "post")
        bf16 = trainer.model.lm_head.weight.dtype == torch.bfloat16
        assert bf16 == (name == "bf16 weights")
        autocast = trainer.precision == torch.bfloat16
        assert autocast == (name == "bf16 autocast")


def test_what_decays():
    trainer = trainer_of(SMALL)
    decay = {
        id(p): group["weight_decay"]
        for group in trainer.optimizer.param_groups
        for p in group["params"]
    }
    for name, p in trainer.model.named_parameters():
        wanted = 0.1 if p.ndim > 1 else 0.0
        assert decay[id(p)] == wanted, name


@pytest.mark.parametrize("max_norm", [0.0, 0.3])
def test_gradients_are_cut_where_the_recipe_says(max_norm):
    norms, trainer = [], trainer_of(replace(SMALL, max_norm=max_norm))

    def look(optimizer, args, kwargs):
        grads = [p.grad for p in trainer.model.parameters()]
        norms.append(torch.nn.utils.get_total_norm(grads).item())

    hook = register_optimizer_step_pre_hook(look)
    try:
        log = trainer.run(3)
    finally:
        hook.remove()
    for step, norm in zip(log, norms, strict=True):
        assert step.grad_norm > 0.3
        wanted = max_norm or step.grad_norm
        assert norm == pytest.approx(wanted, rel=1e-3)


def test_the_model_reads_no_character_to_come():
    model = RecipeModel(SMALL, 11)
    ids = torch.randint(11, (2, 8))
    other = ids.clone()
    other[:, 5:] = (ids[:, 5:] + 1) % 11
    assert_close(model(ids)[:, :5], model(other)[:, :5])
    assert (model(ids)[:, 5:] - model(other)[:, 5:]).abs().max() > 1e-3


def test_runs_are_judged_by_text_that_none_has_read():
    train, valid, alphabet = recipe_text()
    assert 8.9 < len(train) / len(valid) < 9.1
    windows = validation_windows(Recipe())
    assert windows.shape == (64, 33)
    text = alphabet.decode(valid)
    for row in windows:
        assert alphabet.decode(row) in text


def test_the_level_is_that_of_counted_characters():
    train, _, alphabet = recipe_text()
    windows = validation_windows(SMALL)
    counts = [(train == i).sum().item() + 1 for i in range(len(alphabet))]
    total = sum(
        -math.log(counts[c] / sum(counts))
        for c in windows[:, 1:].flatten().tolist()
    )
    wanted = total / windows[:, 1:].numel()
    assert frequency_loss(SMALL) == pytest.approx(wanted, rel=1e-5)


def test_a_run_measures_what_it_says():
    told = []
    outcome = run(SMALL, tell=lambda *heard: told.append(heard))
    found, losses = outcome.result, [step.loss for step in outcome.log]
    assert told == list(enumerate(outcome.log))
    assert len(losses) == 6
    assert found["first"] == found["last"] < math.inf
    assert found["first"] == pytest.approx(sum(losses) / 6, abs=1e-4)
    assert found["train_curve"] == [found["first"]]
    assert (found["stopped"], len(found["valid_curve"])) == (None, 4)
    assert found["valid_curve"][-1] == found["valid"]
    trainer = trainer_of(SMALL)
    assert trainer.run(6) == outcome.log  # validation moves no random state
    again = trainer.evaluate([(validation_windows(SMALL),)])
    assert found["valid"] == pytest.approx(again, abs=2e-4)


def test_a_run_that_ends_early_is_the_beginning_of_the_whole():
    assert run(SMALL, 3).log == run(SMALL).log[:3]


def test_a_run_stops_where_a_number_is_not_finite(monkeypatch):
    whole = loop.Trainer.train_step

    def spoiled(self):
        if self.step == 3:
            raise ValueError("loss: got nan at step 3, want a finite number")
        return whole(self)

    monkeypatch.setattr(loop.Trainer, "train_step", spoiled)
    found = run(SMALL)
    assert (found.result["stopped"], len(found.log)) == (3, 3)
    assert how_it_ended(SMALL, found.result) == "diverged"

    def broken(self):
        raise ValueError("ids: got something else")

    monkeypatch.setattr(loop.Trainer, "train_step", broken)
    with pytest.raises(ValueError, match="something else"):
        run(SMALL)


def test_how_a_run_ended():
    blind, level = math.log(len(recipe_text()[2])), frequency_loss(Recipe())
    for last, valid, stopped, wanted in (
        (2.4, 2.5, None, "learned"),
        (2.4, level - 0.26, None, "learned"),
        (2.4, level - 0.24, None, "stuck"),
        (blind - 0.01, 9.0, None, "stuck"),
        (blind + 0.01, 9.0, None, "diverged"),
        (2.4, 2.5, 7, "diverged"),
    ):
        result = {"last": last, "valid": valid, "stopped": stopped}
        assert how_it_ended(Recipe(), result) == wanted


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"placement": "both"}, "placement: got 'both', want one of"),
        ({"precision": "bf16"}, "precision: got 'bf16', want one of"),
        ({"warmup": 200}, "warmup: got 200, want 0 to 199"),
        ({"steps": 0}, "steps: got 0"),
        ({"beta2": 1.0}, "beta2: got 1.0"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_an_error(changes, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**changes)


# -- the stored runs; tests/test_experiments.py runs parts of them again


def test_the_stored_runs_are_whole():
    found = stored_recipes()
    assert [*found] == [*RECIPES]
    for runs in found.values():
        assert len(runs) == len(SEEDS)
        for result in runs:
            if result["stopped"] is None:
                assert len(result["train_curve"]) == 20
                assert len(result["valid_curve"]) == 11
                assert result["valid_curve"][-1] == result["valid"]


def test_each_stored_run_is_found_under_its_seed():
    results = {r["name"]: r for r in core.stored("recipes")["runs"]}
    assert [*results] == [*PLAN.runs]
    for name, runs in stored_recipes().items():
        for seed, result in zip(SEEDS, runs, strict=True):
            record = results[f"{name}, seed {seed}"]
            assert record["result"] == result
            early = record["early"]["losses"]
            mean = sum(early) / len(early)
            assert abs(mean - result["first"]) < 1.5
    assert FIRST == 30


@pytest.mark.parametrize("steps", [float("inf"), -1, 1.5, "all"])
def test_a_wrong_number_of_steps_ends_at_once(steps):
    with pytest.raises(ValueError, match="steps: got"):
        run(SMALL, steps=steps)
