"""Our GPT-2 among transformers' models, and our attention inside theirs.

The oracle is transformers' own GPT-2 and Llama with the same random weights:
equal logits, equal gradients, equal ids from every way of generating.
"""

import json
from dataclasses import replace

import pytest
import torch
import transformers
from gradient_helpers import assert_equal_with_gradients
from handmade.inference.cache import KVCache
from handmade.inference.generate import generate
from handmade.models.gpt2 import GPT2, GPT2Config
from handmade.registered import (
    HandmadeGPT2,
    HandmadeGPT2Config,
    TheirCache,
    attention_forward,
    whole_mask,
)
from hf_helpers import GPT_2, LLAMA, batch, drawn
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

VOCAB = GPT_2.vocab_size


@pytest.fixture
def theirs():
    return drawn(transformers.GPT2LMHeadModel, GPT_2)


@pytest.fixture
def ours(theirs):
    return GPT2.from_hf(theirs)


@pytest.fixture
def registered(ours):
    return HandmadeGPT2.of(ours)


# -- saved and loaded


def test_it_is_saved_under_our_names_and_found_by_the_auto_classes(
    registered, ours, tmp_path
):
    registered.save_pretrained(tmp_path, max_shard_size="5kB")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "handmade-gpt2"
    assert config["architectures"] == ["HandmadeGPT2"]
    assert "auto_map" not in config
    index = json.loads(
        (tmp_path / "model.safetensors.index.json").read_text()
    )["weight_map"]
    names = {f"model.{n}" for n, _ in ours.named_parameters()}
    assert index.keys() == names
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again) is HandmadeGPT2
    for name, tensor in ours.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor)
    assert again.model.lm_head.weight is again.model.tok_emb.weight
    assert again.model.config == ours.config
    assert not again.training


@pytest.mark.parametrize(
    "changes",
    [
        {"activation": "relu", "norm_eps": 0.1, "scale_by_layer": True},
        {"tie_embeddings": False, "scale_attn": False, "d_ff": 9},
    ],
)
def test_every_size_survives_the_file(changes, tmp_path):
    config = replace(GPT2Config.from_hf(GPT_2), **changes)
    ours = GPT2(config).eval()
    HandmadeGPT2.of(ours).save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.model.config == config
    assert again.config.eos_token_id == 30
    ids, mask, _ = batch(VOCAB)
    with torch.no_grad():
        assert torch.equal(again(ids, mask).logits, ours(ids, mask))
    for name, tensor in ours.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name


