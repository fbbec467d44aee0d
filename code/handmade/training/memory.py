"""What training holds, in bytes, and what processes send each other.

B texts · T tokens of each · N tokens, B * T · D model width · H query heads
G key/value heads · K head width · F feed-forward width · V vocabulary
L layers · P parameters

Sums that a test holds to the bytes counted while our Llama trains. Left out:
what an allocator keeps for later, buffers of a communication library, and
scratch space inside of one operation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from handmade import checks
from handmade.models.architecture import costs
from handmade.models.llama_config import LlamaConfig

# numbers in -> bytes of: a weight and its gradient, its float32 copy that
# the optimizer moves, each moment
NUMBERS = {
    "float32": (4, 0, 4),
    "bfloat16, float32 kept": (2, 4, 4),
    "bfloat16 alone": (2, 0, 2),
}
MOMENTS = {"AdamW": 2, "momentum": 1, "SGD": 0}  # numbers for each parameter
SHARDING = ("none", "ZeRO-1", "ZeRO-2", "ZeRO-3")


@dataclass(frozen=True)
class TrainingBytes:
    """Bytes on one GPU, and what it sends in a step."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    sent: int

    @property
    def total(self) -> int:
        """Return what is held at the end of the forward pass, or later."""
        held = self.weights + self.gradients + self.optimizer
        return held + self.activations


def training_bytes(
    config: LlamaConfig,
    *,
    batch: int = 1,
    length: int = 1024,
    numbers: str = "float32",
    optimizer: str = "AdamW",
    checkpointing: bool = False,
    tiles: bool = True,
    sharding: str = "none",
    gpus: int = 1,
) -> TrainingBytes:
    """Add up what a step of training holds on each of `gpus` GPUs.

    weights w P, gradients w P, optimizer (master + moments) P; what is
    sharded is divided by the GPUs: ZeRO-1 the optimizer's part, ZeRO-2 the
    gradients too, ZeRO-3 (FSDP) all three. [rajbhandari2020]

    `batch` is that of one GPU. `numbers` is a key of NUMBERS, `optimizer`
    of MOMENTS, `sharding` one of SHARDING. Raises ValueError for others.
    """
    _check(config, batch, length, checkpointing, tiles)
    _check_choices(numbers, optimizer, sharding, gpus)
    P = costs(config, 1).parameters
    width, master, moment = NUMBERS[numbers]
    stage = SHARDING.index(sharding)

    def share(n: int, from_stage: int) -> int:
        return -(-n // gpus) if stage >= from_stage else n

    kept, at_work = activation_bytes(
        config, batch, length,
        width=width, checkpointing=checkpointing, tiles=tiles,
    )  # fmt: skip
    return TrainingBytes(
        weights=share(width * P, 3),
        gradients=share(width * P, 2),
        optimizer=share((master + moment * MOMENTS[optimizer]) * P, 1),
        activations=kept + at_work,
        sent=sent_bytes(width * P, gpus, sharding),
    )


def sent_bytes(size: int, gpus: int, sharding: str = "none") -> int:
    """Return what each GPU sends in a step, for `size` bytes of gradients.

    In a ring a GPU sends (gpus - 1) / gpus of the size for each all-gather
    and each reduce-scatter; an all-reduce is one of both. Gradients need
    two, and with ZeRO-3 the weights are gathered twice: three in all.
    """
    checks.whole("size", size, at_least=0)
    _check_choices("float32", "AdamW", sharding, gpus)
    passes = 3 if sharding == "ZeRO-3" else 2
    return passes * size * (gpus - 1) // gpus


def activation_bytes(
    config: LlamaConfig,
    batch: int,
    length: int,
    *,
    width: int = 4,
    checkpointing: bool = False,
    tiles: bool = False,
) -> tuple[int, int]:
    """Return what a Llama's forward pass leaves for its backward pass.

    (kept when the forward pass ends, held besides while one block is
    computed again: 0 without checkpointing)

    `width` is 4 or 2 bytes a number. `tiles` is attention that never stores
    its T x T matrices; without it this is what `Llama` keeps, to the byte.
    Raises ValueError for a model of another kind.
    """
    _check(config, batch, length, checkpointing, tiles)
    checks.need(width in (2, 4), "width", repr(width), "4 or 2 bytes")
    N, c = batch * length, config
    # the mean square is taken in float32, whatever the numbers are in
    norm = (4 + 2 * width) * N * c.d_model + 4 * N
    angles = length * c.d_head  # cosines, and as many sines
    mask = length * length  # bool
    block = 2 * norm + 4 * width * N * c.d_ff + _attention_bytes(
        c, batch, length, width, tiles
    )  # fmt: skip
    ends = norm + N * (width * c.vocab_size + 8) + 2 * width
    if width == 4:
        ends += 2 * 4 * angles  # the same for every layer
    else:
        block += 4 * width * angles
    if not checkpointing:
        return c.n_layers * block + ends, 0
    kept = c.n_layers * width * N * c.d_model + ends
    if width == 2:
        kept += 2 * 4 * angles
    return kept + mask, block


def _attention_bytes(
    c: LlamaConfig, batch: int, length: int, width: int, tiles: bool
) -> int:
    """Queries, keys, values, what they mix to, and the weights or not."""
    N = batch * length
    queries = N * c.n_heads * c.d_head
    if tiles:
        keys = N * c.n_kv_heads * c.d_head
        # the mixed values twice: head by head, and side by side
        return width * (3 * queries + 2 * keys) + 4 * N * c.n_heads
    # softmax and matmul each keep the whole matrix, in float32
    matrices = 2 * 4 * batch * c.n_heads * length * length
    hidden = length * length + length  # bool
    return 3 * 4 * queries + width * queries + matrices + hidden


def checkpoint_blocks(model: nn.Module) -> nn.Module:
    """Have each block of `model.blocks` forget what is inside of it.

    Its input alone is kept; the backward pass computes the block again.
    Changes the model, and returns it. Raises ValueError where there is no
    list of blocks.
    """
    checks.module("model", model)
    blocks = getattr(model, "blocks", None)
    checks.kind("model", blocks, nn.ModuleList, "one with `blocks`")
    assert isinstance(blocks, nn.ModuleList)
    for block in blocks:
        block.forward = _again(block.forward)
    return model


def _again(forward: Callable[..., torch.Tensor]) -> Any:
    def computed_again(x: torch.Tensor, **options: Any) -> torch.Tensor:
        return checkpoint(forward, x, use_reentrant=False, **options)

    return computed_again


def _check(
    config: LlamaConfig,
    batch: int,
    length: int,
    checkpointing: bool,
    tiles: bool,
) -> None:
    ours = type(config) is LlamaConfig
    got = f"a {type(config).__name__}"
    checks.need(ours, "config", got, "a LlamaConfig, not of a variant")
    checks.whole("batch", batch)
    checks.whole("length", length)
    checks.flag("checkpointing", checkpointing)
    checks.flag("tiles", tiles)


def _check_choices(
    numbers: str, optimizer: str, sharding: str, gpus: int
) -> None:
    for name, value, known in (
        ("numbers", numbers, [*NUMBERS]),
        ("optimizer", optimizer, [*MOMENTS]),
        ("sharding", sharding, [*SHARDING]),
    ):
        checks.text(name, value)
        checks.need(value in known, name, repr(value), f"one of {known}")
    checks.whole("gpus", gpus)
