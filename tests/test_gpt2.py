"""GPT-2 against transformers: tiny random configs, no size equal to another.

Every parameter is random (gains and biases too), so that a swapped or
forgotten vector shows.
"""

import dataclasses
import math

import pytest
import torch
from handmade.blocks.rope import token_positions
from handmade.contracts import Decoder
from handmade.inference.cache import KVCache
from handmade.inference.generate import generate
from handmade.models.gpt2 import GPT2, PRESETS, GPT2Config
from handmade.models.load import export
from handmade.parity import ParityError, parity
from handmade.text.data import document_mask, pack
from handmade.weights.reference import random_reference
from test_contracts import parameters
from torch.nn import functional as F

B, T, V, LONGEST = 5, 11, 61, 29
LEFT = torch.tensor([[0] * n + [1] * (T - n) for n in (0, 3, 1, 10, 6)])
RIGHT = LEFT.flip(-1)
MASKS = {"none": None, "left": LEFT, "right": RIGHT}
BOTH = [(torch.float32, "eager"), (torch.float32, "sdpa"),
        (torch.float64, "eager"), (torch.float64, "sdpa")]  # fmt: skip
PREFIX = "transformer."


def hf_model(dtype=torch.float32, attn="sdpa", seed=0, **changes):
    from transformers import GPT2Config as HFConfig
    from transformers import GPT2LMHeadModel

    sizes = {
        "vocab_size": V, "n_embd": 24, "n_inner": 40, "n_layer": 4,
        "n_head": 3, "n_positions": LONGEST, "layer_norm_epsilon": 1e-3,
        "bos_token_id": 7, "eos_token_id": 9,
    }  # fmt: skip
    config = HFConfig(**{**sizes, **changes}, attn_implementation=attn)
    return random_reference(GPT2LMHeadModel, config, seed).to(dtype)


