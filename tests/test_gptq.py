"""GPTQ against its definition: each step is a least-squares problem.

After column j is rounded, the columns to come move so that the output error
|X e|^2 (with the damping) is as small as it can be. Solved here directly, by
`torch.linalg.lstsq`, without any Cholesky factor.
"""

import pytest
import torch
from handmade.inference.gptq import gptq, inverse_factor
from handmade.inference.quantization import asymmetric, nearest, span
from torch.testing import assert_close


def layer(seed, rows=24, width=32, samples=400):
    """A weight and correlated inputs, as a layer's are."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=g)
    x = torch.randn(samples, width, generator=g) @ mix
    w = 0.1 * torch.randn(rows, width, generator=g)
    return w, x[: samples // 2], x[samples // 2 :]


def by_least_squares(w, x, bits, group, damp):
    """The same, with the best correction solved for anew at each column."""
    w, x = w.double(), x.double()
    D = w.shape[1]
    extra = (damp * (x.T @ x).diagonal().mean()).sqrt()
    x = torch.cat((x, extra * torch.eye(D, dtype=torch.double)))
    now, done = w.clone(), torch.zeros_like(w)
    for j in range(D):
        if j % group == 0:
            scale, low = span(now[:, j : j + group].float(), bits)
        c = now[:, j : j + 1]
        code = nearest(c - low.double(), scale).clamp(0, 2**bits - 1)
        done[:, j : j + 1] = scale.double() * code + low.double()
        if j + 1 < D:
            # what is fixed leaves an error: the rest is fitted to cancel it
            left = x[:, : j + 1] @ (w - done)[:, : j + 1].T
            fit = torch.linalg.lstsq(x[:, j + 1 :], left).solution.T
            now[:, j + 1 :] = w[:, j + 1 :] + fit
    return done


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_it_is_the_best_correction_at_every_column(bits):
    w, x, _ = layer(bits, rows=6, width=16, samples=80)
    got = gptq(w, x, bits=bits, group=8, damp=0.01).dequantize()
    want = by_least_squares(w, x, bits, 8, 0.01).float()
    # a value that falls on the border of two codes may go either way
    same = (got - want).abs() < 1e-4
    assert same.all(1).float().mean() > 0.6
    assert same.float().mean() > 0.8


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_the_output_is_closer_on_inputs_it_has_not_seen(seed, bits):
    w, x, held = layer(seed)
    y = held @ w.T

    def error(q):
        return float((held @ q.dequantize().T - y).norm())

    best = gptq(w, x, bits=bits, group=32)
    plain = asymmetric(w, bits=bits, group=32)
    assert error(best) < 0.9 * error(plain)
    # although the weights themselves are further off
    off = [(q.dequantize() - w).norm() for q in (best, plain)]
    assert off[0] > 1.05 * off[1]
    assert best.packed.shape == plain.packed.shape


def test_independent_inputs_leave_nothing_to_correct():
    w = layer(0)[0]
    x = 3 * torch.eye(32)
    got = gptq(w, x, bits=3, group=16).dequantize()
    assert torch.equal(got, asymmetric(w, bits=3, group=16).dequantize())


def test_inputs_that_are_zero_do_no_harm():
    w, x, _ = layer(1)
    x[:, 5] = 0
    assert gptq(w, x, bits=4).dequantize().isfinite().all()
    zeros = gptq(w, torch.zeros(4, 32), bits=4).dequantize()
    assert torch.equal(zeros, asymmetric(w, bits=4).dequantize())
    few = gptq(w, x[:3], bits=4).dequantize()  # fewer rows than columns
    assert few.isfinite().all()


def test_hard_groups_stay_finite():
    w, x, _ = layer(2)
    w[0] = 0
    w[1] = w[1].abs()
    w[2] = 0
    w[2, 3] = 5.0
    back = gptq(w, x, bits=4, group=32).dequantize()
    assert back.isfinite().all()
    assert (back[0] == 0).all()


def test_the_factor_is_that_of_the_inverse():
    x = layer(0)[1].double()
    U = inverse_factor(x, 0.01).double()
    H = x.T @ x
    H += 0.01 * H.diagonal().mean() * torch.eye(len(H))
    assert_close(U.T @ U @ H, torch.eye(32).double(), rtol=0, atol=1e-4)
    assert_close(U, U.triu())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inputs": torch.ones(4, 31)}, "inputs: got width 31, want 32"),
        ({"inputs": torch.full((1, 32), torch.nan)}, "inputs: got 32 that"),
        ({"inputs": torch.ones(32)}, r"inputs: got shape \(32,\)"),
        ({"damp": 0.0}, "damp: got 0.0, want a finite number above 0"),
        ({"group": 5}, "group: got 5, want a divisor of 32"),
    ],
)
def test_what_does_not_fit_is_named(given, message):
    w, x, _ = layer(0)
    with pytest.raises(ValueError, match=message):
        gptq(**{"w": w, "inputs": x} | given)
