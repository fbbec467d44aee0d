"""Parity must fail where models differ: bugs are planted and must be found."""

import pytest
import torch
from handmade.blocks import multi_head
from handmade.models.llama import Llama
from handmade.parity import ParityError, differences, parity
from handmade.weights.reference import random_reference
from torch import nn

IDS = torch.arange(15).reshape(3, 5)


def pair(dtype=torch.float32):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=31,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=10,
        attn_implementation="sdpa",
    )
    theirs = random_reference(LlamaForCausalLM, config).to(dtype)
    return Llama.from_hf(theirs), theirs


def compare(ours, theirs, inputs=IDS, **options):
    options = {"layers": Llama.HF_LAYERS, "name": "tiny", **options}
    return parity(ours, theirs, inputs, **options)


def first_fault(ours, theirs, **options) -> str:
    with pytest.raises(ParityError) as caught:
        compare(ours, theirs, **options)
    return caught.value.row.layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_models(dtype):
    report = compare(*pair(dtype))
    assert len(report.rows) == 4 + 5 * 4
    assert report.dtype == dtype
    assert report.largest <= report.tolerance
    order = [row.layer for row in report.rows]
    assert order[:3] == ["tok_emb", "blocks.0.attn_norm", "blocks.0.attn"]
    assert order[-2:] == ["lm_head", ""]


PLANTS = {
    "tok_emb": lambda m: m.tok_emb.weight[7].add_(1),
    "blocks.0.attn": lambda m: m.blocks[0].attn.q_proj.weight.mul_(1.5),
    "blocks.2.attn_norm": lambda m: m.blocks[2].attn_norm.weight[3].add_(1),
    "blocks.1.ffn": lambda m: m.blocks[1].ffn.down_proj.weight.neg_(),
    "norm": lambda m: m.norm.weight[0].add_(0.1),
    "lm_head": lambda m: m.lm_head.weight[30, 2].add_(0.1),
}


@pytest.mark.parametrize("where", PLANTS)
def test_a_planted_bug_is_found_where_it_is(where):
    ours, theirs = pair()
    with torch.no_grad():
        PLANTS[where](ours)
    assert first_fault(ours, theirs) == where


def test_a_planted_bug_in_the_code_is_found(monkeypatch):
    monkeypatch.setattr(multi_head, "apply_rope", lambda x, rope: x)
    assert first_fault(*pair()) == "blocks.0.attn"


@pytest.mark.parametrize("eps", [1e-6, 3e-3])
def test_a_wrong_eps_is_a_matter_of_size(eps):
    ours, theirs = pair(torch.float64)
    ours.norm.eps = eps
    if eps == 1e-6:  # what this reference has
        compare(ours, theirs)
    else:
        assert first_fault(ours, theirs) == "norm"


def test_one_rounding_too_many_shows_in_float64_only():
    class Rounded(nn.Module):
        def forward(self, x):
            return x.float().to(x.dtype)

    for dtype in (torch.float32, torch.float64):
        ours, theirs = pair(dtype)
        ours.lm_head = nn.Sequential(ours.lm_head, Rounded())
        if dtype == torch.float32:
            compare(ours, theirs)
        else:
            assert first_fault(ours, theirs) == "lm_head"


def test_the_error_says_what_and_where():
    ours, theirs = pair()
    with torch.no_grad():
        ours.blocks[1].ffn.down_proj.weight[5] += 100
    with pytest.raises(ParityError) as caught:
        compare(ours, theirs)
    error = caught.value
    assert error.row.index[-1] == 5
    assert error.equal[-1] == "blocks.1.ffn_norm"
    assert f"{error.row.ours:.6g}" in str(error)
    assert f"{error.row.theirs:.6g}" in str(error)
    assert "blocks.1.ffn (theirs: model.layers.1.mlp)" in str(error)
    assert "allowed 1.0e-04" in str(error)


def test_nan_and_shapes_never_pass():
    ours, theirs = pair()
    with torch.no_grad():
        ours.blocks[1].ffn.up_proj.weight[0, 0] = torch.nan
    assert first_fault(ours, theirs) == "blocks.1.ffn"
    with torch.no_grad():  # nor where the reference has one, too
        theirs.model.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    assert first_fault(ours, theirs) == "blocks.1.ffn"
    ours, theirs = pair()
    ours.lm_head = nn.Linear(24, 30)
    with pytest.raises(ParityError, match=r"ours has shape \(3, 5, 30\)"):
        compare(ours, theirs)


def test_where_hides_the_padding_and_only_that():
    ours, theirs = pair()
    real = torch.ones(3, 5, dtype=torch.bool)
    real[1, :2] = False
    with torch.no_grad():
        ours.tok_emb.weight[IDS[1, 0]] += 1
    assert first_fault(ours, theirs, layers={"tok_emb": "model.embed_tokens"})
    layers = {"tok_emb": "model.embed_tokens"}
    compare(ours, theirs, layers=layers, where=real)
    with torch.no_grad():
        ours.tok_emb.weight[IDS[1, 2]] += 1
    with pytest.raises(ParityError) as caught:
        compare(ours, theirs, layers=layers, where=real)
    assert caught.value.row.index[:2] == (1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": {"blocks.{}.atn": "model.layers.{}"}}, "blocks.0.atn"),
        ({"layers": {"blocks.{}": "model.layer.{}"}}, "model.layer.0"),
        ({"layers": {"blocks.{}": "model.layers"}}, "in both or none"),
        ({"where": torch.ones(3, 5)}, "where: got"),
        ({"where": torch.ones(3, 4, dtype=torch.bool)}, "where: got"),
        ({"layers": {"blocks.0.attn.o_proj": "model"}}, None),
    ],
)
def test_wrong_arguments(options, message):
    error = ValueError if message else ParityError
    with pytest.raises(error, match=message):
        compare(*pair(), **options)


def test_models_of_unequal_depth():
    ours, theirs = pair()
    ours.blocks = ours.blocks[:3]
    with pytest.raises(ValueError, match=r"no module 'blocks\.3"):
        compare(ours, theirs)


def test_dtypes_must_agree():
    with pytest.raises(ValueError, match=r"float32, theirs torch\.float64"):
        compare(pair()[0], pair(torch.float64)[1])


def test_hooks_and_modes_are_put_back():
    ours, theirs = pair()
    ours.train()
    ours.blocks[1].eval()
    compare(ours, theirs)
    assert ours.training
    assert not ours.blocks[1].training
    for module in (*ours.modules(), *theirs.modules()):
        assert not module._forward_hooks


def test_the_report_is_a_table():
    report = compare(*pair())
    lines = str(report).splitlines()
    assert lines[0] == "tiny: equal in 24 places, float32"
    assert any(line.startswith("blocks.{}.attn  ") for line in lines)
    assert len(lines) == 3 + len(Llama.HF_LAYERS)
    entry = report.ledger()
    assert {row["layer"]: row["compared"] for row in entry["rows"]} == {
        path or "(whole model)": 4 if "{}" in path else 1
        for path in Llama.HF_LAYERS
    }
    assert entry["tolerance"] == "1.0e-04"


def test_differences_judge_nothing():
    ours, theirs = pair()
    with torch.no_grad():
        ours.norm.weight.add_(1)
    rows = differences(ours, theirs, IDS, layers=Llama.HF_LAYERS)
    assert {r.layer for r in rows if r.difference > 0.01} == {
        "norm", "lm_head", "",
    }  # fmt: skip
