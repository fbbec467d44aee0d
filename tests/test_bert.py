"""BERT against transformers: tiny random models, no size equal to another.

Every parameter is random (norm gains too), and MiniLM's are real. Positions
are counted without the padding, which transformers has to be told.
"""

import dataclasses
import json

import pytest
import torch
from handmade.blocks.rope import token_positions
from handmade.models.bert import PRESETS, Bert, BertConfig
from handmade.models.masked_lm import MaskedLM
from handmade.parity import parity
from handmade.weights.minilm import minilm
from handmade.weights.reference import random_reference
from torch.nn import functional as F

B, T, V, LONGEST = 5, 11, 61, 32
LEFT = torch.tensor([[0] * n + [1] * (T - n) for n in (0, 3, 1, 10, 6)])
RIGHT = LEFT.flip(-1)
MASKS = {"none": None, "left": LEFT, "right": RIGHT}
BOTH = [(torch.float32, "eager"), (torch.float32, "sdpa"),
        (torch.float64, "eager"), (torch.float64, "sdpa")]  # fmt: skip
LIMIT = {torch.float32: 1e-4, torch.float64: 1e-10}


def hf_model(
    kind="BertModel", dtype=torch.float32, attn="sdpa", *, seed=0, **changes
):
    import transformers

    sizes = {
        "vocab_size": V, "hidden_size": 24, "intermediate_size": 40,
        "num_hidden_layers": 3, "num_attention_heads": 6,
        "max_position_embeddings": LONGEST, "type_vocab_size": 4,
        "layer_norm_eps": 1e-3,
    }  # fmt: skip
    config = transformers.BertConfig(
        **{**sizes, **changes}, attn_implementation=attn
    )
    kind = getattr(transformers, kind)
    return random_reference(kind, config, seed).to(dtype)


def some_ids(rows=B, length=T, seed=1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, V, (rows, length), generator=generator)


def some_types(rows=B, length=T) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(4, (rows, length), generator=generator)


def calls(ids, mask=None, types=None) -> dict:
    """Say the same to both models; theirs has to be told the positions."""
    ours, theirs = {"ids": ids}, {"input_ids": ids}
    if mask is not None:
        ours["attention_mask"] = theirs["attention_mask"] = mask
        theirs["position_ids"] = token_positions(mask)
    if types is not None:
        ours["token_type_ids"] = theirs["token_type_ids"] = types
    return {"inputs": ours, "their_inputs": theirs}


def held(ours, theirs, ids, mask=None, types=None, name="tiny BERT"):
    """Compare every layer, on the tokens that are no padding."""
    report = parity(
        ours,
        theirs,
        **calls(ids, mask, types),
        layers=ours.HF_LAYERS,
        where=None if mask is None else mask.bool(),
        name=name,
    )
    assert report.tolerance == LIMIT[ids_dtype(ours)]
    return report


def ids_dtype(model) -> torch.dtype:
    return next(model.parameters()).dtype


# --- every layer ----------------------------------------------------------


@pytest.mark.parametrize(("dtype", "attn"), BOTH)
@pytest.mark.parametrize("padding", MASKS)
@pytest.mark.parametrize("typed", [False, True])
def test_every_layer_is_equal(dtype, attn, padding, typed):
    theirs = hf_model(dtype=dtype, attn=attn)
    types = some_types() if typed else None
    ours = Bert.from_hf(theirs)
    report = held(ours, theirs, some_ids(), MASKS[padding], types)
    assert len(report.rows) == 5 + 9 * 3


@pytest.mark.parametrize(("dtype", "attn"), BOTH)
@pytest.mark.parametrize("padding", MASKS)
def test_every_layer_of_the_masked_lm_is_equal(dtype, attn, padding):
    theirs = hf_model("BertForMaskedLM", dtype, attn)
    ours = MaskedLM.from_hf(theirs)
    report = held(ours, theirs, some_ids(), MASKS[padding], some_types())
    assert len(report.rows) == 5 + 9 * 3 + 4


