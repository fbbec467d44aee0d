"""Planted bugs: they raise nothing, change nothing else, and are found."""

from copy import copy
from dataclasses import replace

import pytest
import torch
from handmade import planted
from handmade.models.llama import Llama, LlamaConfig
from handmade.parity import differences
from handmade.weights.pretrained import Pretrained

LAYERS = 22
IDS = torch.tensor([[1, 7, 3, 9, 2]])
FOUND = {
    "wrong_theta": "blocks.0.attn",
    "centred_norms": "blocks.0.attn_norm",
    "repeated_block": "blocks.20.attn_norm",
}
each_bug = pytest.mark.parametrize("bug", planted.BUGS, ids=lambda b: b.title)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=29, d_model=16, n_layers=LAYERS, n_heads=4, n_kv_heads=2,
        d_ff=24, max_seq_len=64, rope_theta=500.0,
    )  # fmt: skip
    model = Llama(config).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, mean=0.1, std=0.5)
    return model


@each_bug
@torch.no_grad()
def test_a_bug_is_found_where_it_was_planted(model, bug):
    wrong, theirs = bug.plant(model), model.to_hf()
    right = differences(model, theirs, IDS, layers=Llama.HF_LAYERS)
    rows = differences(wrong, theirs, IDS, layers=Llama.HF_LAYERS)
    played = planted.Round(
        bug=bug, answers=("a", "b"), rows=(right, rows), broken=1
    )
    assert played.first_wrong().layer == FOUND[bug.plant.__name__]
    unbroken = replace(played, broken=0)
    with pytest.raises(ValueError, match="rows: got none above the tol"):
        unbroken.first_wrong()


@each_bug
@torch.no_grad()
def test_the_copy_shares_every_weight_and_leaves_the_model_alone(model, bug):
    before = model(IDS)
    config, state = model.config, {**model.state_dict()}
    wrong = bug.plant(model)
    assert not torch.allclose(wrong(IDS), before)
    assert torch.equal(model(IDS), before)
    assert model.config is config
    ours = {weight.data_ptr() for weight in model.parameters()}
    assert {weight.data_ptr() for weight in wrong.parameters()} <= ours
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())


def test_the_repeated_block_keeps_its_place_in_a_cache(model):
    wrong = planted.repeated_block(model, index=5)
    assert [block.attn.layer for block in wrong.blocks] == [*range(LAYERS)]


@pytest.mark.parametrize("index", [0, LAYERS])
def test_only_a_block_with_one_before_it_can_repeat_it(model, index):
    with pytest.raises(ValueError, match=f"index: got {index}, want"):
        planted.repeated_block(model, index=index)


class Tokenizer:
    """Words by their length; the chat format is no more than that."""

    eos_token_id = 0
    chat_template = "the words"

    def apply_chat_template(self, chat, **_):
        words = chat[0]["content"].split()
        return {"input_ids": torch.tensor([[len(word) for word in words]])}

    def decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        return " ".join(str(int(i)) for i in ids)


def test_an_answer_without_an_end_is_refused(model):
    tokenizer = Tokenizer()
    ids = planted.prompt(tokenizer, "why not")
    assert ids.tolist() == [[3, 3]]
    with pytest.raises(ValueError, match=r"ids: got .*, want \(1, T\)"):
        planted.answer(model, tokenizer, ids.repeat(2, 1))
    free = copy(tokenizer)
    free.eos_token_id = 28
    with pytest.raises(ValueError, match="max_new_tokens: got 3, want"):
        planted.answer(model, free, ids, max_new_tokens=3)
    with torch.no_grad():
        free.eos_token_id = int(model(ids)[0, -1].argmax())
    said = planted.answer(model, free, ids, max_new_tokens=3)
    assert said == str(free.eos_token_id)


def test_the_seed_settles_the_order_and_nothing_else(model, monkeypatch):
    calls = []

    def answer(model, tokenizer, ids):
        calls.append(model)
        return "right" if model.ours else "broken"

    class Checkpoint(Pretrained):
        weights, config = {}, {}

        def __init__(self):
            """Have no files."""

        def hf_model(self, attn):
            return model.to_hf()

        def hf_tokenizer(self):
            return Tokenizer()

    def from_weights(weights, config):
        model.ours = True
        return model

    def shared_copy(model):
        wrong = original(model)
        wrong.ours = False
        return wrong

    original = planted.shared_copy
    monkeypatch.setattr(planted, "shared_copy", shared_copy)
    monkeypatch.setattr(planted, "answer", answer)
    monkeypatch.setattr(Llama, "from_weights", from_weights)
    orders = set()
    for seed in range(6):
        rounds = planted.play(Checkpoint(), seed)
        again = planted.play(Checkpoint(), seed)
        assert [r.broken for r in rounds] == [r.broken for r in again]
        orders.add(tuple(r.broken for r in rounds))
        for played in rounds:
            assert played.answers[played.broken] == "broken"
            assert played.answers[1 - played.broken] == "right"
            off = [max(r.difference for r in rows) for rows in played.rows]
            assert off[played.broken] > 1e-3 > off[1 - played.broken]
    assert len(orders) > 1
