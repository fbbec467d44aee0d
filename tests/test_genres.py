"""The task and the match made of it: no leaks, equal budget, all counted."""

import re

import pytest
import torch
from handmade.experiments import lora as experiment
from handmade.experiments import lora_rates
from handmade.experiments.lora import (
    RANKS,
    SEEDS,
    cut_changes,
    cut_to,
    match,
    matrices_of,
)
from handmade.experiments.lora_rates import (
    RATES,
    TRIED,
    WAYS,
    Tuning,
    chosen_rates,
    tune,
    tuned,
)
from handmade.models.bert import Bert, BertConfig
from handmade.training.genres import (
    EACH,
    PLAYS,
    Classifier,
    accuracy,
    class_loss,
    genre_rows,
    genre_texts,
    speeches,
)
from handmade.training.lora import trainable
from handmade.weights.minilm import minilm
from handmade.weights.shakespeare import shakespeare

SIDES = sorted(PLAYS)
QUICK = {"steps": 3, "warm_up": 1, "batch": 4, "length": 8}


def letters(text):
    return "".join(re.findall("[a-z]", text.lower()))


def test_no_speech_and_no_play_is_on_two_sides():
    found = {s: {letters(t) for t, _ in genre_texts(s)} for s in SIDES}
    plays = {s: {p for each in PLAYS[s] for p in each} for s in SIDES}
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not found[SIDES[one]] & found[SIDES[other]]
        assert not plays[SIDES[one]] & plays[SIDES[other]]


@pytest.mark.parametrize("side", SIDES)
def test_each_side_is_balanced_and_says_each_speech_once(side):
    texts = genre_texts(side)
    assert len({letters(text) for text, _ in texts}) == len(texts)
    for genre in (0, 1):
        assert sum(g == genre for _, g in texts) == EACH[side]


@pytest.mark.parametrize("side", SIDES)
def test_a_text_is_of_a_play_of_its_genre(side):
    whole = [
        "".join(letters(shakespeare()[play]) for play in plays)
        for plays in PLAYS[side]
    ]
    for text, genre in genre_texts(side)[::37]:
        # a direction may have stood between some words, not between all
        words = text.split()
        parts = (letters(" ".join(words[i : i + 4])) for i in (0, 4, 8))
        assert any(part in whole[genre] for part in parts)


def test_a_speech_has_neither_its_speaker_nor_directions():
    for play in ("john", "as_you_like_it"):
        found = speeches(play)
        assert len(found) > 300
        for text in found:
            assert not re.search(r"[\[\]_\n]", text)
            assert len(text.split()) >= 12
            assert not re.match(r"[A-Z]{3}[A-Z ]*\.", text)


def test_rows_are_cut_and_their_last_token_is_kept():
    ids, mask, genres = genre_rows("validation", 10)
    assert ids.shape == mask.shape == (400, 10)
    tokenizer = minilm().tokenizer()
    for i in (0, 57, 399):
        text, genre = genre_texts("validation")[i]
        whole = tokenizer.encode(text).ids
        row = ids[i][mask[i].bool()].tolist()
        assert row == [*whole[:9], whole[-1]]
        assert genres[i] == genre


def small():
    torch.manual_seed(0)
    return Classifier(
        Bert(
            BertConfig(
                vocab_size=9, d_model=8, n_layers=2, n_heads=2, d_ff=8,
                max_seq_len=8, pooler=False,
            )
        )
    )  # fmt: skip


def test_at_first_all_classes_are_alike():
    ids = torch.randint(9, (4, 5))
    model = small()
    assert not model(ids, torch.ones_like(ids)).any()
    loss = class_loss(model, ids, torch.ones_like(ids), torch.tensor([0] * 4))
    assert loss.item() == pytest.approx(torch.tensor(2.0).log().item())


def test_accuracy_counts_what_is_told_right():
    model = small()
    torch.nn.init.normal_(model.head.weight)
    ids = torch.randint(9, (7, 5))
    mask = torch.ones_like(ids)
    told = model(ids, mask).argmax(-1)
    target = told.clone()
    target[:2] = 1 - target[:2]
    for batch in (1, 3, 50):
        assert accuracy(model, (ids, mask, target), batch) == 5 / 7


# -- the match