def some_ids(rows: int = B, length: int = T, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(V, (rows, length), generator=generator)


def calls(ids, mask) -> dict:
    """Say the same to both models; theirs has to be told the positions."""
    ours, theirs = {"ids": ids}, {"input_ids": ids}
    if mask is not None:
        ours["attention_mask"] = theirs["attention_mask"] = mask
        theirs["position_ids"] = token_positions(mask)
    return {"inputs": ours, "their_inputs": theirs}


def held_to(theirs, ids=None, mask=None, ours=None):
    return parity(
        GPT2.from_hf(theirs) if ours is None else ours,
        theirs,
        **calls(some_ids() if ids is None else ids, mask),
        layers=GPT2.HF_LAYERS,
        where=None if mask is None else mask.bool(),
        name="tiny GPT-2",
    )


@pytest.mark.parametrize(("dtype", "attn"), BOTH)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("padding", MASKS)
def test_every_layer_is_equal(dtype, attn, tied, padding):
    theirs = hf_model(dtype, attn, tie_word_embeddings=tied)
    report = held_to(theirs, mask=MASKS[padding])
    assert len(report.rows) == 5 + 5 * 4
    assert report.tolerance == (1e-4 if dtype == torch.float32 else 1e-10)


def test_every_length_and_batch():
    theirs = hf_model(torch.float64)
    ours = GPT2.from_hf(theirs)
    for length in range(1, LONGEST + 1):
        held_to(theirs, some_ids(1 + length % 5, length), ours=ours)
    for rows in range(1, 6):
        held_to(theirs, some_ids(rows), LEFT[-rows:], ours=ours)


@pytest.mark.parametrize("padding", MASKS)
def test_gradients_are_equal(padding):
    theirs = hf_model(torch.float64)
    ours, ids, mask = GPT2.from_hf(theirs), some_ids(), MASKS[padding]
    both = calls(ids, mask)
    real = torch.ones_like(ids) if mask is None else mask
    targets = ids.masked_fill(real == 0, -100)[:, 1:].flatten()
    for logits in (
        ours(**both["inputs"]),
        theirs(**both["their_inputs"]).logits,
    ):
        F.cross_entropy(logits[:, :-1].flatten(0, 1), targets).backward()
    # our gradients by their names, through the same table as the weights
    held = GPT2.from_hf(theirs).requires_grad_(False)
    for p, q in zip(held.parameters(), ours.parameters(), strict=True):
        p.copy_(q.grad)
    found = export(held, GPT2.HF_WEIGHTS)
    compared = 0
    for name, p in theirs.named_parameters():
        scale = p.grad.abs().max()
        # softmax forgets what is added to all keys of a query
        scale = 1 if name.endswith("c_attn.bias") else scale
        assert scale > 0, name
        assert (found[name] - p.grad).abs().max() <= 1e-10 * scale, name
        compared += 1
    assert compared == 4 + 12 * 4


@pytest.mark.parametrize("padding", MASKS)
@pytest.mark.parametrize("steps", [(11,), (4, 7), (3, 1, 1, 5, 1), (1,) * 11])
def test_cached_equals_uncached(padding, steps):
    model = GPT2.from_hf(hf_model(torch.float64))
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
    model, ids = GPT2.from_hf(hf_model(torch.float64)), some_ids()
    order, cache = torch.tensor([3, 0, 0]), KVCache()
    model(ids[:, :6], cache=cache)
    cache.reorder(order)
    got = model(ids[order, 6:], cache=cache)
    torch.testing.assert_close(got, model(ids[order])[:, 6:])


# --- padding and positions ------------------------------------------------


@pytest.mark.parametrize("mask", [LEFT, RIGHT], ids=["left", "right"])
def test_padding_never_leaks_and_is_never_nan(mask):
    model, ids, real = GPT2.from_hf(hf_model()), some_ids(), mask.bool()
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


def test_theirs_counts_the_padding_unless_it_is_told():
    """With the mask alone their row is not what it is without its padding."""
    theirs = hf_model(torch.float64)
    ours, ids = GPT2.from_hf(theirs), some_ids()
    row, n = 1, 3
    alone = theirs(ids[row : row + 1, n:]).logits[0]
    told = theirs(
        ids, attention_mask=LEFT, position_ids=token_positions(LEFT)
    ).logits[row, n:]
    untold = theirs(ids, attention_mask=LEFT).logits[row, n:]
    scale = alone.abs().max()
    assert (told - alone).abs().max() < 1e-12 * scale
    assert (ours(ids, LEFT)[row, n:] - alone).abs().max() < 1e-12 * scale
    assert (untold - alone).abs().max() > 0.1 * scale
    # what it computes there is a text that begins at the fourth position
    places = torch.arange(T)[None]
    counted = ours(ids, LEFT, positions=places)[row, n:]
    torch.testing.assert_close(counted, untold)
    with pytest.raises(ParityError, match="pos_emb"):
        parity(
            ours,
            theirs,
            {"ids": ids, "attention_mask": LEFT},
            their_inputs={"input_ids": ids, "attention_mask": LEFT},
            layers=GPT2.HF_LAYERS,
            where={"pos_emb": LEFT.bool()},
            name="untold",
        )


def test_padding_takes_no_room_in_the_table():
    model, wide = GPT2.from_hf(hf_model(torch.float64)), LONGEST + 8
    ids, mask = some_ids(2, wide), torch.ones(2, wide).long()
    mask[:, :8] = 0
    mask[1, :20] = 0
    logits = model(ids, mask)
    for row, n in ((0, 8), (1, 20)):
        alone = model(ids[row : row + 1, n:])[0]
        torch.testing.assert_close(logits[row, n:], alone)


def test_a_row_of_padding_harms_nobody():
    model, ids, mask = GPT2.from_hf(hf_model()), some_ids(), LEFT.clone()
    mask[2] = 0
    logits = model(ids, mask)
    assert logits.isfinite().all()
    logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_longer_than_the_table_is_refused():
    model = GPT2.from_hf(hf_model())
    longer = some_ids(2, LONGEST + 1)
    with pytest.raises(ValueError, match="length of ids: got 30, want 1 to 2"):
        model(longer)
    everything = torch.ones_like(longer)
    with pytest.raises(ValueError, match="positions: got 29, want 0 to 28"):
        model(longer, everything)
    with pytest.raises(ValueError, match="positions: got 29, want 0 to 28"):
        model(some_ids(1, 1), positions=torch.tensor([[29]]))
    cache = KVCache()
    model(longer[:, :-1], cache=cache)
    with pytest.raises(ValueError, match="length of ids: got 1"):
        model(longer[:, -1:], cache=cache)
    cache = KVCache()
    model(longer[:, :-1], everything[:, :-1], cache=cache)
    with pytest.raises(ValueError, match="positions: got 29"):
        model(longer[:, -1:], everything, cache=cache)
    with pytest.raises(ValueError, match=f"max_seq_len = {LONGEST}"):
        generate(model, longer[:, :20], max_new_tokens=11)


def test_the_future_is_not_seen():
    model, ids = GPT2.from_hf(hf_model()), some_ids()
    changed = ids.clone()
    changed[:, 7] = (changed[:, 7] + 1) % V
    same, other = model(ids), model(changed)
    assert torch.equal(same[:, :7], other[:, :7])
    assert (same[:, 7:] != other[:, 7:]).any(-1).all()


def test_packed_documents_are_each_what_they_are_alone():
    model = GPT2.from_hf(hf_model(torch.float64))
    documents = [
        some_ids(1, n, seed=n)[0].tolist() for n in (9, 3, 7, 1, 12, 5, 5, 2)
    ]
    packed = pack(documents, T=14)
    logits = model(
        packed.ids,
        positions=packed.positions,
        mask=document_mask(packed.documents),
    )
    seen = 0
    for row, numbers in enumerate(packed.documents):
        for number in range(int(numbers.max()) + 1):
            at = numbers == number
            alone = model(packed.ids[row, at][None])[0]
            torch.testing.assert_close(logits[row, at], alone)
            seen += 1
    assert seen == len(documents)


# --- generation -----------------------------------------------------------


@pytest.mark.parametrize("padded", [False, True])
def test_greedy_tokens_are_those_of_generate(padded):
    theirs = hf_model(torch.float64, n_positions=80, tie_word_embeddings=False)
    with torch.no_grad():  # strong places, or the text repeats one token
        for name, parameter in theirs.named_parameters():
            parameter.mul_(5 if "wpe" in name else 1)
    ids = some_ids()
    mask = LEFT if padded else torch.ones_like(LEFT)
    want = theirs.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=64,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    ours = GPT2.from_hf(theirs)
    for cached in (True, False):
        got = generate(
            ours, ids, attention_mask=mask, max_new_tokens=64, use_cache=cached
        )
        assert torch.equal(got, want)
    # a loop that settles on one token would prove little
    assert min(len(set(row.tolist())) for row in want[:, T:]) > 10


def test_it_is_called_as_the_contract_says():
    assert parameters(GPT2.forward) == parameters(Decoder.__call__)


@pytest.mark.parametrize("n", [1, 4, T])
def test_only_the_last_logits(n):
    theirs = hf_model(torch.float64)
    ours, ids = GPT2.from_hf(theirs), some_ids()
    made = []
    ours.lm_head.register_forward_hook(lambda *a: made.append(a[2].shape))
    got = ours(ids, LEFT, logits_to_keep=n)
    torch.testing.assert_close(got, ours(ids, LEFT)[:, -n:])
    want = theirs(ids, logits_to_keep=n).logits
    torch.testing.assert_close(ours(ids, logits_to_keep=n), want)
    assert made[0] == (B, n, V)


def test_it_compiles_exports_and_runs_on_meta():
    from torch.export import Dim
    from torch.export import export as torch_export

    model = GPT2.from_hf(hf_model(torch.float64)).requires_grad_(False)
    ids, want = some_ids(), None
    want = model(ids, LEFT)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(ids, LEFT), want)
    torch._dynamo.reset()
    sizes = {0: Dim("B", min=1, max=9), 1: Dim("S", min=2, max=LONGEST)}
    exported = torch_export(
        model,
        (ids, LEFT),
        dynamic_shapes={"ids": sizes, "attention_mask": sizes},
    ).module()
    other, ones = some_ids(2, 20), torch.ones(2, 20).long()
    torch.testing.assert_close(exported(other, ones), model(other, ones))
    with torch.device("meta"):
        large = GPT2.from_name("gpt2-xl")
        logits = large(torch.zeros(2, 7, dtype=torch.long))
    assert logits.shape == (2, 7, 50_257)


