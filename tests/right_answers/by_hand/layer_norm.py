"""Right answers by PyTorch."""

import torch
from torch.nn import functional as F


def scalar_layer_norm(row, gain, bias, eps):
    row, gain, bias = (
        torch.tensor(x, dtype=torch.float64) for x in (row, gain, bias)
    )
    return F.layer_norm(row, row.shape, gain, bias, eps).tolist()
