"""Right answers by dealing out, by one long list, by the whole gradient."""

import torch


def own_rows(batch, rank, N):
    return torch.stack([row for i, row in enumerate(batch) if i % N == rank])


def global_mean(losses):
    return torch.tensor(
        [x for part in losses for x in part.tolist()], dtype=torch.float64
    ).mean()


def clip_shards(shards, most):
    whole = torch.cat(shards)
    cut = whole * (most / max(most, torch.linalg.vector_norm(whole).item()))
    return list(cut.split([len(x) for x in shards]))


def reduce_scatter(rows):
    N = len(rows)
    parts = [row.chunk(N) for row in rows]
    return torch.stack(
        [torch.stack([each[r] for each in parts]).sum(0) for r in range(N)]
    )
