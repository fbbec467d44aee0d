"""Hold `handmade.inference.diagnosis` to loops, scipy's numbers and itself.

The oracles: one token at a time in plain Python, PyTorch's cross-entropy,
transformers' loss, and the p-values of chi-square tables.
"""

import math

import pytest
import torch
from handmade.inference.diagnosis import draws_match, repetition, score_text
from handmade.models.llama import Llama, LlamaConfig
from torch.testing import assert_close

SIZES = {
    "vocab_size": 37, "d_model": 24, "n_layers": 2, "n_heads": 4,
    "n_kv_heads": 2, "d_ff": 20, "max_seq_len": 32,
}  # fmt: skip


def llama(dtype=torch.float64):
    _ = torch.manual_seed(0)
    model = Llama(LlamaConfig(**SIZES)).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def text(B, T, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(SIZES["vocab_size"], (B, T), generator=g)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [(1, 2), (2, 7), (5, 32)], ids=str)
def test_every_score_is_what_a_loop_over_tokens_finds(size, dtype):
    model, ids = llama(dtype), text(*size)
    scores = score_text(model, ids)
    probs = model(ids).softmax(-1).tolist()
    for b in range(size[0]):
        for t in range(size[1] - 1):
            row, token = probs[b][t], int(ids[b, t + 1])
            better = [p for p in row if p > row[token]]
            want = (
                math.log(row[token]),
                len(better),
                sum(better),
                -sum(p * math.log(p) for p in row),
                max(row),
            )
            got = [field[b, t].item() for field in scores[:5]]
            assert got == pytest.approx(want, rel=1e-4, abs=1e-6)
    assert scores.real.all()


