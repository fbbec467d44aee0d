"""AdamW's two groups, and Muon, which treats a matrix as a matrix.

A parameter of two axes or more is a matrix: decay shrinks it towards zero.
Biases and the gains of norms are not, and an embedding is a matrix to AdamW
but a table of vectors to Muon.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from handmade import checks

# of the quintic x -> a x + b x^3 + c x^5, whose iterates carry the singular
# values from (0, 1] into about [0.7, 1.2] [jordan2024]
A, B, C = 3.4445, -4.7750, 2.0315


def adamw_groups(
    model: nn.Module, weight_decay: float
) -> list[dict[str, Any]]:
    """Return parameter groups in which only matrices decay.

    Each parameter stands in one of them, a tied one once. Raises ValueError
    for a model without parameters that ask for a gradient.
    """
    checks.module("model", model)
    checks.number("weight_decay", weight_decay, at_least=0)
    wanted = [p for p in model.parameters() if p.requires_grad]
    checks.need(bool(wanted), "model", "no parameter to train", "one")
    matrices = [p for p in wanted if p.ndim >= 2]
    others = [p for p in wanted if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def orthogonal_part(g: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Return about U V^T of g = U S V^T, without a decomposition.

    (..., m, n) -> (..., m, n): X = g / |g|, then `steps` times
    X <- a X + (b X X^T + c (X X^T)^2) X. All singular values become about 1:
    every direction of the gradient counts alike. [jordan2024]
    """
    checks.floats("g", g, axes=2)
    checks.whole("steps", steps)
    tall = g.shape[-2] > g.shape[-1]
    x = g.mT if tall else g  # the smaller square is the cheaper one
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    shape, x = x.shape, x.reshape(-1, *x.shape[-2:])
    for _ in range(steps):
        s = x @ x.mT
        # beta and alpha are part of the product: no pass of their own
        x = torch.baddbmm(
            x, torch.baddbmm(s, s, s, beta=B, alpha=C), x, beta=A
        )
    x = x.view(shape)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose update of a matrix is orthogonalized. [jordan2024]

    m <- momentum m + g, u = g + momentum m (Nesterov's look ahead),
    W <- W (1 - lr weight_decay) - lr sqrt(max(1, m / n)) orthogonal_part(u)
    for W of shape (m, n). Matrices of one shape are taken together, as one
    batch. A group with ``"rule": "adamw"`` is stepped by AdamW instead, with
    its ``betas`` and ``eps``: embeddings, heads, gains and biases.
    ``precision`` is what the iteration is computed in: torch.bfloat16, which
    costs it little and saves most of its time, or None for the parameters';
    ``iterations`` is how many it takes.
    Raises ValueError for a parameter under Muon that is no matrix.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        precision: torch.dtype | None = None,
        iterations: int = 5,
    ) -> None:
        params = _listed(params)
        _check_muon(lr, momentum, weight_decay, betas, eps)
        checks.whole("iterations", iterations)
        known = precision in (None, torch.bfloat16)
        want = "torch.bfloat16 or None"
        checks.need(known, "precision", repr(precision), want)
        self.precision, self.iterations = precision, iterations
        defaults = {
            "lr": lr, "momentum": momentum, "weight_decay": weight_decay,
            "betas": betas, "eps": eps, "rule": "muon",
        }  # fmt: skip
        super().__init__(params, defaults)
        for group in self.param_groups:
            _check_group(group)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step; `closure` recomputes the loss, as in PyTorch."""
        loss = None
        if closure is not None:
            checks.function("closure", closure, "a function, or None")
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if group["rule"] == "adamw":
                for p in moved:
                    _adamw(p, self.state[p], group)
                continue
            by_shape: dict[tuple[int, ...], list[torch.Tensor]] = {}
            for p in moved:
                by_shape.setdefault(tuple(p.shape), []).append(p)
            for matrices in by_shape.values():
                self._muon(matrices, group)
        return loss

    def _muon(
        self, matrices: list[torch.Tensor], group: dict[str, Any]
    ) -> None:
        momentum, lr = group["momentum"], group["lr"]
        grads = [p.grad for p in matrices if p.grad is not None]
        for p in matrices:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        moved = [self.state[p]["momentum"] for p in matrices]
        # one call for all matrices instead of a loop in Python
        torch._foreach_mul_(moved, momentum)
        torch._foreach_add_(moved, grads)
        ahead = torch.stack(torch._foreach_add(grads, moved, alpha=momentum))
        ahead = ahead.to(self.precision or ahead.dtype)
        updates = orthogonal_part(ahead, self.iterations)
        rows, columns = matrices[0].shape
        scale = max(1.0, rows / columns) ** 0.5
        torch._foreach_mul_(matrices, 1 - lr * group["weight_decay"])
        torch._foreach_add_(
            matrices, updates.to(matrices[0].dtype).unbind(), alpha=-lr * scale
        )


def _listed(params: Any) -> list[Any]:
    """Return parameters or groups of them; refuse anything else."""
    want = "parameters, or dicts of them, one at least"
    checks.kind("params", params, Iterable, want)
    params = list(params)
    checks.need(bool(params), "params", "none", want)
    for one in params:
        checks.kind("params", one, (torch.Tensor, dict), want)
    return params


def _adamw(
    p: torch.Tensor, state: dict[str, Any], group: dict[str, Any]
) -> None:
    """Step one parameter as torch.optim.AdamW does. [loshchilov2019]"""
    if not state:
        state["step"] = 0
        state["mean"] = torch.zeros_like(p)
        state["square"] = torch.zeros_like(p)
    beta1, beta2 = group["betas"]
    state["step"] += 1
    state["mean"].lerp_(p.grad, 1 - beta1)
    state["square"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
    mean = state["mean"] / (1 - beta1 ** state["step"])
    square = state["square"] / (1 - beta2 ** state["step"])
    p.mul_(1 - group["lr"] * group["weight_decay"])
    p.addcdiv_(mean, square.sqrt() + group["eps"], value=-group["lr"])


def _check_muon(
    lr: float,
    momentum: float,
    weight_decay: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    checks.number("lr", lr, at_least=0)
    checks.number("momentum", momentum, at_least=0)
    checks.need(momentum < 1, "momentum", momentum, "0 to less than 1")
    checks.number("weight_decay", weight_decay, at_least=0)
    checks.several("betas", betas, "two numbers from 0 to less than 1")
    checks.need(len(betas) == 2, "betas", betas, "two of them")
    for beta in betas:
        checks.number("betas", beta, at_least=0)
        checks.need(beta < 1, "betas", beta, "0 to less than 1")
    checks.positive("eps", eps)


def _check_group(group: dict[str, Any]) -> None:
    rule = group["rule"]
    known = rule in ("muon", "adamw")
    checks.need(known, "rule", repr(rule), "'muon' or 'adamw'")
    for p in group["params"]:
        fits = rule == "adamw" or p.ndim == 2
        checks.need(fits, "params", f"shape {tuple(p.shape)}", "(m, n)")
