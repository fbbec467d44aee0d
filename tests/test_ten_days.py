"""The ten-day model: counted, equal to Mixtral, balanced, its best kept."""

import json
import math
from dataclasses import replace

import pytest
import torch
from handmade.blocks.mixture_of_experts import load_balancing_loss
from handmade.blocks.rope import apply_rope, rope_angles
from handmade.experiments import ten_days as experiment
from handmade.models.architecture import costs
from handmade.models.variants import Variant, VariantConfig
from handmade.training.checkpoint import load_checkpoint, restore
from handmade.training.experts import (
    balanced_loss,
    balancing,
    expert_use,
    experts_in_effect,
    parameters_by_part,
    router_logits,
)
from handmade.training.loop import next_token_loss
from handmade.training.ten_days import (
    END,
    FULL,
    SMALL,
    VOCAB,
    TenDaySettings,
    bard_in_subwords,
    judged_windows,
    keep_best,
    ten_day_trainer,
)
from handmade.weights.reference import random_reference
from handmade.weights.shakespeare import shakespeare
from torch.testing import assert_close
from variant_helpers import compare

TINY = VariantConfig(
    model_type="mixtral", vocab_size=61, max_seq_len=64, d_model=24,
    n_layers=3, n_heads=6, n_kv_heads=2, d_ff=20, n_experts=8, top_k=3,
    tie_embeddings=True,
)  # fmt: skip
SETTINGS = TenDaySettings(steps=6, batch=3, length=8, warm_up=2, judged=64)


def model(seed=0, config=TINY):
    torch.manual_seed(seed)
    return Variant(config)


def ids(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(61, shape, generator=g)


# -- the two sizes


@pytest.mark.parametrize("config", [FULL, SMALL], ids=["full", "small"])
def test_the_counts_are_those_of_the_architecture_map(config):
    with torch.device("meta"):
        parts = parameters_by_part(Variant(config))
    want = costs(config, 1)
    assert sum(n for n, _ in parts.values()) == want.parameters
    assert sum(n for _, n in parts.values()) == want.active


def test_parts_are_counted_by_hand():
    parts = parameters_by_part(model())
    expert = 3 * 24 * 20
    assert parts == {
        "token table": (61 * 24,) * 2,
        "attention": (3 * (2 * 24 * 24 + 2 * 24 * 8),) * 2,
        "routers": (3 * 24 * 8,) * 2,
        "experts": (3 * 8 * expert, 3 * 3 * expert),
        "norms": (7 * 24,) * 2,
    }


def test_an_untied_head_is_a_part_of_its_own():
    parts = parameters_by_part(
        model(config=replace(TINY, tie_embeddings=False))
    )
    assert parts["head"] == parts["token table"]


def test_the_full_size_is_what_was_ordered():
    assert (FULL.vocab_size, FULL.d_model, FULL.n_layers) == (VOCAB, 768, 8)
    assert (FULL.n_heads, FULL.n_kv_heads) == (8, 4)
    assert (FULL.n_experts, FULL.top_k) == (8, 3)


# -- equal to transformers


def reference(seed=0, **changes):
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=61, hidden_size=24, intermediate_size=20,
        num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
        num_local_experts=8, num_experts_per_tok=3, rms_norm_eps=1e-5,
        max_position_embeddings=64, pad_token_id=None,
        experts_implementation="eager",
        **{"tie_word_embeddings": True, **changes},
    )  # fmt: skip
    return random_reference(MixtralForCausalLM, config, seed)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("tied", [True, False])
def test_it_is_mixtral(side, tied):
    theirs = reference(tie_word_embeddings=tied).double()
    ours = Variant.from_hf(theirs)
    mask = torch.tensor([[0] * n + [1] * (11 - n) for n in (0, 3, 10, 1)])
    mask = mask if side == "left" else mask.flip(-1)
    report = compare(ours, theirs, ids(4, 11), mask)
    assert report.largest < 1e-10
    assert ours.config.tie_embeddings is tied


