"""Right answers by PyTorch."""

import torch
from torch.nn import functional as F


def scalar_cross_entropy(logits, target):
    logits = torch.tensor(logits, dtype=torch.float64)
    return F.cross_entropy(logits, torch.tensor(target)).item()
