"""One training run in one process or in many, and the same numbers.

B rows of the whole batch · b rows of this process · T tokens

    python -m torch.distributed.run --nproc-per-node 2 \\
        -m handmade.training.many FOLDER --how ddp

`Trainer` knows nothing of it. Every process draws the whole batch with the
same generator and takes its rows; the model is wrapped so that gradients are
averaged; the loss is divided by the tokens of all. Left out: data that each
process reads for itself, dropout (whose masks must differ between processes),
and two kinds of splitting at once.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from handmade import checks
from handmade.contracts import device_of
from handmade.devices import device
from handmade.models.llama import Llama, LlamaConfig
from handmade.text.samples import ARTICLE_1
from handmade.training.characters import Alphabet
from handmade.training.loop import Step, Trainer
from handmade.training.metrics import Metrics
from handmade.training.optimizers import adamw_groups
from handmade.training.shards import (
    load_shards,
    rank_and_size,
    restore_shards,
    save_shards,
)
from handmade.training.tensor_parallel import split_layers

WAYS = ("one", "ddp", "fsdp", "accelerate", "tensor")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What makes a run, whatever the number of processes.

    Raises ValueError where a number is out of range.
    """

    steps: int = 8
    batch_size: int = 8  # rows of all processes together
    length: int = 24
    accumulate: int = 1
    lr: float = 3e-3
    max_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate"):
            checks.whole(name, getattr(self, name))
        checks.whole("length", self.length, at_least=4)
        checks.whole("seed", self.seed, at_least=0)
        checks.positive("lr", self.lr)
        checks.positive("max_norm", self.max_norm)


def share_of_loss(
    model: Callable[[torch.Tensor], torch.Tensor],
    ids: torch.Tensor,
    lengths: torch.Tensor,
    rank: int = 0,
    size: int = 1,
) -> torch.Tensor:
    """Return what this process adds to the loss of the whole batch.

    size * sum over its rows of -log p(token) / tokens of *all* rows, so that
    the mean over processes is the mean over tokens, however they are spread.
    ids (B, T + 1), lengths (B,): how many tokens of a row count -> scalar
    """
    checks.function("model", model, "a function from ids to logits")
    _check_batch(ids, lengths, rank, size)
    mine, real = ids[rank::size], lengths[rank::size]
    losses_bT = F.cross_entropy(
        model(mine[:, :-1]).mT, mine[:, 1:], reduction="none"
    )
    places = torch.arange(losses_bT.shape[1], device=ids.device)
    counted = losses_bT * (places < real[:, None])
    return size * counted.sum() / lengths.sum()


