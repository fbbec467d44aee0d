"""Right answers by logarithms, autograd and counting a mask's tiles."""

import torch
from handmade.blocks.masks import causal_mask


def online_step(peak, total, out, scores, v):
    """Carry log-sum-exps of whole rows, in float64."""
    old = total.log() + peak
    old = old.masked_fill(total == 0, -torch.inf)
    new = torch.cat((peak, scores), -1).amax(-1, keepdim=True)
    level = torch.where(new.isfinite(), new, torch.zeros_like(new))
    rows = torch.einsum("tn,nk->tk", (scores - level).exp(), v)
    kept = (peak - level).exp()
    sums = torch.logsumexp(torch.cat((old, scores), -1), -1, keepdim=True)
    return new, (sums - level).exp(), kept * out + rows


def join_parts(out_a, lse_a, out_b, lse_b):
    shares = torch.stack((lse_a, lse_b)).softmax(0)
    return torch.einsum(
        "p...,p...k->...k", shares, torch.stack((out_a, out_b))
    )


def scores_gradient(weights, v, out, dout):
    scores = weights.log().requires_grad_()
    (scores.softmax(-1) @ v).backward(dout)
    return scores.grad


def count_tiles(T, S, block_q, block_k):
    past = causal_mask(T, S)
    return sum(
        bool(tile.any())
        for rows in past.split(block_q)
        for tile in rows.split(block_k, dim=1)
    )
