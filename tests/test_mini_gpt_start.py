"""The heads written by hand look where they are said to."""

import pytest
import torch
from handmade.training.mini_gpt import make_trainer
from handmade.training.mini_gpt_model import MiniGPT, MiniGPTConfig
from handmade.training.mini_gpt_parts import norm, split_qkv, turn
from handmade.training.mini_gpt_settings import Settings
from handmade.training.mini_gpt_start import check_room, write_copying

FIRST = 60  # characters before they come again


def begun(seed=0, **sizes):
    torch.manual_seed(seed)
    sizes = {"vocab_size": 80, "n_layers": 3} | sizes
    model = MiniGPT(MiniGPTConfig(**sizes))
    write_copying(model)
    return model.eval()


def twice(rows=4, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(80, (rows, FIRST), generator=g).repeat(1, 2)


@torch.no_grad()
def attention(model, ids, layer):
    """What the heads of a block look at, (B, H, T, T)."""
    rope = model.angles(torch.arange(ids.shape[1])[None])
    mask = torch.ones(ids.shape[1], ids.shape[1]).tril().bool()
    x = norm(model.tok_emb(ids))
    for block in model.blocks[:layer]:
        x = block(x, rope, mask)
    block = model.blocks[layer]
    qk, _ = split_qkv(block.qkv_proj(norm(x)), block.n_heads)
    q, k = norm(turn(qk, rope))
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return scores.masked_fill(~mask, -torch.inf).softmax(-1)


@pytest.mark.parametrize("seed", range(3))
def test_block_0_looks_one_and_two_places_back(seed):
    weights = attention(begun(seed), twice(), 0)
    places = torch.arange(5, 2 * FIRST)
    for head, back in ((0, 1), (1, 2)):
        looked = weights[:, head].argmax(-1)[:, 5:]
        near = (looked == places - back).float().mean()
        assert near > 0.9
        # by its place, whatever stands there: the same share in each row
        share = weights[:, head].diagonal(-back, 1, 2)
        assert share.std() < 0.2 * share.mean()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sizes", [{}, {"d_model": 96, "n_layers": 2}])
def test_block_1_looks_at_what_followed_the_same_two(seed, sizes):
    weights = attention(begun(seed, **sizes), twice(), 1)[:, 0]
    places = torch.arange(FIRST + 3, 2 * FIRST)
    followed = places - FIRST + 1
    found = weights[:, places].argmax(-1) == followed
    assert found.float().mean() > 0.8
    share = weights[:, places, followed].mean()
    assert share > 10 / FIRST
    # a start whose weights are all drawn has no such head
    torch.manual_seed(seed)
    plain = MiniGPT(MiniGPTConfig(vocab_size=80, **({"n_layers": 3} | sizes)))
    others = attention(plain, twice(), 1)[:, :, places, followed]
    assert others.mean() < 3 / FIRST


def test_a_new_model_still_knows_nothing():
    model = begun()
    with torch.no_grad():
        assert model(twice()).abs().max() == 0


@pytest.mark.parametrize("start", ["copying", "plain"])
def test_a_run_begins_as_its_settings_say(start):
    settings = Settings(
        d_model=24, n_layers=2, d_ff=32, max_seq_len=8, start=start
    )
    trainer = make_trainer(settings, torch.arange(40) % 9, 9)
    written = trainer.model.blocks[0].o_proj.weight.any().item()
    assert written == (start == "copying")


@pytest.mark.parametrize(
    "sizes", [{"n_layers": 1}, {"n_heads": 1}, {"d_model": 8}]
)
def test_a_model_without_room_is_refused(sizes):
    says = "start: got 'copying' for .*, want 2 layers and 2 heads"
    with pytest.raises(ValueError, match=says):
        Settings(**sizes)
    Settings(**sizes, start="plain")
    config = MiniGPTConfig(vocab_size=9, **sizes)
    with pytest.raises(ValueError, match=says):
        check_room(config)
    with pytest.raises(ValueError, match=says):
        write_copying(MiniGPT(config))


def test_an_unknown_start_is_named():
    with pytest.raises(ValueError, match="start: got 'warm', want copying or"):
        Settings(start="warm")
