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
from handmade.text.data import document_mask, pack
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
        ({"rope_theta": float("inf")}, "rope_theta: got inf"),
        ({"rope_theta": None}, "rope_theta: got None"),
        ({"rope_theta": True}, "rope_theta: got True"),
        ({"norm_eps": float("nan")}, "norm_eps: got nan"),
        ({"vocab_size": 1.5}, "vocab_size: got 1.5"),
        ({"vocab_size": 61.0}, "vocab_size: got 61.0"),
        ({"n_layers": True}, "n_layers: got True"),
        ({"d_model": "24"}, "d_model: got '24'"),
        ({"d_ff": float("nan")}, "d_ff: got nan"),
        ({"max_seq_len": float("inf")}, "max_seq_len: got inf"),
        ({"tie_embeddings": 1}, "tie_embeddings: got 1"),
        ({"attention_bias": None}, "attention_bias: got None"),
        ({"rope_scaling": {"factor": 2.0}}, "rope_scaling: got {"),
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
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.2-1b": 1_235_814_400,
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_published_size(name):
    with torch.device("meta"):
        model = Llama(LlamaConfig.from_name(name))
    assert sum(p.numel() for p in model.parameters()) == SIZES[name]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((torch.zeros(3, dtype=torch.long),), r"ids: got shape \(3,\)"),
        ((torch.zeros(1, 3),), "ids: got dtype torch.float32"),
        ((torch.zeros(1, 3, dtype=torch.bool),), "ids: got dtype torch.bool"),
        (
            (torch.zeros(1, 3, dtype=torch.uint8),),
            "ids: got dtype torch.uint8",
        ),
        (([[1, 2]],), "ids: got a list"),
        ((torch.zeros(2, 0, dtype=torch.long),), r"ids: got shape \(2, 0\)"),
        ((torch.zeros(1, 257, dtype=torch.long),), "length of ids: got 257"),
        ((some_ids(), LEFT[:, 1:]), r"attention_mask: got \(5, 10\)"),
        ((some_ids(), LEFT[:2]), r"attention_mask: got \(2, 11\)"),
        ((some_ids(), LEFT.float()), "attention_mask: got dtype"),
        ((some_ids(), LEFT.tolist()), "attention_mask: got a list"),
    ],
)
def test_wrong_arguments(args, message):
    model = Llama.from_hf(hf_model())
    with pytest.raises(ValueError, match=message):
        model(*args)


CAUSAL = torch.ones(T, T, dtype=torch.bool).tril()
POSITIONS = torch.arange(T)[None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": POSITIONS.float()}, "positions: got dtype"),
        ({"positions": POSITIONS[0]}, r"positions: got \(11,\), want"),
        ({"positions": POSITIONS[:, 1:]}, r"positions: got \(1, 10\)"),
        ({"positions": POSITIONS.expand(2, T)}, r"positions: got \(2, 11\)"),
        ({"mask": CAUSAL.long()}, "mask: got torch.int64, want torch.bool"),
        ({"mask": CAUSAL.tolist()}, "mask: got <class 'list'>"),
        ({"mask": CAUSAL[:, 1:]}, r"mask: got \(11, 10\), want \(T, S\)"),
        ({"mask": CAUSAL.expand(B, T, T)}, r"mask: got .*want \(B, 1, T, S\)"),
        ({"mask": CAUSAL.expand(B, 6, T, T)}, r"mask: got \(5, 6, 11, 11\)"),
        ({"mask": CAUSAL.expand(2, 1, T, T)}, r"mask: got \(2, 1, 11, 11\)"),
        ({"logits_to_keep": 0}, "logits_to_keep: got 0"),
        ({"logits_to_keep": True}, "logits_to_keep: got True"),
        ({"logits_to_keep": 12}, "logits_to_keep: got 12, want 1 to 11"),
    ],
)
def test_wrong_options(options, message):
    model = Llama.from_hf(hf_model())
    with pytest.raises(ValueError, match=message):
        model(some_ids(), **options)


def test_the_cache_counts_for_mask_and_length():
    model, cache, ids = Llama.from_hf(hf_model()), KVCache(), some_ids()
    model(ids, cache=cache)
    with pytest.raises(ValueError, match=r"want \(B, S\) = \(5, 12\)"):
        model(ids[:, :1], LEFT[:, :1], cache=cache)
    with pytest.raises(ValueError, match="want 1 to 245"):
        model(torch.zeros(B, 246, dtype=torch.long), cache=cache)
    with pytest.raises(ValueError, match=r"mask: got .*= \(11, 22\)"):
        model(ids, mask=CAUSAL, cache=cache)


