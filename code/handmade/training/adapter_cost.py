"""What adapters cost, from a config alone: LoRA, QLoRA, and training all.

D model width · H query heads · G key/value heads · K head width
F feed-forward width · R rank

Counted: parameters, what an adapter's file holds, and the bytes of weights,
gradients and the optimizer's state, in which the three ways differ. Left
out: activations, which are the batch's matter, and a file's header.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from handmade import checks
from handmade.models.architecture import costs
from handmade.models.llama_config import LlamaConfig

MATRICES = (
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
    "down_proj",
)  # fmt: skip
BLOCK = 64  # weights of NF4 that share a scale, of four bytes


@dataclass(frozen=True)
class Held:
    """Bytes of one way to train, whatever the batch."""

    weights: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        """Return the sum of the three."""
        return self.weights + self.gradients + self.optimizer


@dataclass(frozen=True)
class AdapterCost:
    """Numbers of the model, of its adapters, and bytes of three ways."""

    parameters: int
    trainable: int
    file_bytes: int
    full: Held
    lora: Held
    qlora: Held


def matrix_sizes(config: LlamaConfig) -> dict[str, tuple[int, int]]:
    """Return the widths (in, out) of each matrix of a block."""
    _check_config(config)
    D, F = config.d_model, config.d_ff
    q = config.n_heads * config.d_head
    kv = config.n_kv_heads * config.d_head
    sizes = ((D, q), (D, kv), (D, kv), (q, D), (D, F), (D, F), (F, D))
    return dict(zip(MATRICES, sizes, strict=True))


def adapter_cost(
    config: LlamaConfig,
    matrices: Sequence[str],
    rank: int,
    *,
    number_bytes: int = 2,
    state_bytes: int = 8,
) -> AdapterCost:
    """Count what adapters of a rank beside these matrices cost.

    trainable = layers * sum over matrices of R (in + out)

    Weights, gradients and adapters have `number_bytes` a number, and what
    learns has `state_bytes` of the optimizer's state: 8 are AdamW's two
    float32 moments. QLoRA holds all matrices of the blocks in NF4, four
    bits and a float32 scale for 64; the rest as it is. [dettmers2023]
    """
    sizes = matrix_sizes(config)
    _check(sizes, matrices, rank, number_bytes, state_bytes)
    trainable = config.n_layers * sum(
        rank * sum(sizes[name]) for name in matrices
    )
    every = costs(config, 1).parameters
    blocks = config.n_layers * sum(a * b for a, b in sizes.values())
    packed = blocks // 2 + 4 * blocks // BLOCK
    adapters = number_bytes * trainable
    state = state_bytes * trainable
    return AdapterCost(
        parameters=every,
        trainable=trainable,
        file_bytes=adapters,
        full=Held(number_bytes * every, number_bytes * every,
                  state_bytes * every),
        lora=Held(number_bytes * every + adapters, adapters, state),
        qlora=Held(
            number_bytes * (every - blocks) + packed + adapters,
            adapters,
            state,
        ),
    )  # fmt: skip


def _check_config(config: LlamaConfig) -> None:
    ours = type(config) is LlamaConfig
    got = f"a {type(config).__name__}"
    checks.need(ours, "config", got, "a LlamaConfig, not of a variant")


def _check(
    sizes: dict[str, tuple[int, int]],
    matrices: Sequence[str],
    rank: int,
    number_bytes: int,
    state_bytes: int,
) -> None:
    checks.several("matrices", matrices, f"some of {MATRICES}")
    for name in matrices:
        known = name in MATRICES
        checks.need(known, "matrices", repr(name), f"some of {MATRICES}")
    twice = len({*matrices}) < len(matrices)
    checks.need(not twice, "matrices", [*matrices], "each once")
    checks.whole("rank", rank)
    most = min([min(sizes[name]) for name in matrices], default=rank)
    checks.need(rank <= most, "rank", rank, f"1 to {most}, the smaller width")
    checks.whole("number_bytes", number_bytes)
    checks.whole("state_bytes", state_bytes, at_least=0)