@pytest.mark.parametrize("length", range(1, LONGEST + 1))
def test_every_length(length):
    theirs = hf_model(dtype=torch.float64)
    held(Bert.from_hf(theirs), theirs, some_ids(2, length))


@pytest.mark.parametrize("rows", range(1, 6))
def test_every_batch(rows):
    theirs = hf_model("BertForMaskedLM", torch.float64)
    ids, types = some_ids(rows), some_types(rows)
    held(MaskedLM.from_hf(theirs), theirs, ids, LEFT[-rows:], types)


REAL = ("All the world's a stage", "To be, or not to be", "Et tu?")


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("dtype", "attn"), [BOTH[0], BOTH[3]], ids=["float32", "float64"]
)
def test_every_layer_of_minilm(dtype, attn, side):
    tokenizer = minilm().hf_tokenizer()
    tokenizer.padding_side = side
    # a pair of sentences: the second has token type 1
    batch = tokenizer(
        [*REAL],
        [*REAL[::-1]],
        padding=True,
        return_token_type_ids=True,
        return_tensors="pt",
    )
    assert (batch.attention_mask == 0).any()
    assert (batch.token_type_ids == 1).any()
    theirs = minilm().hf_model(dtype, attn)
    ours = Bert.from_weights(minilm().weights, minilm().config).to(dtype)
    mask, types = batch.attention_mask, batch.token_type_ids
    held(ours, theirs, batch.input_ids, mask, types, "MiniLM")
    got = ours.pool(ours(batch.input_ids, mask, types), mask)
    if side == "right":
        torch.testing.assert_close(got, theirs(**batch).pooler_output)


@pytest.mark.parametrize("activation", ["relu", "gelu_new", "silu"])
def test_other_curves(activation):
    changes = {"hidden_act": activation}
    theirs = hf_model("BertForMaskedLM", torch.float64, **changes)
    held(MaskedLM.from_hf(theirs), theirs, some_ids())


@pytest.mark.parametrize("padding", MASKS)
def test_the_pooler_reads_the_first_real_token(padding):
    theirs, ids = hf_model(dtype=torch.float64), some_ids()
    ours, mask = Bert.from_hf(theirs), MASKS[padding]
    got = ours.pool(ours(ids, mask), mask)
    for i in range(B):
        row = ids[i] if mask is None else ids[i, mask[i].bool()]
        want = theirs(row[None]).pooler_output[0]
        torch.testing.assert_close(got[i], want, rtol=0, atol=1e-10)


# --- gradients ------------------------------------------------------------


def masked_loss(logits, ids):
    """Cross-entropy where a token was hidden: every third, say."""
    hidden = torch.arange(T) % 3 == 1
    labels = ids.masked_fill(~hidden, -100)
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


@pytest.mark.parametrize("padding", MASKS)
def test_gradients_of_the_masked_loss_are_equal(padding):
    theirs = hf_model("BertForMaskedLM", torch.float64)
    ours, ids, mask = MaskedLM.from_hf(theirs), some_ids(), MASKS[padding]
    ids[0, 5] = 0  # a pad token that nobody hides
    read = ids.masked_fill(torch.arange(T) % 3 == 1, 2)
    labels = ids if mask is None else ids.masked_fill(mask == 0, -100)
    said = calls(read, mask, some_types())
    masked_loss(ours(**said["inputs"]), labels).backward()
    masked_loss(theirs(**said["their_inputs"]).logits, labels).backward()
    # by the map of names that loads them
    grads = {name: p.grad for name, p in theirs.named_parameters()}
    compared = set()
    for name, p in ours.named_parameters():
        want = grads[their_name(name)]
        scale = want.abs().max()
        if "k_proj.bias" in name:  # added to all scores of a row alike
            assert max(scale, p.grad.abs().max()) < 1e-14, name
        else:
            assert scale > 1e-6, name
            assert (p.grad - want).abs().max() <= 1e-10 * scale, name
        compared.add(their_name(name))
    # the bias has two names there, and one tensor
    assert compared == grads.keys()
    assert len(compared) == 5 + 16 * 3 + 4 + 1


