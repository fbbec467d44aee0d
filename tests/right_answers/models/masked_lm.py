"""Right answers token by token, with Python's own loops."""

import math
from collections import Counter

import torch
from torch import nn


def hide_tokens(ids, special, chance, fate, other, mask_id):
    read, labels = ids.clone(), torch.full_like(ids, -100)
    for b in range(len(ids)):
        for t in range(ids.shape[1]):
            if special[b, t] or chance[b, t] >= 0.15:
                continue
            labels[b, t] = ids[b, t]
            if fate[b, t] < 0.8:
                read[b, t] = mask_id
            elif fate[b, t] < 0.9:
                read[b, t] = other[b, t]
    return read, labels


def masked_loss(logits, labels):
    logps = logits.log_softmax(-1)
    found = [
        logps[b, t, labels[b, t]]
        for b in range(len(labels))
        for t in range(labels.shape[1])
        if labels[b, t] != nn.CrossEntropyLoss().ignore_index
    ]
    return -torch.stack(found).mean()


def unigram_loss(train_ids, asked, vocab_size):
    counts = Counter(train_ids.tolist())
    total = len(train_ids) + vocab_size
    paid = [-math.log((counts[i] + 1) / total) for i in asked.tolist()]
    return torch.tensor(sum(paid) / len(paid), dtype=torch.float64)
