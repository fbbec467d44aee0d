"""Right answers by the paper's own code and in loops."""

import math

import torch


def _slopes(n):
    # as in the code of the paper
    if math.log2(n).is_integer():
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start**i for i in range(n)]
    closest = 2 ** math.floor(math.log2(n))
    more = _slopes(2 * closest)[0::2]
    return _slopes(closest) + more[: n - closest]


def alibi_slopes(n_heads):
    return torch.tensor(_slopes(n_heads))


def alibi_bias(slopes, T, S):
    out = torch.full((len(slopes), T, S), -torch.inf)
    for t in range(T):
        query = S - T + t
        for key in range(query + 1):
            out[:, t, key] = -slopes * (query - key)
    return out


def bloom_bias(attention_mask, slopes):
    out = torch.zeros(
        len(attention_mask), len(slopes), 1, len(attention_mask[0])
    )
    for b, row in enumerate(attention_mask.tolist()):
        real = [s for s, one in enumerate(row) if one]
        for place, s in enumerate(real):
            out[b, :, 0, s] = slopes * place
    return out


def alibi_reach(slope, share):
    whole = 1 / (1 - math.exp(-slope))
    keys, seen = 0, 0.0
    while seen < share * whole:
        seen += math.exp(-slope * keys)
        keys += 1
    return keys
