"""Parity must fail where models differ: bugs are planted and must be found."""

import html
import json
import math
import xml.etree.ElementTree as ET

import pytest
import torch
from handmade.blocks import multi_head
from handmade.models.llama import Llama
from handmade.parity import ParityError, differences, parity
from handmade.tolerances import TOLERANCES
from handmade.weights.reference import random_reference
from hypothesis import given, settings
from hypothesis import strategies as st
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
        ({"layers": {"blocks.{}": "model.layers"}}, "as many {} in both"),
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
    with pytest.raises(ValueError, match=r"got 'blocks\.3\.attn_norm'"):
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


def cells(shown):
    """The texts of an HTML table's rows."""
    root = ET.fromstring(shown.html())
    return [["".join(cell.itertext()) for cell in row]
            for row in root.iter("tr")]  # fmt: skip


def test_the_report_shows_what_was_compared_and_what_is_allowed():
    report = compare(*pair(), against="<b>&")
    bundle = report._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/html"] == report.table().html()
    assert bundle["text/plain"] == str(report)
    head, *rows = cells(report.table())
    assert head == [
        "place", "largest difference", "allowed", "", "compared with",
        "places",
    ]  # fmt: skip
    assert len(rows) == len(Llama.HF_LAYERS)
    found = {row[0]: row[1:] for row in rows}
    worst = max(
        row.difference
        for row in report.rows
        if row.pattern == "blocks.{}.attn"
    )
    assert found["blocks.{}.attn"] == [
        f"{worst:.1e}", "1.0e-04", "✓ ok", "model.layers.{}.self_attn", "4",
    ]  # fmt: skip
    assert found["(whole model)"][3:] == ["(whole model)", "1"]
    caption = "".join(ET.fromstring(report.table().html())[0].itertext())
    assert caption.startswith("tiny against <b>&: equal in 24 places, float32")


def test_an_error_shows_what_fails_under_what_agrees():
    ours, theirs = pair()
    with torch.no_grad():
        PLANTS["blocks.1.ffn"](ours)
    with pytest.raises(ParityError) as caught:
        compare(ours, theirs)
    error = caught.value
    _, *rows = cells(error.table())
    assert [row[0] for row in rows] == [*error.equal[-2:], "blocks.1.ffn"]
    assert [row[3] for row in rows] == ["✓ ok", "✓ ok", "✗ FAILS"]
    assert float(rows[-1][1]) > float(rows[-1][2]) == 1e-4
    bundle = error._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == str(error)
    assert "var(--hm-bad," in bundle["text/html"]


def test_the_ledgers_entry_has_no_date_and_no_build():
    entry = compare(*pair(), checkpoint="drawn at random").ledger()
    assert [*entry] == [
        "model", "against", "checkpoint", "device", "dtype", "tolerance",
        "torch", "transformers", "rows",
    ]  # fmt: skip
    assert entry["against"] == "transformers.LlamaForCausalLM"
    assert entry["checkpoint"] == "drawn at random"
    assert entry["device"] == "cpu"
    assert entry["torch"] == torch.__version__.split("+")[0]
    assert json.loads(json.dumps(entry)) == entry


@pytest.mark.parametrize(
    "name",
    ["a | b", "<script>alert(1)</script>", "a\n# b\r\n| c", "`code` &lt;"],
)
def test_a_hostile_name_stays_a_name(name):
    entry = compare(*pair(), name=name, against=name, checkpoint=name).ledger()
    for shown in (entry["model"], entry["against"], entry["checkpoint"]):
        assert not set("<>|`\n\r") & set(shown)
    assert html.unescape(entry["model"]) == " ".join(name.split())


def test_differences_judge_nothing():
    ours, theirs = pair()
    with torch.no_grad():
        ours.norm.weight.add_(1)
    rows = differences(ours, theirs, IDS, layers=Llama.HF_LAYERS)
    assert {r.layer for r in rows if r.difference > 0.01} == {
        "norm", "lm_head", "",
    }  # fmt: skip


class Fixed(nn.Module):
    """Puts out what it was made with."""

    def __init__(self, out):
        super().__init__()
        self.out = out

    def forward(self, x):
        return self.out


def fixed(*outs):
    return nn.Sequential(*map(Fixed, outs))


def compare_fixed(got, want, **options):
    options = {"layers": {"{}": "{}"}, "name": "fixed", **options}
    return parity(fixed(*got), fixed(*want), torch.ones(1), **options)


