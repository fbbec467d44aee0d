"""Right answers by PyTorch."""

import torch


def scalar_split(x, n_heads):
    x = torch.tensor(x, dtype=torch.float64)
    return x.unflatten(1, (n_heads, -1)).transpose(0, 1).tolist()