def test_the_log_probabilities_are_transformers_loss():
    model, ids = llama(), text(3, 9)
    theirs = model.to_hf()
    scores = score_text(model, ids)
    loss = theirs(ids, labels=ids).loss
    assert_close(-scores.logps.mean(), loss.detach().double(), rtol=1e-6,
                 atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_row_scores_as_it_does_alone(side):
    model, long, short = llama(), text(1, 9), text(1, 5, seed=1)
    pad = torch.zeros(1, 4, dtype=torch.int64)
    parts = (pad, short) if side == "left" else (short, pad)
    ones = [torch.zeros_like(pad), torch.ones_like(short)]
    ones = ones if side == "left" else ones[::-1]
    ids = torch.cat((long, torch.cat(parts, 1)))
    mask = torch.cat((torch.ones_like(long), torch.cat(ones, 1)))
    both, alone = score_text(model, ids, mask), score_text(model, short)
    assert both.real.sum(1).tolist() == [8, 4]
    for got, want in zip(both[:5], alone[:5], strict=True):
        assert got.isfinite().all()
        assert_close(got[1][both.real[1]], want[0])


def test_a_token_is_outside_the_nucleus_where_top_p_cuts_it():
    from handmade.inference.sampling import top_p

    model, ids = llama(), text(4, 12)
    scores = score_text(model, ids)
    kept = top_p(model(ids)[:, :-1].flatten(0, 1), 0.6).isfinite()
    inside = kept.gather(1, ids[:, 1:].flatten()[:, None])[:, 0]
    assert torch.equal(scores.above.flatten() < 0.6, inside)
    assert 0 < inside.sum() < inside.numel()


def test_text_drawn_at_temperature_one_surprises_by_its_entropy():
    from handmade.inference.generate import generate

    model = llama(torch.float32)
    g = torch.Generator().manual_seed(0)
    out = generate(model, text(200, 1), max_new_tokens=12, temperature=1.0,
                   generator=g)  # fmt: skip
    s = score_text(model, out)
    gaps = -s.logps - s.entropies
    assert abs(gaps.mean()) < 4 * gaps.std() / gaps.numel() ** 0.5
    cold = generate(model, text(20, 1), max_new_tokens=12)
    s = score_text(model, cold)
    assert (-s.logps - s.entropies).mean() < -0.3
    assert (s.ranks == 0).all()
    assert (s.above == 0).all()


def test_repetition_counts_each_row_alone():
    ids = torch.tensor([[1, 2, 1, 2, 1], [1, 2, 3, 4, 5]])
    # (1 2) (2 1) (1 2) (2 1): two of four are new; four of four
    assert repetition(ids, 2) == 1 - 6 / 8
    assert repetition(ids, 1) == 1 - 7 / 10
    assert repetition(ids, 5) == 0.0
    assert repetition(torch.zeros(1, 8, dtype=torch.int64)) == 1 - 1 / 5


def test_chi_square_by_hand():
    """60 rolls of a die, 10 expected each: (4 + 1 + 0 + 0 + 1 + 4) / 10."""
    seen = [8, 9, 10, 10, 11, 12]
    draws = torch.repeat_interleave(torch.arange(6), torch.tensor(seen))
    found = draws_match(draws, torch.zeros(6))
    assert found.chi2 == pytest.approx(1.0)
    assert found.freedom == 5
    # the upper tail of chi-square with 5 degrees of freedom at 1
    assert found.p == pytest.approx(0.962566, abs=1e-6)
    assert found.impossible == 0


@pytest.mark.parametrize(
    ("chi2", "freedom", "p"),
    [(3.841459, 1, 0.05), (18.307038, 10, 0.05), (15.086272, 5, 0.01)],
)
def test_p_is_that_of_the_printed_tables(chi2, freedom, p):
    """Two cells hold all of the difference: d^2 / e + d^2 / e = chi2."""
    n = 100_000
    d = round(math.sqrt(chi2 * n / 2))
    seen = [n + d, n - d] + [n] * (freedom - 1)
    draws = torch.repeat_interleave(
        torch.arange(freedom + 1), torch.tensor(seen)
    )
    found = draws_match(draws, torch.zeros(freedom + 1))
    assert found.freedom == freedom
    assert found.p == pytest.approx(p, rel=0.05)


def test_rare_tokens_share_a_cell():
    law = torch.tensor([0.5, 0.45, 0.02, 0.02, 0.01])
    draws = torch.tensor([0] * 50 + [1] * 45 + [2, 3, 4, 4, 4])
    found = draws_match(draws, law.log())
    # 50, 45 and the other three together are just what is expected
    assert found.freedom == 2
    assert found.chi2 == pytest.approx(0, abs=1e-9)
    assert draws_match(draws, law.log(), least=0.5).freedom == 4


def test_a_draw_that_the_law_forbids_is_proof():
    law = torch.tensor([1.0, 1.0, -math.inf])
    draws = torch.tensor([0, 1] * 20 + [2])
    found = draws_match(draws, law)
    assert (found.chi2, found.p, found.impossible) == (math.inf, 0.0, 1)
    assert draws_match(draws[:-1], law).impossible == 0


def test_a_law_of_one_cell_tells_nothing():
    law = torch.tensor([0.0, -math.inf])
    assert draws_match(torch.zeros(9, dtype=torch.int64), law).p == 1.0


def test_p_is_spread_evenly_when_the_law_holds():
    _ = torch.manual_seed(0)
    logits = torch.randn(30)
    ps = [
        draws_match(
            torch.multinomial(logits.softmax(-1), 2000, True), logits
        ).p
        for _ in range(200)
    ]
    share = torch.tensor([p < 0.5 for p in ps]).float().mean()
    assert 0.38 < share < 0.62


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: score_text(llama(), text(2, 1)), r"ids: got shape \(2, 1\)"),
        (lambda: score_text(llama(), text(2, 4) + 37), "want 0 to 36"),
        (
            lambda: score_text(llama(), text(2, 4), torch.ones(2, 3).long()),
            "attention_mask: got shape",
        ),
        (
            lambda: score_text(llama(), text(1, 2), torch.tensor([[1, 2]])),
            "attention_mask: got other numbers",
        ),
        (lambda: repetition(text(2, 3), 4), "n: got 4, want 1 to 3"),
        (
            lambda: draws_match(torch.tensor([3]), torch.zeros(3)),
            "draws: got 3 to 3, want 0 to 2",
        ),
        (
            lambda: draws_match(torch.tensor([0]), torch.zeros(3) / 0),
            "logits: got nan as its largest",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()