def spread(model: Llama, how: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the model to compute with, spread over all processes.

    Raises ValueError for another way than those in WAYS.
    """
    checks.kind("model", model, Llama, "a Llama")
    _check_way(how)
    if how == "ddp":
        return DistributedDataParallel(model)
    if how == "fsdp":
        mesh = all_processes(model)
        for block in model.blocks:
            fully_shard(block, mesh=mesh)  # gathered one block at a time
        fully_shard(model, mesh=mesh)  # in place
        return model
    if how == "accelerate":
        from accelerate import Accelerator

        on_cpu = device_of(model) == torch.device("cpu")
        return Accelerator(cpu=on_cpu).prepare_model(model)
    if how == "tensor":
        return split_layers(model, all_processes(model))
    return model


def all_processes(model: nn.Module) -> DeviceMesh:
    """Return all processes in one row, on the model's kind of device.

    Raises ValueError where torchrun has started none.
    """
    checks.module("model", model)
    there = dist.is_initialized()
    checks.need(there, "processes", "none", "a start by torchrun")
    kind = (device_of(model) or torch.device("cpu")).type
    return init_device_mesh(kind, (rank_and_size()[1],))


def make_together(job: Job, how: str = "one") -> Trainer:
    """Return a trainer of a small Llama, spread over the processes.

    Weights and batches come from the job's seed alone: every process makes
    the same ones. Raises ValueError for a batch of fewer rows than processes.
    """
    checks.kind("job", job, Job, "a Job")
    _check_way(how)
    rank, size = rank_and_size()
    if how == "tensor":  # all see all rows
        rank, size = 0, 1
    fits = job.batch_size >= size
    checks.need(fits, "job.batch_size", job.batch_size, f"{size} or more")
    alphabet, draw = _texts(job)
    torch.manual_seed(job.seed)
    model = Llama(_config(len(alphabet), job.length)).to(device())
    spread_model = spread(model, how)

    def loss_of(
        _: nn.Module, ids: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        return share_of_loss(spread_model, ids, lengths, rank, size)

    return Trainer(
        model,
        torch.optim.AdamW(adamw_groups(model, 0.1), lr=job.lr),
        draw,
        loss_of,
        generator=torch.Generator().manual_seed(job.seed),
        max_norm=job.max_norm,
        accumulate=job.accumulate,
        count=lambda ids, lengths: lengths.sum().item(),
    )


def train_together(
    folder: Path | str,
    job: Job,
    how: str = "one",
    *,
    save_every: int = 0,
    after: Callable[[int], None] | None = None,
) -> list[Step]:
    """Train, or go on from the folder's newest checkpoint.

    All processes call it together. The first writes `metrics.jsonl`; every
    `save_every` steps (0: never) all write a checkpoint. `after` hears of
    each step. Returns the new steps, with the loss of the whole batch.
    """
    checks.path("folder", folder)
    checks.whole("save_every", save_every, at_least=0)
    if after is not None:
        checks.function("after", after, "a function of the step, or None")
    trainer, folder = make_together(job, how), Path(folder)
    if any(folder.glob("step-*")):
        restore_shards(trainer, load_shards(folder), asdict(job))
    found: list[Step] = []
    with contextlib.ExitStack() as stack:
        metrics = None
        if rank_and_size()[0] == 0:
            path = folder / "metrics.jsonl"
            metrics = stack.enter_context(
                Metrics(path, resume_at=trainer.step)
            )

        def tell(step: int, measured: Step) -> None:
            loss = _mean(measured.loss, trainer.home)
            found.append(Step(loss, measured.grad_norm, measured.lr))
            if metrics is not None:
                metrics.write(step, asdict(found[-1]))
            if save_every and (step + 1) % save_every == 0:
                save_shards(folder, trainer, asdict(job))
            if after is not None:
                after(step)

        trainer.run(job.steps, tell)
    return found


def planted_fault(
    kill_after: int | None, hang_after: int | None
) -> Callable[[int], None]:
    """Return what the last process does after so many steps: die, or hang.

    To see what the others do. Only at the first attempt: torchrun counts
    how often it has started the processes again.
    """
    rank, size = rank_and_size()
    first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"

    def after(step: int) -> None:
        if rank == size - 1 and first:
            if step + 1 == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
            if step + 1 == hang_after:
                time.sleep(3600)

    return after


def _mean(value: float, home: torch.device) -> float:
    """Average a number over the processes."""
    if not dist.is_initialized():
        return value
    x = torch.tensor(value, dtype=torch.float64).to(home)
    dist.all_reduce(x)
    return x.item() / dist.get_world_size()


def _config(vocab_size: int, length: int) -> LlamaConfig:
    even = vocab_size + vocab_size % 2  # so that two can share it
    return LlamaConfig(
        vocab_size=even, d_model=48, n_layers=2, n_heads=6, n_kv_heads=2,
        d_ff=80, max_seq_len=length,
    )  # fmt: skip


def _texts(
    job: Job,
) -> tuple[Alphabet, Callable[[torch.Generator], tuple[torch.Tensor, ...]]]:
    """Return an alphabet, and a function that draws rows of any length."""
    names = ("English", "French", "German", "Spanish")
    text = "\n".join(ARTICLE_1[name] for name in names)
    alphabet, T = Alphabet.of(text), job.length
    ids = alphabet.encode(text)

    def draw(generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        rows = (job.batch_size,)
        starts = torch.randint(len(ids) - T, rows, generator=generator)
        lengths = torch.randint(1, T + 1, rows, generator=generator)
        return ids[starts[:, None] + torch.arange(T + 1)], lengths

    return alphabet, draw


def _check_way(how: str) -> None:
    checks.text("how", how)
    checks.need(how in WAYS, "how", repr(how), f"one of {WAYS}")
    alone = how == "one" or dist.is_initialized()
    want = "'one', or a start by torchrun"
    checks.need(alone, "how", f"{how!r} in a process of its own", want)


def _check_batch(
    ids: torch.Tensor, lengths: torch.Tensor, rank: int, size: int
) -> None:
    checks.ids("ids", ids)
    checks.ids("lengths", lengths)
    fits = ids.ndim == 2 and ids.shape[1] > 1
    checks.need(fits, "ids", f"shape {tuple(ids.shape)}", "(B, T + 1), T > 0")
    fits = lengths.shape == ids.shape[:1]
    got = f"shape {tuple(lengths.shape)}"
    checks.need(fits, "lengths", got, f"({len(ids)},)")
    checks.whole("size", size)
    checks.whole("rank", rank, at_least=0)
    checks.need(rank < size, "rank", rank, f"less than size = {size}")
    checks.need(len(ids) >= size, "size", size, f"at most {len(ids)} rows")


if __name__ == "__main__":
    from handmade.training.many_command import main

    main()
