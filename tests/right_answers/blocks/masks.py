"""Right answers in loops, by logarithms and by sets."""

import torch


def sliding_window_mask(T, S, window):
    mask = torch.zeros(T, S, dtype=torch.bool)
    for t in range(T):
        own = S - T + t
        mask[t, max(0, own - window + 1) : own + 1] = True
    return mask


def prefix_mask(T, S, prefix):
    rows = []
    for own in range(S - T, S):
        seen = set(range(own + 1)) | set(range(prefix))
        rows.append([key in seen for key in range(S)])
    return torch.tensor(rows)


def additive_mask(mask, dtype):
    return mask.to(dtype).log()  # log 1 = 0, log 0 = -inf


def reach(mask, layers):
    sees = [set(row.nonzero().flatten().tolist()) for row in mask]
    rows = []
    for t in range(len(mask)):
        seen = {t}
        for _ in range(layers):
            seen = {s for token in seen for s in sees[token]}
        rows.append([s in seen for s in range(len(mask))])
    return torch.tensor(rows)
