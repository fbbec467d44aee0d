"""Right answers by one-hot products, plain lists and memory."""

import math

import torch


def lookup_backward(ids, grad, vocab_size):
    one_hot = torch.eye(vocab_size, dtype=grad.dtype)[ids]
    return torch.einsum("...v,...d->vd", one_hot, grad)


def nearest_tokens(table, token, k):
    rows = table.tolist()
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    length = math.hypot(*mean)
    freed = []
    for row in rows:
        share = sum(a * b for a, b in zip(row, mean, strict=True))
        share /= length**2
        freed.append([a - share * b for a, b in zip(row, mean, strict=True)])

    def cosine(i):
        dot = sum(a * b for a, b in zip(freed[i], freed[token], strict=True))
        return dot / math.hypot(*freed[i]) / math.hypot(*freed[token])

    others = [i for i in range(len(rows)) if i != token]
    return sorted(others, key=cosine, reverse=True)[:k]


def distinct_parameters(model):
    memories = {}
    for parameter in model.parameters():
        storage = parameter.untyped_storage()
        numbers = storage.nbytes() // parameter.element_size()
        memories[storage.data_ptr()] = numbers
    return sum(memories.values())
