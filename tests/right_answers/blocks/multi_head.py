"""Right answers by slices and by nn.MultiheadAttention's own function."""

import torch
from torch.nn.functional import multi_head_attention_forward


def split_heads(x, n_heads):
    return torch.stack(x.split(x.shape[-1] // n_heads, dim=-1), dim=1)


def split_in_proj(weight, n_heads, head):
    D = weight.shape[1]
    K = D // n_heads
    starts = [part * D + head * K for part in range(3)]
    return tuple(weight[start : start + K] for start in starts)


def multi_head(x, w_q, w_k, w_v, w_o, n_heads, mask=None):
    x_TBD = x.transpose(0, 1)
    out, _ = multi_head_attention_forward(
        x_TBD,
        x_TBD,
        x_TBD,
        embed_dim_to_check=x.shape[-1],
        num_heads=n_heads,
        in_proj_weight=torch.cat((w_q, w_k, w_v)),
        in_proj_bias=None,
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=w_o,
        out_proj_bias=None,
        attn_mask=None if mask is None else ~mask,
        need_weights=False,
    )
    return out.transpose(0, 1)


def head_parts(out_BHTK, w_o):
    parts = []
    for h in range(out_BHTK.shape[1]):
        alone = torch.zeros_like(out_BHTK)
        alone[:, h] = out_BHTK[:, h]
        parts.append(alone.transpose(1, 2).flatten(2) @ w_o.T)
    return torch.stack(parts, dim=1)
