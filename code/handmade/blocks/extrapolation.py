"""One experiment, five ways to tell positions: train short, test long.

B batch · T tokens · D model width · H heads · V vocabulary

A small character model is trained on windows of 32 characters and asked to
predict the same last characters of held-out windows with more and more text
before them. ``python -m handmade.blocks.extrapolation`` runs every scheme
with every seed and writes ``extrapolation.json`` beside this file; pages
read it with ``stored_runs`` and run one seed again. Left out: larger models
and longer training, which no page could repeat.
"""

import json
import math
import re
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from handmade.blocks.alibi import alibi_bias
from handmade.blocks.block import Block
from handmade.blocks.feedforward import SwiGLU
from handmade.blocks.masks import causal_mask
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import RMSNorm
from handmade.blocks.positions import LearnedPositions, sinusoidal_positions
from handmade.blocks.rope import rope_angles
from handmade.weights import shakespeare

SCHEMES = ("none", "learned", "sinusoidal", "RoPE", "ALiBi")
LENGTHS = (32, 40, 48, 64, 96, 128, 256)  # characters read in the test
SEEDS = range(5)
# the learned table begun small, alone or together with the characters
CONTROLS = ({"pos_std": 0.02}, {"tok_std": 0.02, "pos_std": 0.02})
STORED = Path(__file__).with_suffix(".json")


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

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ValueError(
                f"scheme: got {self.scheme!r}, want one of {SCHEMES}"
            )


class CharModel(nn.Module):
    """Predict the next character; only the positions differ by scheme.

    (B, T) ids -> (B, T, V) logits

    ``positions`` (B or 1, T) are 0, 1, 2 ... unless given, counted on from
    what the ``cache`` holds; ALiBi and a model without positions go by the
    order of the tokens.
    """

    def __init__(self, trial: Trial, vocab_size: int) -> None:
        super().__init__()
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
        cache=None,
    ) -> torch.Tensor:
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
    alphabet = " 'abcdefghijklmnopqrstuvwxyz"
    names = ("macbeth", "lear", "othello", "hamlet")
    texts = []
    for name in names:
        kept = "".join(
            c if c in alphabet else " " for c in plays[name].lower()
        )
        texts.append(" ".join(kept.split()))
    code = {c: i for i, c in enumerate(alphabet)}
    ids = [torch.tensor([code[c] for c in text]) for text in texts]
    return torch.cat(ids[:-1]), ids[-1], alphabet


def train(trial: Trial) -> tuple[CharModel, list[float]]:
    """Train on random windows; return the model and the loss at each step.

    The learning rate falls from its peak to zero along a cosine,
    after 20 steps of warm-up.
    """
    text, _, alphabet = characters()
    torch.manual_seed(trial.seed)
    model = CharModel(trial, len(alphabet))
    # batches have their own generator: all schemes see the same windows
    generator = torch.Generator().manual_seed(trial.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=trial.peak_lr)
    losses = []
    for step in range(trial.steps):
        share = (1 + math.cos(math.pi * step / trial.steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = trial.peak_lr * share * min(1, (step + 1) / 20)
        starts = torch.randint(
            len(text) - trial.train_len, (trial.batch, 1), generator=generator
        )
        window = text[starts + torch.arange(trial.train_len + 1)]
        logits = model(window[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return model, losses


@torch.no_grad()
def held_out_loss(model: nn.Module, trial: Trial, length: int) -> float:
    """Mean loss (nats a character) on each held-out window's last targets.

    The targets are the same for every length: only the text that the model
    reads, the last ``length`` characters up to there, grows.
    """
    _, held_out, _ = characters()
    longest = trial.max_seq_len
    first = torch.linspace(0, len(held_out) - longest - 1, trial.windows)
    windows = held_out[first.long()[:, None] + torch.arange(longest + 1)]
    windows = windows[:, -(length + 1) :]
    total = 0.0
    for part in windows.split(16):  # 256 x 256 weights a head: not all at once
        logits = model(part[:, :-1])[:, -trial.targets :]
        target = part[:, -trial.targets :]
        total += F.cross_entropy(
            logits.flatten(0, 1), target.flatten(), reduction="sum"
        ).item()
    return total / (trial.windows * trial.targets)


def run(scheme: str, seed: int = 0, **changes) -> dict:
    """Train once and test at each length: one row of the results."""
    trial = Trial(scheme=scheme, seed=seed, **changes)
    model, losses = train(trial)
    log = torch.tensor(losses).split(50)
    return {
        "scheme": scheme,
        "seed": seed,
        **({"changes": changes} if changes else {}),
        "test": [round(held_out_loss(model, trial, n), 4) for n in LENGTHS],
        "log": [round(part.mean().item(), 3) for part in log],
    }


def stored_runs(**changes) -> dict[str, torch.Tensor]:
    """Read the committed results: scheme -> losses (seeds, lengths).

    ``changes`` picks the runs of one of ``CONTROLS``.
    """
    results = json.loads(STORED.read_text(encoding="utf-8"))
    if results["lengths"] != list(LENGTHS):
        raise ValueError(
            f"lengths: {STORED.name} has {results['lengths']}, want "
            f"{list(LENGTHS)}: run `python -m {__spec__.name}`"
        )
    tests = {scheme: [] for scheme in SCHEMES}
    for row in sorted(results["runs"], key=lambda row: row["seed"]):
        if row.get("changes", {}) == changes:
            tests[row["scheme"]].append(row["test"])
    return {k: torch.tensor(rows) for k, rows in tests.items() if rows}


def main() -> None:
    """Run every scheme and control with every seed and store the results."""
    settings = asdict(Trial(scheme=SCHEMES[0]))
    del settings["scheme"], settings["seed"]
    results = {
        "command": "python -m handmade.blocks.extrapolation",
        "torch": torch.__version__,
        "settings": settings,
        "lengths": list(LENGTHS),
        "unit": "nats a character",
        "log": "mean training loss of 50 steps",
        "runs": [],
    }
    plans = [(scheme, {}) for scheme in SCHEMES]
    plans += [("learned", changes) for changes in CONTROLS]
    for seed in SEEDS:
        for scheme, changes in plans:
            row = run(scheme, seed, **changes)
            print(json.dumps(row), flush=True)
            results["runs"].append(row)
    text = json.dumps(results, indent=1)
    # one run a line: short lists stay on their line
    text = re.sub(r"\n\s{3,}|\n\s+(?=[\]}],?\n\s{2})", " ", text)
    STORED.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
