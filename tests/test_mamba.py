"""Mamba against transformers' MambaForCausalLM, no size like another."""

import dataclasses

import pytest
import torch
from handmade.inference.cache import KVCache
from handmade.inference.generate import generate
from handmade.models.mamba import Mamba, MambaBlock, MambaConfig
from handmade.models.state_cache import StateCache
from handmade.parity import parity
from handmade.weights.reference import random_reference
from torch.nn import functional as F
from torch.testing import assert_close

B, T, V = 5, 11, 61
LEFT = torch.tensor([[0] * n + [1] * (T - n) for n in (0, 3, 1, 10, 6)])
MASKS = {"none": None, "left": LEFT, "right": LEFT.flip(-1)}


def hf_model(dtype=torch.float32, **changes):
    from transformers import MambaConfig as HFConfig
    from transformers import MambaForCausalLM

    sizes = {
        "vocab_size": V, "hidden_size": 18, "state_size": 5, "expand": 3,
        "num_hidden_layers": 3, "conv_kernel": 4, "time_step_rank": 7,
        "layer_norm_epsilon": 1e-3, "pad_token_id": 0, "eos_token_id": None,
    }  # fmt: skip
    config = HFConfig(**{**sizes, **changes})
    return random_reference(MambaForCausalLM, config).to(dtype)


def some_ids(length=T, rows=B):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(V, (rows, length), generator=generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("padding", MASKS)
@pytest.mark.parametrize("whole", [True, False])
def test_every_layer_is_equal(dtype, padding, whole):
    theirs = hf_model(dtype, residual_in_fp32=whole)
    mask, ids = MASKS[padding], some_ids()
    given = {} if mask is None else {"attention_mask": mask}
    report = parity(
        Mamba.from_hf(theirs),
        theirs,
        {"ids": ids, **given},
        their_inputs={"input_ids": ids, "use_cache": False, **given},
        layers=Mamba.HF_LAYERS,
        where=None if mask is None else mask.bool(),
        name="tiny Mamba",
    )
    assert len(report.rows) == 3 + 3 * 3
    assert report.tolerance == (1e-4 if dtype == torch.float32 else 1e-10)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 40])
@pytest.mark.parametrize("rows", [1, 3])
def test_any_length(length, rows):
    theirs, ids = hf_model(torch.float64), some_ids(length, rows)
    parity(Mamba.from_hf(theirs), theirs, {"ids": ids},
           their_inputs={"input_ids": ids, "use_cache": False},
           layers=Mamba.HF_LAYERS, name="tiny Mamba")  # fmt: skip


def test_gradients_are_equal(monkeypatch):
    # what is float32 on the way would round the gradients
    theirs = hf_model(torch.float64, residual_in_fp32=False)
    ours, ids = Mamba.from_hf(theirs), some_ids()
    monkeypatch.setattr(torch.Tensor, "float", lambda x: x)
    for block in ours.blocks:
        block.mixer.precision = None
    logits = theirs.lm_head(theirs.backbone(ids, use_cache=False)[0])
    for out in (ours(ids), logits):
        F.cross_entropy(out[:, :-1].flatten(0, 1), ids[:, 1:].flatten())\
            .backward()  # fmt: skip
    their, compared = dict(theirs.named_parameters()), 0
    for pattern, name in Mamba.HF_WEIGHTS.items():
        for i in range(3 if "{}" in pattern else 1):
            if pattern.format(i) not in their:
                continue  # the head, which is the embedding
            got = ours.get_parameter(name.format(i)).grad
            want = their[pattern.format(i)].grad
            scale = want.abs().max()
            assert scale > 0
            assert (got - want).abs().max() <= 1e-10 * scale, name
            compared += 1
    assert compared == len(list(ours.parameters())) == 2 + 10 * 3


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("steps", [(T,), (4, 7), (3, 1, 1, 5, 1), (1,) * T])
def test_cached_equals_uncached(padded, steps):
    model, ids = Mamba.from_hf(hf_model(torch.float64)), some_ids()
    mask, cache, got, at = LEFT if padded else None, StateCache(), [], 0
    for step in steps:
        seen = None if mask is None else mask[:, : at + step]
        got.append(model(ids[:, at : at + step], seen, cache=cache))
        at += step
    assert (cache.length, cache.kept) == (T, 0)
    assert_close(torch.cat(got, 1), model(ids, mask), rtol=1e-7, atol=1e-7)


