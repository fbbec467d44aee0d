"""Positions that are added: one vector a place, learned or computed.

B batch · T tokens · D model width

Attention compares contents and ignores order; adding a vector that depends
on the place gives it one. Left out: dropout on the sum, and tables for pairs
of tokens. Rotations (``rope.py``) and biases (``alibi.py``) act inside
attention instead.
"""

import torch
from torch import nn


class LearnedPositions(nn.Module):
    """Look up one trained vector a position.

    y[t] = table[position_t],  (B, T) of int -> (B, T, D)

    There is a row for each position seen in training and no other: a
    position past the table is a ValueError, as is a negative one, which
    plain indexing would read from the end. Rows start at random with
    spread ``std``, by default that of ``nn.Embedding``. [vaswani2017]
    """

    def __init__(
        self, max_seq_len: int, d_model: int, *, std: float = 1.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(std * torch.randn(max_seq_len, d_model))

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        last = len(self.weight) - 1
        if positions.numel() and not 0 <= positions.min() <= last:
            raise ValueError(
                f"positions: got {positions.min().item()}, want 0 to {last}"
            )
        if positions.numel() and positions.max() > last:
            raise ValueError(
                f"positions: got {positions.max().item()}, want 0 to {last}"
            )
        return self.weight[positions]

    def extra_repr(self) -> str:
        return "{}, {}".format(*self.weight.shape)


def sinusoidal_positions(
    positions: torch.Tensor, d_model: int, theta: float = 10000.0
) -> torch.Tensor:
    """Compute a vector a position: sines and cosines at D/2 speeds.

    y[t, 2i] = sin(t * theta^(-2i / D)),  y[t, 2i + 1] = cos(same)
    (B, T) -> (B, T, D) in float32; positions count in tokens

    Sine and cosine alternate, as in the paper; some libraries put all sines
    first, which is the same up to the order of the columns. Angles are taken
    in float64: in float32 those of positions in the hundreds of thousands
    would be off in the second decimal. Raises ValueError on an odd width.
    [vaswani2017]
    """
    if d_model < 2 or d_model % 2:
        raise ValueError(f"d_model: got {d_model}, want an even width")
    if theta <= 0:
        raise ValueError(f"theta: got {theta}, want a positive number")
    axis = torch.arange(0, d_model, 2, device=positions.device).double()
    speed = theta ** (-axis / d_model)
    angle = positions[..., None].double() * speed
    both = torch.stack((angle.sin(), angle.cos()), dim=-1)
    return both.flatten(-2).float()
