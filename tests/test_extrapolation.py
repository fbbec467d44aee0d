"""The one experiment: fair to every scheme, and trained as it says."""

import math
import re
from dataclasses import replace

import pytest
import torch
from handmade.experiments import core
from handmade.experiments.extrapolation import (
    CONTROLS,
    LENGTHS,
    PLAN,
    SCHEMES,
    SEEDS,
    CharModel,
    Trial,
    characters,
    held_out_loss,
    run,
    stored_runs,
    train,
)
from handmade.inference.cache import KVCache
from handmade.weights.shakespeare import shakespeare
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.testing import assert_close


def model_of(scheme: str, **changes) -> CharModel:
    torch.manual_seed(0)
    return CharModel(Trial(scheme=scheme, **changes), 28)


def test_all_schemes_start_from_the_same_numbers():
    states = [model_of(scheme).state_dict() for scheme in SCHEMES]
    for state in states:
        assert set(state) - set(states[0]) <= {"pos_emb.weight"}
        for name, value in states[0].items():
            assert torch.equal(state[name], value), name


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_scheme_sees_the_future(scheme):
    model = model_of(scheme)
    ids = torch.randint(0, 28, (2, 20))
    changed = ids.clone()
    changed[:, 12] = (ids[:, 12] + 1) % 28
    gap = (model(changed) - model(ids)).abs().amax((0, 2))
    assert gap[:12].max() < 1e-5 < gap[12]


@pytest.mark.parametrize("scheme", ["RoPE", "ALiBi", "none"])
def test_relative_schemes_do_not_know_where_they_are(scheme):
    model = model_of(scheme).double()
    ids = torch.randint(0, 28, (1, 20))
    at = torch.arange(20)[None]
    # float32 angles: not to 1e-10
    assert_close(model(ids, at), model(ids, at + 100), rtol=0, atol=1e-4)


@pytest.mark.parametrize("scheme", ["learned", "sinusoidal"])
def test_absolute_ones_do(scheme):
    model = model_of(scheme).double()
    ids = torch.randint(0, 28, (1, 20))
    at = torch.arange(20)[None]
    assert (model(ids, at) - model(ids, at + 100)).abs().max() > 0.1


def test_a_window_hides_what_is_farther():
    model = model_of("RoPE", attn_window=3)
    ids = torch.randint(0, 28, (1, 12))
    changed = ids.clone()
    changed[0, 0] = (ids[0, 0] + 1) % 28
    gap = (model(changed) - model(ids)).abs().amax((0, 2))
    # two layers of three keys reach four places back
    assert gap[4] > 1e-6
    assert gap[5:].max() < 1e-6


@pytest.mark.parametrize("window", [0, 5])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_token_by_token_is_the_whole_text(scheme, window):
    model = model_of(scheme, attn_window=window)
    ids = torch.randint(0, 28, (2, 20))
    cache = KVCache()
    parts = [model(part, cache=cache) for part in ids.split([7, 1, 1, 11], 1)]
    assert_close(torch.cat(parts, dim=1), model(ids), rtol=0, atol=1e-4)


@pytest.mark.parametrize("scheme", ["learned", "sinusoidal", "RoPE"])
def test_restarted_positions_are_noticed(scheme):
    model = model_of(scheme)
    ids = torch.randint(0, 28, (2, 20))
    cache = KVCache()
    model(ids[:, :-1], cache=cache)
    last = model(ids[:, -1:], torch.arange(1)[None], cache)
    assert (last[:, 0] - model(ids)[:, -1]).abs().max() > 0.01


def test_the_sizes_at_the_start_are_as_asked():
    plain, small = model_of("learned"), model_of("learned", **CONTROLS[1])
    for name in ("tok_emb", "pos_emb"):
        a, b = (getattr(m, name).weight for m in (plain, small))
        assert_close(0.02 * a, b)
    assert torch.equal(plain.lm_head.weight, small.lm_head.weight)


def test_the_texts_are_apart_and_clean():
    text, held_out, alphabet = characters()
    assert len(text) > 300_000
    assert len(held_out) > 100_000
    assert max(text.max(), held_out.max()) < len(alphabet) == 28
    space = alphabet.index(" ")
    double = (held_out[1:] == space) & (held_out[:-1] == space)
    assert not double.any()


