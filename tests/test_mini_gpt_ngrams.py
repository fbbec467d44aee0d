"""N-grams beside the capstone's transformer, and what its parts compute."""

from dataclasses import replace

import pytest
import torch
from handmade.blocks.rope import apply_rope, rope_angles
from handmade.inference.cache import KVCache
from handmade.inference.generate import generate
from handmade.training.characters import Alphabet
from handmade.training.checkpoint import load_checkpoint
from handmade.training.mini_gpt import Run, load_model
from handmade.training.mini_gpt_model import MiniGPT, MiniGPTConfig
from handmade.training.mini_gpt_ngrams import NGrams, followed, ngram_rows
from handmade.training.mini_gpt_parts import norm, split_qkv, square_relu, turn
from handmade.training.mini_gpt_settings import Settings
from handmade.training.mini_gpt_text import write_text
from torch import nn

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 40
SMALL = Settings(
    steps=8, d_model=12, n_layers=2, n_heads=2, d_ff=20, max_seq_len=16,
    batch_size=3, precision="float32", ngrams=64,
)  # fmt: skip


def random_model(dtype=torch.float64, **sizes):
    torch.manual_seed(3)
    sizes = {
        "vocab_size": 31, "d_model": 24, "n_layers": 3, "n_heads": 2,
        "d_ff": 40, "max_seq_len": 20, "ngrams": 64,
    } | sizes  # fmt: skip
    model = MiniGPT(MiniGPTConfig(**sizes)).to(dtype).eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    return model


