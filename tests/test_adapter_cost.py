"""What adapters cost: held to models that were built, and to real tensors."""

import pytest
import torch
from handmade.inference.nf4 import NF4
from handmade.inference.quantization import quantize_linears
from handmade.models.llama import Llama, LlamaConfig
from handmade.models.variants_config import VariantConfig
from handmade.training.adapter_cost import (
    MATRICES,
    adapter_cost,
    matrix_sizes,
)
from handmade.training.lora import inject, trainable
from handmade.training.lora_files import save_adapter
from handmade.training.step_bytes import step_bytes
from torch import nn

SMALL = LlamaConfig(
    vocab_size=96, d_model=64, n_layers=3, n_heads=4, n_kv_heads=2, d_ff=192,
    d_head=32, max_seq_len=16,
)  # fmt: skip
NAMES = {
    "blocks.{}.attn": "model.layers.{}.self_attn",
    "blocks.{}.ffn": "model.layers.{}.mlp",
}


def model(tie=False):
    torch.manual_seed(0)
    sizes = {k: getattr(SMALL, k) for k in (
        "vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "d_ff",
        "d_head", "max_seq_len",
    )}  # fmt: skip
    return Llama(LlamaConfig(**sizes, tie_embeddings=tie))


def loss_of(model, ids):
    return model(ids).square().mean()


def measured(model):
    learn = [p for p in model.parameters() if p.requires_grad]
    ids = torch.randint(96, (2, 8))
    return step_bytes(model, torch.optim.AdamW(learn), loss_of, (ids,))


@pytest.mark.parametrize(
    "matrices", [("q_proj",), ("q_proj", "v_proj"), MATRICES]
)
@pytest.mark.parametrize("rank", [1, 5, 16])
def test_counted_is_what_a_model_has(matrices, rank, tmp_path):
    built = model()
    inject(built, matrices, rank=rank, alpha=2.0)
    told = adapter_cost(SMALL, matrices, rank, number_bytes=4)
    learns, every = trainable(built)
    assert told.trainable == learns
    assert told.parameters + learns == every
    folder = save_adapter(built, tmp_path, NAMES)
    size = (folder / "adapter_model.safetensors").stat().st_size
    header = 200 * 2 * len(matrices) * SMALL.n_layers + 100
    assert told.file_bytes <= size <= told.file_bytes + header


@pytest.mark.parametrize("way", ["full", "lora", "qlora"])
def test_bytes_are_those_of_a_step(way):
    built = model()
    if way == "qlora":
        quantize_linears(built, NF4, skip=["lm_head"])
    if way != "full":
        inject(built, ["q_proj", "up_proj"], rank=4, alpha=4.0)
    found = measured(built)
    told = adapter_cost(SMALL, ["q_proj", "up_proj"], 4, number_bytes=4)
    want = getattr(told, way)
    learns = sum(p.numel() for p in built.parameters() if p.requires_grad)
    assert found.weights == want.weights
    assert found.gradients == want.gradients
    # AdamW counts its steps in a number for each tensor
    tensors = sum(p.requires_grad for p in built.parameters())
    assert found.optimizer == want.optimizer + 4 * tensors
    assert want.optimizer == 8 * learns
    assert want.total == want.weights + want.gradients + want.optimizer
    # activations go while gradients come
    assert want.total < found.peak <= want.total + 2 * found.activations


def test_a_published_matrix():
    config = LlamaConfig(
        vocab_size=9, d_model=768, n_layers=1, n_heads=12, n_kv_heads=12,
        d_ff=3072, max_seq_len=9,
    )  # fmt: skip
    assert matrix_sizes(config)["q_proj"] == (768, 768)
    assert adapter_cost(config, ["q_proj"], 8).trainable == 12_288


def test_a_tied_head_is_counted_once():
    tied = LlamaConfig.from_name("smollm2-135m")
    assert adapter_cost(tied, ["q_proj"], 1).parameters == 134_515_008


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config": VariantConfig.from_name("mistral-7b")}, "config: got a V"),
        ({"matrices": ["lm_head"]}, "matrices: got 'lm_head', want some of"),
        ({"matrices": ["q_proj", "q_proj"]}, "want each once"),
        ({"rank": 65}, "rank: got 65, want 1 to 64"),
        ({"rank": 0}, "rank: got 0"),
        ({"number_bytes": 0}, "number_bytes: got 0"),
        ({"state_bytes": -1}, "state_bytes: got -1"),
    ],
)
def test_what_cannot_be_counted_is_refused(change, said):
    given = {"config": SMALL, "matrices": ["q_proj"], "rank": 2} | change
    with pytest.raises(ValueError, match=said):
        adapter_cost(**given)


# -- the bytes of a step


def test_a_frozen_model_keeps_less_for_the_way_back():
    full, few = model(), model()
    inject(few, ["q_proj"], rank=2, alpha=4.0)
    one, two = measured(full), measured(few)
    assert two.activations < one.activations
    assert two.peak < one.peak / 2


def test_all_that_a_step_holds_is_counted():
    """One layer, by hand: y = x W^T, loss = mean of squares."""
    layer = nn.Linear(6, 4, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    x = torch.randn(5, 6)
    found = step_bytes(
        layer, optimizer, lambda m, x: m(x).square().mean(), (x,)
    )
    assert found.weights == found.gradients == found.optimizer == 4 * 24
    assert found.activations == 4 * (20 + 1)  # y for its square, and the loss


def test_what_does_not_learn_is_refused():
    layer = nn.Linear(2, 2).requires_grad_(False)
    other = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    with pytest.raises(ValueError, match="model: got no parameter"):
        step_bytes(layer, other, loss_of, (torch.ones(1, 2),))
