"""Right answers by loops, gguf, torch's own grids and least squares."""

import gguf
import torch


def absmax_groups(w, bits, group):
    most = 2 ** (bits - 1) - 1
    rows = []
    for row in w:
        parts = []
        for part in row.split(group):
            reach = part.abs().max()
            step = reach / most
            codes = torch.round(part / step) if reach else part
            parts.append(codes * step)
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def q4_1_block(blocks):
    kind = gguf.GGMLQuantizationType.Q4_1
    return torch.from_numpy(gguf.dequantize(blocks.numpy(), kind))


def asymmetric_group(x, bits):
    out = torch.empty_like(x)
    for i, row in enumerate(x):
        low, high = row.aminmax()
        levels = torch.linspace(0, 1, 2**bits, dtype=x.dtype)
        levels = low + (high - low) * levels
        nearest = (row[:, None] - levels).abs().argmin(1)
        out[i] = levels[nearest]
    return out


def gptq_step(w, U, j, rounded):
    # H = (U^T U)^-1: fit the columns to come to the error that is left
    H = torch.linalg.inv(U.T @ U)
    later = slice(j + 1, None)
    error = (w[:, j] - rounded)[:, None]
    move = torch.linalg.solve(H[later, later], H[later, j : j + 1]).T
    return torch.cat((w[:, :j], rounded[:, None], w[:, later] + error * move),
                     dim=1)  # fmt: skip
