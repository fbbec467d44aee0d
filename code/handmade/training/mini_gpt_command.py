"""The command line of the capstone: flags, and words for what goes wrong."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from handmade.training import mini_gpt
from handmade.training.mini_gpt import Run
from handmade.training.mini_gpt_settings import Settings, as_settings
from handmade.training.mini_gpt_text import beginning, write_text

# what importing took so far; more than that is another program's
IMPORTED = min(10.0, time.process_time())

HELP = {
    "steps": "steps of the run (or --seconds)",
    "d_model": "width of the residual stream",
    "n_layers": "blocks",
    "n_heads": "attention heads",
    "d_ff": "width inside the feed-forward layer",
    "max_seq_len": "characters that the model sees at once",
    "batch_size": "windows in a step",
    "lr_matrix": "Muon's learning rate, for the blocks' matrices",
    "lr_other": "AdamW's learning rate, for embedding and head",
    "weight_decay": "what all weights shrink by, times the learning rate",
    "warmup": "steps over which the learning rate rises",
    "flat": "share of the steps before it falls to 0",
    "max_norm": "length to which longer gradients are cut",
    "precision": "what products are computed in: bfloat16 or float32",
    "engine": "what takes the step: eager, or compiled, which needs a C++ "
    "compiler and some seconds first",
    "start": "weights at the beginning: copying has three heads written "
    "by hand, plain has none",
    "ngrams": "buckets of each table of 2- to 6-grams; 0: no tables, and no "
    "look at what followed further above",
    "lr_ngrams": "AdaGrad's learning rate, for those tables",
    "seed": "of the weights and of the windows' order",
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m handmade.training.mini_gpt`."""
    top = argparse.ArgumentParser(
        prog="python -m handmade.training.mini_gpt",
        description="Train a small GPT on Shakespeare's characters, and let "
        "it write. A run is a folder of checkpoints; a run that was "
        "stopped, or killed, goes on with `resume`.",
    )
    commands = top.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="begin a run")
    train.add_argument("folder", help="where the run is to be kept")
    train.add_argument(
        "--text",
        metavar="FILE",
        help="learn this text (UTF-8) instead of Shakespeare's works",
    )
    train.add_argument(
        "--seconds",
        type=float,
        help="as many steps as fit into this time on this machine, loading, "
        "measuring that and judging the result included",
    )
    defaults = Settings()
    for field in fields(Settings):
        value = getattr(defaults, field.name)
        train.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(value),
            default=None,
            help=f"{HELP[field.name]} (default: {value})",
        )
    resume = commands.add_parser("resume", help="go on with a run")
    resume.add_argument("folder", help="the run's folder")
    resume.add_argument("--text", metavar="FILE", help="as for `train`")
    for command in (train, resume):
        command.add_argument(
            "--save-every", type=int, default=500, metavar="STEPS",
            help="steps between checkpoints (default: 500)",
        )  # fmt: skip
        command.add_argument(
            "--sample-every", type=int, default=500, metavar="STEPS",
            help="steps between samples (default: 500)",
        )  # fmt: skip
        command.add_argument(
            "--keep", type=int, default=3,
            help="checkpoints that stay (default: 3)",
        )  # fmt: skip
        command.add_argument(
            "--board", action="store_true",
            help="write for TensorBoard too, where it is installed",
        )  # fmt: skip
    sample = commands.add_parser("sample", help="let a run's model write")
    sample.add_argument("folder", help="the run's folder")
    sample.add_argument(
        "--prompt", help="what it goes on from (default: a line's end)"
    )
    sample.add_argument("--length", type=int, default=500)
    sample.add_argument("--temperature", type=float, default=0.8)
    sample.add_argument("--top-k", type=int)
    sample.add_argument("--top-p", type=float)
    sample.add_argument("--seed", type=int, default=0)
    out = commands.add_parser(
        "export", help="write the model for transformers' from_pretrained"
    )
    out.add_argument("folder", help="the run's folder")
    out.add_argument("target", help="a folder that is new or empty")
    return top


def main(words: Sequence[str] | None = None) -> None:
    """Run one command. A wrong argument is one line and exit status 2."""
    flags = parser().parse_args(words)
    try:
        COMMANDS[flags.command](flags)
    except (ValueError, OSError) as error:
        print(f"mini_gpt {flags.command}: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        raise SystemExit(
            f"\nstopped; `resume {flags.folder}` goes on from the last "
            "checkpoint"
        ) from None


def _train(flags: argparse.Namespace) -> None:
    begun = time.monotonic() - IMPORTED
    text = _text(flags.text)
    settings = as_settings(vars(flags))
    if flags.seconds is not None:
        if flags.steps is not None:
            raise ValueError("seconds: got --steps too, want one of them")
        settings = _fitted(settings, flags.seconds, begun, text)
    run = Run.new(flags.folder, settings, text)
    _go(run, flags, begun)


def _fitted(
    settings: Settings, seconds: float, begun: float, text: str | None
) -> Settings:
    """Return the settings with as many steps as fit before the time is up."""
    rate = mini_gpt.steps_in(settings, 60, text) / 60
    run = Run._make(Path("unused"), settings, text)
    whole = len(run.judged)
    run.judged = run.judged[: max(2, whole // 8)]
    start = time.monotonic()
    run.validation_loss()
    part = (time.monotonic() - start) / len(run.judged)
    judging = 1.2 * part * whole  # and a sample at the end
    left = seconds - (time.monotonic() - begun) - judging
    steps = int(0.97 * rate * left)
    if steps < 1:
        raise ValueError(
            f"seconds: got {seconds:g}, want more: loading and judging take "
            f"{seconds - left:.0f} on this machine"
        )
    return replace(settings, steps=steps)


def _resume(flags: argparse.Namespace) -> None:
    begun = time.monotonic()
    _go(Run.resumed(flags.folder, _text(flags.text)), flags, begun)


def _go(run: Run, flags: argparse.Namespace, begun: float) -> None:
    n = sum(p.numel() for p in run.trainer.model.parameters())
    print(
        f"{n:,} parameters, {len(run.alphabet)} characters, steps "
        f"{run.trainer.step} to {run.settings.steps}"
    )
    loss = run.go(
        save_every=flags.save_every,
        sample_every=flags.sample_every,
        keep=flags.keep,
        board=flags.board,
    )
    print(run.sample(400))
    print(
        f"validation loss {loss:.4f} nats a character after "
        f"{time.monotonic() - begun:.0f} s"
    )


def _sample(flags: argparse.Namespace) -> None:
    model, alphabet = mini_gpt.load_model(flags.folder)
    prompt = flags.prompt
    prompt = beginning(alphabet) if prompt is None else prompt
    print(
        write_text(
            model,
            alphabet,
            prompt,
            flags.length,
            temperature=flags.temperature,
            top_k=flags.top_k,
            top_p=flags.top_p,
            seed=flags.seed,
        )
    )


def _export(flags: argparse.Namespace) -> None:
    print(f"written: {mini_gpt.export(flags.folder, flags.target)}")


def _text(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: got {error}, want UTF-8") from error


COMMANDS = {
    "train": _train,
    "resume": _resume,
    "sample": _sample,
    "export": _export,
}