def outputs(seed, shape, dtype):
    """Draw rows of sizes that differ, one of them enormous."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    x = x.flatten(0, -2)
    x[seed % len(x)] *= 22_452
    return x.reshape(shape).to(dtype)


def one_value(x, row, tolerance):
    # the smallest axis, by ten times what the whole row may differ
    x[row, x[row].abs().argmin()] += 10 * tolerance * x[row].abs().max()


def one_row(x, row, tolerance):
    x[row] *= 1 + 10 * tolerance


def sign(x, row, tolerance):
    at = x[row].abs().argmax()
    x[row, at] = -x[row, at]


def swap(x, row, tolerance):
    x[[row, row - 1]] = x[[row - 1, row]]


def swapped_axes(x, row, tolerance):
    x[row] = x[row].roll(1)


def one_head(x, row, tolerance):
    # every third row, as if it were one head of three
    x[row % 3 :: 3] *= 1.5


def nan(x, row, tolerance):
    x[row, 0] = math.nan


def infinity(x, row, tolerance):
    x[row, -1] = math.inf


FAULTS = [one_value, one_row, sign, swap, swapped_axes, one_head, nan]
FAULTS += [infinity]
SHAPES = [(2, 4, 5), (2, 3, 4, 6), (6, 4), (1, 7, 3)]


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shape=st.sampled_from(SHAPES),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    fault=st.sampled_from(FAULTS),
    layer=st.integers(0, 3),
    row=st.integers(0, 5),
)
def test_one_fault_is_found_where_it_is(seed, shape, dtype, fault, layer, row):
    want = [outputs(seed + 10 * i, shape, dtype) for i in range(4)]
    got = [x.clone() for x in want]
    eps = torch.finfo(dtype).eps
    for x in got:  # rounding of the last digits passes
        x += 4 * eps * x.abs().amax(-1, keepdim=True)
    compare_fixed(got, want)
    fault(got[layer].flatten(0, -2), row, TOLERANCES[dtype])
    for later in got[layer + 1 :]:  # what comes after is wrong altogether
        later.zero_()
    with pytest.raises(ParityError) as caught:
        compare_fixed(got, want)
    assert caught.value.row.layer == str(layer)
    assert caught.value.equal == [str(i) for i in range(layer)]


def test_an_outlier_token_hides_nothing_of_the_others():
    """SmolLM2's first token: 22,452, where other tokens' largest is 10."""
    want = 10 * torch.ones(1, 6, 4)
    want[0, 0, 0] = 22_452
    got = want.clone()
    got[0, 3, 2] += 2.2
    with pytest.raises(ParityError, match="token's largest number") as caught:
        compare_fixed([got], [want])
    assert caught.value.row.index == (0, 3, 2)
    assert caught.value.row.difference == pytest.approx(0.22)


def test_equal_infinities_pass_and_nothing_else_beside_one():
    want = torch.randn(2, 3, 4)
    want[0, 1, 2] = math.inf
    assert compare_fixed([want], [want]).largest == 0
    for wrong in (torch.randn(2, 3, 4), want.nan_to_num(), -want):
        with pytest.raises(ParityError):
            compare_fixed([wrong], [want])


def test_nan_is_equal_only_when_asked():
    want = torch.randn(2, 3, 4)
    want[1, 2, 0] = math.nan
    with pytest.raises(ParityError):
        compare_fixed([want], [want])
    assert compare_fixed([want], [want], nan_equal=True).largest == 0
    with pytest.raises(ParityError):
        compare_fixed([want.nan_to_num()], [want], nan_equal=True)
    rows = differences(
        fixed(want), fixed(want), torch.ones(1), layers={"0": "0"},
        nan_equal=True,
    )  # fmt: skip
    assert rows[0].difference == 0


ONE = torch.ones(2, 3, 4)
REAL = torch.ones(2, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        (ONE, {"layers": {}}, "layers: got {}"),
        (ONE, {"layers": ["0"]}, "layers: got"),
        (ONE, {"layers": {"1": "0"}}, "layers: got '1'"),
        (ONE, {"layers": {"{}.{}": "{}.{}"}}, "want a module of Sequential"),
        (ONE, {"layers": {"{}": "0"}}, "want as many {} in both"),
        (ONE, {"layers": {"0": "{}"}}, "want as many {} in both"),
        (ONE, {"layers": {"0[2]": "0"}}, "'0\\[2\\]'.* ran once"),
        (ONE, {"layers": {"0": "0", "0[0]": "0"}}, "twice"),
        (ONE, {"where": ~REAL}, "where: got no token"),
        (ONE, {"where": {}}, "where: got"),
        (ONE, {"where": {"blocks": REAL}}, r"where: got \['blocks'\]"),
        (ONE, {"where": REAL[0]}, "where: got"),
        (ONE, {"where": REAL.mT}, "where: got"),
        (ONE, {"where": [[True]]}, "where: got list"),
        (ONE[0], {"where": REAL}, "where: got"),
        (ONE[:0], {}, r"shape \(0, 3, 4\), want some numbers"),
        (ONE.long(), {}, "want one floating dtype"),
        ("words", {}, "has no tensor"),
        (ONE, {"name": ""}, "name: got ''"),
        (ONE, {"name": None}, "name: got None"),
        (ONE, {"checkpoint": " "}, "checkpoint: got ' '"),
        (ONE, {"against": 3}, "against: got 3"),
        (ONE, {"rtol": math.nan}, "rtol: got nan"),
        (ONE, {"rtol": math.inf}, "rtol: got inf"),
        (ONE, {"rtol": -1.0}, "rtol: got -1.0"),
    ],
)
def test_what_cannot_be_compared_never_passes(out, options, message):
    with pytest.raises(ValueError, match=message):
        compare_fixed([out], [out], **options)


def test_where_is_read_by_the_outputs_axes():
    """(B, T) picks tokens of (B, T, D) and queries of (B, H, T, S)."""
    real = torch.tensor([[True, True, False], [False, True, True]])
    want = torch.randn(2, 3, 3, 5)  # as many heads as tokens
    got = want.clone()
    got[0, :, 2] += 1  # the padding, in every head
    compare_fixed([got], [want], where=real)
    got[0, 2, 1] += 1  # a real token, in one head
    with pytest.raises(ParityError) as caught:
        compare_fixed([got], [want], where=real)
    assert caught.value.row.index[:3] == (0, 2, 1)
    # a pooled output has no tokens: the mask is given to the others
    outs = torch.randn(2, 3, 4), torch.randn(2, 3)
    with pytest.raises(ValueError, match="layers without tokens"):
        compare_fixed(outs, outs, where=real)
    layers = {"0": "0", "1": "1"}
    compare_fixed(outs, outs, layers=layers, where={"0": real})


def test_two_numbers_in_a_pattern():
    def experts(rows):
        layers = [nn.ModuleList(map(nn.Linear, row, row)) for row in rows]
        model = nn.Module()
        model.blocks = nn.ModuleList(layers)
        model.forward = lambda x: [
            e(x[:, : e.in_features]) for layer in layers for e in layer
        ]
        return model

    ours = experts([(3, 4), (2, 3, 4)])
    theirs = experts([(3, 4), (2, 3, 4)])
    theirs.load_state_dict(ours.state_dict())
    layers = {"blocks.{}.{}": "blocks.{}.{}"}
    x = torch.randn(2, 4)
    report = parity(ours, theirs, x, layers=layers, name="experts")
    assert [row.layer for row in report.rows] == [
        f"blocks.{i}.{j}" for i, n in enumerate((2, 3)) for j in range(n)
    ]
    with torch.no_grad():
        theirs.blocks[1][2].bias[0] += 1
    with pytest.raises(ParityError) as caught:
        parity(ours, theirs, x, layers=layers, name="experts")
    assert caught.value.row.layer == "blocks.1.2"
    theirs.blocks[1].pop(2)
    with pytest.raises(ValueError, match=r"got 'blocks\.1\.2'"):
        parity(ours, theirs, x, layers=layers, name="experts")


class Shared(nn.Module):
    """One norm that runs before and after the layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.LayerNorm(4)
        self.lin = nn.Linear(4, 4)

    def forward(self, x):
        return self.norm(self.lin(self.norm(x)))