# --- the way in and back --------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.half])
def test_every_tensor_comes_back_bit_for_bit(tied, dtype):
    theirs = hf_model(dtype, tie_word_embeddings=tied)
    back = GPT2.from_hf(theirs).to_hf()
    want, got = theirs.state_dict(), back.state_dict()
    assert want.keys() == got.keys()
    for name, x in want.items():
        assert torch.equal(got[name], x), name
        assert got[name].dtype == dtype
        assert got[name].is_contiguous()
    assert (back.lm_head.weight is back.transformer.wte.weight) == tied
    assert not back.training
    assert torch.equal(back(some_ids()).logits, theirs(some_ids()).logits)


@pytest.mark.parametrize("inner", [None, 96, 40])
def test_the_config_comes_back_and_with_it_the_end(inner):
    changes = {
        "n_inner": inner, "bos_token_id": 3, "eos_token_id": [5, 7],
        "pad_token_id": 4, "initializer_range": 0.5, "use_cache": False,
        "resid_pdrop": 0.3, "embd_pdrop": 0.0, "attn_pdrop": 0.7,
        "summary_type": "mean", "architectures": ["GPT2LMHeadModel"],
        "scale_attn_weights": False, "activation_function": "relu",
        "scale_attn_by_inverse_layer_idx": True,
        "reorder_and_upcast_attn": True,
    }  # fmt: skip
    theirs = hf_model(torch.float64, **changes)
    theirs.config.dtype = torch.float64
    back = GPT2.from_hf(theirs).to_hf()
    assert back.config.to_dict() == theirs.config.to_dict()
    # an override of ours goes before what the file said
    narrow = dataclasses.replace(GPT2.from_hf(theirs).config, d_ff=17)
    assert narrow.to_hf()["n_inner"] == 17


