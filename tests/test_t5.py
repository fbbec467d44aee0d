"""T5 against transformers: tiny random configs, no size equal to another.

Every parameter is random. Transformers' eager attention adds the bias and
takes its softmax in the scores' dtype, so both back ends do in float64.
"""

import dataclasses
import json

import pytest
import torch
from handmade.blocks.cross_attention import CrossAttention
from handmade.contracts import Decoder
from handmade.inference.beam import beam_search
from handmade.inference.cache import KVCache
from handmade.inference.encoder_decoder import EncoderDecoderCache
from handmade.inference.generate import generate
from handmade.models.t5 import PRESETS, T5, T5Config, shift_right
from handmade.models.t5_positions import RelativeBias, relative_bucket
from handmade.parity import parity
from handmade.tolerances import TOLERANCES
from handmade.weights.reference import random_reference
from torch.nn import functional as F

B, S, T, V = 5, 11, 7, 61


def padded(length: int, *hidden: int) -> torch.Tensor:
    rows = [[0] * n + [1] * (length - n) for n in hidden]
    return torch.tensor(rows)


READ = padded(S, 0, 3, 1, 10, 6)
WRITTEN = padded(T, 2, 0, 6, 1, 3)
SIDES = {
    "none": (None, None),
    "left": (READ, WRITTEN),
    "right": (READ.flip(-1), WRITTEN.flip(-1)),
    "mixed": (READ.flip(-1), WRITTEN),
    "read only": (READ, None),
}
KINDS = {
    "plain, tied": {},
    "gated, untied": {
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
    },
    "gated silu": {"feed_forward_proj": "gated-silu"},
    "gelu": {"feed_forward_proj": "gelu", "tie_word_embeddings": False},
}


BOTH = [(torch.float32, "sdpa"), (torch.float64, "sdpa"),
        (torch.float64, "eager")]  # fmt: skip


def hf_model(dtype=torch.float32, attn="sdpa", seed=0, **changes):
    from transformers import T5Config as HFConfig
    from transformers import T5ForConditionalGeneration

    sizes = {
        "vocab_size": V, "d_model": 24, "d_kv": 10, "d_ff": 40,
        "num_layers": 3, "num_decoder_layers": 2, "num_heads": 6,
        "relative_attention_num_buckets": 8, "layer_norm_epsilon": 1e-3,
        "relative_attention_max_distance": 9, "decoder_start_token_id": 0,
    }  # fmt: skip
    untied = changes.get("tie_word_embeddings") is False
    config = HFConfig(**{**sizes, **changes}, attn_implementation=attn)
    model = random_reference(T5ForConditionalGeneration, config, seed)
    if untied:  # in transformers 5 only a file can part them
        head = model.lm_head.weight.flip(0).detach().clone()
        model.lm_head.weight = torch.nn.Parameter(head)
        model.all_tied_weights_keys.pop("lm_head.weight")
    return model.to(dtype)


def some_ids(length: int = S, rows: int = B, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + length)
    return torch.randint(2, V, (rows, length), generator=generator)


def both_calls(ids, written, read_mask=None, written_mask=None) -> dict:
    return {
        "inputs": {
            "ids": ids,
            "decoder_ids": written,
            "attention_mask": read_mask,
            "decoder_attention_mask": written_mask,
        },
        "their_inputs": {
            "input_ids": ids,
            "decoder_input_ids": written,
            "attention_mask": read_mask,
            "decoder_attention_mask": written_mask,
            "use_cache": False,
        },
    }


def real_tokens(read_mask, written_mask) -> dict | None:
    """Compare each stack on its own real tokens; the biases everywhere."""
    if read_mask is None:
        return None
    found = {}
    for name in T5.HF_LAYERS:
        reads = name.startswith("encoder") or name == "tok_emb[0]"
        mask = read_mask if reads else written_mask
        if mask is not None and not name.endswith("bias"):
            found[name] = mask.bool()
    return found


# --- equal, layer by layer --------------------------------------------------