class Apart(Shared):
    """The same with two norms."""

    def __init__(self):
        super().__init__()
        self.last = nn.LayerNorm(4)

    def forward(self, x):
        return self.last(self.lin(self.norm(x)))


def test_a_module_that_runs_twice_is_compared_twice():
    x = torch.randn(2, 3, 4)
    layers = {"norm": "norm", "lin": "lin"}
    report = parity(Shared(), Shared(), x, layers=layers, name="shared")
    assert [r.layer for r in report.rows] == ["norm[0]", "lin", "norm[1]"]
    wrong = Shared()
    wrong.lin.bias.data[0] += 1
    with pytest.raises(ParityError) as caught:
        parity(wrong, Shared(), x, layers={"norm": "norm"}, name="shared")
    assert caught.value.row.layer == "norm[1]"
    with pytest.raises(ValueError, match="got 2 outputs of 'norm"):
        parity(Shared(), Apart(), x, layers=layers, name="unequal")
    layers = {"norm[0]": "norm", "norm[1]": "last", "lin": "lin"}
    report = parity(Shared(), Apart(), x, layers=layers, name="by number")
    assert [row.their_layer for row in report.rows] == ["norm", "lin", "last"]


def test_parts_of_an_output_chosen_or_all():
    hidden, pooled = torch.randn(2, 3, 4), torch.randn(2, 4)
    maps = torch.rand(2, 5, 3, 3)
    want = {"last": hidden, "pooled": pooled, "maps": (maps, maps + 1)}
    got = (hidden, pooled + 1, (maps, maps + 1))
    compare_fixed([got], [want])  # the first tensor only
    for ours, theirs, layer in (
        ("0:1", "0:pooled", "0:1"),
        ("0:*", "0:*", "0:1"),
    ):
        with pytest.raises(ParityError) as caught:
            compare_fixed([got], [want], layers={ours: theirs})
        assert caught.value.row.layer == layer
    got = (hidden, pooled, (maps, maps + 1))
    report = compare_fixed([got], [want], layers={"0:*": "0:*"})
    assert [row.their_layer for row in report.rows] == [
        "0:last", "0:pooled", "0:maps.0", "0:maps.1",
    ]  # fmt: skip
    short = (hidden, pooled, (maps,))
    with pytest.raises(ValueError, match="got 3 outputs of"):
        compare_fixed([short], [want], layers={"0:*": "0:*"})
    with pytest.raises(ValueError, match="one of its parts"):
        compare_fixed([got], [want], layers={"0:7": "0:last"})