def their_name(ours: str) -> str:
    import re

    number = re.findall(r"\.(\d+)\.", ours)
    pattern = re.sub(r"\.\d+\.", ".{}.", ours)
    back = {our: hf for hf, our in MaskedLM.HF_WEIGHTS.items()}
    name = back.get(pattern) or back["lm_head.weight"]
    if pattern == "bert.tok_emb.weight":
        name = "bert.embeddings.word_embeddings.weight"
    return name.format(*number)


def test_the_pad_row_learns_from_the_head_alone():
    sizes = {"vocab_size": V, "d_model": 12, "n_layers": 1, "n_heads": 3,
             "d_ff": 8, "max_seq_len": 16}  # fmt: skip
    model = Bert(BertConfig(**sizes, pad_id=3))
    assert model.tok_emb.weight[3].abs().sum() == 0
    assert model.tok_emb.weight[2].abs().sum() > 0
    model(torch.tensor([[3, 2]])).pow(3).sum().backward()
    assert model.tok_emb.weight.grad[3].abs().sum() == 0
    assert model.tok_emb.weight.grad[2].abs().sum() > 0
    # without a pad_id there is no such row
    model = Bert(BertConfig(**sizes))
    model(torch.tensor([[3, 2]])).pow(3).sum().backward()
    assert model.tok_emb.weight.grad[3].abs().sum() > 0


# --- what it means --------------------------------------------------------


def test_every_token_sees_both_sides():
    model, ids = Bert.from_hf(hf_model()), some_ids()
    changed = ids.clone()
    changed[:, 5] = changed[:, 5] % (V - 1) + 1
    same, other = model(ids), model(changed)
    assert (same != other).any(-1).all()


@pytest.mark.parametrize("mask", [LEFT, RIGHT], ids=["left", "right"])
def test_padding_never_leaks_and_is_never_nan(mask):
    model, ids, real = Bert.from_hf(hf_model()), some_ids(), mask.bool()
    hidden = model(ids, mask)
    assert hidden.isfinite().all()
    other = model(ids.where(real, (ids + 7) % V), mask)
    assert torch.equal(hidden[real], other[real])
    # each row says what it says alone, without its padding
    for row, row_mask, row_hidden in zip(ids, real, hidden, strict=True):
        alone = model(row[row_mask][None])[0]
        torch.testing.assert_close(
            row_hidden[row_mask], alone, rtol=1e-4, atol=1e-5
        )


def test_a_row_of_padding_harms_nobody():
    model, ids, mask = Bert.from_hf(hf_model()), some_ids(), LEFT.clone()
    mask[2] = 0
    hidden = model(ids, mask)
    assert hidden.isfinite().all()
    hidden.sum().backward()
    used = [p for n, p in model.named_parameters() if "pooler" not in n]
    assert all(p.grad.isfinite().all() for p in used)


@pytest.mark.parametrize("mask", [LEFT, RIGHT], ids=["left", "right"])
def test_padding_without_a_mask_moves_the_real_tokens(mask):
    model, ids, real = Bert.from_hf(hf_model()), some_ids(), mask.bool()
    ids = ids.masked_fill(~real, 0)
    right, wrong = model(ids, mask), model(ids)
    assert (right - wrong)[0].abs().max() < 1e-5  # a row without padding
    for i in range(1, B):
        assert (right - wrong)[i, real[i]].abs().max() > 1e-2


