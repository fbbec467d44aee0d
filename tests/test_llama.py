"""Llama against transformers: tiny random configs, no size equal to another.

Every parameter is random (norm gains too). Float64 is compared with SDPA:
transformers' eager attention takes its softmax in float32 whatever the dtype.
"""

import dataclasses

import pytest
import torch
from handmade.blocks.rope import token_positions
from handmade.inference.cache import KVCache
from handmade.inference.generate import generate
from handmade.models.llama import PRESETS, Llama, LlamaConfig
from handmade.parity import parity
from handmade.weights.reference import random_reference
from torch.nn import functional as F

B, T, V = 5, 11, 61
LEFT = torch.tensor([[0] * n + [1] * (T - n) for n in (0, 3, 1, 10, 6)])
RIGHT = LEFT.flip(-1)
MASKS = {"none": None, "left": LEFT, "right": RIGHT}
BOTH = [(torch.float32, "eager"), (torch.float32, "sdpa"),
        (torch.float64, "sdpa")]  # fmt: skip


def hf_model(dtype=torch.float32, attn="sdpa", seed=0, **changes):
    from transformers import LlamaConfig as HFConfig
    from transformers import LlamaForCausalLM

    sizes = {
        "vocab_size": V, "hidden_size": 24, "intermediate_size": 40,
        "num_hidden_layers": 3, "num_attention_heads": 6,
        "num_key_value_heads": 2, "head_dim": 10, "rms_norm_eps": 1e-3,
        "max_position_embeddings": 256,
        "rope_parameters": {"rope_type": "default", "rope_theta": 777.0},
    }  # fmt: skip
    config = HFConfig(**{**sizes, **changes}, attn_implementation=attn)
    return random_reference(LlamaForCausalLM, config, seed).to(dtype)


def some_ids(seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(V, (B, T), generator=generator)


def calls(ids, mask) -> dict:
    """Say the same to both models; theirs has to be told the positions."""
    ours, theirs = {"ids": ids}, {"input_ids": ids}
    if mask is not None:
        ours["attention_mask"] = theirs["attention_mask"] = mask
        theirs["position_ids"] = token_positions(mask)
    return {"inputs": ours, "their_inputs": theirs}


@pytest.mark.parametrize(("dtype", "attn"), BOTH)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("padding", MASKS)
def test_every_layer_is_equal(dtype, attn, tied, padding):
    theirs = hf_model(dtype, attn, tie_word_embeddings=tied)
    mask = MASKS[padding]
    report = parity(
        Llama.from_hf(theirs),
        theirs,
        **calls(some_ids(), mask),
        layers=Llama.HF_LAYERS,
        where=None if mask is None else mask.bool(),
        name="tiny Llama",
    )
    assert len(report.rows) == 4 + 5 * 3
    assert report.tolerance == (1e-4 if dtype == torch.float32 else 1e-10)


@pytest.mark.parametrize(("heads", "kv_heads"), [(6, 6), (6, 3), (6, 1)])
def test_any_grouping(heads, kv_heads):
    theirs = hf_model(
        torch.float64, num_attention_heads=heads, num_key_value_heads=kv_heads
    )
    ours, ids = Llama.from_hf(theirs), some_ids()
    torch.testing.assert_close(ours(ids), theirs(ids).logits)


def test_gradients_are_equal():
    theirs = hf_model(torch.float64, tie_word_embeddings=True)
    ours, ids = Llama.from_hf(theirs), some_ids()
    positions = token_positions(LEFT)
    both = (
        ours(ids, LEFT),
        theirs(ids, attention_mask=LEFT, position_ids=positions).logits,
    )
    targets = ids.masked_fill(LEFT == 0, -100)[:, 1:]
    for logits in both:
        F.cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten())\
            .backward()  # fmt: skip
    compared = 0
    copied = Llama.from_hf(theirs)
    for name, p in theirs.named_parameters():
        ours_p = next(
            q
            for (_, q), (_, c) in zip(
                ours.named_parameters(), copied.named_parameters(), strict=True
            )
            if c.shape == p.shape and torch.equal(c, p)
        )
        scale = p.grad.abs().max()
        assert scale > 0, name
        assert (ours_p.grad - p.grad).abs().max() <= 1e-10 * scale, name
        compared += 1
    assert compared == len(list(ours.parameters())) == 2 + 9 * 3


