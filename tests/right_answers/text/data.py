"""Right answers token by token, in loops."""

import torch


def mask_from_positions(positions):
    B, T = positions.shape
    mask = torch.zeros(B, 1, T, T, dtype=torch.bool)
    for b in range(B):
        for t in range(T):
            s = t  # walk back to where the document starts
            mask[b, 0, t, s] = True
            while positions[b, s] != 0:
                s -= 1
                mask[b, 0, t, s] = True
    return mask


def packed_positions(documents):
    rows = []
    for row in documents.tolist():
        seen = {}
        out = []
        for document in row:
            out.append(0 if document == -1 else seen.get(document, 0))
            seen[document] = seen.get(document, 0) + 1
        rows.append(out)
    return torch.tensor(rows)


def packed_labels(ids, documents):
    out = torch.full(ids.shape, -100)
    B, T = ids.shape
    for b in range(B):
        for t in range(T - 1):
            here, following = documents[b, t], documents[b, t + 1]
            if here == following and here >= 0:
                out[b, t] = ids[b, t + 1]
    return out


def batch_at(n, batch_size, step, order):
    epoch = 0
    while True:  # replay the run
        for batch in order(epoch).split(batch_size):
            if len(batch) < batch_size:
                break
            if step == 0:
                return batch
            step -= 1
        epoch += 1
