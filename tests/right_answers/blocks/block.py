"""Right answers in a loop over the layers, and through variances."""

import math

import torch
from torch.nn import functional


def block(x, attn_norm, attn, ffn_norm, ffn, placement):
    for norm, layer in ((attn_norm, attn), (ffn_norm, ffn)):
        if placement == "pre":
            x = torch.add(x, layer(norm(x)))
        else:
            x = norm(torch.add(x, layer(x)))
    return x


def keeps_stream(block, x):
    out = block(x, lambda rows: 0 * rows, lambda rows: 0 * rows)
    return bool((out - x).abs().max() < 1e-9)


def residual_std(std, n_blocks):
    variance, additions = std**2, n_blocks + n_blocks
    return math.sqrt(variance / additions)


def stream_shares(parts, eps):
    stream = sum(parts)
    normed = functional.rms_norm(stream, stream.shape, eps=eps)
    return parts * (normed / stream)
