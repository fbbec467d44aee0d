"""The capstone: a GPT that learns to write Shakespeare, letter by letter.

    python -m handmade.training.mini_gpt train runs/one --seconds 180
    python -m handmade.training.mini_gpt sample runs/one --prompt "ROMEO:"
    python -m handmade.training.mini_gpt resume runs/one
    python -m handmade.training.mini_gpt export runs/one to-hugging-face

B batch · T tokens · V vocabulary

A run is a folder: checkpoints (`step-00000100`, the last few), `log.jsonl`
(a line a step) and `samples.jsonl` (what it wrote on the way). Whatever is
killed goes on where its last checkpoint stands, to the last bit as if it had
not been. Left out: several processes.
"""

import contextlib
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from handmade import checks
from handmade.training.characters import (
    Alphabet,
    encoded,
    shuffled_windows,
)
from handmade.training.checkpoint import (
    load_checkpoint,
    restore,
    save_checkpoint,
)
from handmade.training.compiled import compiled_loss
from handmade.training.loop import Step, Trainer
from handmade.training.metrics import Metrics, Progress
from handmade.training.mini_gpt_checks import check_text, put_weights
from handmade.training.mini_gpt_loss import (
    character_loss,
    half_windows,
    judged_count,
)
from handmade.training.mini_gpt_model import MiniGPT
from handmade.training.mini_gpt_settings import (
    PRECISIONS,
    Settings,
    settings_of,
)
from handmade.training.mini_gpt_start import write_copying
from handmade.training.mini_gpt_text import beginning, mark_of, write_text
from handmade.training.optimizers import Muon

ITERATIONS = 4  # of Muon's: the fifth costs more than it brings here
JUDGED = 131_072  # characters of the validation side that a loss is taken of


def corpus() -> str:
    """Return Shakespeare's works as one text."""
    from handmade.weights.shakespeare import shakespeare

    return "\n\n".join(shakespeare().values())


