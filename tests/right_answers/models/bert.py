"""Right answers by loops, by sorting and by counting a model."""

import torch
from handmade.models.bert import Bert


def mean_pool(hidden, attention_mask):
    out = torch.zeros(hidden.shape[0], hidden.shape[2], dtype=hidden.dtype)
    for row, (vectors, mask) in enumerate(
        zip(hidden, attention_mask.bool(), strict=True)
    ):
        if mask.any():
            out[row] = vectors[mask].mean(0)
    return out


def padded_tokens(lengths, batch_size, by_length):
    order = sorted(lengths)[::-1] if by_length else lengths
    total = 0
    for i in range(len(order)):
        first = i - i % batch_size
        total += max(order[first : first + batch_size])
    return total


def find(query, texts, k):
    cosines = [torch.cosine_similarity(query, text, dim=0) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: -cosines[i].item())
    return torch.tensor(order[:k])


def count_bert(config):
    with torch.device("meta"):
        model = Bert(config)
    return sum(parameter.numel() for parameter in model.parameters())