def test_padding_on_the_left_moves_theirs_unless_told():
    theirs, ids = hf_model(dtype=torch.float64), some_ids()
    ours, real = Bert.from_hf(theirs)(ids, LEFT), LEFT.bool()
    told = theirs(ids, attention_mask=LEFT, position_ids=token_positions(LEFT))
    untold = theirs(ids, attention_mask=LEFT)
    assert (told.last_hidden_state - ours)[real].abs().max() < 1e-10
    assert (untold.last_hidden_state - ours)[real].abs().max() > 1e-2
    # on the right there is nothing to tell
    untold = theirs(ids, attention_mask=RIGHT).last_hidden_state
    ours, real = Bert.from_hf(theirs)(ids, RIGHT), RIGHT.bool()
    assert (untold - ours)[real].abs().max() < 1e-10


@pytest.mark.parametrize("eps", [1e-12, 1e-5, 0.3])
def test_eps_is_the_configs(eps):
    theirs = hf_model("BertForMaskedLM", torch.float64, layer_norm_eps=eps)
    ours = MaskedLM.from_hf(theirs)
    norms = [m for m in ours.modules() if hasattr(m, "eps")]
    assert [norm.eps for norm in norms] == [eps] * (1 + 2 * 3 + 1)
    held(ours, theirs, some_ids())


def test_another_eps_is_seen():
    # what the test above would not show if eps were too small to matter
    theirs, ids = (
        hf_model(dtype=torch.float64, layer_norm_eps=1e-5),
        some_ids(),
    )
    config = dataclasses.replace(BertConfig.from_hf(theirs), norm_eps=1e-12)
    ours = Bert.from_weights(theirs.state_dict(), config)
    gap = (ours(ids) - theirs(ids).last_hidden_state).abs().max()
    assert gap > 1e-6


def test_half_precision_stays_finite():
    theirs, ids = hf_model(dtype=torch.bfloat16), some_ids()
    hidden = Bert.from_hf(theirs)(ids, LEFT)
    assert hidden.dtype == torch.bfloat16
    assert hidden.isfinite().all()


def test_the_head_answers_for_chosen_tokens():
    model, ids = MaskedLM.from_hf(hf_model("BertForMaskedLM")), some_ids()
    chosen = torch.arange(T) % 3 == 1
    hidden = model.bert(ids)
    got = model.predict(hidden[:, chosen])
    torch.testing.assert_close(got, model(ids)[:, chosen])


# --- there and back -------------------------------------------------------


@pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM"])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float64]
)
def test_every_tensor_comes_back_bit_for_bit(kind, dtype):
    theirs = hf_model(kind, dtype)
    ours = (Bert if kind == "BertModel" else MaskedLM).from_hf(theirs)
    back = ours.to_hf()
    want, got = theirs.state_dict(), back.state_dict()
    assert type(back) is type(theirs)
    assert not back.training
    assert want.keys() == got.keys()
    for name, x in want.items():
        assert torch.equal(got[name], x), name
        assert got[name].dtype == dtype
    if kind == "BertForMaskedLM":
        head = back.cls.predictions
        table = back.bert.embeddings.word_embeddings
        assert head.decoder.weight is table.weight
        assert head.decoder.bias is head.bias


@pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM"])
def test_the_config_comes_back_with_its_special_ids(kind):
    config = {
        "bos_token_id": 3, "eos_token_id": 5, "pad_token_id": 4,
        "initializer_range": 0.5, "use_cache": False,
        "hidden_dropout_prob": 0.2, "architectures": [kind],
    }  # fmt: skip
    theirs = hf_model(kind, torch.float64, **config)
    theirs.config.dtype = torch.float64
    ours = (Bert if kind == "BertModel" else MaskedLM).from_hf(theirs)
    back = ours.to_hf()
    assert back.config.to_dict() == theirs.config.to_dict()
    assert ours.config.pad_id == 4


def test_minilm_comes_back_bit_for_bit():
    ours = Bert.from_weights(minilm().weights, minilm().config)
    theirs = minilm().hf_model()
    back = ours.to_hf()
    want, got = theirs.state_dict(), back.state_dict()
    assert want.keys() == got.keys()
    assert all(torch.equal(x, got[name]) for name, x in want.items())
    # loading writes these two down
    noted = {"dtype": None, "_name_or_path": ""}
    same = {**theirs.config.to_dict(), **noted}
    assert {**back.config.to_dict(), **noted} == same


