"""The one experiment: fair to every scheme, and its stored results whole."""

import json
from dataclasses import replace

import pytest
import torch
from handmade.blocks.extrapolation import (
    CONTROLS,
    LENGTHS,
    SCHEMES,
    SEEDS,
    STORED,
    CharModel,
    Trial,
    characters,
    held_out_loss,
    stored_runs,
    train,
)
from handmade.inference.cache import KVCache
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


def test_training_repeats_itself_and_learns():
    trial = Trial(scheme="ALiBi", steps=30, seed=3)
    one, losses = train(trial)
    two, again = train(trial)
    assert losses == again
    assert torch.equal(one.lm_head.weight, two.lm_head.weight)
    assert losses[-1] < losses[0] - 0.5
    assert train(replace(trial, seed=4, steps=1))[1] != losses[:1]


def test_the_stored_results_are_whole():
    runs = stored_runs()
    assert tuple(runs) == SCHEMES
    for losses in runs.values():
        assert losses.shape == (len(SEEDS), len(LENGTHS))
    for changes in CONTROLS:
        runs = stored_runs(**changes)
        assert list(runs) == ["learned"]
        assert runs["learned"].shape == (len(SEEDS), len(LENGTHS))
    results = json.loads(STORED.read_text(encoding="utf-8"))
    settings = results["settings"]
    now = Trial(scheme="none")
    assert settings == {name: getattr(now, name) for name in settings}
    assert STORED.stat().st_size < 200_000


def test_results_of_other_lengths_are_refused(tmp_path, monkeypatch):
    other = tmp_path / "other.json"
    other.write_text('{"lengths": [1, 2], "runs": []}')
    monkeypatch.setattr("handmade.blocks.extrapolation.STORED", other)
    with pytest.raises(ValueError, match="lengths: other"):
        stored_runs()


@pytest.mark.slow
def test_a_stored_run_is_found_again():
    trial = Trial(scheme="ALiBi", seed=1)
    model, _ = train(trial)
    for i, length in enumerate(LENGTHS):
        gap = (
            held_out_loss(model, trial, length) - stored_runs()["ALiBi"][1, i]
        )
        assert abs(gap) < 0.05


def test_an_unknown_scheme_is_an_error():
    with pytest.raises(ValueError, match="scheme: got 'rope'"):
        Trial(scheme="rope")
