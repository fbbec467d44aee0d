"""What training holds: sums held to bytes counted, in Python and script."""

import itertools

import ipywidgets as ipw
import pytest
import torch
from handmade.blocks import multi_head
from handmade.inference.flash_attention import flash_attention
from handmade.inference.memory_count import MemoryCount
from handmade.models.llama import Llama, LlamaConfig
from handmade.models.variants_config import VariantConfig
from handmade.training.loop import next_token_loss
from handmade.training.memory import (
    MOMENTS,
    NUMBERS,
    SHARDING,
    activation_bytes,
    checkpoint_blocks,
    sent_bytes,
    training_bytes,
)
from handmade.widgets.training_memory import (
    BATCHES,
    GPUS,
    LENGTHS,
    TrainingMemory,
    sizes_of,
    training_memory,
)
from script_helpers import run_script
from torch.utils.flop_counter import FlopCounterMode

SIZES = {
    "vocab_size": 61, "d_model": 48, "n_layers": 2, "n_heads": 6,
    "n_kv_heads": 2, "d_ff": 80, "max_seq_len": 64,
}  # fmt: skip
# besides: G = H, a head width of its own, three layers; one layer
CONFIGS = [
    LlamaConfig(**SIZES),
    LlamaConfig(**SIZES | {"n_layers": 3, "n_kv_heads": 6, "d_head": 16}),
    LlamaConfig(**SIZES | {"n_layers": 1, "n_heads": 4, "n_kv_heads": 1}),
]
NAMED = {
    name: LlamaConfig.from_name(name)
    for name in ("smollm2-135m", "llama-3.2-1b", "llama-3.1-8b")
}


def counted(config, batch, length, width, checkpointing):
    """Return the bytes that a forward pass leaves, and those at the peak."""
    torch.manual_seed(0)
    model = Llama(config)
    if width == 2:
        model = model.bfloat16()
    if checkpointing:
        checkpoint_blocks(model)
    ids = torch.randint(config.vocab_size, (batch, length + 1))
    with MemoryCount() as count:
        loss = next_token_loss(model, ids)
        waiting = count.now
        loss.backward()
    return waiting, count.peak


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize("width", [4, 2])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_activations_are_what_was_counted_to_the_byte(
    number, checkpointing, width, tiles, monkeypatch
):
    if tiles:

        def by_tiles(q, k, v, mask):
            return flash_attention(q, k, v, causal=True)

        monkeypatch.setattr(multi_head, "attention", by_tiles)
    config = CONFIGS[number]
    for batch, length in ((3, 17), (4, 2), (2, 64)):
        want = activation_bytes(
            config, batch, length,
            width=width, checkpointing=checkpointing, tiles=tiles,
        )  # fmt: skip
        waiting, peak = counted(config, batch, length, width, checkpointing)
        assert waiting == want[0]
        assert (want[1] > 0) == checkpointing
        assert peak >= sum(want) - length * length  # the mask, already there


@pytest.mark.parametrize("optimizer", sorted(MOMENTS))
@pytest.mark.parametrize("numbers", ["bfloat16 alone", "float32"])
def test_states_are_what_was_counted_to_the_byte(numbers, optimizer):
    make = {
        "AdamW": lambda p: torch.optim.AdamW(p, fused=False),
        "momentum": lambda p: torch.optim.SGD(p, momentum=0.9),
        "SGD": torch.optim.SGD,
    }[optimizer]
    config = CONFIGS[1]
    model = Llama(config)
    if numbers != "float32":
        model = model.bfloat16()
    told = training_bytes(config, numbers=numbers, optimizer=optimizer)
    assert told.weights == sum(p.nbytes for p in model.parameters())
    stepper = make(model.parameters())
    ids = torch.randint(61, (2, 9))
    next_token_loss(model, ids).backward()
    assert told.gradients == sum(p.grad.nbytes for p in model.parameters())
    stepper.step()
    held = sum(
        x.nbytes
        for state in stepper.state.values()
        for x in state.values()
        if isinstance(x, torch.Tensor) and x.ndim
    )
    assert told.optimizer == held
    assert told.total == told.weights + told.gradients + held + (
        told.activations
    )  # fmt: skip


def test_the_rule_of_sixteen_bytes():
    config = NAMED["llama-3.1-8b"]
    for numbers in ("float32", "bfloat16, float32 kept"):
        told = training_bytes(config, numbers=numbers)
        held = told.weights + told.gradients + told.optimizer
        assert held == 16 * 8_030_261_248


