"""Right answers by transformers' Llama and by counting a model."""

import torch
from handmade.models.llama import Llama
from transformers.models.llama import modeling_llama


def rms_norm(x, gain, eps):
    norm = modeling_llama.LlamaRMSNorm(len(gain), eps)
    norm.weight = torch.nn.Parameter(gain, requires_grad=False)
    return norm(x)


def rotate(x, positions, theta):
    K = x.shape[-1]
    speed = 1.0 / theta ** (torch.arange(0, K, 2).float() / K)
    angle = torch.outer(positions.float(), speed).repeat(1, 2)[None]
    turned, _ = modeling_llama.apply_rotary_pos_emb(
        x[None], x[None], angle.cos(), angle.sin()
    )
    return turned[0]


def token_positions(attention_mask):
    rows = []
    for row in attention_mask.tolist():
        before = [sum(row[:s]) for s in range(len(row))]
        rows.append(
            [n if real else 0 for n, real in zip(before, row, strict=True)]
        )
    return torch.tensor(rows)


def count_parameters(config):
    with torch.device("meta"):
        model = Llama(config)
    return sum(parameter.numel() for parameter in model.parameters())
