"""Stored results: fresh, as they were written, and found again when run."""

import importlib
import json
import sys
from argparse import Namespace
from dataclasses import replace

import handmade.experiments
import pytest
import torch
from bookbinder import __main__ as binder
from bookbinder import experiment_run, imports
from bookbinder.experiment_replay import replay, restamp, verify
from bookbinder.experiment_run import run
from bookbinder.experiment_state import code_of, names, stale
from bookbinder.experiments import main
from handmade.experiments import core
from handmade.training.loop import Step

TOY = '''"""A toy: two runs on four numbers."""

from dataclasses import dataclass

import torch
from handmade.experiments.core import Outcome, Plan
from handmade.training import loop
from torch import nn

STARTED = []
SLOPE = 1.0  # of what is learned
SCORE = 1.0  # of what is measured


@dataclass(frozen=True)
class Toy:
    seed: int
    steps: int = 12
    sizes: tuple[int, ...] = (2, 1)


def run(settings, steps=None, tell=None):
    STARTED.append((settings.seed, steps))
    torch.manual_seed(settings.seed)
    model = nn.Linear(*settings.sizes)

    def loss_of(model, x):
        return ((model(x) - SLOPE * x.sum(-1, keepdim=True)) ** 2).mean()

    def draw(generator):
        return (torch.randn(4, settings.sizes[0], generator=generator),)

    log = loop.train(
        model,
        torch.optim.Adam(model.parameters(), lr=0.1),
        draw,
        loss_of,
        steps=steps or settings.steps,
        generator=torch.Generator().manual_seed(settings.seed),
        tell=tell,
    )
    score = SCORE * model.weight.sum().item()
    result = {"score": round(score, 4), "all": [len(log), {"kind": "toy"}]}
    return Outcome(log=log, result=result, tensors=model.state_dict())


RUNS = {"one": Toy(1), "two": Toy(2), "wide": Toy(3, sizes=(3, 1))}
PLAN = Plan(runs=RUNS, early=4, whole=1e-3, checkpoint="two")
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """An experiment found in the package, with a folder for its results."""
    (tmp_path / "toy.py").write_text(TOY, encoding="utf-8")
    (tmp_path / "results").mkdir()
    path = [*handmade.experiments.__path__, str(tmp_path)]
    monkeypatch.setattr(handmade.experiments, "__path__", path)
    monkeypatch.setattr(core, "RESULTS", tmp_path / "results")
    real, versions = imports.hashes, {"handmade.experiments.toy": "v1"}

    def hashes(cells):
        return versions if "experiments.toy" in cells[0] else real(cells)

    monkeypatch.setattr(imports, "hashes", hashes)
    module = importlib.import_module("handmade.experiments.toy")
    module.versions = versions
    yield module
    del sys.modules["handmade.experiments.toy"]
    del handmade.experiments.toy


def quiet(*_):
    """Say nothing."""


def path_of(name="toy"):
    return core.RESULTS / f"{name}.json"


def change(name, value):
    """Rewrite a stored value consistently: the digest, too."""
    found = json.loads(path_of().read_text())
    target = found
    *way, last = name
    for key in way:
        target = target[key]
    target[last] = value
    found["digest"] = core.digest(found)
    path_of().write_text(json.dumps(found))


# -- the real ones


@pytest.mark.parametrize("name", names())
def test_every_stored_result_is_fresh(name):
    assert stale(name) == []


@pytest.mark.parametrize("name", names())
def test_a_fixed_part_is_found_again(name):
    """The first run's first steps, and what is measured after them."""
    found = core.stored(name)
    assert replay(name, found["runs"][0]["name"]) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_a_whole_run_is_found_again(name):
    plan = importlib.import_module(f"handmade.experiments.{name}").PLAN
    last = list(plan.runs)[-1]
    if plan.whole is not None:
        assert replay(name, last, whole=True) is None


@pytest.mark.parametrize("name", names())
def test_what_is_stored_is_small_and_says_all(name):
    found = core.stored(name)
    assert path_of(name).stat().st_size < 200_000
    assert found["command"] == f"python -m bookbinder experiments run {name}"
    assert found["seconds"] > 0
    for record in found["runs"]:
        settings = found["settings"] | record["settings"]
        assert "seed" in settings
        log, losses = record["log"], record["early"]["losses"]
        first = losses[: log["steps"]]
        if len(first) == log["steps"]:
            mean = sum(first) / len(first)
            assert log["mean_loss"][0] == pytest.approx(mean, rel=1e-4)
        sizes = {len(log[k]) for k in log if k != "steps"}
        assert sizes == {-(-settings["steps"] // log["steps"])}


def test_every_stored_result_has_its_experiment():
    paths = [p for p in core.RESULTS.iterdir() if p.name[0] != "."]
    assert {p.stem for p in paths if p.suffix == ".json"} == set(names())
    kept = [core.stored(name)["checkpoint"] for name in names()]
    files = {one["file"] for one in kept if one is not None}
    assert {p.name for p in paths if p.suffix != ".json"} == files


def test_the_code_of_an_experiment_is_all_that_it_reaches():
    code = code_of("extrapolation")
    for module in (
        "experiments.extrapolation",
        "training.loop",
        "blocks.rope",
        "blocks.attention",
    ):
        assert f"handmade.{module}" in code
    assert "extrapolation" in names()
    assert not {"core", "__init__"} & set(names())


# -- run


def test_a_run_is_stored_whole(toy, capsys):
    assert stale("toy")
    run("toy", quiet)
    assert stale("toy") == []
    found = core.stored("toy")
    assert found["settings"] == {"steps": 12}
    assert [r["settings"] for r in found["runs"]] == [
        {"seed": 1, "sizes": [2, 1]},
        {"seed": 2, "sizes": [2, 1]},
        {"seed": 3, "sizes": [3, 1]},
    ]
    whole = toy.run(toy.RUNS["two"])
    record = found["runs"][1]
    assert record["result"] == whole.result
    assert record["early"]["result"] == toy.run(toy.RUNS["two"], 4).result
    assert record["early"]["losses"] == pytest.approx(
        [step.loss for step in whole.log[:4]], rel=1e-5
    )
    log = record["log"]
    norms = [step.grad_norm for step in whole.log]
    mean = sum(step.loss for step in whole.log) / 12
    assert log["mean_loss"] == pytest.approx([mean], rel=1e-5)
    assert log["largest_grad_norm"] == pytest.approx([max(norms)], rel=1e-3)
    assert log["last_lr"] == [0.1]
    for key, tensor in core.checkpoint("toy").items():
        assert torch.equal(tensor, whole.tensors[key])
    assert not list(core.RESULTS.glob(".*"))
    results = core.results("toy", toy.PLAN)
    assert results["two"] == whole.result


def killed_at(toy, monkeypatch, number):
    """Run, and be killed when the run of that number begins."""
    real = toy.run

    def dies(settings, steps=None, tell=None):
        if settings.seed == number:
            raise KeyboardInterrupt
        return real(settings, steps, tell)

    with monkeypatch.context() as patch:
        patch.setattr(toy, "run", dies)
        with pytest.raises(KeyboardInterrupt):
            run("toy", quiet)


def without_seconds(found):
    found = json.loads(json.dumps(found))
    for part in (found, *found["runs"]):
        del part["seconds"]
    del found["digest"]
    return found


@pytest.mark.parametrize("number", [1, 2, 3])
def test_who_was_killed_goes_on_where_they_were(toy, monkeypatch, number):
    run("toy", quiet)
    whole = core.stored("toy")
    for path in core.RESULTS.iterdir():
        path.unlink()
    killed_at(toy, monkeypatch, number)
    assert not path_of().exists()
    with pytest.raises(ValueError, match="no stored result"):
        core.stored("toy")
    toy.STARTED.clear()
    run("toy", quiet)
    assert {seed for seed, _ in toy.STARTED} == set(range(number, 4))
    assert without_seconds(core.stored("toy")) == without_seconds(whole)
    core.checkpoint("toy")


@pytest.mark.parametrize("what", ["code", "settings", "early", "torch"])
def test_what_other_code_finished_is_not_kept(toy, monkeypatch, what):
    killed_at(toy, monkeypatch, 3)
    if what == "code":
        toy.versions["handmade.experiments.toy"] = "v2"
    elif what == "torch":
        monkeypatch.setattr(torch, "__version__", "0.1+cpu")
    else:
        runs = dict(toy.RUNS)
        runs["one"] = toy.Toy(1, steps=13 if what == "settings" else 12)
        early = 5 if what == "early" else 4
        plan = core.Plan(runs=runs, early=early, checkpoint="two")
        monkeypatch.setattr(toy, "PLAN", plan)
    said = []
    toy.STARTED.clear()
    run("toy", said.append)
    assert {seed for seed, _ in toy.STARTED} == {1, 2, 3}
    assert "begun anew" in said[0]


def test_a_damaged_partial_file_is_begun_anew(toy, monkeypatch):
    killed_at(toy, monkeypatch, 3)
    partial = core.RESULTS / ".toy.partial.json"
    text = partial.read_text()
    for damaged in ("", "[]", "null", "{}", text[: len(text) // 2]):
        partial.write_text(damaged)
        toy.STARTED.clear()
        run("toy", quiet)
        assert {seed for seed, _ in toy.STARTED} == {1, 2, 3}
        assert stale("toy") == []


def test_a_partial_file_without_its_checkpoint_is_begun_anew(toy, monkeypatch):
    killed_at(toy, monkeypatch, 3)
    for path in core.RESULTS.glob("*.safetensors"):
        path.unlink()
    run("toy", quiet)
    assert stale("toy") == []


def test_a_kill_while_writing_leaves_the_old_result(toy, monkeypatch):
    run("toy", quiet)
    before, tensors = path_of().read_bytes(), core.checkpoint("toy")

    def dies(*_):
        raise KeyboardInterrupt

    toy.versions["handmade.experiments.toy"] = "v2"
    toy.SLOPE = 2.0
    with monkeypatch.context() as patch:
        patch.setattr(experiment_run, "write_result", dies)
        with pytest.raises(KeyboardInterrupt):
            run("toy", quiet)
    assert path_of().read_bytes() == before
    again = core.checkpoint("toy")
    assert all(torch.equal(again[k], tensors[k]) for k in tensors)
    run("toy", quiet)
    assert stale("toy") == []
    assert len(list(core.RESULTS.glob("*.safetensors"))) == 1


def test_a_run_that_does_not_repeat_itself_is_refused(toy, monkeypatch):
    real = toy.run

    def drifts(settings, steps=None, tell=None):
        if steps is None:
            toy.SLOPE += 1e-3
        return real(settings, steps, tell)

    monkeypatch.setattr(toy, "run", drifts)
    with pytest.raises(ValueError, match="at step 0 of one, want"):
        run("toy", quiet)


def test_a_checkpoint_too_large_is_refused_before_the_whole_run(
    toy, monkeypatch
):
    monkeypatch.setattr(core, "LARGEST", 11)
    with pytest.raises(ValueError, match="tensors: got 12 bytes, want"):
        run("toy", quiet)
    assert toy.STARTED == [(1, 4)]


# -- stale


def leaves(value, way=()):
    """Return the way to each value that a hand could change."""
    if isinstance(value, dict):
        for key in value:
            yield from leaves(value[key], (*way, key))
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from leaves(part, (*way, i))
    else:
        yield way


def test_no_value_is_changed_by_hand_unnoticed(toy):
    run("toy", quiet)
    text = path_of().read_text()
    ways = list(leaves(json.loads(text)))
    assert len(ways) > 40
    for *way, last in ways:
        found = json.loads(text)
        target = found
        for key in way:
            target = target[key]
        old = target[last]
        target[last] = f"{old}." if isinstance(old, str) else 1 + (old or 0)
        path_of().write_text(json.dumps(found))
        assert stale("toy"), (*way, last)
        if "code" not in way:
            with pytest.raises(ValueError, match=r"toy\.json: got other"):
                core.stored("toy")
    path_of().write_text(text.replace("\n", "\r\n"))
    assert stale("toy") == []  # line ends are git's business


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "{}", '"a"'])
def test_what_is_no_result_is_refused_by_name(toy, text):
    run("toy", quiet)
    path_of().write_text(text)
    with pytest.raises(ValueError, match=r"toy\.json: got"):
        core.stored("toy")
    assert stale("toy")


def test_changed_code_is_named(toy):
    run("toy", quiet)
    toy.versions["handmade.blocks.new"] = "v1"
    toy.versions["handmade.experiments.toy"] = "v2"
    first, second = stale("toy")
    assert first.startswith("handmade.blocks.new has changed")
    assert second.startswith("handmade.experiments.toy has changed")
    assert "restamp toy" in first


def test_changed_settings_are_named(toy, monkeypatch):
    run("toy", quiet)
    for runs in (
        toy.RUNS | {"one": toy.Toy(1, steps=13)},
        toy.RUNS | {"four": toy.Toy(4)},
        {"two": toy.RUNS["two"], "wide": toy.RUNS["wide"]},
    ):
        plan = core.Plan(runs=runs)
        monkeypatch.setattr(toy, "PLAN", plan)
        (why,) = stale("toy")
        assert "other settings than the plan's" in why
        assert "four" in why or "one" in why


def test_a_damaged_or_missing_checkpoint_is_named(toy):
    run("toy", quiet)
    (path,) = core.RESULTS.glob("*.safetensors")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "is damaged" in stale("toy")[0]
    path.unlink()
    assert "is missing" in stale("toy")[0]
    with pytest.raises(ValueError, match="is missing"):
        restamp("toy", quiet)


def test_another_checkpoint_than_the_plans_is_stale(toy, monkeypatch):
    run("toy", quiet)
    for kept in (None, "one"):
        plan = core.Plan(runs=toy.RUNS, early=4, checkpoint=kept)
        monkeypatch.setattr(toy, "PLAN", plan)
        assert stale("toy") == [f"checkpoint: got that of two, want {kept}"]


def test_a_run_that_keeps_nothing_has_no_checkpoint(toy, monkeypatch):
    real = toy.run

    def keeps_nothing(*arguments):
        return replace(real(*arguments), tensors=None)

    monkeypatch.setattr(toy, "run", keeps_nothing)
    with pytest.raises(ValueError, match="tensors: got none from two, want"):
        run("toy", quiet)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"early": 0}, "early: got 0, want"),
        ({"checkpoint": "three"}, "checkpoint: got 'three', want"),
        ({"runs": {}}, "at least one"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        core.Plan(**{"runs": {"one": None}, **wrong})


def test_no_checkpoint_is_an_error(toy, monkeypatch):
    plan = core.Plan(runs=toy.RUNS, early=4)
    monkeypatch.setattr(toy, "PLAN", plan)
    run("toy", quiet)
    assert stale("toy") == []
    with pytest.raises(ValueError, match="keeps no checkpoint"):
        core.checkpoint("toy")


# -- replay and restamp


def test_a_refactored_trainer_takes_its_hash(toy):
    run("toy", quiet)
    before = core.stored("toy")
    toy.versions["handmade.experiments.toy"] = "v2"
    toy.STARTED.clear()
    restamp("toy", quiet)
    assert toy.STARTED == [(1, 4), (2, 4), (3, 4)]  # the first steps alone
    assert stale("toy") == []
    after = core.stored("toy")
    assert after["code"] == {"handmade.experiments.toy": "v2"}
    assert after | {"code": before["code"]} == before


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("SLOPE", "one, step 0: the loss is"),
        ("SCORE", r"one, after 4 steps: result\['score'\] is"),
    ],
)
def test_one_that_computes_something_else_is_refused(toy, fault, message):
    run("toy", quiet)
    toy.versions["handmade.experiments.toy"] = "v2"
    before = path_of().read_bytes()
    setattr(toy, fault, 1.1)
    with pytest.raises(ValueError, match=message):
        restamp("toy", quiet)
    assert path_of().read_bytes() == before
    assert stale("toy")


def test_one_that_differs_later_in_one_run_is_refused(toy, monkeypatch):
    run("toy", quiet)
    real = toy.run

    def slips(settings, steps=None, tell=None):
        outcome = real(settings, steps, tell)
        if settings.seed == 3:
            step = outcome.log[3]
            outcome.log[3] = Step(step.loss + 2e-3, 0.0, 0.0)
        return outcome

    monkeypatch.setattr(toy, "run", slips)
    with pytest.raises(ValueError, match="got another wide, step 3: the loss"):
        restamp("toy", quiet)


@pytest.mark.parametrize("nan", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_not_equal(toy, monkeypatch, nan):
    run("toy", quiet)
    real = toy.run

    def breaks(settings, steps=None, tell=None):
        outcome = real(settings, steps, tell)
        outcome.result["score"] = nan
        return outcome

    monkeypatch.setattr(toy, "run", breaks)
    assert "'score'" in replay("toy", "one")
    assert "'score'" in replay("toy", "one", whole=True)


def test_a_setting_may_be_added_and_not_changed(toy, monkeypatch):
    run("toy", quiet)
    before = core.stored("toy")
    stripped = json.loads(path_of().read_text())
    del stripped["settings"]["steps"]  # as if it had not been one yet
    stripped["digest"] = core.digest(stripped)
    path_of().write_text(json.dumps(stripped))
    assert "other settings" in stale("toy")[0]
    restamp("toy", quiet)
    assert core.stored("toy") == before

    runs = toy.RUNS | {"two": toy.Toy(2, steps=13)}
    monkeypatch.setattr(toy, "PLAN", core.Plan(runs=runs))
    with pytest.raises(ValueError, match="another steps in two, want 12"):
        restamp("toy", quiet)
    monkeypatch.setattr(toy, "PLAN", core.Plan(runs={"one": toy.Toy(1)}))
    with pytest.raises(ValueError, match="other runs than the plan's"):
        restamp("toy", quiet)
    assert core.stored("toy") == before


@pytest.fixture
def only_toy(toy, monkeypatch):
    for module in ("experiment_state", "experiment_replay", "experiments"):
        monkeypatch.setattr(f"bookbinder.{module}.names", lambda: ["toy"])
    run("toy", quiet)
    return toy


def test_each_night_another_run_is_found_again(only_toy):
    drawn = set()
    for seed in range(12):
        said = []
        assert verify(seed, said.append) == []
        again = []
        verify(seed, again.append)
        assert again == said
        drawn.add(said[0])
    assert len(drawn) == 3
    assert all("as stored" in line for line in drawn)


@pytest.mark.parametrize(
    "way",
    [
        ("early", "losses", 2),
        ("early", "result", "score"),
        ("result", "score"),
        ("result", "all", 0),
        ("result", "all", 1, "kind"),
        ("result", "all"),
    ],
)
def test_a_consistent_forgery_is_found_where_it_is_run_again(only_toy, way):
    for number in range(3):
        change(("runs", number, *way), 9.25)
    core.stored("toy")  # its digest is right
    (differs,) = verify(5, quiet)
    assert differs.startswith("toy: ")


def test_what_is_too_long_is_verified_by_its_first_steps(only_toy):
    only_toy.PLAN = core.Plan(runs=only_toy.RUNS, early=4, checkpoint="two")
    only_toy.STARTED.clear()
    assert verify(0, quiet) == []
    assert [steps for _, steps in only_toy.STARTED] == [4]


# -- the command


def test_the_command_lists_checks_runs_restamps_and_verifies(only_toy, capsys):
    def tells(*words):
        code = binder.main(["experiments", *words])
        out, err = capsys.readouterr()
        return code, out, err

    assert tells("check") == (0, "", "")
    _, out, _ = tells("list")
    assert out.startswith("toy: 3 runs, ")
    assert out.endswith("fresh. A toy: two runs on four numbers.\n")
    only_toy.versions["handmade.experiments.toy"] = "v2"
    code, out, err = tells("check")
    assert (code, out) == (1, "")
    assert err.startswith("stale: toy: handmade.experiments.toy has changed")
    assert "stale" in tells("list")[1]
    code, out, _ = tells("restamp", "toy")
    assert code == 0
    assert "[3/3] wide: as stored" in out
    assert tells("check")[0] == 0
    code, out, _ = tells("verify", "--seed", "7")
    assert code == 0
    assert out.startswith("seed 7\ntoy, ")
    assert tells("verify")[1].startswith("seed ")
    only_toy.SLOPE = 1.5
    code, out, _ = tells("verify", "--seed", "7")
    assert code == 1
    assert "\nFAILED toy" in out  # what the nightly report looks for
    code, out, err = tells("restamp", "toy")
    assert code == 1
    assert "toy: got another one, step 0" in err
    code, out, _ = tells("run", "toy")
    assert code == 0
    assert out.rstrip().endswith("toy.json")
    assert tells("verify", "--seed", "7")[0] == 0


def test_an_unknown_name_is_an_error(capsys):
    for action in ("run", "restamp"):
        assert main(Namespace(action=action, name="../core")) == 1
        assert "name: got '../core', want one of" in capsys.readouterr().err


def test_progress_is_shown_to_a_person(only_toy, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    run("toy", quiet)
    assert "[2/3] two: step 10, loss " in capsys.readouterr().out