class Constant(torch.nn.Module):
    """Blind guessing, and a note of what it was asked."""

    def forward(self, ids):
        self.lengths = ids.shape[1]
        self.last = ids[:, -15:].clone()
        return torch.zeros(*ids.shape, 28)


def test_the_targets_are_the_same_for_every_length():
    guess, trial = Constant(), Trial(scheme="none")
    lasts = []
    for length in (LENGTHS[0], LENGTHS[-1]):
        loss = held_out_loss(guess, trial, length)
        assert loss == pytest.approx(torch.tensor(28.0).log().item(), rel=1e-5)
        assert guess.lengths == length
        lasts.append(guess.last)
    assert torch.equal(*lasts)


# -- what training must satisfy


def written(ids):
    return "".join(characters()[2][i] for i in ids.tolist())


def cleaned(play):
    """Letters and apostrophes, in another way than the package's."""
    return re.sub("[^a-z']+", " ", shakespeare()[play].lower()).strip()


def test_the_texts_are_the_plays_and_have_no_passage_in_common():
    text, held_out, _ = characters()
    plays = [cleaned(name) for name in ("macbeth", "lear", "othello")]
    text, held_out = written(text), written(held_out)
    assert text == "".join(plays)
    assert held_out == cleaned("hamlet")
    # 33 characters are a window; stage directions of 33 are in both
    passages = {text[i : i + 40] for i in range(len(text) - 39)}
    for i in range(len(held_out) - 39):
        assert held_out[i : i + 40] not in passages


def texts_read(go):
    """Call go; return all texts that a CharModel read meanwhile."""
    read = []

    def look(module, inputs):
        if isinstance(module, CharModel):
            read.extend(map(written, inputs[0]))

    hook = register_module_forward_pre_hook(look)
    try:
        go()
    finally:
        hook.remove()
    return read


def test_training_reads_three_plays_and_the_test_the_fourth():
    trial = Trial(scheme="none")
    plays = [cleaned(name) for name in ("macbeth", "lear", "othello")]
    text, held_out = "".join(plays), cleaned("hamlet")
    read = texts_read(lambda: train(trial, 20))
    assert len(read) == 20 * trial.batch
    assert all(len(part) == trial.train_len for part in read)
    assert all(part in text for part in read)
    # a stage direction is in both; nothing else is
    assert sum(part in held_out for part in read) <= 1
    model = model_of("none")
    read = texts_read(lambda: held_out_loss(model, trial, 64))
    assert len(read) == trial.windows
    assert all(part in held_out and part not in text for part in read)


def rate_by_hand(step, steps=300, peak=5e-3, warm_up=20):
    falling = peak / 2 * (1 + math.cos(step / steps * math.pi))
    return falling * (step + 1) / warm_up if step < warm_up else falling


def test_the_learning_rate_warms_up_and_falls():
    _, log = train(Trial(scheme="none"), 25)
    rates = [step.lr for step in log]
    assert rates == pytest.approx([rate_by_hand(i) for i in range(25)])
    assert rates[:20] == sorted(rates[:20])
    assert rates[0] < rates[19] / 15
    _, log = train(Trial(scheme="none", steps=40, train_len=4, batch=2))
    assert log[-1].lr == pytest.approx(rate_by_hand(39, 40))
    assert log[-1].lr < 1e-4


@pytest.mark.parametrize("changes", [{"max_norm": 0.2}, CONTROLS[1]])
def test_no_step_is_taken_with_a_longer_gradient(changes):
    norms, trial = [], Trial(scheme="learned", **changes)
    max_norm = changes.get("max_norm", 1.0)

    def look(optimizer, args, kwargs):
        (group,) = optimizer.param_groups
        squares = [(p.grad**2).sum() for p in group["params"]]
        norms.append(torch.stack(squares).sum().sqrt().item())

    hook = register_optimizer_step_pre_hook(look)
    try:
        _, log = train(trial, 4)
    finally:
        hook.remove()
    for step, norm in zip(log, norms, strict=True):
        wanted = min(max_norm, step.grad_norm)
        assert norm == pytest.approx(wanted, rel=1e-4)
    assert max(step.grad_norm for step in log) > 1.5 * max_norm


