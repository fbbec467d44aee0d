"""What is wrong in one switch of a variant is found, and where it is."""

from dataclasses import replace

import pytest
import torch
from handmade.blocks import mixture_of_experts, multi_head
from handmade.models import latent_attention
from handmade.models.llama import Llama
from handmade.models.variants import Variant
from handmade.parity import ParityError
from torch.nn import functional as F
from variant_helpers import (
    WINDOW,
    T,
    compare,
    hf_model,
    some_ids,
)

# --- each switch, turned off ----------------------------------------------

SWITCHES = [
    ("mistral", {"window": None, "layer_kinds": None}, "blocks.0.attn"),
    ("mistral", {"window": WINDOW - 1}, "blocks.0.attn"),
    ("mistral", {"window": WINDOW + 1}, "blocks.0.attn"),
    ("mixtral", {"top_k": 1}, "blocks.0.ffn"),
    ("mixtral", {"n_experts": None, "top_k": None}, "blocks.0.ffn"),
    ("qwen2", {"attention_bias": False}, "blocks.0.attn"),
    ("qwen2", {"layer_kinds": ("sliding",)}, "blocks.0.attn"),
    ("qwen2", {"layer_kinds": ("full",)}, "blocks.1.attn"),
    ("qwen3", {"qk_norm": False}, "blocks.0.attn"),
    ("qwen3", {"out_bias": False}, "blocks.0.attn"),
    ("gemma3_text", {"scale_embeddings": False}, "tok_emb"),
    ("gemma3_text", {"one_plus_gain": False}, "blocks.0.attn_norm"),
    ("gemma3_text", {"local_theta": None}, "blocks.0.attn"),
    ("gemma3_text", {"query_pre_attn_scalar": None}, "blocks.0.attn"),
    ("gemma3_text", {"sandwich": False}, "blocks.0.ffn_norm"),
    ("gemma3_text", {"activation": "gelu"}, "blocks.0.ffn"),
    ("gemma3_text", {"layer_kinds": ("sliding",)}, "blocks.1.attn"),
    ("gemma3_text", {"rope_scaling": None}, "blocks.1.attn"),
    ("gemma3_text", {"logit_soft_cap": None}, ""),
]


@pytest.mark.parametrize(("kind", "off", "where"), SWITCHES, ids=str)
def test_each_switch_matters_where_it_is(kind, off, where):
    theirs = hf_model(kind, torch.float64)
    ours = Variant.from_hf(theirs)
    changed = replace(ours.config, **off)
    other = Variant(changed).double().eval()
    same = other.state_dict().keys() & ours.state_dict().keys()
    kept = {name: ours.state_dict()[name] for name in same}
    other.load_state_dict(kept, strict=False)
    # a part that is gone has no place to be compared at
    paths = dict(other.named_modules())
    layers = {
        path: their
        for path, their in ours.hf_layers.items()
        if path.format(0) in paths
    }
    with pytest.raises(ParityError) as caught:
        compare(other, theirs, some_ids(), layers=layers)
    assert caught.value.row.layer == where


def test_neighbours_turn_together_in_a_deepseek():
    theirs = hf_model("deepseek_v3", torch.float64)
    ours = Variant.from_hf(theirs)
    z = replace(ours.config.latent, interleaved=False)
    other = Variant(replace(ours.config, latent=z)).double()
    other.load_state_dict(ours.state_dict())
    with pytest.raises(ParityError) as caught:
        compare(other, theirs, some_ids())
    assert caught.value.row.layer == "blocks.0.attn"


def test_the_norms_inside_latent_attention_have_an_eps_of_their_own(
    monkeypatch,
):
    theirs = hf_model("deepseek_v3", torch.float64)
    assert theirs.config.rms_norm_eps == 1e-3
    monkeypatch.setattr(latent_attention, "EPS", 1e-3)
    with pytest.raises(ParityError) as caught:
        compare(Variant.from_hf(theirs), theirs, some_ids())
    assert caught.value.row.layer == "blocks.0.attn"


def test_a_gemma_in_the_places_of_a_llama_loads_and_is_wrong():
    """The Llama's second norm has a name that means another in Gemma."""
    theirs = hf_model("gemma3_text", torch.float64)
    ours = Variant.from_hf(theirs)
    block = ours.blocks[0]
    state = theirs.state_dict()
    at = "model.layers.0.post_attention_layernorm.weight"
    assert torch.equal(block.attn_post_norm.weight, state[at])
    assert Llama.HF_WEIGHTS["model.layers.{}.post_attention_layernorm.weight"]\
        == "blocks.{}.ffn_norm.weight"  # fmt: skip
    block.ffn_norm.weight.data = state[at].clone()
    with pytest.raises(ParityError) as caught:
        compare(ours, theirs, some_ids())
    assert caught.value.row.layer == "blocks.0.ffn_norm"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_embeddings_are_scaled_as_transformers_rounds_it(dtype):
    theirs = hf_model("gemma3_text", dtype, hidden_size=30)
    ours = Variant.from_hf(theirs)
    ids = some_ids()
    want = theirs.model.embed_tokens(ids)
    assert torch.equal(ours.tok_emb(ids), want)
    exact = F.embedding(ids, ours.tok_emb.weight) * 30**0.5
    assert not torch.equal(exact, want)