def test_ids_out_of_the_vocabulary_are_pytorchs_to_refuse():
    # the forward pass looks at no number; generate says which ids are wrong
    model = Llama.from_hf(hf_model())
    with pytest.raises(IndexError):
        model(torch.full((1, 3), V))


# --- what is asked for ----------------------------------------------------


@pytest.mark.parametrize("n", [1, 4, T])
def test_only_the_last_logits(n):
    theirs = hf_model(torch.float64)
    ours, ids = Llama.from_hf(theirs), some_ids()
    made = []
    ours.lm_head.register_forward_hook(lambda *a: made.append(a[2].shape))
    got = ours(ids, LEFT, logits_to_keep=n)
    torch.testing.assert_close(got, ours(ids, LEFT)[:, -n:])
    want = theirs(ids, logits_to_keep=n).logits
    torch.testing.assert_close(ours(ids, logits_to_keep=n), want)
    assert made[0] == (B, n, V)


def test_packed_documents_are_each_what_they_are_alone():
    model = Llama.from_hf(hf_model(torch.float64))
    generator = torch.Generator().manual_seed(3)
    lengths = [9, 3, 7, 1, 12, 5, 5, 2]
    documents = [
        torch.randint(V, (n,), generator=generator).tolist() for n in lengths
    ]
    packed = pack(documents, T=14)
    logits = model(
        packed.ids,
        positions=packed.positions,
        mask=document_mask(packed.documents),
    )
    assert logits.isfinite().all()
    seen = 0
    for row, numbers in enumerate(packed.documents):
        for number in range(int(numbers.max()) + 1):
            at = numbers == number
            alone = model(packed.ids[row, at][None])[0]
            torch.testing.assert_close(
                logits[row, at], alone, rtol=0, atol=1e-10
            )
            seen += 1
    assert seen == len(documents)
    assert packed.padding > 0
    # without the mask they would read each other
    spread = model(packed.ids, positions=packed.positions)
    assert (spread - logits)[packed.documents > 0].abs().max() > 1e-2


def test_positions_of_ones_own():
    model, ids = Llama.from_hf(hf_model(torch.float64)), some_ids()
    same = model(ids, positions=POSITIONS)
    torch.testing.assert_close(same, model(ids))
    shifted = model(ids, positions=POSITIONS + 7)  # only distances count
    # angles are float32: a shift changes their rounding
    torch.testing.assert_close(shifted, same, rtol=0, atol=1e-4)
    assert (model(ids, positions=POSITIONS * 2) - same).abs().max() > 1e-3


# --- the way back ---------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_every_tensor_comes_back_bit_for_bit(tied, bias):
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        theirs = hf_model(dtype, tie_word_embeddings=tied, attention_bias=bias)
        back = Llama.from_hf(theirs).to_hf()
        want, got = theirs.state_dict(), back.state_dict()
        assert want.keys() == got.keys()
        for name, x in want.items():
            assert torch.equal(got[name], x), name
            assert got[name].dtype == dtype


def test_attention_biases_are_loaded():
    theirs = hf_model(torch.float64, attention_bias=True)
    ours, ids = Llama.from_hf(theirs), some_ids()
    assert ours.config.attention_bias
    assert ours.blocks[1].attn.o_proj.bias.abs().max() > 0
    torch.testing.assert_close(ours(ids), theirs(ids).logits)


def test_the_config_comes_back_and_with_it_the_end():
    config = {
        "bos_token_id": 3, "eos_token_id": [5, 7], "pad_token_id": 4,
        "initializer_range": 0.5, "use_cache": False,
        "architectures": ["LlamaForCausalLM"],
    }  # fmt: skip
    theirs = hf_model(torch.float64, **config)
    theirs.config.dtype = torch.float64
    back = Llama.from_hf(theirs).to_hf()
    assert back.config.to_dict() == theirs.config.to_dict()


def test_the_end_token_still_ends():
    ids = some_ids()[:1]
    first = int(hf_model()(ids).logits[0, -1].argmax())
    for end in (first, [60, first]):
        back = Llama.from_hf(hf_model(eos_token_id=end)).to_hf()
        assert first != 2  # the default of transformers
        assert back.generation_config.eos_token_id == end
        assert back.generate(ids, max_new_tokens=9).shape == (1, T + 1)


def test_a_fresh_model_has_no_special_tokens():
    sizes = {"d_model": 18, "n_layers": 1, "n_heads": 3, "d_ff": 8}
    fresh = LlamaConfig(vocab_size=V, max_seq_len=9, **sizes)
    back = Llama(fresh).to_hf()
    config = back.config
    ends = (config.bos_token_id, config.eos_token_id, config.pad_token_id)
    assert ends == (None, None, None)