def make_trainer(
    settings: Settings, ids: torch.Tensor, vocab_size: int
) -> Trainer:
    """Return a run that has not begun, on the numbers of a training text.

    Raises ValueError where the text is shorter than a window, and where it is
    to be compiled on a machine without a C++ compiler.
    """
    checks.kind("settings", settings, Settings, "Settings")
    T, B = settings.max_seq_len, settings.batch_size
    shuffled_windows(ids, T, B, step=0, seed=settings.seed)  # long enough?
    torch.manual_seed(settings.seed)
    model = MiniGPT(settings.config(vocab_size))
    if settings.start == "copying":
        write_copying(model)
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    others = [model.tok_emb.weight, model.lm_head.weight]
    if model.ngrams is not None:
        others.append(model.ngrams.after)
    groups: list[dict[str, Any]] = [
        {"params": matrices, "lr": settings.lr_matrix},
        {"params": others, "lr": settings.lr_other, "rule": "adamw"},
    ]
    precision = PRECISIONS[settings.precision]
    compiled = settings.engine == "compiled"
    optimizer = Muon(
        groups,
        weight_decay=settings.weight_decay,
        precision=precision,
        iterations=ITERATIONS,
    )
    if model.ngrams is not None:  # the group holds their rate: they step alone
        rows = {"params": [model.ngrams.table], "lr": settings.lr_ngrams}
        optimizer.add_param_group(rows | {"rule": "adamw"})
        model.ngrams.learn_by(lambda: optimizer.param_groups[-1]["lr"])

    def draw(generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        step, seed = trainer.step, settings.seed
        return (shuffled_windows(ids, T, B, step=step, seed=seed),)

    trainer = Trainer(
        model,
        optimizer,
        draw,
        compiled_loss(character_loss) if compiled else character_loss,
        generator=torch.Generator().manual_seed(settings.seed),
        schedule=settings.schedule(),
        max_norm=settings.max_norm,
        count=judged_count,
        precision=precision,
    )
    return trainer


@dataclass
class Run:
    """A run in its folder: trainer, alphabet and both sides of the text."""

    folder: Path
    settings: Settings
    alphabet: Alphabet
    trainer: Trainer
    judged: torch.Tensor
    mark: str = ""  # of the text: a run goes on with no other

    @classmethod
    def new(
        cls, folder: Path | str, settings: Settings, text: str | None = None
    ) -> "Run":
        """Begin a run. Raises ValueError where the folder holds one."""
        checks.path("folder", folder)
        folder = Path(folder)
        if any(folder.glob("step-*")):
            raise ValueError(
                f"folder: got {folder}, which holds a run, want another "
                "name, or `resume`"
            )
        return cls._make(folder, settings, text)

    @classmethod
    def resumed(cls, folder: Path | str, text: str | None = None) -> "Run":
        """Go on with a run, from its newest whole checkpoint.

        Raises ValueError where there is none, and for another text.
        """
        checkpoint = load_checkpoint(folder)
        settings = settings_of(checkpoint)
        run = cls._make(Path(folder), settings, text)
        restore(run.trainer, checkpoint, run.identity())
        return run

    @classmethod
    def _make(
        cls, folder: Path, settings: Settings, text: str | None
    ) -> "Run":
        text = corpus() if text is None else text
        check_text(text, settings)
        alphabet, learned, held = encoded(text)
        trainer = make_trainer(settings, learned, len(alphabet))
        held, mark = held[:JUDGED], mark_of(text)
        return cls(folder, settings, alphabet, trainer, held, mark)

    def identity(self) -> dict[str, Any]:
        """Return what has to be the same for a run to go on."""
        text = {"characters": self.alphabet.characters, "text": self.mark}
        return asdict(self.settings) | text

    def validation_loss(self) -> float:
        """Return the loss on the held-out side, nats a character.

        Each is predicted with at least half a window before it.
        """
        T = self.settings.max_seq_len
        return self.trainer.evaluate(half_windows(self.judged, T, 64))

    def go(
        self,
        *,
        save_every: int,
        sample_every: int,
        keep: int = 3,
        board: bool = False,
        quiet: bool = False,
    ) -> float:
        """Train to the end, and return the validation loss.

        Writes a line a step, and every so many steps a checkpoint and a
        sample. The end has a checkpoint too.
        """
        checks.whole("save_every", save_every)
        checks.whole("sample_every", sample_every)
        checks.whole("keep", keep)
        checks.flag("quiet", quiet)
        s, trainer = self.settings, self.trainer
        tokens = s.batch_size * s.max_seq_len
        log = Metrics(
            self.folder / "log.jsonl", resume_at=trainer.step, board=board
        )
        written = Metrics(
            self.folder / "samples.jsonl", resume_at=trainer.step + 1
        )
        bar = None if quiet else Progress(s.steps, tokens, start=trainer.step)

        def tell(step: int, measured: Step) -> None:
            log.write(step, asdict(measured))
            if bar is not None:
                bar(step, measured.loss)
            if (step + 1) % sample_every == 0:
                written.write(step + 1, {"text": self.sample(200)})
            if (step + 1) % save_every == 0 or step + 1 == s.steps:
                self.save(keep)

        shown = contextlib.closing(bar) if bar else contextlib.nullcontext()
        with log, written, shown:
            if trainer.step == 0:
                written.write(0, {"text": self.sample(200)})
            trainer.run(s.steps, tell)
            loss = self.validation_loss()
            log.write(s.steps, {"validation_loss": loss})
        return loss

    def save(self, keep: int = 3) -> Path:
        """Write a checkpoint."""
        return save_checkpoint(
            self.folder, self.trainer, self.identity(), keep=keep
        )

    def sample(self, n: int) -> str:
        """Write n characters after a line end; no random state moves."""
        model: Any = self.trainer.model
        return write_text(
            model,
            self.alphabet,
            beginning(self.alphabet),
            n,
            seed=self.settings.seed,
        )


def load_model(folder: Path | str) -> tuple[MiniGPT, Alphabet]:
    """Return the newest model of a run, ready to write, and its alphabet.

    Raises ValueError where no checkpoint is whole.
    """
    checkpoint = load_checkpoint(folder)
    settings = settings_of(checkpoint)
    alphabet = Alphabet(checkpoint.settings["characters"])
    model = MiniGPT(settings.config(len(alphabet)))
    put_weights(model, checkpoint)
    return model.eval(), alphabet


def steps_in(
    settings: Settings, seconds: float, text: str | None = None
) -> int:
    """Return how many steps fit into so many seconds on this machine.

    Measured: the median of some steps of a run that is thrown away.
    """
    checks.positive("seconds", seconds)
    run = Run._make(Path("unused"), settings, text)
    for _ in range(3):
        run.trainer.train_step()
    took: list[float] = []
    begun = time.monotonic()
    while time.monotonic() - begun < seconds / 60 or len(took) < 5:
        start = time.monotonic()
        run.trainer.train_step()
        took.append(time.monotonic() - start)
    return max(1, math.floor(seconds / sorted(took)[len(took) // 2]))


def export(folder: Path | str, target: Path | str) -> Path:
    """Write the newest model in the Hugging Face format, and its alphabet.

    `transformers.AutoModelForCausalLM.from_pretrained(target)` loads it.
    Raises ValueError where the target exists and is not empty.
    """
    checks.path("target", target)
    model, alphabet = load_model(folder)
    target = Path(target)
    if target.exists() and any(target.iterdir()):
        raise ValueError(f"target: got {target}, want an empty folder's name")
    model.to_hf().save_pretrained(target)
    text = json.dumps({"characters": alphabet.characters})
    (target / "alphabet.json").write_text(text, encoding="utf-8")
    return target


if __name__ == "__main__":
    from handmade.training.mini_gpt_command import main

    main()