@pytest.mark.parametrize(("dtype", "attn"), BOTH)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", SIDES)
def test_every_layer_is_equal(dtype, attn, kind, side):
    theirs = hf_model(dtype, attn, **KINDS[kind])
    masks = SIDES[side]
    report = parity(
        T5.from_hf(theirs),
        theirs,
        **both_calls(some_ids(S), some_ids(T), *masks),
        layers=T5.HF_LAYERS,
        where=real_tokens(*masks),
        name="tiny T5",
    )
    assert len(report.rows) == 2 + 2 + 5 * 3 + 7 * 2 + 4
    assert report.tolerance == TOLERANCES[dtype]
    assert theirs.config.scale_decoder_outputs == (
        KINDS[kind].get("tie_word_embeddings", True)
    )


@pytest.mark.parametrize("lengths", [(1, 1), (1, 9), (9, 1), (40, 2), (3, 50)])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_any_length_and_batch(lengths, rows):
    theirs = hf_model(torch.float64)
    S, T = lengths
    parity(
        T5.from_hf(theirs),
        theirs,
        **both_calls(some_ids(S, rows), some_ids(T, rows)),
        layers=T5.HF_LAYERS,
        name="tiny T5",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_equal(kind):
    theirs = hf_model(torch.float64, **KINDS[kind])
    ours = T5.from_hf(theirs)
    labels = some_ids(T).masked_fill(WRITTEN.flip(-1) == 0, -100)
    want = theirs(some_ids(), attention_mask=READ, labels=labels).loss
    logits = ours(some_ids(), shift_right(labels), READ)
    got = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)
    want.backward()
    got.backward()
    with torch.no_grad():  # gradients under their names, as weights are
        for parameter in ours.parameters():
            parameter.copy_(parameter.grad)
    grads = ours.to_hf().state_dict()
    for name, p in theirs.named_parameters():
        scale = p.grad.abs().max()
        assert scale > 0, name
        assert (grads[name] - p.grad).abs().max() <= 1e-10 * scale, name


def test_shift_right_is_theirs():
    theirs = hf_model(decoder_start_token_id=5, pad_token_id=3)
    labels = some_ids(T)
    labels[1, 4:] = -100
    labels[2, :3] = -100
    got = shift_right(labels, start_id=5, pad_id=3)
    assert torch.equal(got, theirs._shift_right(labels))
    assert (got == 3).sum() == 3 + 2
    assert torch.equal(shift_right(labels[0])[1:], labels[0, :-1])


# --- what T5 has and others have not ----------------------------------------