def adamw_by_hand(trial, steps):
    """Train with nothing of torch.optim, and no gradient kept in a .grad."""
    text, _, alphabet = characters()
    torch.manual_seed(trial.seed)
    model = CharModel(trial, len(alphabet))
    generator = torch.Generator().manual_seed(trial.seed)
    parameters = list(model.parameters())
    m = [torch.zeros_like(p) for p in parameters]
    v = [torch.zeros_like(p) for p in parameters]
    losses = []
    for step in range(steps):
        starts = torch.randint(
            len(text) - 32, (trial.batch, 1), generator=generator
        )
        window = torch.stack([text[i : i + 33] for i in starts.flatten()])
        logps = model(window[:, :32]).log_softmax(-1)
        loss = -logps.gather(-1, window[:, 1:, None]).mean()
        losses.append(loss.item())
        grads = torch.autograd.grad(loss, parameters)
        norm = torch.cat([g.flatten() for g in grads]).norm()
        lr = rate_by_hand(step)
        with torch.no_grad():
            for i, (p, g) in enumerate(zip(parameters, grads, strict=True)):
                g = g * (trial.max_norm / norm if norm > trial.max_norm else 1)
                m[i] = 0.9 * m[i] + 0.1 * g
                v[i] = 0.999 * v[i] + 0.001 * g**2
                up = m[i] / (1 - 0.9 ** (step + 1))
                down = (v[i] / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
                p *= 1 - lr * 0.01
                p -= lr * up / down
    return model, losses


@pytest.mark.parametrize(("scheme", "max_norm"), [("RoPE", 1), ("none", 0.3)])
def test_the_steps_are_those_written_by_hand(scheme, max_norm):
    trial = Trial(scheme=scheme, seed=2, max_norm=max_norm)
    ours, log = train(trial, 5)
    theirs, losses = adamw_by_hand(trial, 5)
    assert [step.loss for step in log] == pytest.approx(losses, abs=2e-5)
    for name, p in ours.named_parameters():
        wanted = theirs.get_parameter(name)
        assert_close(p, wanted, rtol=0, atol=2e-4, msg=lambda m, n=name: n + m)
        far = (p - wanted).abs().mean()
        assert far < 2e-6, name


def test_training_repeats_itself_and_learns():
    trial = Trial(scheme="ALiBi", steps=30, seed=3)
    one, log = train(trial)
    two, again = train(trial)
    assert log == again
    assert torch.equal(one.lm_head.weight, two.lm_head.weight)
    assert log[-1].loss < log[0].loss - 0.5
    assert train(replace(trial, seed=4), 1)[1] != log[:1]


def test_a_training_that_ends_early_is_the_beginning_of_the_whole():
    trial = Trial(scheme="none", steps=12)
    assert train(trial, 5)[1] == train(trial)[1][:5]


def test_a_run_tells_its_steps_and_tests_every_length():
    told = []
    trial = Trial(scheme="none", lengths=(32, 64))
    outcome = run(trial, 2, lambda *heard: told.append(heard))
    assert told == list(enumerate(outcome.log))
    model, _ = train(trial, 2)
    tested = [held_out_loss(model, trial, n) for n in (32, 64)]
    assert outcome.result["test"] == pytest.approx(tested, abs=1e-4)


# -- the stored runs; tests/test_experiments.py runs parts of them again


def test_the_stored_results_are_whole():
    runs = stored_runs()
    assert tuple(runs) == SCHEMES
    for losses in runs.values():
        assert losses.shape == (len(SEEDS), len(LENGTHS))
    for changes in CONTROLS:
        runs = stored_runs(**changes)
        assert list(runs) == ["learned"]
        assert runs["learned"].shape == (len(SEEDS), len(LENGTHS))


def test_each_stored_run_is_found_under_its_seed():
    found = core.stored("extrapolation")
    losses = {r["name"]: r["result"]["test"] for r in found["runs"]}
    for scheme, rows in stored_runs().items():
        for seed, row in enumerate(rows):
            assert_close(row, torch.tensor(losses[f"{scheme}, seed {seed}"]))


def test_runs_with_other_settings_are_refused(monkeypatch):
    runs = dict(PLAN.runs)
    runs["RoPE, seed 0"] = Trial(scheme="RoPE", lengths=(32, 33))
    other = replace(PLAN, runs=runs)
    monkeypatch.setattr("handmade.experiments.extrapolation.PLAN", other)
    with pytest.raises(ValueError, match=r"other settings .* RoPE, seed 0,"):
        stored_runs()


def test_an_unknown_scheme_is_an_error():
    with pytest.raises(ValueError, match="scheme: got 'rope'"):
        Trial(scheme="rope")