@pytest.mark.parametrize("padding", MASKS)
@pytest.mark.parametrize("steps", [(11,), (4, 7), (3, 1, 1, 5, 1), (1,) * 11])
def test_cached_equals_uncached(padding, steps):
    model = Llama.from_hf(hf_model(torch.float64))
    ids, mask, cache = some_ids(), MASKS[padding], KVCache()
    want, got, at = model(ids, mask), [], 0
    for step in steps:
        seen = None if mask is None else mask[:, : at + step]
        got.append(model(ids[:, at : at + step], seen, cache=cache))
        at += step
    assert cache.length == T
    assert torch.cat(got, dim=1).isfinite().all()
    torch.testing.assert_close(torch.cat(got, dim=1), want)


def test_the_cache_can_be_reordered():
    model, ids = Llama.from_hf(hf_model(torch.float64)), some_ids()
    order, cache = torch.tensor([3, 0, 0]), KVCache()
    model(ids[:, :6], cache=cache)
    cache.reorder(order)
    got = model(ids[order, 6:], cache=cache)
    torch.testing.assert_close(got, model(ids[order])[:, 6:])


@pytest.mark.parametrize("mask", [LEFT, RIGHT], ids=["left", "right"])
def test_padding_never_leaks_and_is_never_nan(mask):
    model, ids, real = Llama.from_hf(hf_model()), some_ids(), mask.bool()
    logits = model(ids, mask)
    assert logits.isfinite().all()
    other = model(ids.where(real, (ids + 7) % V), mask)
    assert torch.equal(logits[real], other[real])
    # each row says what it says alone, without its padding
    for row, row_mask, row_logits in zip(ids, real, logits, strict=True):
        alone = model(row[row_mask][None])[0]
        torch.testing.assert_close(
            row_logits[row_mask], alone, rtol=1e-4, atol=1e-5
        )


def test_a_row_of_padding_harms_nobody():
    model, ids, mask = Llama.from_hf(hf_model()), some_ids(), LEFT.clone()
    mask[2] = 0
    logits = model(ids, mask)
    assert logits.isfinite().all()
    logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_the_future_is_not_seen():
    model, ids = Llama.from_hf(hf_model()), some_ids()
    changed = ids.clone()
    changed[:, 7] = (changed[:, 7] + 1) % V
    same, other = model(ids), model(changed)
    assert torch.equal(same[:, :7], other[:, :7])
    assert (same[:, 7:] != other[:, 7:]).any(-1).all()


@pytest.mark.parametrize("padded", [False, True])
def test_128_greedy_tokens(padded):
    theirs = hf_model(torch.float64, tie_word_embeddings=True)
    with torch.no_grad():  # strong attention, or the text repeats one token
        for name, parameter in theirs.named_parameters():
            parameter.mul_(3 if "self_attn" in name else 1)
    ids = some_ids()
    mask = LEFT if padded else torch.ones_like(LEFT)
    want = theirs.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=128,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    ours = Llama.from_hf(theirs)
    got = generate(ours, ids, attention_mask=mask, max_new_tokens=128)
    assert torch.equal(got, want)
    # a loop that settles on one token would prove little
    assert min(len(set(row.tolist())) for row in want[:, T:]) > 10


def test_to_hf_gives_the_same_model_back():
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        theirs = hf_model(dtype, tie_word_embeddings=True)
        back = Llama.from_hf(theirs).to_hf()
        assert back.dtype == dtype
        assert not back.training
        ids = some_ids()
        rope = theirs.model.rotary_emb
        if dtype != torch.bfloat16:  # .to(bfloat16) rounds the angles, too
            assert torch.equal(back(ids).logits, theirs(ids).logits)
        assert back.model.rotary_emb.inv_freq.dtype == torch.float32
        assert rope.inv_freq.shape == back.model.rotary_emb.inv_freq.shape
        assert back.lm_head.weight is back.model.embed_tokens.weight


def test_to_hf_of_a_fresh_model():
    config = LlamaConfig(
        vocab_size=V, d_model=18, n_layers=2, n_heads=6, n_kv_heads=3,
        d_ff=28, max_seq_len=99, norm_eps=1e-4, rope_theta=55.0, d_head=8,
    )  # fmt: skip
    model = Llama(config)
    back = Llama.from_hf(model.to_hf())
    assert back.config == config
    assert torch.equal(back(some_ids()), model(some_ids()))


def test_weights_are_copied_not_shared():
    theirs = hf_model(tie_word_embeddings=True)
    ours = Llama.from_hf(theirs)
    with torch.no_grad():
        ours.tok_emb.weight.zero_()
    assert theirs.lm_head.weight.abs().sum() > 0
    assert ours.lm_head.weight.abs().sum() == 0
    assert all(p.requires_grad for p in ours.parameters())


