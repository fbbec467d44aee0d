"""Right answers by building, by angles, by two seeds and by loops."""

import torch
from torch import nn


def mixture_parameters(V, D, layers, H, G, width, E, k):
    with torch.device("meta"):
        table = nn.Embedding(V, D)
        K = D // H
        block = nn.ModuleList(
            [
                nn.Linear(D, H * K, bias=False),
                nn.Linear(D, G * K, bias=False),
                nn.Linear(D, G * K, bias=False),
                nn.Linear(H * K, D, bias=False),
                nn.Linear(D, E, bias=False),
                nn.RMSNorm(D),
                nn.RMSNorm(D),
            ]
        )
        expert = nn.ModuleList(
            nn.Linear(*size, bias=False)
            for size in ((D, width), (D, width), (width, D))
        )

    def count(*modules):
        return sum(p.numel() for m in modules for p in m.parameters())

    ends = count(table, nn.RMSNorm(D))
    return tuple(ends + layers * count(block, *[expert] * n) for n in (E, k))


def turns_by_token(rotate):
    x = torch.zeros(2, 5, 5, 8, dtype=torch.float64)
    x[..., 0] = 1  # the fastest pair alone: its angle is the place
    y = rotate(x)
    seen = {
        tuple(round(v, 6) for v in y[b, h, t].tolist()): t
        for b in range(2)
        for h in range(5)
        for t in range(5)
    }
    return len(seen) == 5 and all(
        seen[tuple(round(v, 6) for v in y[b, h, t].tolist())] == t
        for b in range(2)
        for h in range(5)
        for t in range(5)
    )


def still_random(model, x):
    modes = [(m, m.training) for m in model.modules()]
    state = torch.get_rng_state()
    model.train(False)
    outputs = []
    for seed in range(3):
        torch.manual_seed(seed)
        outputs.append(model(x).detach())
    torch.set_rng_state(state)
    for module, mode in modes:
        module.training = mode
    return float(torch.stack(outputs).std(0).max()) > 1e-12


def balance_by_layer(layers, k):
    total = torch.zeros(())
    for logits in layers:
        N, E = logits.shape
        probs = (logits - logits.logsumexp(-1, keepdim=True)).exp()
        counts = logits.topk(k, dim=-1).indices.flatten().bincount(minlength=E)
        total += E / N * sum(c * p for c, p in zip(counts, probs.mean(0),
                                                   strict=True))  # fmt: skip
    return total / len(layers)
