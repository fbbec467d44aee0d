"""Mixture of experts: Mixtral's block, and what holds without a reference."""

import pytest
import torch
from handmade.blocks.feedforward import SwiGLU
from handmade.blocks.mixture_of_experts import (
    MixtureOfExperts,
    expert_load,
    load_balancing_loss,
    route,
)
from handmade.weights.reference import random_reference

CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def mixtral(top_k: int = 3):
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import (
        MixtralSparseMoeBlock,
    )

    config = MixtralConfig(
        hidden_size=12,
        intermediate_size=20,
        num_local_experts=5,
        num_experts_per_tok=top_k,
        num_attention_heads=2,
        num_key_value_heads=1,
        experts_implementation="eager",
    )
    with torch.no_grad():
        return random_reference(MixtralSparseMoeBlock, config).double()


@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_equals_mixtral_and_so_do_the_gradients(top_k):
    theirs = mixtral(top_k)
    ours = MixtureOfExperts.from_hf(theirs)
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    xs = [x.clone().requires_grad_() for _ in range(2)]
    got, want = ours(xs[0]), theirs(xs[1])
    torch.testing.assert_close(got, want, **CLOSE)
    got.pow(2).sum().backward()
    want.pow(2).sum().backward()
    torch.testing.assert_close(xs[0].grad, xs[1].grad, **CLOSE)
    torch.testing.assert_close(
        ours.router.weight.grad, theirs.gate.weight.grad, **CLOSE
    )
    for e, expert in enumerate(ours.experts):
        pair = (expert.gate_proj.weight.grad, expert.up_proj.weight.grad)
        if pair[0] is None:  # no token chose it
            assert not theirs.experts.down_proj.grad[e].any()
            continue
        fused = theirs.experts.gate_up_proj.grad[e]
        torch.testing.assert_close(torch.cat(pair), fused, **CLOSE)
        down = expert.down_proj.weight.grad
        want_down = theirs.experts.down_proj.grad[e]
        torch.testing.assert_close(down, want_down, **CLOSE)


@pytest.mark.parametrize("masked", [False, True])
def test_balancing_loss_equals_transformers(masked):
    from transformers.models.mixtral.modeling_mixtral import (
        load_balancing_loss_func,
    )

    logits = torch.randn(21, 5)
    mask = (torch.rand(3, 7) > 0.4).long() if masked else None
    want = load_balancing_loss_func((logits,), 5, 2, mask)
    torch.testing.assert_close(load_balancing_loss(logits, 2, mask), want)


def test_balancing_loss_by_hand():
    even = torch.tensor([[9.0, -9], [-9, 9]])
    assert load_balancing_loss(even, 1).item() == pytest.approx(1)
    worst = torch.tensor([[50.0, 0, 0]] * 4)
    assert load_balancing_loss(worst, 1).item() == pytest.approx(3)
    logits = worst.clone().requires_grad_()
    load_balancing_loss(logits / 40, 1).backward()
    assert (logits.grad[:, 0] > 0).all()  # the busy one is pushed down


def experts_like(plain: SwiGLU, n: int, top_k: int, **how):
    moe = MixtureOfExperts(6, 10, n, top_k, **how)
    for expert in moe.experts:
        expert.load_state_dict(plain.state_dict())
    return moe


def test_one_expert_is_the_plain_layer():
    plain, x = SwiGLU(6, 10), torch.randn(2, 5, 6)
    moe = experts_like(plain, 1, 1)
    assert torch.equal(moe(x), plain(x))


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_equal_experts_are_the_plain_layer(top_k):
    plain, x = SwiGLU(6, 10), torch.randn(2, 5, 6)
    torch.testing.assert_close(experts_like(plain, 4, top_k)(x), plain(x))


def test_all_experts_are_a_dense_mixture():
    moe, x = MixtureOfExperts(6, 10, 3, 3), torch.randn(7, 6)
    weights = moe.router(x).softmax(-1)
    want = sum(
        weights[:, e, None] * expert(x) for e, expert in enumerate(moe.experts)
    )
    torch.testing.assert_close(moe(x), want)


def test_route_by_hand():
    weights, experts = route(torch.tensor([2.0, 1.0, 0.0, -1.0]), 2)
    assert experts.tolist() == [0, 1]
    torch.testing.assert_close(weights, torch.tensor([0.731059, 0.268941]))
    weights, _ = route(
        torch.tensor([2.0, 1.0, 0.0, -1.0]), 2, renormalize=False
    )
    torch.testing.assert_close(weights, torch.tensor([0.643914, 0.236883]))


def test_divided_weights_at_one_expert_teach_the_router_nothing():
    sizes = {}
    for renormalize in (True, False):
        torch.manual_seed(0)
        moe = MixtureOfExperts(6, 10, 4, 1, renormalize=renormalize)
        moe(torch.randn(50, 6)).pow(2).sum().backward()
        sizes[renormalize] = moe.router.weight.grad.abs().max().item()
    assert sizes[True] < 1e-4 * sizes[False]


def test_a_token_depends_on_itself_only():
    moe, x = MixtureOfExperts(6, 10, 4, 2), torch.randn(2, 5, 6)
    changed = x.clone()
    changed[0, 3] += 1
    others = torch.ones(2, 5, dtype=torch.bool)
    others[0, 3] = False
    torch.testing.assert_close(moe(changed)[others], moe(x)[others])


def test_logits_on_request_and_load():
    moe, x = MixtureOfExperts(6, 10, 4, 2), torch.randn(2, 5, 6)
    out, logits = moe(x, return_logits=True)
    assert torch.equal(out, moe(x))
    assert logits.shape == (10, 4)
    load = expert_load(torch.tensor([[0, 1], [0, 2]]), 4)
    assert load.tolist() == [0.5, 0.25, 0.25, 0.0]