def test_sharding_divides_what_it_says():
    config, n = NAMED["llama-3.2-1b"], 7
    one = training_bytes(config, numbers="float32")
    for stage, sharding in enumerate(SHARDING):
        told = training_bytes(config, sharding=sharding, gpus=n)
        for from_stage, name in enumerate(
            ("optimizer", "gradients", "weights"), 1
        ):
            whole = getattr(one, name)
            want = -(-whole // n) if stage >= from_stage else whole
            assert getattr(told, name) == want
        assert told.activations == one.activations
        passes = 3 if sharding == "ZeRO-3" else 2
        assert told.sent == passes * one.gradients * (n - 1) // n
    assert sent_bytes(1000, 1) == 0


def test_a_ring_sends_what_the_formula_says():
    """Play the two halves of an all-reduce, and count what is sent."""
    n, size = 5, 35
    have = [[float(rank + i) for i in range(size)] for rank in range(n)]
    want = [sum(column) for column in zip(*have, strict=True)]
    sent = [0] * n
    step = size // n

    def pass_on(first, add):
        for round_ in range(n - 1):
            moving = []
            for rank in range(n):
                part = (rank + first - round_) % n
                at = slice(part * step, (part + 1) * step)
                moving.append(((rank + 1) % n, at, have[rank][at]))
                sent[rank] += step
            for to, at, values in moving:
                old = have[to][at]
                have[to][at] = [
                    a + b if add else b
                    for a, b in zip(old, values, strict=True)
                ]

    pass_on(0, add=True)  # reduce-scatter
    half = [*sent]
    pass_on(1, add=False)  # all-gather
    assert all(row == want for row in have)
    assert {*half} == {sent_bytes(size, n) // 2}
    assert {*sent} == {sent_bytes(size, n)}


def test_blocks_computed_again_give_the_same_gradients():
    config = CONFIGS[0]
    ids = torch.randint(61, (3, 18))
    gradients, work = [], []
    for change in (lambda model: model, checkpoint_blocks):
        torch.manual_seed(1)
        model = change(Llama(config))
        with FlopCounterMode(display=False) as count:
            next_token_loss(model, ids).backward()
        work.append(count.get_total_flops())
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a, b)
    # once more forward: but for the head, and the last product of a block,
    # whose result nobody asks for
    head, last = 2 * 3 * 17 * 48 * 61, 2 * 3 * 17 * 80 * 48
    assert work[0] % 3 == 0
    assert work[1] == work[0] + work[0] // 3 - head - 2 * last
    with pytest.raises(ValueError, match="model: got None, want one with"):
        checkpoint_blocks(torch.nn.Linear(2, 2))


def cases():
    for name, numbers, optimizer, kept, sharding in itertools.product(
        sorted(NAMED), sorted(NUMBERS), sorted(MOMENTS), range(3), SHARDING
    ):
        for batch, length, gpus in (
            (1, 128, 1),
            (3, 777, 7),
            (8, 131072, 1000),
        ):
            yield name, numbers, optimizer, kept, sharding, batch, length, gpus


def test_the_script_adds_up_as_the_package_does():
    given, want = [], []
    for name, numbers, optimizer, kept, sharding, B, T, gpus in cases():
        told = training_bytes(
            NAMED[name], batch=B, length=T, numbers=numbers,
            optimizer=optimizer, checkpointing=kept > 1, tiles=kept > 0,
            sharding=sharding, gpus=gpus,
        )  # fmt: skip
        want.append(vars(told))
        given.append(
            [
                sizes_of(name, NAMED[name]),
                {
                    "numbers": NUMBERS[numbers],
                    "moments": MOMENTS[optimizer], "tiles": kept > 0,
                    "again": kept > 1, "batch": B, "length": T,
                    "stage": SHARDING.index(sharding), "gpus": gpus,
                },
            ]
        )  # fmt: skip
    script = "return given.map((each) => trainingOf(...each))"
    assert run_script("training_memory", script, given=given) == want


@pytest.mark.filterwarnings("ignore:Widget.widgets is deprecated")
def test_the_controls_are_joined_in_the_front_end():
    box = training_memory(NAMED, preset="llama-3.1-8b", batch=4, length=256)
    drawing, *controls = box.children
    assert drawing.model == 2
    assert (BATCHES[drawing.batch], LENGTHS[drawing.length]) == (4, 256)
    assert controls[-1].options[-1] == ("1,000", GPUS[-1])
    links = {
        (w.source[1], w.target[1])
        for w in ipw.Widget.widgets.values()
        if type(w).__name__ == "Link" and drawing in (w.source[0], w.target[0])
    }
    joined = set(TrainingMemory.sets) - {"model"}
    assert links == {("index", name) for name in joined}
    assert repr(TrainingMemory()) == "TrainingMemory()"


def test_what_cannot_be_shown_or_counted_is_an_error():
    variant = VariantConfig.from_name("mistral-7b")
    message = "config: got a VariantConfig, want a LlamaConfig"
    with pytest.raises(ValueError, match=message):
        training_memory({"a": variant})
    with pytest.raises(ValueError, match=message):
        training_bytes(variant)
    with pytest.raises(ValueError, match="width: got 3, want 4 or 2 bytes"):
        activation_bytes(CONFIGS[0], 1, 1, width=3)
    with pytest.raises(ValueError, match="preset: got 'b', want one of"):
        training_memory(NAMED, preset="b")
    with pytest.raises(ValueError, match="length: got 5, want one of"):
        training_memory(NAMED, length=5)
    with pytest.raises(ValueError, match="configs: got 0, want some"):
        training_memory({})
    for name in ("numbers", "optimizer", "sharding"):
        with pytest.raises(ValueError, match=f"{name}: got 'x', want one of"):
            training_bytes(CONFIGS[0], **{name: "x"})