def test_the_end_token_still_ends():
    ids = some_ids()[:1]
    first = int(hf_model()(ids).logits[0, -1].argmax())
    for end in (first, [60, first]):
        back = GPT2.from_hf(hf_model(eos_token_id=end)).to_hf()
        assert back.generation_config.eos_token_id == end
        assert back.generate(ids, max_new_tokens=9).shape == (1, T + 1)


def test_a_fresh_model_goes_and_comes_back():
    sizes = {"d_model": 18, "n_layers": 2, "n_heads": 3, "norm_eps": 1e-4}
    config = GPT2Config(vocab_size=V, max_seq_len=16, **sizes)
    model = GPT2(config).eval()
    back = model.to_hf()
    ends = [getattr(back.config, f"{end}_token_id") for end in ("bos", "eos")]
    assert ends == [None, None]
    assert back.config.n_inner == 72
    assert back.transformer.h[1].ln_2.eps == 1e-4
    again = GPT2.from_hf(back)
    assert again.config == config
    assert torch.equal(again(some_ids()), model(some_ids()))


def test_weights_are_copied_not_shared():
    theirs = hf_model()
    ours = GPT2.from_hf(theirs)
    with torch.no_grad():
        for p in ours.parameters():
            p.zero_()
    assert all(p.abs().sum() > 0 for p in theirs.parameters())
    assert ours.lm_head.weight.abs().sum() == 0
    assert all(p.requires_grad for p in ours.parameters())


@pytest.mark.parametrize("tied", [False, True])
def test_the_head_is_tied_where_the_config_says_so(tied):
    ours = GPT2.from_hf(hf_model(tie_word_embeddings=tied))
    assert (ours.lm_head.weight is ours.tok_emb.weight) == tied
    fresh = GPT2(dataclasses.replace(ours.config, tie_embeddings=tied))
    assert (fresh.lm_head.weight is fresh.tok_emb.weight) == tied


def old_file(theirs, prefix=PREFIX, dtype=torch.uint8):
    """What files of before 2023 hold: masks too, the head or no head."""
    weights = {
        prefix + name.removeprefix(PREFIX): x
        for name, x in theirs.state_dict().items()
        if name != "lm_head.weight"
    }
    triangle = torch.ones(1, 1, LONGEST, LONGEST).tril().to(dtype)
    for i in range(4):
        weights[f"{prefix}h.{i}.attn.bias"] = triangle
        weights[f"{prefix}h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    return weights


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.float32])
def test_old_files_hold_masks_which_are_no_weights(prefix, kind):
    theirs = hf_model()
    ours = GPT2.from_weights(old_file(theirs, prefix, kind), theirs.config)
    held_to(theirs, ours=ours)
    assert not list(ours.buffers())


