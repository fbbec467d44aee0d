"""Weights by table: every transform and its inverse, every fault by name.

The tables stand for models that are still to come: GPT-2's Conv1D with q, k
and v in one tensor, Mixtral's experts in one, grouped queries fused. The
reference for what they mean is the tensors themselves, cut by hand.
"""

import pytest
import torch
from handmade.models.load import (
    Split,
    Stacked,
    Transposed,
    checkpoint_dtype,
    export,
    load,
)
from torch import nn

L, D, F, E, V = 3, 6, 10, 4, 13
QKV = [f"blocks.{{}}.attn.{p}_proj" for p in "qkv"]
GPT2 = {
    "wte.weight": "tok_emb.weight",
    "h.{}.ln_1.weight": "blocks.{}.attn_norm.weight",
    "h.{}.attn.c_attn.weight": Transposed(
        Split(*(f"{p}.weight" for p in QKV))
    ),
    "h.{}.attn.c_attn.bias": Split(*(f"{p}.bias" for p in QKV)),
    "h.{}.mlp.c_fc.weight": Transposed("blocks.{}.ffn.up_proj.weight"),
    "h.{}.mlp.c_fc.bias": "blocks.{}.ffn.up_proj.bias",
}
EXPERT = "blocks.{}.ffn.experts.{}"
MIXTRAL = {
    "embed.weight": "tok_emb.weight",
    "layers.{}.experts.gate_up_proj": Stacked(
        Split(f"{EXPERT}.gate_proj.weight", f"{EXPERT}.up_proj.weight")
    ),
    "layers.{}.experts.down_proj": Stacked(f"{EXPERT}.down_proj.weight"),
}
# the same model as older files hold it: every expert apart
APART = {
    "embed.weight": "tok_emb.weight",
    "layers.{}.experts.{}.w1.weight": f"{EXPERT}.gate_proj.weight",
    "layers.{}.experts.{}.w2.weight": f"{EXPERT}.down_proj.weight",
    "layers.{}.experts.{}.w3.weight": f"{EXPERT}.up_proj.weight",
}


