"""Right calls of what trains in many processes, and of what that weighs."""

from dataclasses import asdict

import torch
from handmade.models.llama_config import LlamaConfig
from handmade.training.many import Job, make_together
from handmade.training.shards import load_shards, save_shards

from valid_calls import call
from valid_calls.models import llama


def small():
    return LlamaConfig.from_name("smollm2-135m")


def job():
    return Job(steps=1, batch_size=2, length=5)


def saved(folder):
    trainer = make_together(job())
    save_shards(folder, trainer, asdict(job()))
    return trainer


def rows():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(9, (3, 6), generator=generator)


CALLS = {
    "training.memory.training_bytes": lambda: call(
        config=small(), batch=2, length=8, numbers="float32",
        optimizer="AdamW", checkpointing=True, tiles=False,
        sharding="ZeRO-1", gpus=2,
    ),
    "training.memory.sent_bytes": lambda: call(
        size=100, gpus=2, sharding="none"
    ),
    "training.memory.activation_bytes": lambda: call(
        config=small(), batch=2, length=8, width=4, checkpointing=True,
        tiles=False,
    ),
    "training.memory.checkpoint_blocks": lambda: call(model=llama()),
    "training.many.Job": lambda: call(
        steps=1, batch_size=2, length=5, accumulate=1, lr=0.1, max_norm=1.0,
        seed=0,
    ),
    "training.many.share_of_loss": lambda: call(
        model=lambda ids: torch.zeros(*ids.shape, 9),
        ids=rows(), lengths=torch.tensor([1, 5, 2]), rank=0, size=1,
    ),
    "training.many.spread": lambda: call(model=llama(), how="one"),
    "training.many.all_processes": lambda: call(
        model=llama(), fails="processes: got none, want a start by torchrun"
    ),
    "training.many.make_together": lambda: call(job=job(), how="one"),
    "training.many.train_together": lambda tmp_path: call(
        folder=tmp_path / "run", job=job(), how="one", save_every=1,
        after=lambda step: None,
    ),
    "training.shards.save_shards": lambda tmp_path: call(
        folder=tmp_path, trainer=make_together(job()), settings={"a": 1},
        keep=2,
    ),
    "training.shards.load_shards": lambda tmp_path: call(
        folder=tmp_path if saved(tmp_path) else None
    ),
    "training.shards.restore_shards": lambda tmp_path: call(
        trainer=saved(tmp_path), checkpoint=load_shards(tmp_path),
        settings=asdict(job()),
    ),
    "widgets.training_memory.training_memory": lambda: call(
        configs={"a": small(), "b": small()}, preset="b", batch=2,
        length=256,
    ),
    "widgets.training_memory.sizes_of": lambda: call(
        name="a", config=small()
    ),
}  # fmt: skip