@pytest.mark.parametrize("kind", [Bert, MaskedLM])
def test_to_hf_of_a_fresh_model(kind):
    config = BertConfig(
        vocab_size=V, d_model=18, n_layers=2, n_heads=6, d_ff=28,
        max_seq_len=99, norm_eps=1e-4, n_types=3, activation="relu",
        pooler=kind is Bert,
    )  # fmt: skip
    model = kind(config)
    back = kind.from_hf(model.to_hf())
    assert back.config == config
    assert torch.equal(back(some_ids()), model(some_ids()))


def test_a_model_without_a_pooler():
    from transformers import BertModel

    theirs = hf_model("BertForMaskedLM")
    # of a task's model, the encoder; this one's has none
    ours, ids = Bert.from_hf(theirs), some_ids()
    assert ours.pooler is None
    with pytest.raises(ValueError, match="pooler: got none"):
        ours.pool(ours(ids))
    back = ours.to_hf()
    assert isinstance(back, BertModel)
    assert back.pooler is None
    torch.testing.assert_close(
        back(ids).last_hidden_state, theirs.bert(ids).last_hidden_state
    )


def test_weights_are_copied_not_shared():
    theirs = hf_model("BertForMaskedLM")
    ours = MaskedLM.from_hf(theirs)
    assert ours.lm_head.weight is ours.bert.tok_emb.weight
    with torch.no_grad():
        ours.bert.tok_emb.weight.zero_()
    assert theirs.cls.predictions.decoder.weight.abs().sum() > 0
    assert all(p.requires_grad for p in ours.parameters())


# --- files of all ages ----------------------------------------------------


def old_names(weights: dict) -> dict:
    """Call the norms' vectors as files from TensorFlow do."""
    return {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): x
        for name, x in weights.items()
    }


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("old", [False, True])
def test_files_with_and_without_prefix_old_and_new(prefix, old):
    theirs = hf_model(dtype=torch.float64)
    weights = dict(theirs.state_dict())
    weights["embeddings.position_ids"] = torch.arange(LONGEST)[None]
    weights = {prefix + name: x for name, x in weights.items()}
    weights = old_names(weights) if old else weights
    ours = Bert.from_weights(weights, theirs.config)
    held(ours, theirs, some_ids())
    assert ours.pooler is not None


@pytest.mark.parametrize(
    "lacks",
    [
        {"cls.predictions.decoder.bias"},
        {"cls.predictions.bias"},
        {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"},
        {"bert.embeddings.word_embeddings.weight"},
    ],
)
def test_tied_tensors_may_stand_under_either_name(lacks):
    theirs = hf_model("BertForMaskedLM", torch.float64)
    weights = {k: x for k, x in theirs.state_dict().items() if k not in lacks}
    # a pooler that nobody reads, as in the published file
    weights["bert.pooler.dense.weight"] = torch.ones(24, 24)
    ours = MaskedLM.from_weights(old_names(weights), theirs.config)
    held(ours, theirs, some_ids())


def test_a_head_for_pairs_of_sentences_is_refused():
    theirs = hf_model("BertForPreTraining")
    for kind in (MaskedLM, Bert):
        with pytest.raises(ValueError, match=r"got cls\.seq_relationship"):
            kind.from_weights(theirs.state_dict(), theirs.config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("embeddings.LayerNorm.weight"),
         r"missing: embeddings\.LayerNorm\.weight"),
        (lambda w: w.pop("pooler.dense.bias"), r"missing: pooler\.dense\.b"),
        (lambda w: w.update(extra=torch.ones(1)), "unexpected: extra"),
        (lambda w: w.update({"cls.predictions.bias": torch.ones(V)}),
         r"unexpected: cls\.predictions\.bias"),
        (lambda w: w.update({"embeddings.LayerNorm.gamma": torch.ones(24)}),
         r"embeddings\.LayerNorm\.gamma and another embeddings\.Layer"),
        (lambda w: w.update({"bert.pooler.dense.bias": torch.ones(24)}),
         r"bert\.pooler\.dense\.bias and another pooler\.dense\.bias"),
        (lambda w: w.update({"embeddings.position_ids":
                             torch.arange(LONGEST).flip(0)}),
         "other embeddings.position_ids, want 0, 1, 2"),
        (lambda w: w.update({"pooler.dense.bias": torch.ones(3)}),
         r"misshapen: pooler\.dense\.bias \(3,\), want \(24,\)"),
        (lambda w: w.update({"encoder.layer.3.output.dense.bias":
                             torch.ones(24)}),
         r"unexpected: encoder\.layer\.3\.output\.dense\.bias"),
    ],
)  # fmt: skip
def test_wrong_weights(change, message):
    theirs = hf_model()
    weights = dict(theirs.state_dict())
    change(weights)
    with pytest.raises(ValueError, match=f"(?s)weights: got .*{message}"):
        Bert.from_weights(weights, theirs.config)