@pytest.mark.parametrize("length", [1, 2, 64])
@pytest.mark.parametrize("rows", [1, 5])
def test_it_is_mixtral_at_every_length(length, rows):
    theirs = reference(seed=1).double()
    ours = Variant.from_hf(theirs)
    tokens = ids(rows, length)
    with torch.no_grad():
        gap = (ours(tokens) - theirs(tokens).logits).abs().max()
    assert gap < 1e-10 * ours(tokens).abs().max()


def test_the_balanced_loss_has_the_gradients_of_transformers():
    theirs = reference().double()
    ours = Variant.from_hf(theirs).train()
    tokens = ids(4, 12)
    with router_logits(ours) as logits:
        loss = next_token_loss(ours, tokens)
    together = load_balancing_loss(torch.cat(logits), 3)
    (loss + 0.5 * together).backward()
    out = theirs(tokens[:, :-1], output_router_logits=True)
    want = torch.nn.functional.cross_entropy(
        out.logits.flatten(0, 1), tokens[:, 1:].flatten()
    )
    (want + 0.5 * out.aux_loss).backward()
    # transformers adds up probabilities in float32
    assert_close(together, out.aux_loss, rtol=1e-6, atol=0, check_dtype=False)
    for layer, block in enumerate(ours.blocks):
        gate = theirs.model.layers[layer].mlp.gate.weight.grad
        assert_close(block.ffn.router.weight.grad, gate, rtol=1e-5, atol=1e-8)
    table = theirs.model.embed_tokens.weight.grad
    assert_close(ours.tok_emb.weight.grad, table, rtol=1e-5, atol=1e-7)


# -- the experts


def test_each_layer_is_balanced_for_itself():
    from transformers.models.mixtral.modeling_mixtral import (
        load_balancing_loss_func,
    )

    g = torch.Generator().manual_seed(0)
    layers = [torch.randn(30, 8, generator=g) for _ in range(4)]
    each = [load_balancing_loss_func((x,), 8, top_k=3) for x in layers]
    assert_close(balancing(layers, 3), torch.stack(each).mean())
    whole = load_balancing_loss_func(tuple(layers), 8, top_k=3)
    assert_close(load_balancing_loss(torch.cat(layers), 3), whole)


def test_leanings_of_two_layers_do_not_cancel():
    lean = torch.tensor([[4.0, 0.0]]).repeat(20, 1)
    layers = [lean, lean.flip(-1)]
    assert balancing(layers, 1) > 1.9
    assert load_balancing_loss(torch.cat(layers), 1) < 1.01


def test_balance_counts_in_training_alone():
    tiny, tokens = model(), ids(2, 9)
    plain = next_token_loss(tiny, tokens)
    assert_close(balanced_loss(tiny.eval(), tokens, 0.5), plain)
    with router_logits(tiny) as logits:
        tiny(tokens[:, :-1])
    want = plain + 0.5 * balancing(logits, 3)
    assert_close(balanced_loss(tiny.train(), tokens, 0.5), want)
    assert_close(balanced_loss(tiny, tokens, 0.0), plain)


def test_every_router_gets_a_gradient_from_balance_alone():
    tiny = model().train()
    with router_logits(tiny) as logits:
        tiny(ids(2, 9))
    balancing(logits, 3).backward()
    for block in tiny.blocks:
        assert block.ffn.router.weight.grad.abs().max() > 0


def test_the_hooks_are_gone_afterwards():
    tiny = model()
    with pytest.raises(RuntimeError), router_logits(tiny):
        raise RuntimeError
    assert not any(block.ffn.router._forward_hooks for block in tiny.blocks)


