"""The command line of `handmade.training.many`, and its last words."""

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from handmade import checks
from handmade.devices import device
from handmade.training import many
from handmade.training.shards import rank_and_size

# what gloo and NCCL say when a connection broke, or nothing came
LOST = re.compile(r"connection|time[d ]*out|gloo|nccl", re.I)
HELP = {
    "steps": "steps of the run",
    "batch_size": "rows of a step, of all processes together",
    "length": "tokens of the longest row",
    "accumulate": "batches in a step",
    "lr": "AdamW's learning rate",
    "max_norm": "length to which longer gradients are cut",
    "seed": "of weights and batches",
}
FLAGS = (
    ("--save-every", int, 0, "steps between checkpoints (default: none)"),
    ("--patience", float, 60.0, "seconds to wait for another process"),
    ("--kill-after", int, None, "steps after which the last one dies"),
    ("--hang-after", int, None, "steps after which the last one hangs"),
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m handmade.training.many`."""
    top = argparse.ArgumentParser(
        prog="python -m handmade.training.many",
        description="Train a small Llama in all processes that torchrun "
        "starts. A run that was stopped, or whose process died, goes on from "
        "its last checkpoint when the same command is started again.",
    )
    top.add_argument("folder", help="a folder in it is kept for each way")
    top.add_argument(
        "--how",
        nargs="+",
        choices=many.WAYS,
        default=["one"],
        help="the way, or several, one after another",
    )
    defaults = many.Job()
    for field in fields(many.Job):
        value = getattr(defaults, field.name)
        top.add_argument(
            f"--{field.name.replace('_', '-')}", type=type(value),
            default=value, help=f"{HELP[field.name]} (default: {value})",
        )  # fmt: skip
    for name, kind, default, words in FLAGS:
        top.add_argument(name, type=kind, default=default, help=words)
    return top


@contextmanager
def processes(patience: float) -> Iterator[None]:
    """Join the processes that torchrun has started; alone without it.

    NCCL between GPUs, gloo else. Whoever waits longer than `patience`
    seconds for another raises RuntimeError, instead of waiting for ever.
    """
    checks.positive("patience", patience)
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    backend = "gloo"
    if device().type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "nccl"
    wait = timedelta(seconds=patience)
    dist.init_process_group(backend, timeout=wait)
    try:
        yield
        dist.barrier()  # nobody leaves while another still asks for it
    finally:
        if sys.exc_info()[0] is None:
            dist.destroy_process_group()


def main(words: Sequence[str] | None = None) -> None:
    """Run the command. What goes wrong is one line and an exit status."""
    flags = parser().parse_args(words)
    done = 0

    def after(step: int) -> None:
        nonlocal done
        done = step + 1
        fault(step)

    try:
        names = [field.name for field in fields(many.Job)]
        job = many.Job(**{name: getattr(flags, name) for name in names})
        with processes(flags.patience):
            fault = many.planted_fault(flags.kill_after, flags.hang_after)
            for how in flags.how:
                steps = many.train_together(
                    Path(flags.folder) / how, job, how,
                    save_every=flags.save_every, after=after,
                )  # fmt: skip
                if rank_and_size()[0] == 0 and steps:
                    print(f"{how}: loss {steps[-1].loss:.6f}", flush=True)
    except (ValueError, OSError) as error:
        _say(str(error))
        raise SystemExit(2) from error
    except RuntimeError as error:
        if not (dist.is_initialized() and LOST.search(str(error))):
            raise
        rank, size = rank_and_size()
        reason = " ".join(str(error).split())[:160]
        _say(
            f"process {rank} of {size} lost another one after {done} steps "
            f"({reason}). Start the same command again: the run goes on from "
            "its last checkpoint."
        )
        # not sys.exit: threads of the lost connection would be waited for
        os._exit(1)


def _say(message: str) -> None:
    print(f"many: {message}", file=sys.stderr, flush=True)