def test_a_head_that_is_not_the_embedding_is_refused():
    theirs = hf_model("BertForMaskedLM")
    name = "cls.predictions.decoder."
    for change in ({name + "weight": torch.ones(V, 24)},
                   {name + "bias": torch.ones(V)}):  # fmt: skip
        with pytest.raises(ValueError, match=r"weights: got .*want"):
            MaskedLM.from_weights(
                {**theirs.state_dict(), **change}, theirs.config
            )
    theirs = hf_model("BertForMaskedLM", tie_word_embeddings=False)
    with pytest.raises(ValueError, match="tie_word_embeddings: got False"):
        MaskedLM.from_hf(theirs)


# --- what is refused ------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((torch.zeros(3, dtype=torch.long),), r"ids: got shape \(3,\)"),
        ((torch.zeros(1, 3),), "ids: got dtype torch.float32"),
        ((torch.zeros(2, 0, dtype=torch.long),), r"ids: got shape \(2, 0\)"),
        ((some_ids(1, LONGEST + 1),), "length of ids: got 33, want 1 to 32"),
        ((some_ids(1, LONGEST + 1), torch.ones(1, LONGEST + 1).long()),
         "length of ids: got 33, want 1 to 32"),
        ((some_ids(), LEFT[:, 1:]), r"attention_mask: got \(5, 10\)"),
        ((some_ids(), LEFT.float()), "attention_mask: got dtype"),
        ((some_ids(), None, LEFT[:2]), r"token_type_ids: got \(2, 11\)"),
        ((some_ids(), None, LEFT.float()), "token_type_ids: got dtype"),
    ],
)  # fmt: skip
def test_wrong_arguments(args, message):
    for model in (
        Bert.from_hf(hf_model()),
        MaskedLM.from_hf(hf_model("BertForMaskedLM")),
    ):
        with pytest.raises(ValueError, match=message):
            model(*args)


def test_only_models_are_copied():
    theirs = hf_model()
    for kind in (Bert, MaskedLM):
        with pytest.raises(ValueError, match="hf_model: got a BertConfig"):
            kind.from_hf(theirs.config)
        with pytest.raises(ValueError, match="config: got a dict"):
            kind({})


# published sizes of the checkpoints, to the last parameter
SIZES = {
    "bert-base-uncased": 109_482_240,
    "bert-large-uncased": 335_141_888,
    "minilm": 22_713_216,
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_published_size(name):
    with torch.device("meta"):
        model = Bert.from_name(name)
    assert sum(p.numel() for p in model.parameters()) == SIZES[name]


def test_the_preset_is_the_packaged_file():
    ours = BertConfig.from_hf(minilm().config)
    assert ours == BertConfig.from_name("minilm")
    held_by_file = sum(
        x.numel() for x in minilm().weights.values() if x.is_floating_point()
    )
    assert held_by_file == SIZES["minilm"]
    json.dumps(ours.to_hf())
