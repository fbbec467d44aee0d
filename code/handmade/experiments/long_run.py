"""The capstone's long run: what it lost, and what it wrote as it learned.

As many steps as ``python -m handmade.training.mini_gpt train FOLDER --seconds
180`` takes on two cores: the shipped transformer, the same without the heads
written by hand, and one with n-grams beside it, tables and repeats.
``python -m bookbinder experiments run long_run`` runs all three; the page
reads them with ``long_run`` and lets the kept model write with
``long_run_model``. Left out: the model with n-grams, whose tables are large.
"""

from dataclasses import asdict
from typing import Any

from handmade import checks
from handmade.experiments import core
from handmade.experiments.core import Outcome, Plan, Tell
from handmade.training.characters import Alphabet, encoded
from handmade.training.loop import Step
from handmade.training.mini_gpt import Run, corpus
from handmade.training.mini_gpt_model import MiniGPT
from handmade.training.mini_gpt_settings import Settings

LOOKED = (0, 25, 50, 100, 200, 400, 800, 1200)  # and the end
WRITTEN = 240  # characters of a sample
ENTRY = 50  # steps whose mean loss is one point of the curve
RUNS = {
    "transformer": Settings(steps=1800),
    "no written heads": Settings(steps=1800, start="plain"),
    "with n-grams": Settings(
        steps=1300, ngrams=65_536, max_seq_len=512, batch_size=4
    ),
}


def run(
    settings: Settings, steps: int | None = None, tell: Tell | None = None
) -> Outcome:
    """Train once; of a whole run, keep its samples, and its weights."""
    checks.kind("settings", settings, Settings, "Settings")
    if steps is not None:
        checks.whole("steps", steps, at_least=0)
    made = Run.new("unused", settings)
    trainer, samples = made.trainer, []
    log: list[Step] = []
    end = settings.steps if steps is None else steps
    for stop in (*(n for n in LOOKED if n < end), end):
        log += trainer.run(stop, tell)
        if steps is None:
            text = made.sample(WRITTEN)
            samples.append({"step": stop, "text": text})
    if steps is not None:  # a replay takes no look at the whole side
        made.judged = made.judged[:4096]
    loss = round(made.validation_loss(), 4)
    result: dict[str, Any] = {"validation_loss": loss}
    if steps is None:
        result |= {"samples": samples}
    tensors = {k: x.bfloat16() for k, x in trainer.model.state_dict().items()}
    return Outcome(
        log=log,
        result=result,
        tensors=None if settings.ngrams else tensors,
    )


def long_run(name: str = "transformer") -> dict[str, Any]:
    """Read a stored run: settings, seconds, curve, samples, validation_loss.

    `curve` has a {step, loss} for every 50 steps: the loss's mean over them.
    Raises ValueError for a name that is not one of the runs.
    """
    checks.text("name", name)
    checks.need(name in RUNS, "name", repr(name), f"one of {tuple(RUNS)}")
    core.results("long_run", PLAN)
    found = core.stored("long_run")
    (record,) = (r for r in found["runs"] if r["name"] == name)
    curve = [
        {"step": min((i + 1) * ENTRY, RUNS[name].steps), "loss": loss}
        for i, loss in enumerate(record["log"]["mean_loss"])
    ]
    about = {"settings": asdict(RUNS[name]), "seconds": record["seconds"]}
    return about | {"curve": curve} | record["result"]


def long_run_model() -> tuple[MiniGPT, Alphabet]:
    """Return the transformer of the long run, ready to write."""
    alphabet, _, _ = encoded(corpus())
    model = MiniGPT(RUNS["transformer"].config(len(alphabet)))
    kept = core.checkpoint("long_run")
    model.load_state_dict({name: x.float() for name, x in kept.items()})
    return model.eval(), alphabet


PLAN = Plan(
    runs=RUNS, early=10, loss=0.05, result=0.05, checkpoint="transformer"
)