def test_use_is_counted_by_layer():
    tiny = model()
    for layer, block in enumerate(tiny.blocks):
        weight = torch.zeros(8, 24)
        block.ffn.router.weight.data = weight
        # equal scores: topk takes some three, the same for each token
        del weight, layer
    shares = expert_use(tiny, ids(2, 9))
    assert shares.shape == (3, 8)
    assert_close(shares.sum(-1), torch.ones(3))
    assert_close(shares.max(-1).values, torch.full((3,), 1 / 3))
    assert_close(experts_in_effect(shares), torch.full((3,), 3.0))
    assert_close(experts_in_effect(torch.full((8,), 1 / 8)), torch.tensor(8.0))


# -- text and run


def test_no_held_out_work_taught_a_token():
    text = bard_in_subwords()
    works = shakespeare()
    decode = text.tokenizer.decode
    assert len(text.tokenizer.vocab) == VOCAB
    ends = decode(text.held_out[-40:].tolist())
    titles = [t for t, work in works.items() if work in decode(
        text.held_out.tolist())]  # fmt: skip
    assert 2 < len(titles) < 8
    assert ends.endswith(END)
    # the words that only held-out works have are no tokens of their own
    held = "".join(works[t] for t in titles)
    train = "".join(work for t, work in works.items() if t not in titles)
    for word in ("Petruchio", "Orlando"):
        assert held.count(word) > 20 * train.count(word)
    assert "Orlando" not in text.tokenizer.vocab
    assert text.train.max() < VOCAB
    assert len(text.train) > 10**6


def test_judged_windows_reach_the_end_and_never_change():
    numbers = torch.arange(1000)
    windows = judged_windows(SETTINGS, numbers)
    rows = torch.cat([rows for (rows,) in windows])
    assert rows.shape == (8, 9)
    assert rows[0, 0] == 0
    assert rows[-1, -1] == 999
    assert torch.equal(
        rows, torch.cat([r for (r,) in judged_windows(SETTINGS, numbers)])
    )


def test_the_best_is_kept_and_not_the_last(tmp_path, monkeypatch):
    trainer = ten_day_trainer(SETTINGS, ids(300), model())
    losses = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(trainer, "evaluate", lambda batches: next(losses))
    states = []

    def tell(step, measured):
        states.append({k: v.clone() for k, v in model_state(trainer).items()})

    looks = keep_best(
        trainer, [], tmp_path, steps=6, every=2, settings=SETTINGS, tell=tell
    )
    assert looks == [(2, 3.0), (4, 1.0), (6, 2.0)]
    (folder,) = tmp_path.iterdir()
    best = load_checkpoint(tmp_path)
    assert best.step == 4
    assert best.extra == {"held_out_loss": 1.0}
    again = ten_day_trainer(SETTINGS, ids(300), model(seed=1))
    restore(again, best, json.loads(json.dumps(best.settings)))
    for name, value in model_state(again).items():
        assert torch.equal(value, states[3][name]), name
    assert folder.name == "step-00000004"


def test_a_run_that_goes_on_keeps_what_it_found_if_it_is_better(
    tmp_path, monkeypatch
):
    losses = iter([3.0, 1.0, 2.0, 1.5, 0.5])
    steps = []
    for end in (4, 8, 6):
        trainer = ten_day_trainer(SETTINGS, ids(300), model())
        monkeypatch.setattr(trainer, "evaluate", lambda batches: next(losses))
        if steps:
            best = load_checkpoint(tmp_path)
            restore(trainer, best, best.settings)
        keep_best(trainer, [], tmp_path, steps=end, every=2, settings=SETTINGS)
        assert len(list(tmp_path.iterdir())) == 1
        steps.append(load_checkpoint(tmp_path).step)
    assert steps == [4, 4, 6]


def test_a_run_that_goes_on_elsewhere_begins_to_keep_there(tmp_path):
    trainer = ten_day_trainer(SETTINGS, ids(300), model())
    windows = judged_windows(SETTINGS, ids(300, seed=1))
    trainer.run(2)
    keep_best(trainer, windows, tmp_path, steps=4, every=2, settings=SETTINGS)
    assert load_checkpoint(tmp_path).step == 4


def model_state(trainer):
    return trainer.model.state_dict()