def test_an_old_file_in_half_precision_stays_in_it():
    theirs = hf_model(torch.half)
    ours = GPT2.from_weights(old_file(theirs), theirs.config)
    assert {p.dtype for p in ours.parameters()} == {torch.half}


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("head", [True, False])
def test_files_with_and_without_the_prefix_and_the_head(prefix, head):
    theirs = hf_model(torch.float64)
    weights = {
        prefix + name.removeprefix(PREFIX) if PREFIX in name else name: x
        for name, x in theirs.state_dict().items()
        if head or PREFIX in name
    }
    ours = GPT2.from_weights(weights, theirs.config)
    assert torch.equal(ours(some_ids()), GPT2.from_hf(theirs)(some_ids()))


def test_the_body_alone_is_a_model_if_its_head_is_tied():
    from transformers import GPT2Model

    theirs = hf_model(torch.float64)
    body = theirs.transformer
    assert isinstance(body, GPT2Model)
    ours = GPT2.from_hf(body)
    torch.testing.assert_close(ours(some_ids()), theirs(some_ids()).logits)
    untied = hf_model(tie_word_embeddings=False).transformer
    with pytest.raises(ValueError, match=r"missing: lm_head\.weight"):
        GPT2.from_hf(untied)


C_ATTN = "transformer.h.0.attn.c_attn.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("transformer.ln_f.bias"),
         "missing: transformer.ln_f.bias"),
        (lambda w: w.pop(C_ATTN),
         r"missing: .*c_attn.weight \(our blocks.0.attn.k_proj.weight\)"),
        (lambda w: (w.pop("transformer.wte.weight"),
                    w.pop("lm_head.weight")),
         "missing: lm_head.weight .*missing: transformer.wte.weight"),
        (lambda w: w.update(extra=torch.ones(1)), "unexpected: extra"),
        (lambda w: w.update({"wte.weight": torch.ones(1)}),
         "unexpected: wte.weight"),
        (lambda w: w.update({C_ATTN: w[C_ATTN].mT}),
         r"misshapen: .*c_attn.weight \(72, 24\), want \(24, 72\)"),
        (lambda w: w.update({"lm_head.weight": torch.ones(V, 24)}),
         "unequal: lm_head.weight and tok_emb.weight"),
        (lambda w: w.update({"transformer.h.4.mlp.c_fc.bias":
                             torch.ones(40)}),
         "unexpected: transformer.h.4.mlp.c_fc.bias"),
        (lambda w: w.update({"transformer.h.0.crossattention.bias":
                             torch.ones(40)}), "unexpected: .*crossatt"),
    ],
)  # fmt: skip
def test_wrong_weights(change, message):
    theirs = hf_model()
    weights = dict(theirs.state_dict())
    change(weights)
    with pytest.raises(ValueError, match=f"(?s)weights: got .*{message}"):
        GPT2.from_weights(weights, theirs.config)


def test_a_bare_file_is_named_as_it_is():
    theirs = hf_model()
    weights = dict(theirs.transformer.state_dict())
    del weights["ln_f.bias"]
    weights["ln_g.bias"] = torch.ones(24)
    with pytest.raises(ValueError, match=r"missing: ln_f.*unexpected: ln_g"):
        GPT2.from_weights(weights, theirs.config)


def test_a_square_matrix_the_wrong_way_round_loads_but_is_not_the_model():
    """No shape tells: that is why the table has to."""
    theirs = hf_model(torch.float64)
    weights = dict(theirs.state_dict())
    name = "transformer.h.0.attn.c_proj.weight"
    weights[name] = weights[name].mT
    ours = GPT2.from_weights(weights, theirs.config)
    with pytest.raises(ParityError, match=r"blocks\.0\.attn\b"):
        held_to(theirs, ours=ours)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (None, "weights: got a NoneType, want a dict of tensors"),
        ([1], "weights: got a list"),
        ({"norm": [1.0]}, "weights: got a list as 'norm', want a tensor"),
        ({}, r"weights: got missing: .*wte.weight \(our tok_emb.weight\)"),
    ],
)
def test_what_are_no_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        GPT2.from_weights(weights, hf_model().config)


@pytest.mark.parametrize("config", [None, {}, "gpt2"])
def test_a_model_wants_a_config_of_ours(config):
    with pytest.raises(ValueError, match=r"config: got .*want a GPT2Config"):
        GPT2(config)


@pytest.mark.parametrize("source", [None, "gpt2", {}, 3, torch.zeros(1)])
def test_only_a_model_has_weights(source):
    with pytest.raises(ValueError, match=r"hf_model: got a .*, want a model"):
        GPT2.from_hf(source)


