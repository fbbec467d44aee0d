"""The embedding table: look rows up, and find a row's neighbours.

B batch · T query tokens · D model width · V vocabulary

Models use nn.Embedding, which does the same faster; `lookup` is here to be
read, its gradient written out. Left out: max_norm, and sparse gradients.
"""

from collections.abc import Callable
from typing import Any

import torch

from handmade.text import checks


class Lookup(torch.autograd.Function):
    """Rows of a table, with the gradient of a one-hot product."""

    @staticmethod
    def forward(
        ctx: Any, table_VD: torch.Tensor, ids: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(ids)
        ctx.vocab_size = len(table_VD)
        return table_VD[ids]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (ids,) = ctx.saved_tensors
        grad_VD = grad.new_zeros(ctx.vocab_size, grad.shape[-1])
        # add, not set: a token that occurs twice is answerable for both
        grad_VD.index_add_(0, ids.flatten(), grad.flatten(0, -2))
        return grad_VD, None


def lookup(table_VD: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return onehot(ids) @ table without the product.

    (V, D), (B, T) -> (B, T, D). The gradient at the table is
    onehot(ids)^T @ grad: zero in every row that was not looked up.
    Raises ValueError for an id outside the table: a negative one would
    quietly read it from the end; and for ids of uint8 or bool, which would
    be taken for a mask.
    """
    _check_table(table_VD)
    checks.check_tensor(ids, "ids", "a tensor of int64", None, "int")
    if ids.numel() and not 0 <= ids.min() <= ids.max() < len(table_VD):
        raise ValueError(
            f"ids: got {int(ids.min())} to {int(ids.max())}, want 0 to "
            f"{len(table_VD) - 1}"
        )
    apply: Callable[..., torch.Tensor] = Lookup.apply  # torch has no type
    return apply(table_VD, ids.long())


def _check_table(table_VD: Any) -> None:
    checks.check_tensor(table_VD, "table", "(V, D) of floats", 2, "float")
    if not table_VD.numel():
        raise ValueError(
            f"table: got shape {tuple(table_VD.shape)}, want rows"
        )


def without_common_direction(table_VD: torch.Tensor) -> torch.Tensor:
    """Remove from each row its part along the mean row, (V, D) -> (V, D).

    x - (x . u) u with u = mean / |mean|. Subtracting the mean takes the same
    amount from every row, but rows differ in how much of it they have. In
    the spirit of [mu2018], who subtract the mean and then project out the
    leading principal components; here it is one projection.
    """
    _check_table(table_VD)
    mean_D = table_VD.mean(0)
    u_D: torch.Tensor = mean_D / mean_D.norm()
    return table_VD - (table_VD @ u_D)[:, None] * u_D


def nearest(table_VD: torch.Tensor, token: int, k: int = 5) -> list[int]:
    """Return the k rows with the largest cosine to a token's, best first.

    The token itself is left out. Raises ValueError unless 0 < k < V, and
    for a token outside the table.
    """
    _check_table(table_VD)
    V = len(table_VD)
    token = checks.check_whole(token, "token", 0, V - 1)
    k = checks.check_whole(k, "k", 1, V - 1)
    cosine_V = torch.cosine_similarity(table_VD, table_VD[token][None])
    cosine_V[token] = -torch.inf
    found: list[int] = cosine_V.topk(k).indices.tolist()
    return found