# --- planted in the parts -------------------------------------------------


def normed_after_rope(self, x, context=None, *, mask, rope, cache=None):
    q, k, v = (
        multi_head.split_heads(proj(x), heads)
        for proj, heads in (
            (self.q_proj, self.n_heads),
            (self.k_proj, self.n_kv_heads),
            (self.v_proj, self.n_kv_heads),
        )
    )
    q = self.q_norm(multi_head.apply_rope(q, rope))
    k = self.k_norm(multi_head.apply_rope(k, rope))
    out = multi_head.attention(q, k, v, mask, **self.score_options)
    return self.o_proj(multi_head.merge_heads(out))


@pytest.mark.parametrize("kind", ["qwen3", "gemma3_text"])
def test_queries_normed_after_their_rotation_are_found(kind, monkeypatch):
    theirs = hf_model(kind, torch.float64)
    ours = Variant.from_hf(theirs)
    monkeypatch.setattr(
        multi_head.MultiHeadAttention, "forward", normed_after_rope
    )
    with pytest.raises(ParityError) as caught:
        compare(ours, theirs, some_ids())
    assert caught.value.row.layer == "blocks.0.attn"


def probabilities_of_all(logits, k, **_):
    return logits.float().softmax(-1).topk(k)


def softmax_of_probabilities(logits, k, **_):
    weights, experts = logits.float().softmax(-1).topk(k)
    return weights.softmax(-1), experts


def sigmoid_normed(logits, k, **_):
    weights, experts = logits.float().sigmoid().topk(k)
    return weights / weights.sum(-1, keepdim=True), experts


@pytest.mark.parametrize(
    "route", [probabilities_of_all, softmax_of_probabilities, sigmoid_normed]
)
def test_weights_of_experts_normed_otherwise_are_found(route, monkeypatch):
    theirs = hf_model("mixtral", torch.float64)
    ours = Variant.from_hf(theirs)
    monkeypatch.setattr(mixture_of_experts, "route", route)
    with pytest.raises(ParityError) as caught:
        compare(ours, theirs, some_ids())
    assert caught.value.row.layer == "blocks.0.ffn"


def turned_part_first(module, width):
    """Let a module give its last ``width`` numbers before the others."""
    return module.register_forward_hook(
        lambda module, args, out: out.roll(width, -1)
    )


def test_a_key_that_turns_in_the_wrong_place_is_found():
    theirs = hf_model("deepseek_v3", torch.float64)
    ours = Variant.from_hf(theirs)
    compare(ours, theirs, some_ids())
    attn = ours.blocks[0].attn
    hook = turned_part_first(attn.kv_down_proj, attn.sizes.d_rope)
    with pytest.raises(ParityError) as caught:
        compare(ours, theirs, some_ids())
    assert caught.value.row.layer == "blocks.0.attn"
    hook.remove()
    compare(ours, theirs, some_ids())


@pytest.mark.parametrize("seen", [1, WINDOW, WINDOW + 1, T])
def test_a_query_that_turns_in_the_wrong_place_is_found(seen, monkeypatch):
    """Of one token nothing is seen: alone, it looks at itself alone."""
    theirs = hf_model("deepseek_v3", torch.float64)
    ours, ids = Variant.from_hf(theirs), some_ids()[:, :seen]
    split, heads = latent_attention.split_heads, ours.config.n_heads
    width = 7 + 4  # of a query: without position, and with

    def rolled(x, n):
        made = split(x, n)
        return made.roll(4, -1) if x.shape[-1] == heads * width else made

    monkeypatch.setattr(latent_attention, "split_heads", rolled)
    if seen == 1:
        compare(ours, theirs, ids)
        return
    with pytest.raises(ParityError) as caught:
        compare(ours, theirs, ids)
    assert caught.value.row.layer == "blocks.0.attn"


@pytest.mark.parametrize("length", [WINDOW, WINDOW + 1])
@pytest.mark.parametrize("kind", ["mistral", "mixtral", "gemma3_text"])
def test_a_window_too_wide_shows_on_longer_texts_alone(kind, length):
    theirs = hf_model(kind, torch.float64)
    ours = Variant.from_hf(theirs)
    ours.config = replace(ours.config, window=WINDOW + 1)
    ids = some_ids(length)
    if length == WINDOW:
        compare(ours, theirs, ids)
        return
    with pytest.raises(ParityError) as caught:
        compare(ours, theirs, ids)
    assert caught.value.row.layer == "blocks.0.attn"


def test_gains_of_a_gemma_are_rounded_last():
    """As transformers: (x * (1 + w)) rounded, not x rounded times the gain."""
    theirs = hf_model("gemma3_text", torch.bfloat16, hidden_size=30)
    ours = Variant.from_hf(theirs).blocks[0].attn_norm
    norm = theirs.model.layers[0].input_layernorm
    x = theirs.model.embed_tokens(some_ids())
    assert torch.equal(ours(x), norm(x))
    early = F.rms_norm(x.float(), (30,), eps=ours.eps).bfloat16()
    assert not torch.equal(early * (1 + ours.weight), norm(x))
