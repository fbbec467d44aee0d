"""Positions that are added: one vector a place, learned or computed.

B batch · T tokens · D model width

Attention compares contents and ignores order; adding a vector that depends
on the place gives it one. Left out: dropout on the sum, and tables for pairs
of tokens. Rotations (``rope.py``) and biases (``alibi.py``) act inside
attention instead.
"""

import torch
from torch import nn
from torch.nn import functional as F

from handmade import checks


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
        _check_table(max_seq_len, d_model, std)
        self.weight = nn.Parameter(std * torch.randn(max_seq_len, d_model))

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        return _rows(self.weight, positions)

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
    _check_sines(positions, d_model, theta)
    axis = torch.arange(0, d_model, 2, device=positions.device).double()
    speed = theta ** (-axis / d_model)
    angle = positions[..., None].double() * speed
    both = torch.stack((angle.sin(), angle.cos()), dim=-1)
    return both.flatten(-2).float()


def _rows(table: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    checks.ids("positions", positions)
    try:
        return F.embedding(positions, table)
    except IndexError:
        # looked at only now: a look before would keep the forward pass from
        # being compiled. On a GPU it is a kernel that refuses
        low, high = (int(end) for end in positions.aminmax())
        got, last = low if low < 0 else high, len(table) - 1
        raise ValueError(f"positions: got {got}, want 0 to {last}") from None


def _check_table(max_seq_len: int, d_model: int, std: float) -> None:
    checks.whole("max_seq_len", max_seq_len)
    checks.whole("d_model", d_model)
    checks.number("std", std, at_least=0)


def _check_sines(positions: torch.Tensor, d_model: int, theta: float) -> None:
    checks.numbers("positions", positions)
    checks.whole("d_model", d_model, at_least=2)
    checks.need(d_model % 2 == 0, "d_model", d_model, "an even width")
    checks.positive("theta", theta)
