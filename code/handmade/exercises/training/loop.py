"""The exercises of the page on the training loop.

B batch · T tokens of a row · D model width · V vocabulary
"""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake
from handmade.training.optimizers import adamw_groups
from handmade.training.schedule import warmup_cosine

IGNORE = -100


def _drawn(most: int, *shape: int, seed: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(most, shape, generator=g)


# -- shifted-loss: fn(logits (B, T, V), ids (B, T), is_text (B, T)) -> scalar


def _shifted_loss(
    cut: Callable = lambda logits: logits[:, :-1],
    aim: Callable = lambda x: x[:, 1:],
    asked: Callable = lambda is_text: is_text[:, 1:],
    mean: Callable = lambda losses, asked: losses[asked].mean(),
) -> Callable:
    """The reference, or one with a step replaced."""

    def fn(logits, ids, is_text):
        losses = F.cross_entropy(cut(logits).mT, aim(ids), reduction="none")
        return mean(losses, asked(is_text))

    return fn


def _texts(B: int, T: int, V: int, real: list[int] | None = None) -> Callable:
    """Logits and ids; row b has real[b] tokens, and padding after them."""

    def make():
        (logits,) = randoms((B, T, V))
        until = torch.tensor([T] * B if real is None else real)
        is_text = torch.arange(T) < until[:, None]
        ids = _drawn(V, B, T, seed=B + T).masked_fill(~is_text, 0)
        return logits, ids, is_text

    return make


SHIFTED_LOSS = Exercise(
    name="shifted-loss",
    reference=_shifted_loss(),
    cases=(
        Case("one row", _texts(1, 6, 5)),
        Case("a batch", _texts(3, 7, 4)),
        Case("padding at the end", _texts(3, 6, 5, [6, 3, 4])),
        Case("a row of one token", _texts(2, 5, 7, [5, 1])),
    ),
    mistakes=(
        Mistake(
            "each position is compared with the token it has just read: "
            "nothing is shifted",
            _shifted_loss(
                lambda logits: logits, lambda x: x, lambda is_text: is_text
            ),
        ),
        Mistake(
            "position t is compared with token t − 1, which it has read "
            "already: the shift goes the wrong way",
            _shifted_loss(
                lambda logits: logits[:, 1:],
                lambda x: x[:, :-1],
                lambda is_text: is_text[:, :-1],
            ),
        ),
        Mistake(
            "the targets are shifted twice: each position is compared with "
            "the token after the next",
            _shifted_loss(
                lambda logits: logits[:, :-2],
                lambda x: x[:, 2:],
                lambda is_text: is_text[:, 2:],
            ),
        ),
        Mistake(
            "padding counts as a target",
            _shifted_loss(mean=lambda losses, asked: losses.mean()),
        ),
        Mistake(
            "padding is left out by what is read, not by what is predicted: "
            "the first padding token of a row is a target",
            _shifted_loss(asked=lambda is_text: is_text[:, :-1]),
        ),
        Mistake(
            "padding adds 0 to the sum and still counts in the mean",
            _shifted_loss(mean=lambda losses, asked: (losses * asked).mean()),
        ),
        Mistake(
            "the losses are added up, not averaged",
            _shifted_loss(mean=lambda losses, asked: losses[asked].sum()),
        ),
    ),
)

# -- decaying: fn(model) -> sorted names of the parameters that decay


def _named(keep: Callable) -> Callable:
    def fn(model):
        named = model.named_parameters()
        return sorted(name for name, p in named if keep(name, p))

    return fn


def _decaying(model):
    group = adamw_groups(model, 0.1)[0]
    decays = {id(p) for p in group["params"] if p.ndim >= 2}
    return _named(lambda name, p: id(p) in decays)(model)


def _net(*, frozen: bool = False, embedding: bool = True) -> Callable:
    def make():
        g = torch.Generator().manual_seed(0)
        parts = {"norm": nn.LayerNorm(4), "up": nn.Linear(4, 6)}
        parts |= {"down": nn.Linear(6, 4, bias=False)}
        parts |= {"rms": nn.RMSNorm(4)}
        if embedding:
            parts["tok_emb"] = nn.Embedding(5, 4)
        model = nn.ModuleDict(parts)
        for p in model.parameters():
            p.data = torch.randn(p.shape, generator=g)
        if frozen:
            parts["up"].requires_grad_(False)
        return (model,)

    return make


DECAYING = Exercise(
    name="decaying",
    reference=_decaying,
    cases=(
        Case("layers and norms", _net(embedding=False)),
        Case("with an embedding", _net()),
        Case("with a frozen layer", _net(frozen=True)),
    ),
    mistakes=(
        Mistake(
            "every parameter decays, gains and biases too",
            _named(lambda name, p: p.requires_grad),
        ),
        Mistake(
            "what is called weight decays: the gain of a norm is called so",
            _named(lambda name, p: p.requires_grad and "weight" in name),
        ),
        Mistake(
            "the embedding is left out: it is a matrix, too",
            _named(
                lambda name, p: p.requires_grad and p.ndim > 1
                and "emb" not in name
            ),
        ),
        Mistake(
            "frozen parameters are among them: no step may move those",
            _named(lambda name, p: p.ndim > 1),
        ),
        Mistake(
            "those are named that do not decay",
            _named(lambda name, p: p.requires_grad and p.ndim < 2),
        ),
    ),
)  # fmt: skip

# -- cosine-factor: fn(step, steps, warmup, lowest) -> the factor on the rate


def _factor(step, steps, warmup, lowest):
    return warmup_cosine(steps, warmup=warmup, lowest=lowest)(step)


def _cosine(
    rise: Callable = lambda step, warmup: (step + 1) / warmup,
    share: Callable = lambda step, steps, warmup: min(
        1.0, (step - warmup) / (steps - warmup)
    ),
    fall: Callable = lambda u: (1 + math.cos(math.pi * u)) / 2,
    mix: Callable = lambda lowest, f: lowest + (1 - lowest) * f,
) -> Callable:
    def fn(step, steps, warmup, lowest):
        if step < warmup:
            return rise(step, warmup)
        return mix(lowest, fall(share(step, steps, warmup)))

    return fn


COSINE_FACTOR = Exercise(
    name="cosine-factor",
    reference=_factor,
    cases=(
        Case("the first step of a warmup", lambda: (0, 100, 10, 0.0)),
        Case("in the warmup", lambda: (6, 100, 10, 0.1)),
        Case("the last step of the warmup", lambda: (9, 100, 10, 0.1)),
        Case("the first step after it", lambda: (10, 100, 10, 0.1)),
        Case("in the fall", lambda: (40, 100, 10, 0.1)),
        Case("a fall to 0", lambda: (70, 90, 30, 0.0)),
        Case("no warmup", lambda: (25, 100, 0, 0.2)),
        Case("the end", lambda: (100, 100, 10, 0.1)),
        Case("after the end", lambda: (140, 100, 10, 0.1)),
    ),
    mistakes=(
        Mistake(
            "the warmup starts at 0: the first step has no rate and is lost",
            _cosine(rise=lambda step, warmup: step / warmup),
        ),
        Mistake(
            "the cosine begins at step 0, not where the warmup ends: the "
            "rate jumps down there",
            _cosine(share=lambda step, steps, warmup: min(1.0, step / steps)),
        ),
        Mistake(
            "after its last step the schedule goes on along the cosine, "
            "which rises again",
            _cosine(
                share=lambda step, steps, warmup: (
                    (step - warmup) / (steps - warmup)
                )
            ),
        ),
        Mistake(
            "the lowest rate is added to the cosine: the peak is above 1",
            _cosine(mix=lambda lowest, f: lowest + f),
        ),
        Mistake(
            "the lowest rate cuts the cosine off, where it should be the "
            "cosine's end",
            _cosine(mix=max),
        ),
        Mistake(
            "a whole cosine is gone through, down and up again, not half",
            _cosine(fall=lambda u: (1 + math.cos(2 * math.pi * u)) / 2),
        ),
        Mistake(
            "the steps of the fall are counted as all steps, those of the "
            "warmup too: the end is never reached",
            _cosine(
                share=lambda step, steps, warmup: min(
                    1.0, (step - warmup) / steps
                )
            ),
        ),
    ),
)

# -- one-gradient: fn(weight (D, V), batches) -> gradient (D, V)


def _one_gradient(
    share: Callable = lambda n, counts: n / sum(counts),
    count: Callable = lambda labels: int((labels != IGNORE).sum()),
    join: Callable = sum,
) -> Callable:
    """The gradient of one step, a batch at a time."""

    def fn(weight, batches):
        counts = [count(labels) for _, labels in batches]
        parts = []
        for (x, labels), n in zip(batches, counts, strict=True):
            w = weight.detach().clone().requires_grad_()
            loss = F.cross_entropy(x @ w, labels, ignore_index=IGNORE)
            (loss * share(n, counts)).backward()
            parts.append(w.grad)
        return join(parts)

    return fn


def _batches(*counts: tuple[int, int]) -> Callable:
    """Batches of (rows, labels): the other rows are padding."""

    def make():
        weight, *xs = randoms((4, 6), *((rows, 4) for rows, _ in counts))
        batches = []
        for i, (x, (rows, n)) in enumerate(zip(xs, counts, strict=True)):
            labels = _drawn(6, rows, seed=i)
            labels[n:] = IGNORE
            batches.append((x, labels))
        return weight, batches

    return make


ONE_GRADIENT = Exercise(
    name="one-gradient",
    reference=_one_gradient(),
    cases=(
        Case("two batches, alike", _batches((5, 5), (5, 5))),
        Case("a long and a short one", _batches((9, 9), (2, 2))),
        Case("alike, but for their padding", _batches((6, 6), (6, 1), (6, 3))),
        Case("one batch", _batches((7, 4))),
    ),
    mistakes=(
        Mistake(
            "each batch's mean counts alike, however many labels it has: a "
            "mean of means",
            _one_gradient(share=lambda n, counts: 1 / len(counts)),
        ),
        Mistake(
            "the batches' gradients are added and divided by nothing: the "
            "step grows with the number of batches",
            _one_gradient(share=lambda n, counts: 1.0),
        ),
        Mistake(
            "rows are counted, padding too, where labels should be",
            _one_gradient(count=len),
        ),
        Mistake(
            "the gradient is that of the last batch: those before it were "
            "set to zero in the loop",
            _one_gradient(join=lambda parts: parts[-1]),
        ),
    ),
)

# -- clipped: fn(grads, max_norm) -> grads, none longer together than max_norm


def _length(grads):
    return math.sqrt(sum(g.square().sum().item() for g in grads))


def _clipped(factor: Callable) -> Callable:
    def fn(grads, max_norm):
        return [g * factor(g, grads, max_norm) for g in grads]

    return fn


def _together(g, grads, max_norm):
    return min(1.0, max_norm / (_length(grads) + 1e-6))


def _gradients(size: float, dtype: torch.dtype = torch.float32) -> Callable:
    shapes = (3, 4), (5,), (2, 3)
    return lambda: (list(randoms(*shapes, size=size, dtype=dtype)), 1.0)


CLIPPED = Exercise(
    name="clipped",
    reference=_clipped(_together),
    cases=(
        Case("a spike", _gradients(30.0)),
        Case("a little too long", _gradients(0.3)),
        Case("short enough", _gradients(0.02)),
        Case("one tensor", lambda: (list(randoms((3, 4), size=5.0,
             dtype=torch.float32)), 2.0)),
        Case("no gradient at all", lambda: ([torch.zeros(3)], 1.0)),
    ),
    mistakes=(
        Mistake(
            "each tensor is clipped by itself: long ones shrink against "
            "short ones, and the direction changes",
            _clipped(lambda g, grads, n: min(1.0, n / (_length([g]) + 1e-6))),
        ),
        Mistake(
            "each number is cut off at max_norm: the direction changes",
            lambda grads, n: [g.clamp(-n, n) for g in grads],
        ),
        Mistake(
            "short gradients are made as long as max_norm, too",
            _clipped(lambda g, grads, n: n / (_length(grads) + 1e-6)),
        ),
        Mistake(
            "the tensors' lengths are added up: the length of them all is "
            "the root of the sum of their squares",
            _clipped(
                lambda g, grads, n: min(
                    1.0, n / (sum(_length([one]) for one in grads) + 1e-6)
                )
            ),
        ),
        Mistake(
            "the root is missing: the sum of squares is compared with "
            "max_norm",
            _clipped(
                lambda g, grads, n: min(1.0, n / (_length(grads) ** 2 + 1e-6))
            ),
        ),
    ),
)  # fmt: skip
