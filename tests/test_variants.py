"""One Llama with switches against seven classes of transformers.

Tiny random models in which no size equals another. Float64 is compared with
SDPA: transformers' eager attention takes its softmax in float32.
"""

import copy

import pytest
import torch
from handmade.models.llama import Llama
from handmade.models.load import export
from handmade.models.variants import Variant
from torch.nn import functional as F
from variant_helpers import (
    LEFT,
    MASKS,
    MODELS,
    WINDOW,
    calls,
    came_back,
    compare,
    hf_model,
    some_ids,
)

each_model = pytest.mark.parametrize("kind", MODELS)


BOTH = [(torch.float32, "eager"), (torch.float32, "sdpa"),
        (torch.float64, "sdpa")]  # fmt: skip


@each_model
@pytest.mark.parametrize(("dtype", "attn"), BOTH)
@pytest.mark.parametrize("padding", MASKS)
def test_every_layer_is_equal(kind, dtype, attn, padding):
    theirs = hf_model(kind, dtype, attn)
    ours = Variant.from_hf(theirs)
    report = compare(ours, theirs, some_ids(), MASKS[padding])
    blocks = 7 if kind == "gemma3_text" else 5
    assert len(report.rows) == 4 + blocks * 3
    assert report.tolerance == (1e-4 if dtype == torch.float32 else 1e-10)


@each_model
@pytest.mark.parametrize("length", [1, 3, WINDOW, 5, 12, 40])
def test_any_length_around_the_window(kind, length):
    theirs = hf_model(kind, torch.float64, seed=length)
    rows = 1 + length % 5
    compare(Variant.from_hf(theirs), theirs, some_ids(length, rows))


MORE = [
    ("mistral", {"sliding_window": None}),
    ("mistral", {"sliding_window": 1, "head_dim": None}),
    ("mistral", {"hidden_act": "gelu", "tie_word_embeddings": True}),
    ("mistral", {"num_key_value_heads": 6}),
    ("mixtral", {"sliding_window": None, "num_experts_per_tok": 5}),
    ("mixtral", {"num_experts_per_tok": 1, "head_dim": None}),
    ("mixtral", {"head_dim": 4}),
    ("mixtral", {"num_local_experts": 1, "num_experts_per_tok": 1}),
    ("qwen2", {"use_sliding_window": False, "head_dim": 4}),
    ("qwen2", {"max_window_layers": 0, "tie_word_embeddings": True}),
    ("qwen2", {"layer_types": ["sliding_attention", "full_attention",
                               "sliding_attention"]}),
    ("qwen3", {"attention_bias": False, "use_sliding_window": False}),
    ("qwen3", {"num_key_value_heads": 6, "head_dim": 16}),
    ("gemma3_text", {"attention_bias": True, "tie_word_embeddings": False}),
    ("gemma3_text", {"layer_types": None, "final_logit_softcapping": None}),
    ("gemma3_text", {"layer_types": ["full_attention"] * 3}),
    ("gemma3_text", {"hidden_activation": "silu"}),
    ("gemma3_text", {"rope_parameters": None}),
    ("deepseek_v3", {"q_lora_rank": None}),
    ("deepseek_v3", {"rope_interleave": False, "attention_bias": False}),
    ("deepseek_v3", {"v_head_dim": 17, "tie_word_embeddings": True}),
    ("deepseek_v3", {"first_k_dense_replace": 9,
                     "rope_parameters": {"rope_type": "linear",
                                         "rope_theta": 50.0,
                                         "factor": 2.5}}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "changes"), MORE, ids=str)
def test_switches_in_other_positions(kind, changes):
    theirs = hf_model(kind, torch.float64, **changes)
    ours = Variant.from_hf(theirs)
    compare(ours, theirs, some_ids(), LEFT)
    came_back(ours, theirs)


# --- gradients ------------------------------------------------------------


@each_model
def test_gradients_are_equal(kind):
    theirs = hf_model(kind, torch.float64)
    ours, ids = Variant.from_hf(theirs), some_ids()
    options = calls(ids, LEFT)
    both = (
        ours(**options["inputs"]),
        theirs(**options["their_inputs"]).logits,
    )
    targets = ids.masked_fill(LEFT == 0, -100)[:, 1:]
    for logits in both:
        F.cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten())\
            .backward()  # fmt: skip
    # a model whose parameters are our gradients, under their names
    gradients = copy.deepcopy(ours)
    for (_, at), p in zip(
        gradients.named_parameters(), ours.parameters(), strict=True
    ):
        at.data = torch.zeros_like(p) if p.grad is None else p.grad
    found = export(gradients, ours.hf_weights)
    compared = 0
    for name, p in theirs.named_parameters():
        scale = p.grad.abs().max()
        assert scale > 0, name
        assert (found[name] - p.grad).abs().max() <= 1e-10 * scale, name
        compared += 1
    assert compared == len(dict(theirs.named_parameters()))


def test_with_every_switch_off_it_is_the_llama():
    theirs, ids = hf_model("llama", torch.float64), some_ids()
    plain, ours = Llama.from_hf(theirs), Variant.from_hf(theirs)
    assert plain.state_dict().keys() == ours.state_dict().keys()
    assert torch.equal(ours(ids, LEFT), plain(ids, LEFT))
