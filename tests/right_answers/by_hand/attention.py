"""Right answers by PyTorch."""

import torch
from torch.nn import functional as F


def scalar_softmax(scores):
    return torch.tensor(scores, dtype=torch.float64).softmax(0).tolist()


def scalar_attention(q, k, v):
    q, k, v = (torch.tensor(x, dtype=torch.float64)[None] for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)[0].tolist()