class Parts(nn.Module):
    """A module of named parts, to build skeletons of models with."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def gpt2(kv_width=D):
    return Parts(
        tok_emb=nn.Embedding(V, D),
        blocks=nn.ModuleList(
            Parts(
                attn_norm=Parts(weight=nn.Parameter(torch.empty(D))),
                attn=Parts(
                    q_proj=nn.Linear(D, D),
                    k_proj=nn.Linear(D, kv_width),
                    v_proj=nn.Linear(D, kv_width),
                ),
                ffn=Parts(up_proj=nn.Linear(D, F)),
            )
            for _ in range(L)
        ),
    )


def mixtral():
    return Parts(
        tok_emb=nn.Embedding(V, D),
        blocks=nn.ModuleList(
            Parts(
                ffn=Parts(
                    experts=nn.ModuleList(
                        Parts(
                            gate_proj=nn.Linear(D, F, bias=False),
                            up_proj=nn.Linear(D, F, bias=False),
                            down_proj=nn.Linear(F, D, bias=False),
                        )
                        for _ in range(E)
                    )
                )
            )
            for _ in range(L)
        ),
    )


def gpt2_weights(kv_width=D):
    shapes = {"wte.weight": (V, D)}
    for i in range(L):
        shapes |= {
            f"h.{i}.ln_1.weight": (D,),
            f"h.{i}.attn.c_attn.weight": (D, D + 2 * kv_width),
            f"h.{i}.attn.c_attn.bias": (D + 2 * kv_width,),
            f"h.{i}.mlp.c_fc.weight": (D, F),
            f"h.{i}.mlp.c_fc.bias": (F,),
        }
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def mixtral_weights():
    shapes = {"embed.weight": (V, D)}
    for i in range(L):
        shapes |= {
            f"layers.{i}.experts.gate_up_proj": (E, 2 * F, D),
            f"layers.{i}.experts.down_proj": (E, D, F),
        }
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def same(one, other):
    assert one.keys() == other.keys()
    for name, x in one.items():
        assert torch.equal(x, other[name]), name
        assert x.dtype == other[name].dtype


def test_transposed_and_fused_as_in_gpt2():
    model, weights = gpt2(), gpt2_weights()
    load(model, weights, GPT2)
    x = torch.randn(5, D)
    for i, block in enumerate(model.blocks):
        # what GPT-2 computes: Conv1D multiplies from the other side
        fused = (
            x @ weights[f"h.{i}.attn.c_attn.weight"]
            + weights[f"h.{i}.attn.c_attn.bias"]
        )
        attn = block.attn
        apart = attn.q_proj(x), attn.k_proj(x), attn.v_proj(x)
        torch.testing.assert_close(torch.cat(apart, 1), fused)
        assert attn.q_proj.weight.is_contiguous()
    same(export(model, GPT2), weights)


@pytest.mark.parametrize("kv_width", [2, 4])
def test_fused_of_unequal_widths(kv_width):
    # grouped queries: our own shapes say where to cut
    model, weights = gpt2(kv_width), gpt2_weights(kv_width)
    load(model, weights, GPT2)
    fused = weights["h.1.attn.c_attn.weight"].T
    assert torch.equal(model.blocks[1].attn.v_proj.weight, fused[-kv_width:])
    same(export(model, GPT2), weights)


def test_stacked_experts_as_in_mixtral():
    model, weights = mixtral(), mixtral_weights()
    load(model, weights, MIXTRAL)
    for i, block in enumerate(model.blocks):
        for e, expert in enumerate(block.ffn.experts):
            gate, up = weights[f"layers.{i}.experts.gate_up_proj"][e].chunk(2)
            down = weights[f"layers.{i}.experts.down_proj"][e]
            assert torch.equal(expert.gate_proj.weight, gate)
            assert torch.equal(expert.up_proj.weight, up)
            assert torch.equal(expert.down_proj.weight, down)
    same(export(model, MIXTRAL), weights)


def test_one_table_writes_what_another_reads():
    model, again = mixtral(), mixtral()
    load(model, mixtral_weights(), MIXTRAL)
    apart = export(model, APART)
    assert len(apart) == 1 + L * E * 3
    assert torch.equal(
        apart["layers.2.experts.3.w3.weight"],
        model.blocks[2].ffn.experts[3].up_proj.weight,
    )
    load(again, apart, APART)
    same(again.state_dict(), model.state_dict())


def test_copies_share_nothing_with_the_file():
    model, weights = gpt2(), gpt2_weights()
    load(model, weights, GPT2)
    kept = {name: x.clone() for name, x in weights.items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    same(weights, kept)
    exported = export(model, GPT2)
    for x in exported.values():
        x.fill_(1)
    assert not any(p.any() for p in model.parameters())


def test_a_model_on_the_meta_device_is_filled():
    with torch.device("meta"):
        model = gpt2()
    weights = {name: x.bfloat16() for name, x in gpt2_weights().items()}
    load(model, weights, GPT2)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    same(export(model, GPT2), weights)


# --- what is wrong with a file --------------------------------------------


def change(weights, **changes):
    return {**weights, **{k.replace("__", "."): v for k, v in changes.items()}}


def test_every_fault_is_named_at_once_and_nothing_is_loaded():
    model = gpt2()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    weights = gpt2_weights()
    del weights["wte.weight"], weights["h.2.attn.c_attn.bias"]
    weights["h.1.mlp.c_fc.weight"] = torch.zeros(F, D)  # not transposed
    weights["h.0.attn.c_attn.weight"] = torch.zeros(D, 3 * D + 1)
    weights["h.0.mlp.c_fc.bias"] = torch.zeros(F, dtype=torch.int8)
    weights["h.3.ln_1.weight"] = torch.zeros(D)  # there is no layer 3
    weights["lm_head.weight"] = torch.zeros(V, D)
    with pytest.raises(ValueError, match="weights: got ") as caught:
        load(model, weights, GPT2)
    for part in (
        "missing: wte.weight (our tok_emb.weight)",
        "missing: h.2.attn.c_attn.bias (our blocks.2.attn.q_proj.bias)",
        "missing: h.2.attn.c_attn.bias (our blocks.2.attn.v_proj.bias)",
        "misshapen: h.1.mlp.c_fc.weight (10, 6), want (6, 10)",
        "misshapen: h.0.attn.c_attn.weight (6, 19), want (6, 18)",
        "not of floats: h.0.mlp.c_fc.bias torch.int8",
        "unexpected: h.3.ln_1.weight",
        "unexpected: lm_head.weight",
    ):
        assert part in str(caught.value)
    assert str(caught.value).count("missing") == 4
    same(model.state_dict(), before)


@pytest.mark.parametrize("e", [0, E - 1])
def test_a_lost_expert_is_missed(e):
    weights = export(mixtral(), APART)
    del weights[f"layers.1.experts.{e}.w1.weight"]
    name = f"layers.1.experts.{e}.w1.weight"
    with pytest.raises(ValueError, match=f"missing: {name}"):
        load(mixtral(), weights, APART)


@pytest.mark.parametrize("wrong", [E - 1, E + 1])
def test_another_number_of_experts(wrong):
    weights = mixtral_weights()
    weights["layers.0.experts.down_proj"] = torch.zeros(wrong, D, F)
    with pytest.raises(ValueError, match=r"misshapen: layers.0.experts.down"):
        load(mixtral(), weights, MIXTRAL)


@pytest.mark.parametrize("name", ["h.00.ln_1.weight", "h.-1.ln_1.weight",
                                  "h.0.ln_1.weight.", "xh.0.ln_1.weight",
                                  "hx0.ln_1.weight"])  # fmt: skip
def test_a_name_fits_whole_or_not(name):
    with pytest.raises(ValueError, match="unexpected"):
        load(gpt2(), {**gpt2_weights(), name: torch.zeros(D)}, GPT2)


def test_what_may_lie_in_a_file_unused():
    weights = gpt2_weights()
    weights["h.0.attn.masked_bias"] = torch.tensor(-1e4)
    with pytest.raises(ValueError, match=r"unexpected: h.0.attn.masked_bias"):
        load(gpt2(), weights, GPT2)
    load(gpt2(), weights, GPT2, ignored=["h.{}.attn.masked_bias"])
    first = {"h.0.attn.masked_bias": torch.tensor(-1e4), **gpt2_weights()}
    load(gpt2(), first, GPT2, ignored=["h.{}.attn.masked_bias"])


TIED_TABLE = {**GPT2, "lm_head.weight": "lm_head.weight"}
TIED = {"lm_head.weight": "tok_emb.weight"}


def with_head():
    model = gpt2()
    model.lm_head = nn.Linear(D, V, bias=False)
    return model


@pytest.mark.parametrize("lacks", ["wte.weight", "lm_head.weight", None])
def test_a_file_has_one_of_two_tied_tensors_or_both(lacks):
    weights = gpt2_weights()
    weights["lm_head.weight"] = weights["wte.weight"].clone()
    weights.pop(lacks, None)
    model = with_head()
    load(model, weights, TIED_TABLE, tied=TIED)
    assert torch.equal(model.lm_head.weight, model.tok_emb.weight)
    if lacks:
        with pytest.raises(ValueError, match=f"missing: {lacks}"):
            load(with_head(), weights, TIED_TABLE)


def test_two_tied_tensors_that_differ_are_refused():
    weights = gpt2_weights() | {"lm_head.weight": torch.zeros(V, D)}
    with pytest.raises(ValueError, match=r"unequal: lm_head.weight and tok"):
        load(with_head(), weights, TIED_TABLE, tied=TIED)


def test_a_table_that_forgets_a_parameter_cannot_export():
    table = {k: v for k, v in GPT2.items() if "c_fc.bias" not in k}
    with pytest.raises(ValueError, match=r"no line for .*0.ffn.up_proj.bias"):
        export(gpt2(), table)
    message = "missing: our blocks.0.ffn.up_proj.bias, which the table"
    with pytest.raises(ValueError, match=message):
        load(gpt2(), {}, table)


def test_several_dtypes_are_for_the_caller_to_decide():
    weights = gpt2_weights()
    weights["wte.weight"] = weights["wte.weight"].bfloat16()
    with pytest.raises(ValueError, match=r"several dtypes: .*bfloat16"):
        load(gpt2(), weights, GPT2)
    model = gpt2()
    load(model, weights, GPT2, dtype=torch.float64)
    assert {p.dtype for p in model.parameters()} == {torch.float64}


@pytest.mark.parametrize(
    ("config", "want"),
    [
        ({}, torch.bfloat16),
        ({"dtype": None}, torch.bfloat16),
        ({"dtype": "float16"}, torch.float16),
        ({"torch_dtype": "float32"}, torch.float32),
        ({"dtype": torch.float32}, torch.float32),
        ({"dtype": "float16", "torch_dtype": "float32"}, torch.float16),
    ],
)
def test_the_dtype_of_a_mixed_checkpoint(config, want):
    mixed = {"a": torch.zeros(1).bfloat16(), "b": torch.zeros(1)}
    assert checkpoint_dtype(mixed, config) == want
    # one dtype only: what the tensors are is what they stay
    assert checkpoint_dtype({"a": torch.zeros(1)}, config) is None
    assert checkpoint_dtype({}, config) is None