@pytest.mark.parametrize("way", sorted(WAYS))
def test_only_what_shall_learn_moves(way):
    before, _ = tuned(Tuning(way=way, rate=0.01, **QUICK))
    model, log = tune(Tuning(way=way, rate=0.01, **QUICK))
    assert len(log) == 3
    was = dict(before.named_parameters())
    moved = {
        name
        for name, p in model.named_parameters()
        if not torch.equal(p, was[name])
    }
    adapted = {n for n in was if ".lora_" in n}
    head = {"head.weight", "head.bias"}
    if way == "full":
        # the key's bias shifts all scores of a query alike: no gradient
        assert moved >= {n for n in was if n.endswith("weight")}
    else:
        assert moved == adapted | head
    assert len(adapted) == (24 if WAYS[way] else 0)
    learn = trainable(model)[0]
    want = {"head only": 0, "full": sum(
        p.numel() for p in before.encoder.parameters()
    )}.get(way, 12 * WAYS[way] * 768)  # fmt: skip
    assert learn == want + 770


def test_all_ways_see_the_same_batches(monkeypatch):
    seen = {}
    for way in WAYS:
        kept = seen.setdefault(way, [])
        monkeypatch.setattr(
            lora_rates,
            "class_loss",
            lambda model, *batch, kept=kept: (
                kept.append(batch[0]) or class_loss(model, *batch)
            ),
        )
        tune(Tuning(way=way, rate=1e-3, seed=5, **QUICK))
    for batches in seen.values():
        assert len(batches) == 3
        assert all(map(torch.equal, batches, seen["full"]))


def test_the_rates_are_those_that_validation_chose():
    found = lora_rates.results("lora_rates", lora_rates.PLAN)
    for way in TRIED:
        told = {
            rate: found[f"{way}, rate {rate:g}"]["accuracy"] for rate in RATES
        }
        assert told[chosen_rates()[way]] == max(told.values())
    for way in WAYS:
        assert way in TRIED or chosen_rates()[way] == chosen_rates()["LoRA 4"]
    for tuning in experiment.PLAN.runs.values():
        assert tuning.rate == chosen_rates()[tuning.way]
        assert (tuning.side, tuning.seed > 0) == ("test", True)
    assert {t.side for t in lora_rates.PLAN.runs.values()} == {"validation"}


def test_a_change_is_cut_to_the_nearest_of_its_rank():
    change = torch.randn(9, 6, dtype=torch.double)
    values = torch.linalg.svdvals(change)
    for rank, cut in cut_to(change, (0, 1, 4, 6)).items():
        assert torch.linalg.matrix_rank(cut) == rank
        lost = (change - cut).square().sum()
        torch.testing.assert_close(lost, values[rank:].square().sum())


def test_cut_changes_leave_the_model_as_it_was():
    model = small()
    torch.nn.init.normal_(model.head.weight)
    before = matrices_of(model)
    with torch.no_grad():
        for name in before:
            model.get_parameter(name).add_(torch.randn_like(before[name]) / 3)
    learnt = {n: p.clone() for n, p in model.named_parameters()}
    ids = torch.randint(9, (40, 5))
    rows = (ids, torch.ones_like(ids), torch.randint(2, (40,)))
    found = cut_changes(model, before, rows)
    assert [*found] == [str(rank) for rank in RANKS]
    held = [each["held"] for each in found.values()]
    assert held[0] == 0
    assert held == sorted(held)
    assert held[-1] == pytest.approx(1, abs=1e-3)
    assert found["64"]["accuracy"] == pytest.approx(accuracy(model, rows))
    for name, p in model.named_parameters():
        assert torch.equal(p, learnt[name])


def test_what_is_stored_is_whole():
    for way, runs in match().items():
        assert len(runs) == len(SEEDS)
        assert len({run["peak"] for run in runs}) == 1
        assert all(0.4 < run["accuracy"] < 1 for run in runs)
        assert ["cut" in run for run in runs] == [way == "full", False, False]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"way": "half"}, "way: got 'half', want one of"),
        ({"rate": -1.0}, "rate: got -1.0"),
        ({"steps": 2.5}, "steps: got 2.5"),
        ({"targets": ["q_proj"]}, "targets: got a list"),
    ],
)
def test_a_tuning_that_makes_no_sense_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        Tuning(**({"way": "full", "rate": 1e-3} | change))


def test_a_play_or_side_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="play: got 'faust'"):
        speeches("faust")
    with pytest.raises(ValueError, match="side: got 'both'"):
        genre_texts("both")
