"""GPTQ's idea on one layer: what rounding spoils, later columns make good.

O outputs · D inputs · R rows of calibration inputs

Rounding to nearest makes each weight's error small. What counts is the
layer's output, the error e of a row of weights as the inputs see it:
|X e|^2 = e H e, H = X^T X. Going through the columns once, each is rounded,
and those not yet rounded move so that they cancel as much of its error as
they can. How far they move stands in the Cholesky factor of H's inverse.

Left out: the order of columns by their size, and whole blocks of columns at
a time, which is the same arithmetic made fast.
"""

import torch
from torch import Tensor

from handmade import checks
from handmade.inference.quantization import Grid, nearest, span
from handmade.inference.quantization_checks import check_weights


def gptq(
    w: Tensor,
    inputs: Tensor,
    *,
    bits: int = 4,
    group: int = 32,
    damp: float = 0.01,
) -> Grid:
    """Round column by column, and let the columns to come correct it.

    For each column j, with U the upper Cholesky factor of H^-1:
    e = (w_j - rounded w_j) / U_jj, then w_k -= e U_jk for all k > j.
    `damp` times the mean of H's diagonal is added to it.

    w (O, D), inputs (R, D) -> a Grid (O, D) as `asymmetric` makes it.
    Raises ValueError as asymmetric does, for inputs of another width or not
    finite, and for a damp that is not above 0. Source: [frantar2023].
    """
    _check_gptq(w, inputs, bits, group, damp)
    factor = inverse_factor(inputs, damp).to(w.device)
    w = w.float().clone()
    codes = torch.empty_like(w)
    scales, lows = [], []
    for j in range(w.shape[1]):
        if j % group == 0:  # the grid fits the columns as they are by now
            scale, low = span(w[:, j : j + group], bits)
            scales.append(scale)
            lows.append(low)
        column = w[:, j : j + 1]
        code = nearest(column - low.float(), scale).clamp(0, 2**bits - 1)
        error = column - (scale.float() * code + low.float())
        w[:, j + 1 :] -= error / factor[j, j] * factor[j, j + 1 :]
        codes[:, j : j + 1] = code
    # (O, groups of a row) -> one row a group
    scale, low = (torch.cat(x, 1).view(-1, 1) for x in (scales, lows))
    return Grid(codes.byte(), scale, low, bits=bits)


def inverse_factor(inputs: Tensor, damp: float = 0.01) -> Tensor:
    """Return the upper Cholesky factor of H^-1, (R, D) -> (D, D) float32.

    H = X^T X + damp * mean(diag) * 1, in float64.
    """
    _check_inputs(inputs, damp)
    x = inputs.double()
    H = x.T @ x
    mean = H.diagonal().mean()
    # inputs that are all zero: any H will do
    H.diagonal().add_(torch.where(mean > 0, damp * mean, 1))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(H))
    return torch.linalg.cholesky(inverse, upper=True).float()


def _check_gptq(
    w: Tensor, inputs: Tensor, bits: int, group: int, damp: float
) -> None:
    checks.whole("group", group)
    check_weights(w, bits, group)
    _check_inputs(inputs, damp)
    checks.width("inputs", inputs, w.shape[1])


def _check_inputs(inputs: Tensor, damp: float) -> None:
    checks.positive("damp", damp)
    checks.floats("inputs", inputs)
    shape = tuple(inputs.shape)
    some = inputs.ndim == 2 and inputs.numel() > 0
    checks.need(some, "inputs", f"shape {shape}", "(R, D), not empty")
    strange = int((~inputs.isfinite()).sum())
    if strange:
        raise ValueError(
            f"inputs: got {strange} that are nan or infinite, want them finite"
        )