def draw_ids(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(31, shape, generator=g)


# -- the parts, against what PyTorch and the other pages have


def draw(*shape):
    g = torch.Generator().manual_seed(5)
    return torch.randn(shape, generator=g, dtype=torch.float64)


def test_the_parts_are_what_their_formulas_say():
    x = draw(2, 3, 2, 5, 6)
    torch.testing.assert_close(
        norm(x), nn.functional.rms_norm(x, (6,), eps=1e-6)
    )
    torch.testing.assert_close(square_relu(x), x.clamp(min=0) ** 2)
    rope = rope_angles(torch.arange(5)[None], 6)
    torch.testing.assert_close(turn(x, rope), apply_rope(x, rope))
    each = rope_angles(torch.arange(15).view(3, 5), 6)
    torch.testing.assert_close(
        turn(x, each), torch.stack([apply_rope(part, each) for part in x])
    )
    qkv = draw(3, 5, 36)
    qk, v = split_qkv(qkv, 2)
    for ours, theirs in zip((*qk, v), qkv.chunk(3, dim=-1), strict=True):
        assert torch.equal(ours, theirs.view(3, 5, 2, 6).transpose(1, 2))


def test_their_backward_passes_are_the_derivatives():
    x = draw(2, 2, 2, 3, 4).requires_grad_()
    rope = tuple(a.double() for a in rope_angles(torch.arange(3)[None], 4))
    for part in (norm, square_relu, lambda x: turn(x, rope)):
        assert torch.autograd.gradcheck(part, x)


# -- the tables


def test_a_row_depends_on_the_last_characters_and_on_no_others():
    text = draw_ids(1, 40) + 1
    rows = ngram_rows(text, 10**6)
    assert rows.shape == (1, 40, 5)
    for i, n in enumerate((2, 3, 4, 5, 6)):
        assert ((rows[..., i] // 10**6) == i).all()
        for back in range(7):
            other = text.clone()
            other[0, 20 - back] = 40
            same = torch.equal(
                ngram_rows(other, 10**6)[0, 20, i], rows[0, 20, i]
            )
            assert same == (back >= n)


def test_equal_n_grams_share_a_row_and_others_seldom_do():
    text = draw_ids(1, 5000) + 1
    rows = ngram_rows(text, 2**16)[0]
    seen = [tuple(text[0, i - 1 : i + 1].tolist()) for i in range(1, 5000)]
    of_pair = dict(zip(seen, rows[1:, 0].tolist(), strict=True))
    assert all(
        of_pair[pair] == row
        for pair, row in zip(seen, rows[1:, 0].tolist(), strict=True)
    )
    assert len(set(of_pair.values())) > 0.98 * len(of_pair)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("letters", [1, 2, 5])
def test_what_followed_is_what_a_search_finds(n, letters):
    g = torch.Generator().manual_seed(n)
    text = torch.randint(letters, (3, 30), generator=g) + 1
    for last in (1, 7, 30):
        found = followed(text, n, last)
        assert found.shape == (3, last)
        for row, line in enumerate(text.tolist()):
            # before a text stands nothing, which is a character too
            line = [0] * (n - 1) + line
            for t in range(30 - last, 30):
                want = 0
                for s in range(t):
                    if line[s : s + n] == line[t : t + n]:
                        want = line[s + n]
                assert found[row, t - 30 + last] == want


def test_a_repeat_of_more_than_the_text_is_named():
    with pytest.raises(ValueError, match="last: got 6, want up to the text's"):
        followed(draw_ids(2, 5) + 1, 3, 6)


def test_what_followed_is_embedded_by_its_own_rows():
    table = NGrams(16, 4, 31)
    table.after.data.normal_(generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[7, 8, 9, 4, 7, 8, 9]])
    out = table(ids)[0]
    new = table.after[:, 0].sum(0)
    for t in range(6):
        assert torch.equal(out[t], new)
    # three stood there before, five did not: a 4 followed the three
    torch.testing.assert_close(out[6], table.after[0, 5] + table.after[1, 0])


def test_a_cache_changes_nothing():
    model, ids = random_model(), draw_ids(2, 12)
    with torch.no_grad():
        whole = model(ids)
        for first in (1, 5, 11):
            cache = KVCache()
            parts = [model(ids[:, :first], cache=cache)]
            parts += [
                model(ids[:, i : i + 1], cache=cache) for i in range(first, 12)
            ]
            torch.testing.assert_close(
                torch.cat(parts, 1), whole, rtol=0, atol=1e-12
            )
    assert torch.equal(
        generate(model, ids, max_new_tokens=6),
        generate(model, ids, max_new_tokens=6, use_cache=False),
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side):
    model, ids = random_model(), draw_ids(4, 9)
    mask = torch.ones_like(ids)
    for row, n in enumerate((0, 1, 4, 8)):
        mask[row, slice(0, n) if side == "left" else slice(9 - n, 9)] = 0
    with torch.no_grad():
        padded = model(ids, mask)
        for row in range(4):
            real = mask[row].bool()
            alone = model(ids[row][real][None])[0]
            torch.testing.assert_close(
                padded[row][real], alone, rtol=0, atol=1e-12
            )
        if side == "left":  # and on from it, with a cache
            cache = KVCache()
            model(ids[:, :6], mask[:, :6], cache=cache)
            rest = model(ids[:, 6:], mask, cache=cache)
            real = mask[:, 6:].bool()
            torch.testing.assert_close(
                rest[real], padded[:, 6:][real], rtol=0, atol=1e-12
            )


def test_the_tables_begin_as_nothing_and_are_stepped_by_their_own_rule():
    torch.manual_seed(0)
    table = NGrams(16, 4, 31)
    rate = 0.5
    table.learn_by(lambda: rate, eps=1e-12)
    ids = draw_ids(2, 5)
    assert table(ids).abs().max() == 0
    target = draw(2, 5, 4).float()
    want = torch.zeros(80, 4)
    squares = torch.zeros(80)
    for _ in range(3):
        (table(ids) * target).sum().backward()
        assert table.table.grad is None
        rows = ngram_rows(ids + 1, 16).flatten(0, 1)
        flat = target.flatten(0, 1)
        for bag, g in zip(rows.tolist(), flat, strict=True):
            for row in bag:
                squares[row] += g.square().mean()
        for bag, g in zip(rows.tolist(), flat, strict=True):
            for row in bag:
                want[row] -= rate * g / squares[row].sqrt()
    torch.testing.assert_close(table.squares, squares)
    torch.testing.assert_close(table.table.detach(), want)


# -- a run with them


def test_a_resumed_run_is_the_same_to_the_last_bit(tmp_path):
    whole = Run.new(tmp_path / "whole", SMALL, TEXT)
    whole.go(save_every=3, sample_every=4, quiet=True)
    half = Run.new(tmp_path / "half", SMALL, TEXT)
    half.trainer.run(5)
    half.save()
    again = Run.resumed(tmp_path / "half", TEXT)
    again.go(save_every=3, sample_every=4, quiet=True)
    one, two = (load_checkpoint(tmp_path / n) for n in ("whole", "half"))
    assert one.tensors.keys() == two.tensors.keys()
    assert one.tensors["model.ngrams.table"].any()
    for name, x in one.tensors.items():
        assert torch.equal(x, two.tensors[name]), name
    model, _ = load_model(tmp_path / "half")
    ids = again.judged[None, :9]
    again.trainer.model.eval()
    with torch.no_grad():
        assert torch.equal(model(ids), again.trainer.model(ids))


def test_they_help_a_short_run(tmp_path):
    losses = []
    for buckets in (0, 512):
        settings = replace(SMALL, steps=25, ngrams=buckets)
        run = Run.new(tmp_path / str(buckets), settings, TEXT)
        run.trainer.run(25)
        losses.append(run.validation_loss())
    assert losses[1] < losses[0] - 0.1


def test_both_precisions_learn_alike(tmp_path):
    losses = []
    for precision in ("float32", "bfloat16"):
        settings = replace(SMALL, steps=60, precision=precision, ngrams=0)
        run = Run.new(tmp_path / precision, settings, TEXT)
        run.trainer.run(60)
        losses.append(run.validation_loss())
    assert losses[1] == pytest.approx(losses[0], abs=0.1)


def test_nanochat_has_no_place_for_them():
    with pytest.raises(ValueError, match="ngrams: got tables of 64 buckets"):
        random_model().to_hf()


def test_samples_go_on_beyond_the_models_length():
    alphabet = Alphabet.of("abcdefghijklmnopqrstuvwxyz \n.,:")
    text = write_text(random_model(torch.float32), alphabet, "abc ", 50)
    assert text.startswith("abc ")
    assert len(text) == 54
