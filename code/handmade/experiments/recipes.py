"""One small model, many recipes: what each part of a recipe is worth.

B batch · T tokens · D model width · V vocabulary

A character model of eight narrow blocks is trained with one thing changed at
a time. ``python -m bookbinder experiments run recipes`` runs every recipe
with every seed; of one seed all start from the same numbers and draw the same
batches. Left out: a learning rate tuned for each, which the page warns of.
"""

import math
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import torch
from torch import nn

from handmade import checks
from handmade.blocks.block import Block
from handmade.blocks.feedforward import FeedForward
from handmade.blocks.masks import causal_mask
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import LayerNorm
from handmade.experiments.core import Outcome, Plan, Tell, results
from handmade.training import loop
from handmade.training.characters import Alphabet, draw_windows, sides
from handmade.training.optimizers import adamw_groups
from handmade.training.schedule import warmup_cosine
from handmade.weights.shakespeare import shakespeare

PLAYS = ("macbeth", "lear", "othello", "hamlet")
SEEDS = range(4)
FIRST = 30  # steps at the start, and at the end, that are summed up
# of the weights, and of the products that a step is computed with
PRECISIONS = {
    "float32": (torch.float32, None),
    "bfloat16 products": (torch.float32, torch.bfloat16),
    "bfloat16 weights": (torch.bfloat16, None),
}
RECIPES: dict[str, dict[str, Any]] = {
    "baseline": {},
    "no warmup": {"warmup": 0},
    "post-norm": {"placement": "post"},
    "post-norm, no warmup": {"placement": "post", "warmup": 0},
    "no clipping": {"max_norm": 0.0},
    "rate × 10": {"peak_lr": 0.1},
    "rate × 10, no warmup": {"peak_lr": 0.1, "warmup": 0},
    "rate × 100": {"peak_lr": 1.0},
    "rate × 100, no clipping": {"peak_lr": 1.0, "max_norm": 0.0},
    "noise": {"noise": 25},
    "noise, no clipping": {"noise": 25, "max_norm": 0.0},
    "bf16 autocast": {"precision": "bfloat16 products"},
    "bf16 weights": {"precision": "bfloat16 weights"},
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run: everything that counts. The defaults are the baseline."""

    seed: int = 0
    placement: str = "pre"  # of the norms; or "post"
    warmup: int = 30  # steps in which the learning rate rises to its peak
    max_norm: float = 1.0  # gradients longer than this are cut; 0: none are
    peak_lr: float = 0.01
    precision: str = "float32"
    noise: int = 0  # every so many-th batch is random characters; 0: none
    steps: int = 200
    batch_size: int = 16
    length: int = 32  # characters that a prediction may read
    d_model: int = 32
    n_heads: int = 4
    n_layers: int = 8
    weight_decay: float = 0.1
    beta2: float = 0.95
    windows: int = 64  # of the validation side, always the same
    every: int = 20  # steps between two validations

    def __post_init__(self) -> None:
        _check_recipe(self)


class RecipeModel(nn.Module):
    """Predict the next character, (B, T) ids -> (B, T, V) logits."""

    def __init__(self, recipe: Recipe, vocab_size: int) -> None:
        super().__init__()
        _check_model(recipe, vocab_size)
        D = recipe.d_model
        self.tok_emb = nn.Embedding(vocab_size, D)
        self.pos_emb = nn.Embedding(recipe.length, D)
        self.blocks = nn.ModuleList(
            Block(
                attn_norm=LayerNorm(D),
                attn=MultiHeadAttention(D, recipe.n_heads, bias=True),
                ffn_norm=LayerNorm(D),
                ffn=FeedForward(D, 4 * D, torch.relu),
                placement=recipe.placement,
            )
            for _ in range(recipe.n_layers)
        )
        self.lm_head = nn.Linear(D, vocab_size, bias=False)
        # a post-norm block has normalized what it returns
        pre = recipe.placement == "pre"
        self.norm = LayerNorm(D) if pre else nn.Identity()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        _check_ids(ids, len(self.pos_emb.weight))
        T = ids.shape[1]
        x = self.tok_emb(ids) + self.pos_emb.weight[:T]
        mask = causal_mask(T, device=ids.device)
        for block in self.blocks:
            x = block(x, mask=mask)
        logits: torch.Tensor = self.lm_head(self.norm(x))
        return logits.float()


@cache
def recipe_text() -> tuple[torch.Tensor, torch.Tensor, Alphabet]:
    """Return ids to train on, the last tenth to validate, and the alphabet."""
    plays = shakespeare()
    text = "\n\n".join(plays[name] for name in PLAYS)
    alphabet = Alphabet.of(text)
    train, valid = sides(text)
    return alphabet.encode(train), alphabet.encode(valid), alphabet


def validation_windows(recipe: Recipe) -> torch.Tensor:
    """Return the windows that every run is judged by, (windows, T + 1)."""
    checks.kind("recipe", recipe, Recipe, "a Recipe")
    _, valid, _ = recipe_text()
    T = recipe.length
    starts = torch.linspace(0, len(valid) - T - 1, recipe.windows).long()
    return valid[starts[:, None] + torch.arange(T + 1)]


def frequency_loss(recipe: Recipe) -> float:
    """Return the loss of who knows how often each character occurs.

    -mean log p(c) over validation targets, p counted with one added to each.
    """
    checks.kind("recipe", recipe, Recipe, "a Recipe")
    train, _, alphabet = recipe_text()
    counts = torch.bincount(train, minlength=len(alphabet)) + 1
    logps = (counts / counts.sum()).log()
    return -logps[validation_windows(recipe)[:, 1:]].mean().item()


def trainer_of(recipe: Recipe) -> loop.Trainer:
    """Return the trainer that follows a recipe, before its first step."""
    checks.kind("recipe", recipe, Recipe, "a Recipe")
    text, _, alphabet = recipe_text()
    weights, products = PRECISIONS[recipe.precision]
    decay, V, drawn = recipe.weight_decay, len(alphabet), 0
    torch.manual_seed(recipe.seed)
    model = RecipeModel(recipe, V).to(weights)

    def draw(generator: torch.Generator) -> tuple[torch.Tensor]:
        nonlocal drawn
        drawn += 1
        T, B = recipe.length, recipe.batch_size
        batch = draw_windows(text, T, B, generator)
        if recipe.noise and drawn % recipe.noise == 0:
            # of another generator: the batches after it are those of others
            other = torch.Generator().manual_seed(drawn)
            batch = torch.randint(V, batch.shape, generator=other)
        return (batch,)

    return loop.Trainer(
        model,
        torch.optim.AdamW(
            adamw_groups(model, decay),
            lr=recipe.peak_lr,
            betas=(0.9, recipe.beta2),
            weight_decay=decay,
            fused=True,
        ),
        draw,
        loop.next_token_loss,
        generator=torch.Generator().manual_seed(recipe.seed),
        schedule=warmup_cosine(recipe.steps, warmup=recipe.warmup),
        max_norm=recipe.max_norm or math.inf,
        precision=products,
    )


def run(
    recipe: Recipe, steps: int | None = None, tell: Tell | None = None
) -> Outcome:
    """Train by a recipe, validating as it goes.

    The result: first and last (mean loss of so many steps), valid (loss on
    the validation windows), stopped (the step whose loss or gradient was not
    finite, or None), cut (the share of gradients that were), both curves.
    """
    if steps is not None:
        checks.whole("steps", steps, at_least=0)
    if tell is not None:
        checks.function("tell", tell, "a function of step and Step, or None")
    trainer = trainer_of(recipe)
    windows = [(w,) for w in validation_windows(recipe).split(32)]
    steps = recipe.steps if steps is None else steps
    log, valid = list[loop.Step](), [trainer.evaluate(windows)]
    stopped = None
    try:
        while trainer.step < steps:
            log.append(trainer.train_step())
            if tell is not None:
                tell(trainer.step - 1, log[-1])
            if trainer.step % recipe.every == 0:
                valid.append(trainer.evaluate(windows))
    except ValueError as error:
        if "want a finite number" not in str(error):
            raise
        stopped = trainer.step
    losses = torch.tensor([step.loss for step in log])
    norms = torch.tensor([step.grad_norm for step in log])
    bound = recipe.max_norm or math.inf
    result = {
        "first": _rounded(losses[:FIRST].mean()),
        "last": _rounded(losses[-FIRST:].mean()),
        "valid": _rounded(trainer.evaluate(windows)),
        "stopped": stopped,
        "cut": _rounded((norms > bound).float().mean()),
        "train_curve": [_rounded(x.mean()) for x in losses.split(10)],
        "valid_curve": [_rounded(x) for x in valid],
    }
    return Outcome(log=log, result=result)


def how_it_ended(recipe: Recipe, result: dict[str, Any]) -> str:
    """Return "learned", "stuck" or "diverged" for a run's result.

    Diverged: a number was not finite, or the last steps' mean loss is above
    ln V. Stuck: it is less than a quarter of a nat below `frequency_loss`.
    """
    checks.kind("recipe", recipe, Recipe, "a Recipe")
    checks.mapping("result", result, "what `run` measured")
    blind = math.log(len(recipe_text()[2]))
    if result["stopped"] is not None or result["last"] > blind:
        return "diverged"
    if result["valid"] > frequency_loss(recipe) - 0.25:
        return "stuck"
    return "learned"


def stored_recipes() -> dict[str, list[dict[str, Any]]]:
    """Read the stored results: recipe -> what was measured, seed by seed."""
    found = results("recipes", PLAN)
    return {
        name: [found[f"{name}, seed {seed}"] for seed in SEEDS]
        for name in RECIPES
    }


def _rounded(x: torch.Tensor | float) -> float:
    return round(float(x), 4)


def _check_recipe(recipe: Recipe) -> None:
    kinds = {"placement": ("pre", "post"), "precision": (*PRECISIONS,)}
    for name, known in kinds.items():
        value = getattr(recipe, name)
        fits = isinstance(value, str) and value in known
        checks.need(fits, name, repr(value), f"one of {known}")
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        if field.type is int:
            may_be_0 = field.name in ("seed", "warmup", "noise")
            checks.whole(field.name, value, at_least=0 if may_be_0 else 1)
        elif field.type is float:
            checks.number(field.name, value, at_least=0)
    warmup_cosine(recipe.steps, warmup=recipe.warmup)
    checks.need(recipe.beta2 < 1, "beta2", recipe.beta2, "less than 1")


def _check_model(recipe: Recipe, vocab_size: int) -> None:
    checks.kind("recipe", recipe, Recipe, "a Recipe")
    checks.whole("vocab_size", vocab_size)


def _check_ids(ids: torch.Tensor, longest: int) -> None:
    checks.ids("ids", ids)
    fits = ids.ndim == 2 and 0 < ids.shape[1] <= longest
    got, want = f"shape {tuple(ids.shape)}", f"(B, T), T from 1 to {longest}"
    checks.need(fits, "ids", got, want)


PLAN = Plan(
    runs={
        f"{name}, seed {seed}": Recipe(seed=seed, **changes)
        for seed in SEEDS
        for name, changes in RECIPES.items()
    },
    early=8,
    # bfloat16 is summed in another order on another processor
    loss=2e-3,
    result=0.01,
)
