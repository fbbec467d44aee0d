"""Right answers token by token, and by counting real parameters."""

import torch
from torch import nn


def route(logits, k):
    order = logits.argsort(dim=-1, descending=True)[:, :k]
    # a softmax over the chosen logits alone is the same
    return logits.gather(-1, order).softmax(-1), order


def mix_experts(x, logits, experts, k):
    out = torch.zeros_like(x)
    for n, row in enumerate(logits.double().softmax(-1).tolist()):
        best = sorted(range(len(row)), key=row.__getitem__, reverse=True)[:k]
        whole = sum(row[e] for e in best)
        for e in best:
            out[n] += row[e] / whole * experts[e](x[n : n + 1])[0]
    return out


def balance_loss(logits, k):
    N, E = logits.shape
    counts = logits.topk(k, dim=-1).indices.flatten().bincount(minlength=E)
    means = [logits.exp()[:, e] / logits.exp().sum(-1) for e in range(E)]
    terms = [c / N * p.mean() for c, p in zip(counts, means, strict=True)]
    return E * sum(terms)


def active_parameters(d_model, d_ff, n_experts, top_k):
    with torch.device("meta"):
        router = nn.Linear(d_model, n_experts, bias=False)
        experts = [
            nn.ParameterList(
                torch.empty(shape)
                for shape in (
                    (d_ff, d_model),
                    (d_ff, d_model),
                    (d_model, d_ff),
                )
            )
            for _ in range(n_experts)
        ]

    def count(*modules):
        return sum(p.numel() for m in modules for p in m.parameters())

    return count(router, *experts), count(router, *experts[:top_k])