def test_encoder_and_decoder_of_unequal_length():
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=20, d_model=8, d_kv=3, d_ff=12, num_layers=2,
        num_decoder_layers=3, num_heads=2, decoder_start_token_id=0,
    )  # fmt: skip
    theirs = random_reference(T5ForConditionalGeneration, config)
    ours = random_reference(T5ForConditionalGeneration, config)
    inputs = {
        "input_ids": torch.arange(10).reshape(2, 5),
        "attention_mask": torch.ones(2, 5).long(),
        "decoder_input_ids": torch.arange(6).reshape(2, 3),
    }
    layers = {
        name: name
        for name in (
            "encoder.block.{}", "decoder.block.{}.layer.{}", "",
            ":encoder_last_hidden_state",
        )
    }  # fmt: skip
    ours.load_state_dict(theirs.state_dict())
    options = {"layers": layers, "name": "T5"}
    report = parity(ours, theirs, inputs, **options)
    assert len(report.rows) == 2 + 3 * 3 + 2
    real = torch.ones(2, 5, dtype=torch.bool)
    where = {"encoder.block.{}": real}
    assert parity(ours, theirs, inputs, where=where, **options)
    with pytest.raises(ValueError, match="where: got"):
        parity(ours, theirs, inputs, where=real, **options)
    with torch.no_grad():
        ours.decoder.block[2].layer[1].EncDecAttention.k.weight += 1
    with pytest.raises(ParityError) as caught:
        parity(ours, theirs, inputs, **options)
    assert caught.value.row.layer == "decoder.block.2.layer.1"


def test_no_model_changes_the_others_inputs():
    class Greedy(nn.Module):
        def forward(self, x):
            return x.zero_() + 1.0

    x = torch.ones(2, 3)
    with pytest.raises(ParityError):
        parity(Greedy(), nn.Identity(), x + 1, layers={"": ""}, name="greedy")
    parity(nn.Identity(), Greedy(), x, layers={"": ""}, name="greedy")
    assert x.sum() == 6


def test_a_tensor_given_twice_stays_one():
    class Same(nn.Module):
        def forward(self, query, key):
            return query * float(query is key)

    x = torch.ones(2, 3)
    inputs = {"query": x, "key": x}
    layers = {"": ""}
    report = parity(Same(), Same(), inputs, layers=layers, name="same")
    assert report.rows[0].ours == 1
