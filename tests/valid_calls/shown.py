"""Right calls of what pages look, compare and draw with."""

import torch
from handmade.blocks.feedforward import SwiGLU
from handmade.blocks.norms import RMSNorm
from handmade.parity import differences
from handmade.strip import Step
from torch import nn

from valid_calls import call


def model():
    return nn.Sequential(RMSNorm(4), SwiGLU(4, 3))


def x():
    return torch.randn(2, 5, 4)


def compared():
    ours = model()
    return {
        "ours": ours,
        "theirs": ours,
        "inputs": x(),
        "layers": {"{}": "{}", "": ""},
    }


def tokens():
    return torch.ones(2, 5).bool()


def row():
    return differences(**compared())[0]


def recorded(**given):
    def then(context):
        with context as seen:
            given["model"](x())
        return dict(seen)

    return call(then=then, **given)


def entered(**given):
    def then(context):
        with context:
            return None

    return call(then=then, **given)


def write(path):
    path.write_text("a")


CALLS = {
    "cache.cached_folder": lambda tmp: call(
        name="a", build=lambda folder: write(folder / "b")
    ),
    "gaps.largest_gap": lambda: call(
        got=x(), want=x(), chosen=torch.ones(4).bool()
    ),
    "gaps.row_scales": lambda: call(want=x(), chosen=torch.ones(4).bool()),
    "notebook.glue": lambda: call(name="a", value="b", sets={"head": 1}),
    "parity.parity": lambda: call(
        **compared(), name="a model", where={"{}": tokens()}, rtol=0.1
    ),
    "parity.differences": lambda: call(**compared(), where=tokens()),
    "parity_places.paired": lambda: call(
        then=list, layers={"{}": "{}"}, ours=model(), theirs=model()
    ),
    "parity_report.class_of": lambda: call(model=model()),
    "parity_report.escaped": lambda: call(name="a"),
    "plots.lines": lambda: call(
        x=[1, 2], series={"a": [1, 2]}, xlabel="x", ylabel="y"
    ),
    "plots.bars": lambda: call(
        labels=["a", "b"], values=[1, 2], xlabel="x", ylabel="y"
    ),
    "plots.heatmap": lambda: call(values=[[1, 2]], xlabel="x", ylabel="y"),
    "record.recording": lambda: recorded(model=model(), names=["0"]),
    "record.record": lambda: call(model=model(), inputs=x(), names=["0"]),
    "record.eval_mode": lambda: entered(model=model()),
    "record.call": lambda: call(model=model(), inputs=x()),
    "record.arguments": lambda: call(inputs=x()),
    "record.modules_of": lambda: call(model=model()),
    "strip.Step": lambda: call(name="a", value=x(), what="b", at=(1, 2)),
    "strip.Strip": lambda: call(steps=[Step("a", x(), "b")]),
    "strip.follow": lambda: call(
        model=model(), inputs=x(), stations={"0": "a"}
    ),
}