def test_transformers_finds_its_own_names_for_sizes(registered):
    config = registered.config
    assert config.hidden_size == 12
    assert config.num_hidden_layers == 5
    assert config.num_attention_heads == 3
    assert config.max_position_embeddings == 16
    assert config.tie_word_embeddings is True
    assert AutoConfig.for_model("handmade-gpt2").__class__ is (
        HandmadeGPT2Config
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_dtype_is_the_one_that_was_saved(ours, dtype, tmp_path):
    model = HandmadeGPT2.of(ours.to(dtype))
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.dtype == dtype
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_what_is_missing_is_drawn_and_what_was_read_stays(
    registered, tmp_path
):
    """The table of positions is no nn.Embedding: it would stay memory."""
    from safetensors.torch import load_file, save_file

    registered.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    lost = ["model.pos_emb.weight", "model.blocks.2.ffn.up_proj.weight"]
    for name in lost:
        del weights[name]
    save_file(weights, path, metadata={"format": "pt"})
    torch.manual_seed(0)
    again, info = AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert info["missing_keys"] == set(lost)
    for name in lost:
        assert 0.01 < again.state_dict()[name].std() < 0.03
    for name, tensor in weights.items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_a_fresh_one_is_drawn_as_transformers_draws(registered):
    torch.manual_seed(0)
    fresh = AutoModelForCausalLM.from_config(registered.config)
    for name, parameter in fresh.named_parameters():
        if parameter.ndim == 2:
            assert 0.015 < parameter.std() < 0.025, name
    assert fresh.model.lm_head.weight is fresh.model.tok_emb.weight


# -- called


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pad", ["left", "right"])
def test_logits_are_those_of_transformers(theirs, dtype, pad):
    theirs = theirs.to(dtype)
    registered = HandmadeGPT2.of(GPT2.from_hf(theirs))
    ids, mask, positions = batch(VOCAB, pad)
    with torch.no_grad():
        want = theirs(ids, attention_mask=mask, position_ids=positions).logits
        for given in ({}, {"position_ids": positions}):
            got = registered(ids, attention_mask=mask, **given)
            real = mask.bool()
            atol = 1e-10 if dtype == torch.float64 else 1e-5
            assert_close(got.logits[real], want[real], rtol=0, atol=atol)
            assert got.past_key_values is None
        last = registered(ids, attention_mask=mask, logits_to_keep=2).logits
        assert torch.equal(last, got.logits[:, -2:])


def test_the_loss_and_its_gradients_are_those_of_transformers(theirs):
    theirs = theirs.double()
    registered = HandmadeGPT2.of(GPT2.from_hf(theirs))
    ids, _, _ = batch(VOCAB)
    labels = ids.clone()
    labels[1, 3:] = -100
    ours_loss = registered(ids, labels=labels).loss
    their_loss = theirs(ids, labels=labels).loss
    assert_close(ours_loss, their_loss, rtol=1e-12, atol=0)
    ours_loss.backward()
    their_loss.backward()
    want = theirs.transformer.wte.weight.grad
    got = registered.model.tok_emb.weight.grad
    assert_close(got, want, rtol=0, atol=1e-10 * want.abs().max().item())


def test_the_cache_of_transformers_gives_what_no_cache_gives(registered):
    ids, mask, _ = batch(VOCAB)
    with torch.no_grad():
        whole = registered(ids, attention_mask=mask).logits
        cache = DynamicCache(config=registered.config)
        for start, end in ((0, 4), (4, 5), (5, 5 + 3), (8, 9)):
            out = registered(
                ids[:, start:end],
                attention_mask=mask[:, :end],
                past_key_values=cache,
            )
            assert out.past_key_values is cache
            real = mask[:, start:end].bool()
            assert_close(out.logits[real], whole[:, start:end][real])
        assert cache.get_seq_length() == 9
        made = registered(ids, attention_mask=mask, use_cache=True)
        assert made.past_key_values.get_seq_length() == 9


def test_a_cache_that_we_cannot_read_is_refused(registered):
    from transformers import StaticCache

    cache = StaticCache(config=registered.config, max_cache_len=16)
    with pytest.raises(ValueError, match=r"^past_key_values: got .* want"):
        registered(torch.tensor([[1, 2]]), past_key_values=cache)
    for other in (KVCache(), (), object()):
        with pytest.raises(ValueError, match=r"^past_key_values: got .* want"):
            TheirCache(other)


def test_an_argument_that_is_not_known_is_not_passed_over(registered):
    with pytest.raises(TypeError, match="token_type_ids"):
        registered(torch.tensor([[1]]), token_type_ids=torch.tensor([[0]]))


def test_only_our_own_attention_is_offered(registered, tmp_path):
    registered.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does not support"):
        AutoModelForCausalLM.from_pretrained(
            tmp_path, attn_implementation="sdpa"
        )


# -- generated from

WAYS = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "temperature": 0.7, "top_k": 9},
    "nucleus": {"do_sample": True, "top_p": 0.8, "top_k": 0},
    "penalty": {"do_sample": False, "repetition_penalty": 1.7},
    "beams": {"do_sample": False, "num_beams": 3},
    "sampled beams": {"do_sample": True, "num_beams": 2},
    "returned": {"do_sample": True, "num_return_sequences": 3},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("use_cache", [True, False])
def test_generate_gives_the_ids_of_transformers_own(
    registered, theirs, way, use_cache
):
    ids, mask, _ = batch(VOCAB)
    found = []
    for model in (registered, theirs):
        torch.manual_seed(3)
        found.append(
            model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=7,
                pad_token_id=0,
                use_cache=use_cache,
                **WAYS[way],
            )
        )
    assert found[0].shape[1] > ids.shape[1]
    assert torch.equal(*found)