# --- what is wrong with a file --------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("model.norm.weight"), "missing: model.norm.weight"),
        (lambda w: (w.pop("model.embed_tokens.weight"),
                    w.pop("lm_head.weight")),
         "missing: lm_head.weight .*missing: model.embed_tokens.weight"),
        (lambda w: w.update(extra=torch.ones(1)), "unexpected: extra"),
        (lambda w: w.update({"model.norm.weight": torch.ones(3)}),
         r"misshapen: model.norm.weight \(3,\), want \(24,\)"),
        (lambda w: w.update({"lm_head.weight": torch.ones(V, 24)}),
         "unequal: lm_head.weight and tok_emb.weight"),
        (lambda w: w.update({"model.layers.0.self_attn.q_proj.bias":
                             torch.ones(60)}),
         "unexpected: model.layers.0.self_attn.q_proj.bias"),
        (lambda w: w.update({"model.layers.3.mlp.up_proj.weight":
                             torch.ones(40, 24)}),
         "unexpected: model.layers.3.mlp.up_proj.weight"),
    ],
)  # fmt: skip
def test_wrong_weights(change, message):
    theirs = hf_model(tie_word_embeddings=True)
    weights = dict(theirs.state_dict())
    change(weights)
    with pytest.raises(ValueError, match=f"(?s)weights: got .*{message}"):
        Llama.from_weights(weights, theirs.config)


@pytest.mark.parametrize("lacks", ["lm_head", "model.embed_tokens"])
def test_tied_files_have_either_name(lacks):
    theirs = hf_model(torch.float64, tie_word_embeddings=True)
    weights = dict(theirs.state_dict())
    del weights[f"{lacks}.weight"]
    ours = Llama.from_weights(weights, theirs.config)
    assert ours.lm_head.weight is ours.tok_emb.weight
    torch.testing.assert_close(ours(some_ids()), theirs(some_ids()).logits)


def test_files_of_older_versions_hold_frequencies(tmp_path):
    theirs = hf_model(torch.float64)
    weights = dict(theirs.state_dict())
    for i in range(3):
        name = f"model.layers.{i}.self_attn.rotary_emb.inv_freq"
        weights[name] = torch.zeros(5)
    ours = Llama.from_weights(weights, theirs.config)
    torch.testing.assert_close(ours(some_ids()), theirs(some_ids()).logits)


def test_norms_in_float32_load_as_in_transformers(tmp_path):
    from safetensors.torch import save_file
    from transformers import LlamaForCausalLM

    theirs = hf_model(torch.bfloat16)
    theirs.config.dtype = torch.bfloat16
    weights = {
        name: x.float() + 1e-4 if "norm" in name else x
        for name, x in theirs.state_dict().items()
    }
    theirs.config.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    save_file(weights, path, metadata={"format": "pt"})
    loaded = LlamaForCausalLM.from_pretrained(tmp_path)
    ours = Llama.from_weights(weights, theirs.config)
    ids = some_ids()
    assert {p.dtype for p in ours.parameters()} == {torch.bfloat16}
    for name, x in loaded.state_dict().items():
        assert torch.equal(x, ours.to_hf().state_dict()[name]), name
    assert ours(ids).dtype == loaded(ids).logits.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (None, "weights: got a NoneType, want a dict of tensors"),
        ([1], "weights: got a list"),
        ({"norm": [1.0]}, "weights: got a list as 'norm', want a tensor"),
        ({}, r"weights: got missing: lm_head.weight \(our lm_head.weight\)"),
    ],
)
def test_what_are_no_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        Llama.from_weights(weights, hf_model().config)


@pytest.mark.parametrize("config", [None, {}, "smollm2-135m"])
def test_a_model_wants_a_config_of_ours(config):
    with pytest.raises(ValueError, match=r"config: got .*want a LlamaConfig"):
        Llama(config)


@pytest.mark.parametrize("source", [None, "a name", {}, 3, torch.zeros(1)])
def test_only_a_model_has_weights(source):
    with pytest.raises(ValueError, match=r"hf_model: got a .*, want a model"):
        Llama.from_hf(source)


def test_the_config_may_come_in_four_forms():
    theirs = hf_model(torch.float64)
    weights, want = theirs.state_dict(), Llama.from_hf(theirs)(some_ids())
    config = theirs.config
    ours = LlamaConfig.from_hf(config)
    for form in (config, config.to_dict(), theirs, ours):
        model = Llama.from_weights(weights, form)
        assert torch.equal(model(some_ids()), want)
        assert model.config == ours
