"""Right answers by transformers' own layer and by counting in Python."""

import torch
from transformers.pytorch_utils import Conv1D


def qkv_of_conv1d(weight):
    """Ask a Conv1D what it does to each axis alone."""
    D = len(weight)
    with torch.device("meta"):  # it draws numbers otherwise
        conv = Conv1D(3 * D, D)
    given = {"weight": weight, "bias": torch.zeros(3 * D)}
    conv.load_state_dict(given, assign=True)
    answers = conv(torch.eye(D)).detach()  # one row an input
    return tuple(
        torch.stack([answers[:, part * D + row] for row in range(D)])
        for part in range(3)
    )


def weights_of_a_file(names):
    kept = []
    for name in names:
        *_, owner, last = name.split(".")
        if owner == "attn" and last in ("bias", "masked_bias"):
            continue
        kept.append(name)
    return kept


def spread_at_the_start(name, n_layers):
    *_, module, kind = name.split(".")
    if kind == "bias" or module.startswith("ln_"):
        return 0.0
    adds = 2 * n_layers if module == "c_proj" else 1
    return (0.02**2 / adds) ** 0.5


def positions_after_padding(attention_mask, past):
    rows = []
    for row in attention_mask.tolist():
        places, real = [], 0
        for one in row:
            places.append(real * one)
            real += one
        rows.append(places[past:])
    return torch.tensor(rows)