def test_another_model_is_refused():
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    other = LlamaForCausalLM(
        LlamaConfig(**sizes, num_attention_heads=2, vocab_size=9)
    )
    with pytest.raises(ValueError, match=r"^\w+: got .*, want "):
        GPT2.from_hf(other)


# --- how it begins --------------------------------------------------------


def test_it_begins_as_gpt2_does():
    """The matrices' spreads, and those of transformers' own fresh model."""
    from transformers import GPT2Config as HFConfig
    from transformers import GPT2LMHeadModel

    torch.manual_seed(0)
    N, sizes = 8, {"vocab_size": 300, "d_model": 64, "n_heads": 4}
    ours = GPT2(GPT2Config(**sizes, n_layers=N, max_seq_len=99))
    fresh = export(ours, GPT2.HF_WEIGHTS)
    theirs = GPT2LMHeadModel(
        HFConfig(vocab_size=300, n_embd=64, n_head=4, n_layer=N,
                 n_positions=99, bos_token_id=1, eos_token_id=1)
    ).state_dict()  # fmt: skip
    assert fresh.keys() == theirs.keys()
    narrow = 0.02 / math.sqrt(2 * N)
    for name, x in fresh.items():
        if x.ndim == 1:
            assert torch.equal(x, theirs[name]), name
            assert (x == ("weight" in name)).all()
            continue
        want = narrow if "c_proj" in name else 0.02
        for weight in (x, theirs[name]):
            # 4,096 draws at least: the spread is known to 1.1 percent
            assert abs(weight.std() / want - 1) < 0.05, name
            assert abs(weight.mean()) < 0.1 * want, name
            assert 3 < weight.abs().max() / want < 6, name


def test_the_stream_stays_as_wide_at_any_depth():
    """What 1 / sqrt(2 N) is for: 2 N sums of it are one without."""
    torch.manual_seed(0)
    grown = []
    for n_layers in (2, 24):
        sizes = {"vocab_size": 99, "d_model": 128, "n_heads": 4}
        model = GPT2(GPT2Config(**sizes, n_layers=n_layers, max_seq_len=32))
        x = model.tok_emb(some_ids(4, 32)) * 0
        for block in model.blocks:
            x = block(x + 0.02 * torch.randn_like(x) * (block is
                      model.blocks[0]))  # fmt: skip
        grown.append(x.std().item())
    assert 0.7 < grown[1] / grown[0] < 1.4


# --- sizes ----------------------------------------------------------------

# published sizes of the checkpoints, to the last parameter
SIZES = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "distilgpt2": 81_912_576,
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_published_size(name):
    with torch.device("meta"):
        model = GPT2.from_name(name)
    assert sum(p.numel() for p in model.parameters()) == SIZES[name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_heads": 5}, "n_heads: got 5, want a divisor of d_model = 24"),
        ({"n_heads": 0}, "n_heads: got 0"),
        ({"n_layers": -1}, "n_layers: got -1"),
        ({"vocab_size": 0}, "vocab_size: got 0"),
        ({"vocab_size": 61.0}, "vocab_size: got 61.0"),
        ({"d_model": "24"}, "d_model: got '24'"),
        ({"d_ff": 0}, "d_ff: got 0"),
        ({"d_ff": 1.5}, "d_ff: got 1.5"),
        ({"max_seq_len": None}, "max_seq_len: got None"),
        ({"norm_eps": 0.0}, "norm_eps: got 0.0"),
        ({"norm_eps": float("nan")}, "norm_eps: got nan"),
        ({"activation": "swish"}, "activation: got 'swish', want one of"),
        ({"activation": None}, "activation: got None"),
        ({"tie_embeddings": 1}, "tie_embeddings: got 1"),
        ({"scale_attn": None}, "scale_attn: got None"),
        ({"scale_by_layer": 0.5}, "scale_by_layer: got 0.5"),
        ({"inert": None}, "inert: got None"),
    ],
)
def test_impossible_sizes_are_refused(changes, message):
    sizes = {
        "vocab_size": V, "d_model": 24, "n_layers": 3, "n_heads": 6,
        "max_seq_len": 16,
    }  # fmt: skip
    assert GPT2Config(**sizes).d_ff == 96
    with pytest.raises(ValueError, match=message):
        GPT2Config(**{**sizes, **changes})


def test_config_is_frozen():
    config = GPT2Config.from_name("gpt2")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.d_model = 1
