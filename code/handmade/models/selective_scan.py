"""The recurrence of a selective state-space layer, in order and all at once.

B batch · T tokens · I inner width · N state size

The paper's letters are those of control theory: its B is ``write``, its C
``read``, its Delta ``dt``; A keeps its name. Left out: the fused kernel that
never stores a state in slow memory.
"""

import torch
from torch import Tensor

from handmade import checks


def selective_scan(
    u_BTI: Tensor,
    dt_BTI: Tensor,
    A_IN: Tensor,
    write_BTN: Tensor,
    read_BTN: Tensor,
    state_BIN: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Read T tokens into a state, one after another; return y and the state.

    h_t = exp(dt_t A) h_{t-1} + dt_t write_t u_t,  y_t = h_t . read_t
    -> y (B, T, I), state (B, I, N), which begins at 0

    A is negative, so that what is kept of a number is between 0 and 1.
    Raises ValueError where shapes do not fit. [gu2024]
    """
    _check_scan(u_BTI, dt_BTI, A_IN, write_BTN, read_BTN, state_BIN)
    h_BIN = _begin(u_BTI, dt_BTI, A_IN, state_BIN)
    y_BTI = []
    for t in range(u_BTI.shape[1]):
        u_BI, dt_BI = u_BTI[:, t], dt_BTI[:, t]
        # the share of each number that stays: near 1 where dt is small
        keep_BIN = torch.exp(dt_BI[..., None] * A_IN)
        # every channel writes its own number, all along one direction
        new_BIN = (dt_BI * u_BI)[..., None] * write_BTN[:, t, None]
        h_BIN = keep_BIN * h_BIN + new_BIN
        # and all are read along one direction
        y_BTI.append((h_BIN * read_BTN[:, t, None]).sum(-1))
    return torch.stack(y_BTI, dim=1), h_BIN


def parallel_scan(
    u_BTI: Tensor,
    dt_BTI: Tensor,
    A_IN: Tensor,
    write_BTN: Tensor,
    read_BTN: Tensor,
    state_BIN: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Do what ``selective_scan`` does in log2 T rounds over all tokens.

    Two steps are one: (k2, n2) after (k1, n1) is (k2 k1, k2 n1 + n2)

    After a round each place holds twice as many steps as before. It stores
    every state, (B, T, I, N), which the loop does not.
    Raises ValueError where shapes do not fit.
    """
    _check_scan(u_BTI, dt_BTI, A_IN, write_BTN, read_BTN, state_BIN)
    h_BIN = _begin(u_BTI, dt_BTI, A_IN, state_BIN)
    keep = torch.exp(dt_BTI[..., None] * A_IN)
    new = (dt_BTI * u_BTI)[..., None] * write_BTN[:, :, None]
    reach = 1
    while reach < u_BTI.shape[1]:
        # the first places are whole; the others take in those before them
        more = keep[:, reach:] * new[:, :-reach] + new[:, reach:]
        less = keep[:, reach:] * keep[:, :-reach]
        new = torch.cat((new[:, :reach], more), dim=1)
        keep = torch.cat((keep[:, :reach], less), dim=1)
        reach *= 2
    h_BTIN = keep * h_BIN[:, None] + new
    return (h_BTIN * read_BTN[:, :, None]).sum(-1), h_BTIN[:, -1]


def _begin(
    u_BTI: Tensor, dt_BTI: Tensor, A_IN: Tensor, state_BIN: Tensor | None
) -> Tensor:
    """Return the state before the first token: the one given, or zeros."""
    if state_BIN is not None:
        return state_BIN
    wide = torch.promote_types(u_BTI.dtype, dt_BTI.dtype)
    return u_BTI.new_zeros(len(u_BTI), *A_IN.shape, dtype=wide)


def _check_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    write: Tensor,
    read: Tensor,
    state: Tensor | None,
) -> None:
    checks.floats("u", u, axes=3)
    checks.floats("A", A, axes=2)
    B, T, channels = u.shape
    N = A.shape[-1]
    checks.need(T > 0, "u", "no token", "one or more")
    shapes = {
        "dt": (dt, (B, T, channels)),
        "A": (A, (channels, N)),
        "write": (write, (B, T, N)),
        "read": (read, (B, T, N)),
    }
    if state is not None:
        shapes["state"] = state, (B, channels, N)
    for name, (x, want) in shapes.items():
        checks.floats(name, x)
        fits = tuple(x.shape) == want
        checks.need(fits, name, f"shape {tuple(x.shape)}", want)
