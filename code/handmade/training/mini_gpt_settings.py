"""All that makes a run of the capstone, but its text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from handmade import checks
from handmade.training.checkpoint import Checkpoint
from handmade.training.mini_gpt_model import MiniGPTConfig
from handmade.training.mini_gpt_start import check_room
from handmade.training.schedule import warmup_linear

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}
ENGINES = ("eager", "compiled")
STARTS = ("copying", "plain")
KNOWN = {"precision": PRECISIONS, "engine": ENGINES, "start": STARTS}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that makes a run, but the text. Each field is a flag.

    Raises ValueError where one is out of range.
    """

    steps: int = 1000
    d_model: int = 128
    n_layers: int = 5
    n_heads: int = 2
    d_ff: int = 384
    max_seq_len: int = 256
    batch_size: int = 8
    lr_matrix: float = 0.02
    lr_other: float = 0.03
    weight_decay: float = 0.0
    warmup: int = 0
    flat: float = 0.0
    max_norm: float = 1.0
    precision: str = "bfloat16"
    engine: str = "eager"
    start: str = "copying"
    ngrams: int = 0
    lr_ngrams: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int or field.type == "int":
                checks.whole(field.name, value, at_least=0)
            elif field.name not in KNOWN:
                checks.number(field.name, value, at_least=0)
        for name, known in KNOWN.items():
            got = getattr(self, name)
            checks.text(name, got)
            checks.need(got in known, name, repr(got), " or ".join(known))
        checks.whole("steps", self.steps)
        checks.whole("batch_size", self.batch_size)
        checks.positive("max_norm", self.max_norm)
        self.schedule()
        config = self.config(1)
        if self.start == "copying":
            check_room(config)

    def config(self, vocab_size: int) -> MiniGPTConfig:
        """Return the model's sizes for an alphabet of so many characters."""
        return MiniGPTConfig(
            vocab_size=vocab_size,
            d_model=self.d_model,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            d_ff=self.d_ff,
            max_seq_len=self.max_seq_len,
            ngrams=self.ngrams,
        )

    def schedule(self) -> Callable[[int], float]:
        """Return the factor on the learning rates, which ends at 0."""
        return warmup_linear(self.steps, warmup=self.warmup, flat=self.flat)


def as_settings(found: Mapping[str, Any]) -> Settings:
    """Return settings from flags: those that are None keep their default."""
    checks.mapping("found", found, "a dict from a setting to its value")
    names = {field.name for field in fields(Settings)}
    given = {k: v for k, v in found.items() if k in names and v is not None}
    return replace(Settings(), **given)


def settings_of(checkpoint: Checkpoint) -> Settings:
    """Return the settings that a run's checkpoint was made with.

    Raises ValueError naming keys that are missing or unknown.
    """
    checks.kind("checkpoint", checkpoint, Checkpoint, "a Checkpoint")
    found = dict(checkpoint.settings)
    names = {field.name for field in fields(Settings)}
    odd = sorted(found.keys() ^ names ^ {"characters", "text"})
    if odd:
        raise ValueError(
            f"{checkpoint.folder}: got other settings than a run has "
            f"({', '.join(odd[:5])}), want all of {', '.join(sorted(names))}"
        )
    return Settings(**{name: found[name] for name in names})
