"""Right calls of the experiment on recipes, and of its explorable."""

import torch
from handmade.experiments import recipes

from valid_calls import call

SMALL = {
    "steps": 2, "warmup": 1, "batch_size": 2, "length": 4, "d_model": 8,
    "n_heads": 2, "n_layers": 1, "windows": 2, "every": 1,
}  # fmt: skip


def small():
    return recipes.Recipe(**SMALL)


CALLS = {
    "experiments.recipes.Recipe": lambda: call(seed=1),
    "experiments.recipes.RecipeModel": lambda: call(
        recipe=small(), vocab_size=7
    ),
    "experiments.recipes.RecipeModel.forward": lambda: call(
        recipes.RecipeModel(small(), 7), ids=torch.tensor([[1, 2, 3]])
    ),
    "experiments.recipes.validation_windows": lambda: call(recipe=small()),
    "experiments.recipes.frequency_loss": lambda: call(recipe=small()),
    "experiments.recipes.trainer_of": lambda: call(recipe=small()),
    "experiments.recipes.run": lambda: call(recipe=small(), steps=1),
    "widgets.loss_curves.loss_curves": lambda: call(
        training={"a": torch.ones(2, 3)},
        validation={"a": torch.ones(2, 2)},
        steps=[[1, 2, 3], [0, 3]],
        shown=["a"],
        level=3.0,
        named="a line",
    ),
}
