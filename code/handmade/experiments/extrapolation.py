"""One experiment, five ways to tell positions: train short, test long.

B batch · T tokens · D model width · H heads · V vocabulary

A small character model is trained on windows of 32 characters and asked to
predict the same last characters of held-out windows with more and more text
before them. ``python -m bookbinder experiments run extrapolation`` runs every
scheme with every seed; pages read the results with ``stored_runs`` and run
one seed again. Left out: larger models and longer training, which no page
could repeat.
"""

import math
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from handmade import checks
from handmade.blocks.alibi import alibi_bias
from handmade.blocks.block import Block
from handmade.blocks.feedforward import SwiGLU
from handmade.blocks.masks import causal_mask
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import RMSNorm
from handmade.blocks.positions import LearnedPositions, sinusoidal_positions
from handmade.blocks.rope import rope_angles
from handmade.contracts import device_of
from handmade.experiments.core import Outcome, Plan, Tell, results
from handmade.training import loop
from handmade.weights.shakespeare import shakespeare

SCHEMES = ("none", "learned", "sinusoidal", "RoPE", "ALiBi")
LENGTHS = (32, 40, 48, 64, 96, 128, 256)  # characters read in the test
SEEDS = range(5)
# the learned table begun small, alone or together with the characters
CONTROLS = ({"pos_std": 0.02}, {"tok_std": 0.02, "pos_std": 0.02})
ALPHABET = " 'abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run: how positions are told, and everything else that counts."""

    scheme: str
    seed: int = 0
    steps: int = 300
    batch: int = 32
    train_len: int = 32
    max_seq_len: int = 256  # rows of the learned table; 32 of them trained
    pos_std: float = 1.0  # size of its rows at the start
    tok_std: float = 1.0  # and of the characters' vectors
    lengths: tuple[int, ...] = LENGTHS
    targets: int = 16  # characters predicted in a test window, its last
    windows: int = 128
    d_model: int = 64
    n_heads: int = 4
    n_layers: int = 2
    d_ff: int = 128
    rope_theta: float = 10000.0
    rope_scale: float = 1.0  # positions are multiplied by it
    attn_window: int = 0  # keys a query may see, itself included; 0: all
    peak_lr: float = 5e-3
    warm_up: int = 20  # steps in which the learning rate rises to its peak
    weight_decay: float = 0.01
    max_norm: float = 1.0  # gradients longer than this are cut to it

    def __post_init__(self) -> None:
        _check_trial(self)


class CharModel(nn.Module):
    """Predict the next character; only the positions differ by scheme.

    (B, T) ids -> (B, T, V) logits

    ``positions`` (B or 1, T) are 0, 1, 2 ... unless given, counted on from
    what the ``cache`` holds; ALiBi and a model without positions go by the
    order of the tokens.
    """

    def __init__(self, trial: Trial, vocab_size: int) -> None:
        super().__init__()
        _check_model(trial, vocab_size)
        D, H = trial.d_model, trial.n_heads
        self.trial = trial
        self.tok_emb = nn.Embedding(vocab_size, D)
        self.tok_emb.weight.data *= trial.tok_std
        self.blocks = nn.ModuleList(
            Block(
                attn_norm=RMSNorm(D),
                attn=MultiHeadAttention(D, H, layer=i),
                ffn_norm=RMSNorm(D),
                ffn=SwiGLU(D, trial.d_ff),
            )
            for i in range(trial.n_layers)
        )
        self.norm = RMSNorm(D)
        self.lm_head = nn.Linear(D, vocab_size, bias=False)
        # drawn last: all schemes start from the same numbers elsewhere
        if trial.scheme == "learned":
            rows = trial.max_seq_len
            self.pos_emb = LearnedPositions(rows, D, std=trial.pos_std)

    def forward(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor | None = None,
        cache: Any = None,
    ) -> torch.Tensor:
        _check_ids(ids, positions, cache)
        trial, T = self.trial, ids.shape[1]
        cached = 0 if cache is None else cache.length
        S = cached + T
        if positions is None:
            positions = torch.arange(cached, S, device=ids.device)[None]
        x, rope = self.tok_emb(ids), None
        mask = causal_mask(T, S, device=ids.device)
        if trial.attn_window:
            mask = mask.triu(cached + 1 - trial.attn_window)
        if trial.scheme == "learned":
            x = x + self.pos_emb(positions)
        elif trial.scheme == "sinusoidal":
            x = x + sinusoidal_positions(positions, trial.d_model).to(x.dtype)
        elif trial.scheme == "RoPE":
            d_head = trial.d_model // trial.n_heads
            scaled = positions * trial.rope_scale
            rope = rope_angles(scaled, d_head, trial.rope_theta)
        elif trial.scheme == "ALiBi":
            bias = alibi_bias(trial.n_heads, T, S, device=ids.device)
            mask = bias[None].to(x.dtype).masked_fill(~mask, -math.inf)
        for block in self.blocks:
            x = block(x, mask=mask, rope=rope, cache=cache)
        return self.lm_head(self.norm(x))


@cache
def characters() -> tuple[torch.Tensor, torch.Tensor, str]:
    """Ids to train on (three plays), ids held out (Hamlet), and the alphabet.

    Letters are lower case, what is no letter is a space, no two in a row.
    """
    plays = shakespeare()
    texts = []
    for name in ("macbeth", "lear", "othello", "hamlet"):
        kept = "".join(
            c if c in ALPHABET else " " for c in plays[name].lower()
        )
        texts.append(" ".join(kept.split()))
    code = {c: i for i, c in enumerate(ALPHABET)}
    ids = [torch.tensor([code[c] for c in text]) for text in texts]
    return torch.cat(ids[:-1]), ids[-1], ALPHABET