def test_half_precision():
    moe = MixtureOfExperts(6, 10, 4, 2).bfloat16()
    assert moe(torch.randn(3, 6).bfloat16()).dtype == torch.bfloat16


SIZES = {
    "hidden_size": 12,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_experts_per_tok": 3,
    "experts_implementation": "eager",
}


def mixtral_like(**other):
    from transformers import MixtralConfig
    from transformers.models.mixtral import modeling_mixtral

    config = MixtralConfig(
        **SIZES, intermediate_size=20, num_local_experts=5, **other
    )
    return modeling_mixtral.MixtralSparseMoeBlock, config


def olmoe(**other):
    from transformers import OlmoeConfig
    from transformers.models.olmoe import modeling_olmoe

    config = OlmoeConfig(**SIZES, intermediate_size=20, num_experts=5, **other)
    return modeling_olmoe.OlmoeSparseMoeBlock, config


def qwen3_moe(**other):
    from transformers import Qwen3MoeConfig
    from transformers.models.qwen3_moe import modeling_qwen3_moe

    config = Qwen3MoeConfig(
        **SIZES, moe_intermediate_size=20, num_experts=5, **other
    )
    return modeling_qwen3_moe.Qwen3MoeSparseMoeBlock, config


def qwen2_moe(**other):
    from transformers import Qwen2MoeConfig
    from transformers.models.qwen2_moe import modeling_qwen2_moe

    config = Qwen2MoeConfig(
        **SIZES, moe_intermediate_size=20, num_experts=5, **other
    )
    return modeling_qwen2_moe.Qwen2MoeSparseMoeBlock, config


def phimoe(**other):
    from transformers import PhimoeConfig
    from transformers.models.phimoe import modeling_phimoe

    config = PhimoeConfig(
        **{**SIZES, "num_experts_per_tok": 2},
        intermediate_size=20,
        num_local_experts=5,
        **other,
    )
    return modeling_phimoe.PhimoeSparseMoeBlock, config


def built(family, **other):
    kind, config = family(**other)
    with torch.no_grad():
        return random_reference(kind, config).double()


@pytest.mark.parametrize(
    ("family", "other"),
    [
        (mixtral_like, {}),
        (mixtral_like, {"hidden_act": "swish"}),
        (olmoe, {"norm_topk_prob": True}),
        (olmoe, {"norm_topk_prob": False}),
        (qwen3_moe, {"norm_topk_prob": True}),
        (qwen3_moe, {"norm_topk_prob": False}),
    ],
)
def test_from_hf_equals_every_block_it_takes(family, other):
    theirs = built(family, **other)
    ours = MixtureOfExperts.from_hf(theirs)
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), **CLOSE)


@pytest.mark.parametrize(
    ("family", "other", "says"),
    [
        (mixtral_like, {"hidden_act": "relu"}, "hidden_act: got ReLU"),
        (mixtral_like, {"hidden_act": "gelu"}, "hidden_act: got GELU"),
        (qwen3_moe, {"hidden_act": "tanh"}, "hidden_act: got Tanh"),
        (
            mixtral_like,
            {"router_jitter_noise": 0.1},
            r"router_jitter_noise: got 0\.1",
        ),
        (qwen2_moe, {}, "hf_block: got Qwen2MoeSparseMoeBlock.*shared"),
        (phimoe, {}, "hf_block: got PhimoeSparseMoeBlock"),
    ],
)
def test_from_hf_refuses_what_it_does_not_compute(family, other, says):
    with pytest.raises(ValueError, match=says):
        MixtureOfExperts.from_hf(built(family, **other))


def test_from_hf_takes_a_block_and_nothing_else():
    for wrong in (torch.nn.Linear(3, 3), None, {}):
        with pytest.raises(ValueError, match="hf_block: got"):
            MixtureOfExperts.from_hf(wrong)


def test_a_batch_of_padding_balances_to_zero():
    logits = torch.randn(6, 4, requires_grad=True)
    loss = load_balancing_loss(logits, 2, torch.zeros(2, 3).long())
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.eq(0).all()
    assert load_balancing_loss(torch.randn(0, 4), 2).item() == 0


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (torch.ones(5).long(), "mask: got 5 entries, want .* the 6 tokens"),
        (torch.ones(6), r"mask: got dtype torch\.float32"),
        ([1] * 6, "mask: got a list"),
    ],
)
def test_a_mask_that_does_not_fit_the_tokens(mask, says):
    with pytest.raises(ValueError, match=says):
        load_balancing_loss(torch.randn(6, 4), 2, mask)


def test_padding_as_bool_or_int_is_the_same():
    logits, real = torch.randn(6, 4), torch.tensor([1, 0, 1, 1, 0, 1])
    torch.testing.assert_close(
        load_balancing_loss(logits, 2, real.bool()),
        load_balancing_loss(logits[real.bool()], 2),
    )


def test_choices_that_are_no_experts():
    with pytest.raises(ValueError, match="experts: got 0 to 4, want 0 to 3"):
        expert_load(torch.tensor([0, 4]), 4)
    with pytest.raises(ValueError, match="experts: got -1 to 0"):
        expert_load(torch.tensor([0, -1]), 4)
    assert expert_load(torch.zeros(0).long(), 2).tolist() == [0, 0]


def test_wrong_k():
    for k in (1.5, True, None):
        with pytest.raises(ValueError, match=f"top_k: got {k}"):
            MixtureOfExperts(6, 10, 4, k)
    with pytest.raises(ValueError, match="top_k: got 5, want 1 to 4"):
        MixtureOfExperts(6, 10, 4, 5)
    with pytest.raises(ValueError, match="top_k: got 0, want 1 to 3"):
        route(torch.randn(2, 3), 0)