def test_older_config_files():
    new = hf_model().config.to_dict()
    old = {k: v for k, v in new.items() if k != "rope_parameters"}
    old |= {"rope_theta": 777.0, "rope_scaling": None}
    assert LlamaConfig.from_hf(old) == LlamaConfig.from_hf(new)
    for name in ("head_dim", "num_key_value_heads", "rms_norm_eps"):
        del old[name]
    config = LlamaConfig.from_hf(old)
    assert (config.d_head, config.n_kv_heads) == (4, 6)
    assert config.norm_eps == 1e-6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type: got yarn"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear"}},
         "rope_type: got linear"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"hidden_act": "gelu"}, "hidden_act: got gelu"),
        ({"attention_dropout": 0.1}, "attention_dropout"),
        ({"model_type": "qwen2"}, "model_type: got qwen2"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}},
         "partial_rotary_factor"),
    ],
)  # fmt: skip
def test_unsupported_configs_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        LlamaConfig.from_hf({**hf_model().config.to_dict(), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_heads": 5}, "n_heads: got 5"),
        ({"n_heads": 0}, "n_heads: got 0"),
        ({"n_kv_heads": 4, "n_heads": 6}, "n_kv_heads: got 4"),
        ({"n_kv_heads": 0}, "n_kv_heads: got 0"),
        ({"n_layers": -1}, "n_layers: got -1"),
        ({"d_head": 5}, "d_head: got 5"),
        ({"vocab_size": 0}, "vocab_size: got 0"),
        ({"rope_theta": 0.0}, "rope_theta: got 0.0"),
        ({"norm_eps": float("nan")}, "norm_eps: got nan"),
    ],
)
def test_impossible_sizes_are_refused(changes, message):
    sizes = {
        "vocab_size": V, "d_model": 24, "n_layers": 3, "n_heads": 6,
        "n_kv_heads": 2, "d_ff": 40, "max_seq_len": 16,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        LlamaConfig(**{**sizes, **changes})


def test_config_is_frozen():
    config = LlamaConfig.from_name("smollm2-135m")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.d_model = 1


# published sizes of the checkpoints, to the last parameter
SIZES = {
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "llama-2-7b": 6_738_415_616,
    "llama-3-8b": 8_030_261_248,
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_published_size(name):
    with torch.device("meta"):
        model = Llama(LlamaConfig.from_name(name))
    assert sum(p.numel() for p in model.parameters()) == SIZES[name]


def test_unknown_preset():
    with pytest.raises(ValueError, match="name: got gpt"):
        LlamaConfig.from_name("gpt")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((torch.zeros(3, dtype=torch.long),), "ids: got"),
        ((torch.zeros(1, 3),), "torch.float32"),
        ((torch.zeros(1, 3, dtype=torch.bool),), "torch.bool"),
        ((torch.zeros(2, 0, dtype=torch.long),), "length of ids: got 0"),
        ((torch.zeros(1, 257, dtype=torch.long),), "length of ids: got 257"),
        ((torch.full((1, 3), V),), f"ids: got {V} to {V}"),
        ((torch.full((1, 3), -1),), "ids: got -1"),
        ((some_ids(), LEFT[:, 1:]), "attention_mask: got"),
        ((some_ids(), LEFT[:2]), "attention_mask: got"),
        ((some_ids(), LEFT * 2), "attention_mask: got other"),
        ((some_ids(), LEFT.float()), "attention_mask"),
    ],
)
def test_wrong_arguments(args, message):
    model = Llama.from_hf(hf_model())
    with pytest.raises(ValueError, match=message):
        model(*args)


def test_the_cache_counts_for_mask_and_length():
    model, cache, ids = Llama.from_hf(hf_model()), KVCache(), some_ids()
    model(ids, LEFT, cache=cache)
    with pytest.raises(ValueError, match=r"want \(B, S\) = \(5, 12\)"):
        model(ids[:, :1], LEFT[:, :1], cache=cache)
    with pytest.raises(ValueError, match="want 1 to 245"):
        model(torch.zeros(B, 246, dtype=torch.long), cache=cache)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("model.norm.weight"), "Missing.*norm.weight"),
        (lambda w: w.pop("model.embed_tokens.weight"), "Missing.*tok_emb"),
        (lambda w: w.update(extra=torch.ones(1)), "Unexpected.*extra"),
        (lambda w: w.update({"model.norm.weight": torch.ones(3)}), "size"),
        (lambda w: w.update({"lm_head.weight": torch.ones(V, 24)}),
         "lm_head.weight: got another"),
    ],
)  # fmt: skip
def test_wrong_weights(change, message):
    theirs = hf_model(tie_word_embeddings=True)
    weights = dict(theirs.state_dict())
    change(weights)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        Llama.from_weights(weights, theirs.config.to_dict())