def test_a_run_learns_and_stays_the_same_when_looked_at(tmp_path):
    """Looks draw nothing: two runs, looked at unequally, end alike."""
    ends = []
    for every in (1, 6):
        trainer = ten_day_trainer(SETTINGS, ids(300), model())
        windows = judged_windows(SETTINGS, ids(300, seed=1))
        keep_best(trainer, windows, tmp_path / str(every), steps=6,
                  every=every, settings=SETTINGS)  # fmt: skip
        ends.append(model_state(trainer))
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name


def test_a_run_uses_autocast_clipping_and_two_groups():
    trainer = ten_day_trainer(SETTINGS, ids(300), model())
    assert trainer.precision is torch.bfloat16
    assert trainer.max_norm == 1.0
    decayed, others = trainer.optimizer.param_groups
    assert decayed["weight_decay"] == 0.1
    assert others["weight_decay"] == 0
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert all(p.ndim < 2 for p in others["params"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"balance": -1.0}, "balance: got -1.0"),
        ({"balance": math.nan}, "balance: got nan"),
        ({"steps": 0}, "steps: got 0"),
        ({"length": 257}, "length: got 257, want at most 256"),
        ({"max_norm": 0.0}, "max_norm: got 0.0"),
    ],
)
def test_a_wrong_setting_is_named(changes, says):
    with pytest.raises(ValueError, match=says):
        replace(SETTINGS, **changes)


def test_a_text_shorter_than_a_window_is_refused():
    with pytest.raises(ValueError, match="ids: got"):
        ten_day_trainer(SETTINGS, ids(8), model())
    dense = Variant(replace(TINY, n_experts=None, top_k=None,
                            model_type="llama"))  # fmt: skip
    with pytest.raises(ValueError, match="model: got one without experts"):
        expert_use(dense, ids(1, 4))


# -- the experiment's fault


def test_turned_by_head_is_a_model_without_positions():
    """A rotation by head is one of the projections: R_h q . R_g k."""
    H, G, T, K = 6, 2, 7, 4
    g = torch.Generator().manual_seed(0)
    q = torch.randn(1, H, T, K, generator=g, dtype=torch.float64)
    k = torch.randn(1, G, T, K, generator=g, dtype=torch.float64)

    def by_head(x):
        rope = rope_angles(torch.arange(x.shape[1])[None], K)
        return apply_rope(x.transpose(1, 2), rope).transpose(1, 2)

    def scores(q, k):
        return q @ k.repeat_interleave(H // G, dim=1).mT

    # the same turn of each query and key, whatever its token: order is lost
    order = torch.randperm(T, generator=g)
    plain = scores(by_head(q), by_head(k))
    moved = scores(by_head(q), by_head(k[:, :, order]))
    assert_close(moved, plain[..., order])


def test_the_planted_model_sees_no_positions_and_the_other_does():
    tokens = ids(1, 9)
    shifted = torch.arange(9)[None] * 3
    planted = experiment._TurnedByHead(TINY).eval()
    plain = Variant(TINY).eval()
    plain.load_state_dict(planted.state_dict())
    with torch.no_grad():
        want = plain(tokens, positions=torch.zeros_like(shifted))
        assert torch.equal(planted(tokens), want)
        assert (plain(tokens) - want).abs().max() > 1e-6


def test_the_seeds_see_the_same_windows():
    """Pairs differ by the fault alone: start and batches are equal."""
    text = bard_in_subwords()
    starts, draws = [], []
    for fault in experiment.FAULTS.values():
        run = experiment.TenDayRun(seed=2, **fault)
        trainer = ten_day_trainer(run, text.train)
        starts.append(trainer.model.state_dict())
        draws.append(trainer.draw(trainer.generator)[0])
    for state, drawn in zip(starts, draws, strict=True):
        assert torch.equal(drawn, draws[0])
        assert all(torch.equal(state[k], v) for k, v in starts[0].items())
