"""Right answers by PyTorch."""

import torch
from torch.nn import functional as F


def scalar_gelu(x):
    return F.gelu(torch.tensor(x, dtype=torch.float64)).item()
