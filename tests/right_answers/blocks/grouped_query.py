"""Right answers head by head, and by measuring tensors without numbers."""

import torch


def repeat_kv(x, n_heads):
    n_kv_heads = x.shape[1]
    return x[:, [h * n_kv_heads // n_heads for h in range(n_heads)]]


def cache_bytes(layers, heads, kv_heads, d_head, tokens, batch, size):
    dtype = {2: torch.bfloat16, 4: torch.float32}[size]
    shape = (batch, kv_heads, tokens, d_head)
    keys = torch.empty(shape, dtype=dtype, device="meta")
    return sum(keys.nbytes + keys.nbytes for _ in range(layers))


def grouped_attention(q, k, v):
    heads = []
    for h in range(q.shape[1]):
        g = h * k.shape[1] // q.shape[1]
        scores = q[:, h] @ k[:, g].mT / q.shape[-1] ** 0.5
        heads.append(scores.softmax(-1) @ v[:, g])
    return torch.stack(heads, dim=1)


def pool_kv_heads(weight, n_kv_heads, new):
    heads = weight.chunk(n_kv_heads)
    size = n_kv_heads // new
    pooled = [sum(heads[i * size : (i + 1) * size]) / size for i in range(new)]
    return torch.cat(pooled)