def test_the_state_does_not_grow():
    model, sizes = Mamba.from_hf(hf_model()), set()
    for length in (1, 7, 300):
        cache = StateCache()
        model(some_ids(length), cache=cache)
        sizes.add(cache.nbytes)
    assert sizes == {4 * B * 3 * 54 * (3 + 5)}


@pytest.mark.parametrize("padded", [False, True])
def test_64_greedy_tokens(padded):
    theirs, ids = hf_model(), some_ids()
    with torch.no_grad():  # loud mixers, or the text repeats one token
        for block in theirs.backbone.layers:
            block.mixer.out_proj.weight.mul_(30)
    mask = LEFT if padded else torch.ones_like(LEFT)
    want = theirs.generate(
        ids, attention_mask=mask, max_new_tokens=64, do_sample=False,
        pad_token_id=0,
    )  # fmt: skip
    got = generate(Mamba.from_hf(theirs), ids, attention_mask=mask,
                   max_new_tokens=64, cache=StateCache())  # fmt: skip
    assert torch.equal(got, want)
    assert min(len(set(row.tolist())) for row in want[:, T:]) > 3


@pytest.mark.parametrize("n", [1, 4, T])
def test_only_the_last_logits(n):
    model, ids = Mamba.from_hf(hf_model(torch.float64)), some_ids()
    assert_close(model(ids, logits_to_keep=n), model(ids)[:, -n:])


def test_the_published_keys_are_read_whole():
    # what the files of state-spaces/mamba-130m-hf say
    config = MambaConfig.from_hf(
        {
            "architectures": ["MambaForCausalLM"], "model_type": "mamba",
            "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
            "conv_kernel": 4, "d_inner": 1536, "d_model": 768, "expand": 2,
            "fused_add_norm": True, "hidden_act": "silu",
            "hidden_size": 768, "initializer_range": 0.1,
            "intermediate_size": 1536, "layer_norm_epsilon": 1e-5,
            "n_layer": 24, "num_hidden_layers": 24,
            "pad_vocab_size_multiple": 8, "residual_in_fp32": True,
            "rescale_prenorm_residual": False, "rms_norm": True,
            "ssm_cfg": {}, "state_size": 16, "time_step_floor": 1e-4,
            "time_step_init_scheme": "random", "time_step_max": 0.1,
            "time_step_min": 0.001, "time_step_rank": 48,
            "time_step_scale": 1.0, "torch_dtype": "float32",
            "transformers_version": "4.39.0", "use_bias": False,
            "use_cache": True, "use_conv_bias": True, "vocab_size": 50280,
        }
    )  # fmt: skip
    with torch.device("meta"):
        model = Mamba(config)
    assert sum(p.numel() for p in model.parameters()) == 129_135_360
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.d_model = 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_bias": True}, "use_bias: got True, want False"),
        ({"hidden_act": "gelu"}, "hidden_act: got 'gelu', want 'silu'"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings: got False"),
        ({"model_type": "falcon_mamba"}, "model_type: got 'falcon_mamba'"),
        ({"mixer_rms_eps": 1e-6}, "mixer_rms_eps: got 1e-06, want a key"),
        ({"expand": 1.5, "intermediate_size": None}, "expand: got 1.5"),
        ({"state_size": 0}, "d_state: got 0"),
    ],
)
def test_other_configs_are_refused(changes, message):
    config = {**hf_model().config.to_dict(), **changes}
    with pytest.raises(ValueError, match=message):
        MambaConfig.from_hf(config)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda m: m(some_ids(), cache=KVCache()),
         "cache: got a KVCache, want a StateCache"),
        (lambda m: m(some_ids().float()), "ids: got dtype"),
        (lambda m: m(some_ids(), LEFT[:2]), r"attention_mask: got \(2, 11\)"),
        (lambda m: m(some_ids(), logits_to_keep=0), "logits_to_keep: got 0"),
        (lambda m: Mamba(3), "config: got int, want a MambaConfig"),
        (lambda m: MambaBlock(m.config, -1), "layer: got -1"),
        (lambda m: Mamba.from_hf(m.config), "hf_model: got a MambaConfig"),
    ],
)  # fmt: skip
def test_wrong_arguments(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong(Mamba.from_hf(hf_model()))
