"""Right answers number by number, by a matrix exponential and two moves."""

import math

import torch


def sinusoidal(positions, d_model, theta):
    rows = []
    for t in positions.tolist():
        row = []
        for axis in range(d_model):
            angle = t / theta ** ((axis - axis % 2) / d_model)
            row.append(math.cos(angle) if axis % 2 else math.sin(angle))
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float32)


def shift_matrix(distance, d_model, theta):
    turn = torch.zeros(d_model, d_model, dtype=torch.float64)
    for axis in range(0, d_model, 2):
        speed = 1 / theta ** (axis / d_model)
        turn[axis, axis + 1], turn[axis + 1, axis] = speed, -speed
    return torch.matrix_exp(distance * turn)


def next_positions(n_cached, n_new, max_seq_len):
    rows = torch.arange(max_seq_len)[n_cached:][:n_new]
    if len(rows) != n_new:
        raise ValueError("the table has no such rows")
    return rows


def order_blind(layer, x):
    # an exchange of two neighbours and a shift make every order
    order = list(range(len(x)))
    swap, shift = [1, 0, *order[2:]], [*order[1:], 0]
    out = layer(x)
    moved = [(layer(x[to]) - out[to]).abs().max() for to in (swap, shift)]
    return bool(max(moved) < 1e-9)