def rate_factor(trial: Trial, step: int) -> float:
    """Return the share of the peak learning rate at a step: warm-up, cosine.

    min(1, (step + 1) / warm_up) * (1 + cos(pi step / steps)) / 2
    """
    checks.kind("trial", trial, Trial, "a Trial")
    checks.whole("step", step, at_least=0)
    cosine = (1 + math.cos(math.pi * step / trial.steps)) / 2
    return cosine * min(1, (step + 1) / trial.warm_up)


def train(
    trial: Trial, steps: int | None = None, tell: Tell | None = None
) -> tuple[CharModel, list[loop.Step]]:
    """Train on random windows; return the model and what each step measured.

    ``steps`` ends the training early; the schedule stays that of the trial.
    """
    checks.kind("trial", trial, Trial, "a Trial")
    text, _, alphabet = characters()
    torch.manual_seed(trial.seed)
    model = CharModel(trial, len(alphabet))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=trial.peak_lr, weight_decay=trial.weight_decay
    )

    def draw(generator: torch.Generator) -> tuple[torch.Tensor]:
        starts = torch.randint(
            len(text) - trial.train_len, (trial.batch, 1), generator=generator
        )
        return (text[starts + torch.arange(trial.train_len + 1)],)

    log = loop.train(
        model,
        optimizer,
        draw,
        loop.next_token_loss,
        steps=trial.steps if steps is None else steps,
        # batches have their own generator: all schemes see the same windows
        generator=torch.Generator().manual_seed(trial.seed),
        schedule=lambda step: rate_factor(trial, step),
        max_norm=trial.max_norm,
        tell=tell,
    )
    return model, log


@torch.no_grad()
def held_out_loss(model: nn.Module, trial: Trial, length: int) -> float:
    """Mean loss (nats a character) on each held-out window's last targets.

    The targets are the same for every length: only the text that the model
    reads, the last ``length`` characters up to there, grows.
    """
    checks.module("model", model)
    checks.kind("trial", trial, Trial, "a Trial")
    checks.whole("length", length, at_least=trial.targets)
    _, held_out, _ = characters()
    longest = trial.max_seq_len
    first = torch.linspace(0, len(held_out) - longest - 1, trial.windows)
    windows = held_out[first.long()[:, None] + torch.arange(longest + 1)]
    windows = windows[:, -(length + 1) :].to(device_of(model) or "cpu")
    total = 0.0
    for part in windows.split(16):  # 256 x 256 weights a head: not all at once
        logits = model(part[:, :-1])[:, -trial.targets :]
        target = part[:, -trial.targets :]
        total += F.cross_entropy(
            logits.flatten(0, 1), target.flatten(), reduction="sum"
        ).item()
    return total / (trial.windows * trial.targets)


def run(
    trial: Trial, steps: int | None = None, tell: Tell | None = None
) -> Outcome:
    """Train once and test at each length."""
    model, log = train(trial, steps, tell)
    test = [round(held_out_loss(model, trial, n), 4) for n in trial.lengths]
    return Outcome(log=log, result={"test": test})


def _check_trial(trial: Trial) -> None:
    known = trial.scheme in SCHEMES
    checks.need(known, "scheme", repr(trial.scheme), f"one of {SCHEMES}")
    for field in fields(trial):
        value = getattr(trial, field.name)
        if field.type is int:
            checks.whole(field.name, value, at_least=0)
        elif field.type is float:
            checks.number(field.name, value, at_least=0)
    checks.kind("lengths", trial.lengths, tuple, "a tuple of whole numbers")
    for length in trial.lengths:
        checks.whole("lengths", length)


def _check_model(trial: Trial, vocab_size: int) -> None:
    checks.kind("trial", trial, Trial, "a Trial")
    checks.whole("vocab_size", vocab_size)


def _check_ids(
    ids: torch.Tensor, positions: torch.Tensor | None, cache: Any
) -> None:
    checks.ids("ids", ids)
    checks.need(ids.ndim == 2, "ids", f"shape {tuple(ids.shape)}", "(B, T)")
    if positions is not None:
        checks.numbers("positions", positions, axes=2)
        T, got = ids.shape[1], f"shape {tuple(positions.shape)}"
        fits = positions.shape[-1] == T
        checks.need(fits, "positions", got, f"(B or 1, T), T = {T}")
    checks.cache("cache", cache)


def _runs() -> dict[str, Trial]:
    plans: list[tuple[str, dict[str, Any]]] = [(s, {}) for s in SCHEMES]
    plans += [("learned", changes) for changes in CONTROLS]
    return {
        ", ".join((scheme, *(f"{k} {v}" for k, v in changes.items())))
        + f", seed {seed}": Trial(scheme=scheme, seed=seed, **changes)
        for seed in SEEDS
        for scheme, changes in plans
    }


PLAN = Plan(runs=_runs(), whole=0.01)


def stored_runs(**changes: Any) -> dict[str, torch.Tensor]:
    """Read the stored results: scheme -> losses (seeds, lengths).

    ``changes`` picks the runs of one of ``CONTROLS``.
    """
    found = results("extrapolation", PLAN)
    tests: dict[str, list[list[float]]] = {}
    for name, trial in PLAN.runs.items():
        if trial == Trial(scheme=trial.scheme, seed=trial.seed, **changes):
            tests.setdefault(trial.scheme, []).append(found[name]["test"])
    return {scheme: torch.tensor(rows) for scheme, rows in tests.items()}