def test_greedy_ids_are_those_of_our_own_loop(registered, ours):
    ids, mask, _ = batch(VOCAB)
    got = registered.generate(
        ids, attention_mask=mask, max_new_tokens=7, do_sample=False,
        eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    want = generate(ours, ids, attention_mask=mask, max_new_tokens=7)
    assert torch.equal(got, want)


def test_generation_goes_on_from_a_cache(registered, theirs):
    ids, _, _ = batch(VOCAB)
    found = []
    for model in (registered, theirs):
        cache = DynamicCache(config=model.config)
        first = model.generate(
            ids, past_key_values=cache, max_new_tokens=2, do_sample=False,
            eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        found.append(model.generate(
            first, past_key_values=cache, max_new_tokens=4, do_sample=False,
            eos_token_id=None, pad_token_id=0,
        ))  # fmt: skip
    assert found[0].shape == (4, 15)
    assert torch.equal(*found)


def test_the_pipeline_runs_it(registered, theirs, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {f"w{i}": i for i in range(VOCAB)}
    raw = Tokenizer(models.WordLevel(words, unk_token="w0"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="w30", pad_token="w30"
    )
    registered.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    texts = ["w3 w9 w27 w1", "w5", "w8 w8"]
    found = []
    for model in (str(tmp_path), theirs):
        run = transformers.pipeline(
            "text-generation", model=model, tokenizer=tokenizer
        )
        run.tokenizer.padding_side = "left"
        found.append(
            run(texts, max_new_tokens=5, do_sample=False, batch_size=3)
        )
    assert found[0] == found[1]
    assert len(found[0]) == 3


# -- our attention inside theirs


def pair(kind, dtype=torch.float64):
    """Return transformers' model with its own attention and with ours."""
    theirs = {
        "llama": (transformers.LlamaForCausalLM, LLAMA),
        "gpt2": (transformers.GPT2LMHeadModel, GPT_2),
    }[kind]
    found = []
    for name in ("sdpa", "handmade"):
        model = drawn(*theirs).to(dtype)
        model.set_attn_implementation(name)
        found.append(model)
    return found


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("pad", ["left", "right", None])
def test_their_models_run_on_our_attention(kind, pad):
    theirs, on_ours = pair(kind)
    ids, mask, positions = batch(29, pad or "left")
    mask = torch.ones_like(mask) if pad is None else mask
    given = {"attention_mask": mask, "position_ids": positions}
    if pad is None:
        given = {}
    with torch.no_grad():
        want, got = theirs(ids, **given).logits, on_ours(ids, **given).logits
    real = mask.bool()
    assert_close(got[real], want[real], rtol=0, atol=1e-10)
    found = []
    for model in (theirs, on_ours):
        if pad != "right":
            found.append(model.generate(
                ids, attention_mask=mask, max_new_tokens=6, do_sample=False,
                eos_token_id=None, pad_token_id=0,
            ))  # fmt: skip
    assert not found or torch.equal(*found)


def test_gradients_through_our_attention_are_theirs():
    theirs, on_ours = pair("llama")
    ids, _, _ = batch(29)
    x = theirs.model.embed_tokens(ids).detach()
    pairs = [
        (b, a)
        for (n, a), b in zip(
            theirs.named_parameters(), on_ours.parameters(), strict=True
        )
        if "embed_tokens" not in n
    ]
    assert_equal_with_gradients(
        lambda x: on_ours(inputs_embeds=x).logits,
        lambda x: theirs(inputs_embeds=x).logits,
        [x],
        pairs,
    )


def test_the_scores_can_be_looked_at():
    _, on_ours = pair("llama")
    ids, _, _ = batch(29)
    (first, *_) = on_ours(ids, output_attentions=True).attentions
    eager, _ = pair("llama")
    eager.set_attn_implementation("eager")
    want = eager(ids, output_attentions=True).attentions[0]
    assert_close(first, want, rtol=0, atol=1e-6)


def test_an_attention_without_its_mask_is_refused():
    """Of a name without a mask function transformers makes no mask at all."""
    ALL_ATTENTION_FUNCTIONS.register("maskless", attention_forward)
    try:
        _, model = pair("llama")
        model.set_attn_implementation("maskless")
        with pytest.raises(
            ValueError, match=r"^attention_mask: got None in a"
        ):
            model(torch.tensor([[1, 2, 3]]))
        model(torch.tensor([[1]]))  # one token has no future
    finally:
        del ALL_ATTENTION_FUNCTIONS._global_mapping["maskless"]


@pytest.mark.parametrize(
    "option",
    [
        {"dropout": 0.1},
        {"position_bias": torch.zeros(1)},
        {"s_aux": torch.zeros(1)},
        {"cache": object()},
    ],
)
def test_what_ours_does_not_compute_is_refused(option):
    q = torch.randn(2, 3, 4, 5)
    mask = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    (name,) = option
    with pytest.raises(ValueError, match=f"^{name}: got .* want nothing"):
        attention_forward(torch.nn.Module(), q, q, q, mask, **option)


def test_a_soft_cap_is_that_of_the_eager_attention():
    from transformers.models.gemma2.modeling_gemma2 import (
        eager_attention_forward,
    )

    q, k = torch.randn(2, 6, 4, 5), torch.randn(2, 2, 4, 5)
    module = torch.nn.Module()
    module.num_key_value_groups = 3
    module.training, module.is_causal = False, False
    mask = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    want, weights = eager_attention_forward(
        module, q, k, k, None, scaling=0.3, softcap=2.0
    )
    got = attention_forward(module, q, k, k, mask, scaling=0.3, softcap=2.0)
    assert_close(got[0], want)
    assert_close(got[1], weights)


def test_the_mask_is_whole_even_where_theirs_is_none():
    options = {"batch_size": 2, "q_length": 3, "kv_length": 3}
    mask = whole_mask(**options, allow_is_causal_skip=True)
    assert torch.equal(mask[1, 0], torch.ones(3, 3).tril().bool())