@pytest.mark.parametrize(
    ("n_buckets", "farthest"), [(32, 128), (8, 9), (4, 3), (7, 20), (33, 200)]
)
@pytest.mark.parametrize("both_ways", [True, False])
def test_the_bucket_of_every_distance(n_buckets, farthest, both_ways):
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(-400, 401)
    want = T5Attention._relative_position_bucket(
        distance, both_ways, n_buckets, farthest
    )
    got = relative_bucket(distance, n_buckets, farthest, both_ways=both_ways)
    assert torch.equal(got, want)
    assert got.max() == (n_buckets // 2 * 2 if both_ways else n_buckets) - 1


def test_one_table_a_stack_and_none_in_cross_attention():
    model = T5.from_hf(hf_model())
    tables = [n for n, m in model.named_modules() if type(m) is RelativeBias]
    assert tables == ["encoder.bias", "decoder.bias"]
    assert model.encoder.bias.both_ways
    assert not model.decoder.bias.both_ways
    # exchanging the tokens that are read, with what they are, is not seen
    model, y = model.double(), torch.randn(1, 9, 24).double()
    x = torch.randn(1, 4, 24).double()
    cross = model.decoder.blocks[0].cross_attn
    order = torch.randperm(9)
    torch.testing.assert_close(cross(x, y), cross(x, y[:, order]))


def test_scores_are_not_divided():
    model, ids, written = T5.from_hf(hf_model()), some_ids(), some_ids(T)
    want = model(ids, written)
    for module in model.modules():
        if hasattr(module, "score_options"):
            assert module.score_options == {"scale": 1.0}
            module.score_options = {}
    assert (model(ids, written) - want).abs().max() > 0.01


@pytest.mark.parametrize("steps", [(7,), (4, 3), (1,) * 7, (2, 1, 4)])
@pytest.mark.parametrize("side", SIDES)
def test_cached_equals_uncached(steps, side):
    theirs = hf_model(torch.float64, relative_attention_max_distance=5)
    model = T5.from_hf(theirs)
    ids, written = some_ids(), some_ids(T)
    read, mask = SIDES[side]
    want = model(ids, written, read, decoder_attention_mask=mask)
    cache, got, at = EncoderDecoderCache(), [], 0
    encoded = []
    model.encoder.register_forward_hook(lambda *_: encoded.append(1))
    model.decoder.blocks[1].cross_attn.k_proj.register_forward_hook(
        lambda *_: encoded.append(2)
    )
    for step in steps:
        seen = None if mask is None else mask[:, : at + step]
        new = written[:, at : at + step]
        got.append(
            model(ids, new, read, decoder_attention_mask=seen, cache=cache)
        )
        at += step
    assert cache.length == cache.kept == T
    assert encoded == [1, 2]  # read once, keys and values included
    torch.testing.assert_close(torch.cat(got, 1), want, rtol=0, atol=1e-10)


def test_the_bias_of_each_cached_step_is_the_last_row_of_the_whole():
    for n_buckets, farthest in ((32, 128), (8, 9)):
        bias = RelativeBias(3, n_buckets, farthest, both_ways=False)
        whole = bias(150, 150)
        for length in range(1, 151):
            step = bias(1, length)
            row = whole[:, :, length - 1, :length]
            assert torch.equal(step[..., 0, :], row)


def test_both_texts_are_reordered():
    model = T5.from_hf(hf_model(torch.float64))
    ids, written = some_ids(), some_ids(T)
    order, cache = torch.tensor([3, 0, 0, 4]), EncoderDecoderCache()
    model(ids, written[:, :4], READ, cache=cache)
    cache.reorder(order)
    got = model(ids, written[order, 4:], READ, cache=cache)
    want = model(ids[order], written[order], READ[order])[:, 4:]
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
    assert repr(cache).endswith("a text read)")


# --- padding, the future ----------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_never_leaks_and_is_never_nan(side):
    model = T5.from_hf(hf_model())
    read, mask = SIDES[side]
    ids, written = some_ids(), some_ids(T)
    logits = model(ids, written, read, decoder_attention_mask=mask)
    assert logits.isfinite().all()
    other = model(
        ids.where(read.bool(), 7),
        written.where(mask.bool(), 9),
        read,
        decoder_attention_mask=mask,
    )
    real = mask.bool()
    assert torch.equal(logits[real], other[real])
    # each row says what it says alone, without its padding
    for i in range(B):
        a, b = ids[i][read[i].bool()], written[i][real[i]]
        alone = model(a[None], b[None])[0]
        torch.testing.assert_close(
            logits[i][real[i]], alone, rtol=1e-4, atol=1e-5
        )


def test_a_row_of_padding_harms_nobody():
    model, read = T5.from_hf(hf_model()), READ.clone()
    read[2] = 0
    logits = model(some_ids(), some_ids(T), read)
    assert logits.isfinite().all()
    logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_the_future_is_not_seen_and_all_of_the_text_is():
    model, ids, written = T5.from_hf(hf_model()), some_ids(), some_ids(T)
    later, read = written.clone(), ids.clone()
    later[:, 4] += 1
    read[:, -1] = (read[:, -1] + 1) % V
    logits = model(ids, written)
    assert torch.equal(model(ids, later % V)[:, :4], logits[:, :4])
    assert (model(read, written) != logits).any(-1).all()


# --- generation --------------------------------------------------------------


def lively(kind):
    """A reference whose greedy text does not settle on one token."""
    theirs = hf_model(torch.float64, **KINDS[kind])
    tied = theirs.config.scale_decoder_outputs
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if tied and "decoder.block" in name:
                parameter.mul_(10 if "relative" in name else 5)
            elif not tied and ("EncDec" in name or "Dense" in name):
                parameter.mul_(2)
    return theirs


START = torch.zeros(B, 1, dtype=torch.long)


@pytest.mark.parametrize("kind", ["plain, tied", "gated, untied"])
@pytest.mark.parametrize("mask", [None, READ, READ.flip(-1)])
def test_greedy_tokens(kind, mask):
    theirs = lively(kind)
    want = theirs.generate(
        some_ids(), attention_mask=torch.ones(B, S).long() if mask is None
        else mask, max_new_tokens=40, do_sample=False, eos_token_id=None,
    )  # fmt: skip
    model = T5.from_hf(theirs)
    writer = model.decoder_for(some_ids(), mask)
    for cache in (None, EncoderDecoderCache()):
        got = generate(writer, START, max_new_tokens=40, cache=cache)
        assert torch.equal(got, want)
    got = generate(writer, START, max_new_tokens=40, use_cache=False)
    assert torch.equal(got, want)
    assert sum(len(set(row.tolist())) for row in want) > 6 * B


@pytest.mark.parametrize("kind", ["plain, tied", "gated, untied"])
@pytest.mark.parametrize("mask", [None, READ])
def test_beams(kind, mask):
    theirs = lively(kind)
    want = theirs.generate(
        some_ids(), attention_mask=torch.ones(B, S).long() if mask is None
        else mask, max_new_tokens=15, do_sample=False, num_beams=4,
        eos_token_id=3, pad_token_id=9, num_return_sequences=2,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    writer = T5.from_hf(theirs).decoder_for(some_ids(), mask)
    for cache, use_cache in (
        (None, True), (EncoderDecoderCache(), True), (None, False),
    ):  # fmt: skip
        got = beam_search(
            writer, START, num_beams=4, max_new_tokens=15, eos_id=3, pad_id=9,
            num_return_sequences=2, cache=cache, use_cache=use_cache,
        )  # fmt: skip
        assert torch.equal(got.ids, want.sequences)
        torch.testing.assert_close(
            got.scores, want.sequences_scores, rtol=1e-4, atol=1e-4
        )


def test_a_writer_is_called_as_the_contract_says():
    import inspect

    def parameters(function):
        found = inspect.signature(function).parameters.values()
        return [(p.name, p.kind, p.default) for p in found]

    model = T5.from_hf(hf_model(torch.float64))
    writer, written = model.decoder_for(some_ids(), READ), some_ids(T)
    assert parameters(type(writer).forward) == parameters(Decoder.__call__)
    want = model(some_ids(), written, READ, decoder_attention_mask=WRITTEN)
    got = writer(written, WRITTEN)
    torch.testing.assert_close(got[WRITTEN.bool()], want[WRITTEN.bool()])
    causal = torch.ones(T, T).bool().tril()
    again = writer(written, WRITTEN, mask=causal, logits_to_keep=2)
    torch.testing.assert_close(again, got[:, -2:])
    # several rows a text, as beams have them
    twice = written.repeat_interleave(2, 0)
    torch.testing.assert_close(writer(twice)[::2], writer(written))


# --- files -------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_to_hf_gives_the_same_model_back(kind, dtype, tmp_path):
    from transformers import T5ForConditionalGeneration

    special = {
        "decoder_start_token_id": 4, "pad_token_id": 3, "eos_token_id": [5, 6],
        "dropout_rate": 0.25, "task_specific_params": {"a": {"prefix": "b: "}},
    }  # fmt: skip
    theirs = hf_model(dtype, "sdpa", **KINDS[kind], **special)
    back = T5.from_hf(theirs).to_hf()
    assert back.config.to_dict() == theirs.config.to_dict()
    want, got = theirs.state_dict(), back.state_dict()
    assert list(want) == list(got)
    for name, x in want.items():
        assert torch.equal(got[name], x), name
        assert got[name].dtype == dtype
    tied = KINDS[kind].get("tie_word_embeddings", True)
    assert (back.lm_head.weight is back.shared.weight) == tied
    assert back.encoder.embed_tokens.weight is back.shared.weight
    call = {"input_ids": some_ids(), "decoder_input_ids": some_ids(T)}
    assert torch.equal(back(**call).logits, theirs(**call).logits)
    # and as files, which plain transformers reads
    back.save_pretrained(tmp_path)
    read = T5ForConditionalGeneration.from_pretrained(tmp_path, dtype=dtype)
    for name, x in read.state_dict().items():  # some it keeps in float32
        assert torch.equal(x.to(dtype), want[name]), name
    said = json.loads((tmp_path / "config.json").read_text())
    assert T5.from_hf(read).config == T5.from_hf(theirs).config
    assert said["scale_decoder_outputs"] == tied


def test_to_hf_of_a_fresh_model():
    for tie in (True, False):
        config = T5Config(
            vocab_size=V, d_model=18, n_layers=2, n_decoder_layers=1,
            n_heads=3, d_head=8, d_ff=28, n_buckets=10, max_distance=20,
            norm_eps=1e-4, gated=True, activation="gelu",
            tie_embeddings=tie,
        )  # fmt: skip
        model = T5(config).eval()
        theirs = model.to_hf()
        assert T5.from_hf(theirs).config == config
        assert theirs.config.decoder_start_token_id == 0
        want = theirs(some_ids(), decoder_input_ids=some_ids(T)).logits
        torch.testing.assert_close(model(some_ids(), some_ids(T)), want)


def test_it_begins_at_the_size_that_theirs_begins_at():
    model = T5(T5Config(
        vocab_size=900, d_model=96, n_layers=1, n_heads=5, d_head=40,
        d_ff=300, gated=True,
    ))  # fmt: skip
    from transformers import T5ForConditionalGeneration

    theirs = T5ForConditionalGeneration(model.to_hf().config)
    fresh = T5.from_hf(theirs)
    for (name, a), b in zip(
        model.named_parameters(), fresh.parameters(), strict=True
    ):
        if "norm" in name:
            assert torch.equal(a, b)
        else:
            assert 0.8 < a.std() / b.std() < 1.25, name


def test_weights_are_copied_not_shared():
    theirs = hf_model()
    ours = T5.from_hf(theirs)
    with torch.no_grad():
        ours.tok_emb.weight.zero_()
    assert theirs.shared.weight.abs().sum() > 0
    assert ours.lm_head.weight.abs().sum() == 0
    assert all(p.requires_grad for p in ours.parameters())


def test_old_files():
    theirs = hf_model()
    weights = {
        name: x for name, x in theirs.state_dict().items()
        if "embed_tokens" not in name and "lm_head" not in name
    }  # fmt: skip
    table = T5.HF_UNUSED[0]
    ours = T5.from_weights({**weights, table: torch.zeros(8, 6)}, theirs)
    want = theirs(some_ids(), decoder_input_ids=some_ids(T)).logits
    torch.testing.assert_close(ours(some_ids(), some_ids(T)), want)
    # the embedding by another of its names
    copy = weights.pop("shared.weight")
    other = "encoder.embed_tokens.weight"
    again = T5.from_weights({**weights, other: copy}, theirs)
    assert torch.equal(again.tok_emb.weight, copy)
    for extra, message in (
        ({"shared.weight": copy, other: copy + 1}, f"{other} unlike shared"),
        ({}, "missing: .*shared.weight"),
        ({"shared.weight": copy, "x": copy}, "unexpected: x"),
        ({"shared.weight": copy[:, 1:]}, "misshapen: shared.weight"),
    ):
        with pytest.raises(ValueError, match=message):
            T5.from_weights({**weights, **extra}, theirs)
    # a head of its own is not made of the embedding
    raw = {**theirs.config.to_dict(), "tie_word_embeddings": False}
    with pytest.raises(ValueError, match=r"missing: lm_head.weight"):
        T5.from_weights({**weights, "shared.weight": copy}, raw)


def test_the_other_feed_forward_layer_is_refused():
    gated = hf_model(**KINDS["gated silu"])
    plain = hf_model()
    with pytest.raises(ValueError, match=r"unexpected: .*wi_0.weight"):
        T5.from_weights(gated.state_dict(), plain)
    with pytest.raises(ValueError, match=r"missing: .*wi_0.weight"):
        T5.from_weights(plain.state_dict(), gated)


@pytest.mark.parametrize("call", ["forward", "decoder_for"])
def test_float16_is_refused_and_float32_is_one_call_away(call):
    model = T5.from_hf(hf_model(torch.float16))
    assert model.tok_emb.weight.dtype == torch.float16
    arguments = (some_ids(), some_ids(T))[: 1 + (call == "forward")]
    with pytest.raises(ValueError, match=r"dtype: got torch.float16, want f"):
        getattr(model, call)(*arguments)
    assert model.float()(some_ids(), some_ids(T)).isfinite().all()
    assert model.bfloat16()(some_ids(), some_ids(T)).isfinite().all()


def test_why_float16_is_refused():
    # what the feed-forward layers of a large T5 do: it passes 65,504
    theirs = hf_model()
    with torch.no_grad():
        theirs.decoder.block[0].layer[2].DenseReluDense.wi.weight.mul_(3e4)
        theirs.decoder.block[0].layer[2].DenseReluDense.wo.weight.mul_(1e4)
    call = {"input_ids": some_ids(), "decoder_input_ids": some_ids(T)}
    assert theirs(**call).logits.isfinite().all()
    assert not theirs.half()(**call).logits.isfinite().all()


# --- configs -----------------------------------------------------------------

FLAN = {
    "architectures": ["T5ForConditionalGeneration"], "d_ff": 1024, "d_kv": 64,
    "d_model": 512, "decoder_start_token_id": 0, "dropout_rate": 0.1,
    "eos_token_id": 1, "feed_forward_proj": "gated-gelu",
    "initializer_factor": 1.0, "is_encoder_decoder": True,
    "layer_norm_epsilon": 1e-06, "model_type": "t5", "n_positions": 512,
    "num_decoder_layers": 8, "num_heads": 6, "num_layers": 8,
    "output_past": True, "pad_token_id": 0,
    "relative_attention_max_distance": 128,
    "relative_attention_num_buckets": 32, "tie_word_embeddings": False,
    "transformers_version": "4.23.1", "use_cache": True, "vocab_size": 32128,
}  # fmt: skip
SMALL = {
    "d_ff": 2048, "d_kv": 64, "d_model": 512, "num_heads": 8, "num_layers": 6,
    "vocab_size": 32128, "model_type": "t5",
}  # fmt: skip


def test_published_configs_are_the_presets():
    assert T5Config.from_hf(FLAN) == T5Config.from_name("flan-t5-small")
    assert T5Config.from_hf(SMALL) == T5Config.from_name("t5-small")
    assert not T5Config.from_hf(FLAN).scale_output
    assert T5Config.from_hf(SMALL).scale_output


# published sizes of the checkpoints, to the last parameter
SIZES = {
    "t5-small": 60_506_624,
    "t5-base": 222_903_552,
    "t5-v1_1-small": 76_961_152,
    "flan-t5-small": 76_961_152,
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_published_size(name):
    with torch.device("meta"):
        model = T5(T5Config.from_name(name))
    assert sum(p.numel() for p in model.parameters()) == SIZES[name]
    assert T5.from_name(name, n_layers=1, d_model=8, vocab_size=9, d_ff=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mt5"}, "model_type: got 'mt5'"),
        ({"is_decoder": True}, "is_decoder: got True"),
        ({"feed_forward_proj": "swish"}, "feed_forward_proj: got 'swish'"),
        ({"feed_forward_proj": "gated-swish"}, "got 'gated-swish'"),
        ({"feed_forward_proj": None}, "feed_forward_proj: got None"),
        ({"dense_act_fn": "tanh"}, "activation: got 'tanh'"),
        ({"is_gated_act": 1}, "gated: got an int"),
        ({"quantization_config": {"bits": 4}}, "quantization_config: got {"),
        ({"n_experts": 8}, "n_experts: got 8"),
        ({"encoder_layers": 8}, "encoder_layers: got 8"),
        ({"num_layers": 0}, "n_layers: got 0"),
        ({"num_decoder_layers": 1.5}, "n_decoder_layers: got 1.5"),
        ({"relative_attention_num_buckets": 3}, "n_buckets: got 3"),
        ({"relative_attention_max_distance": 16}, "max_distance: got 16"),
        ({"layer_norm_epsilon": 0}, "norm_eps: got 0"),
        ({"tie_word_embeddings": None}, "tie_embeddings: got None"),
        ({"scale_decoder_outputs": 3}, "scale_output: got an int"),
    ],
)
def test_what_is_not_implemented_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        T5Config.from_hf({**SMALL, **changes})


@pytest.mark.parametrize("key", sorted(SMALL.keys() - {"model_type"}))
def test_sizes_have_no_default(key):
    config = {k: v for k, v in SMALL.items() if k != key}
    with pytest.raises(ValueError, match=f"{key}: got nothing"):
        T5Config.from_hf(config)


@pytest.mark.parametrize(
    "spelling",
    [
        {},
        {"feed_forward_proj": "gated-gelu"},
        {"feed_forward_proj": "gelu_new"},
        {"feed_forward_proj": "gated-relu", "tie_word_embeddings": False},
        {"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu"},
        {"is_gated_act": True, "dense_act_fn": "silu"},
        {"tie_word_embeddings": True, "scale_decoder_outputs": False},
        {"num_decoder_layers": None},
        {"num_decoder_layers": 3},
    ],
    ids=str,
)
def test_keys_mean_what_they_mean_in_transformers(spelling):
    from transformers import T5Config as HFConfig
    from transformers import T5ForConditionalGeneration

    sizes = {
        "vocab_size": V, "d_model": 24, "d_kv": 10, "d_ff": 40,
        "num_layers": 2, "num_heads": 6, "model_type": "t5", **spelling,
    }  # fmt: skip
    theirs = random_reference(
        T5ForConditionalGeneration, HFConfig.from_dict(sizes)
    )
    want = theirs(some_ids(), decoder_input_ids=some_ids(T)).logits
    for config in (sizes, theirs):
        ours = T5.from_weights(theirs.state_dict(), config)
        torch.testing.assert_close(
            ours(some_ids(), some_ids(T)), want, rtol=1e-4, atol=1e-4
        )


def test_config_is_frozen():
    config = T5Config.from_name("t5-small")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.d_model = 1


# --- wrong calls -------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": some_ids()[0]}, r"^ids: got shape \(11,\)"),
        ({"ids": some_ids().float()}, "^ids: got dtype torch.float32"),
        ({"decoder_ids": some_ids(T)[0]}, r"decoder_ids: got shape \(7,\)"),
        ({"decoder_ids": some_ids(T, 2)}, "decoder_ids: got 2 rows, want a"),
        ({"decoder_ids": some_ids(T, 10)}, "decoder_ids: got 10 rows"),
        ({"decoder_ids": some_ids(T)[:, :0]}, r"decoder_ids: got shape \(5, "),
        ({"attention_mask": READ[:, 1:]}, r"attention_mask: got \(5, 10\)"),
        ({"decoder_attention_mask": READ}, r"decoder_attention_mask: got \(5"),
        ({"cache": KVCache()}, "cache: got a KVCache, want an EncoderDec"),
        ({"logits_to_keep": 8}, "logits_to_keep: got 8, want 1 to 7"),
    ],
)
def test_wrong_calls(changes, message):
    model = T5.from_hf(hf_model())
    call = {"ids": some_ids(), "decoder_ids": some_ids(T), **changes}
    with pytest.raises(ValueError, match=message):
        model(**call)


def test_a_writer_has_no_positions_and_whole_beams():
    writer = T5.from_hf(hf_model()).decoder_for(some_ids())
    with pytest.raises(ValueError, match=r"positions: got .*want None"):
        writer(some_ids(T), positions=torch.arange(T)[None])
    with pytest.raises(ValueError, match="ids: got 3 rows, want a row for"):
        writer(some_ids(T, 3))


def test_keys_and_values_of_other_heads_are_refused():
    cross = CrossAttention(24, 6, d_head=10)
    x, y = torch.randn(2, 3, 24), torch.randn(2, 5, 24)
    k, v = cross.keys_values(y)
    torch.testing.assert_close(cross(x, (k, v)), cross(x, y))
    with pytest.raises(ValueError, match=r"context: got \(2, 5, 5, 10\)"):
        cross(x, (k[:, 1:], v))
    with pytest.raises(ValueError, match="context: got 1 parts"):
        cross(x, (k,))


def test_it_compiles_into_one_graph():
    model = T5.from_hf(hf_model(torch.float64)).requires_grad_(False)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    call = (some_ids(), some_ids(T), READ)
    torch.testing.assert_close(compiled(*call), model(*call))
    torch._dynamo.reset()
