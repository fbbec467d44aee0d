"""The feed-forward half of a block: each token thinks alone.

B batch · T tokens · D model width · F feed-forward width

An activation is given as a function, not looked up by its name: any function
that maps a tensor to one of the same shape fits. Left out: dropout between
the two matrices.
"""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from handmade import checks


def gelu(x: torch.Tensor) -> torch.Tensor:
    """Weigh x by the share of a normal distribution that lies below it.

    gelu(x) = x * Phi(x),  Phi(x) = (1 + erf(x / sqrt 2)) / 2. [hendrycks2016]
    """
    checks.floats("x", x)
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    """Approximate gelu without erf, as GPT-2 does ("gelu_new").

    x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2. [hendrycks2016]
    """
    checks.floats("x", x)
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x.pow(3))
    return x * (1 + torch.tanh(inner)) / 2


class FeedForward(nn.Module):
    """Widen, bend, narrow: the two-layer network of each token.

    y = W_down activation(W_up x + b_up) + b_down
    (B, T, D) -> (B, T, D) by way of (B, T, F), usually F = 4 D

    ``activation`` is a function such as ``torch.relu`` [vaswani2017], ``gelu``
    (BERT) or ``gelu_tanh`` (GPT-2). Raises ValueError where it is not.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        activation: Callable[[torch.Tensor], torch.Tensor],
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        _check_sizes(d_model, d_ff, bias)
        _check_activation(activation)
        self.d_model, self.activation = d_model, activation
        self.up_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.down_proj = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        checks.width("x", x, self.d_model)
        return self.down_proj(self.activation(self.up_proj(x)))


class GatedFeedForward(nn.Module):
    """Widen twice, let one half gate the other, narrow again.

    y = W_down (activation(W_gate x) * (W_up x))
    (B, T, D) -> (B, T, D) by way of (B, T, F)

    Three matrices where a plain layer has two: F is usually 8/3 D, so that
    the number of parameters stays the same. With ``gelu_tanh`` it is the
    layer of T5's second version and of Gemma, with SiLU it is ``SwiGLU``.
    Raises ValueError where the activation is no function. [shazeer2020]
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        activation: Callable[[torch.Tensor], torch.Tensor],
        *,
        bias: bool = False,
    ) -> None:
        super().__init__()
        _check_sizes(d_model, d_ff, bias)
        _check_activation(activation)
        self.d_model, self.activation = d_model, activation
        self.gate_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.up_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.down_proj = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        checks.width("x", x, self.d_model)
        gated_BTF = self.activation(self.gate_proj(x)) * self.up_proj(x)
        return self.down_proj(gated_BTF)


class SwiGLU(GatedFeedForward):
    """The gated layer with SiLU, that of Llama.

    y = W_down (silu(W_gate x) * (W_up x)),  silu(z) = z * sigmoid(z)
    (B, T, D) -> (B, T, D) by way of (B, T, F). [shazeer2020]
    """

    def __init__(self, d_model: int, d_ff: int, *, bias: bool = False) -> None:
        super().__init__(d_model, d_ff, F.silu, bias=bias)


def _check_sizes(d_model: int, d_ff: int, bias: bool) -> None:
    checks.whole("d_model", d_model)
    checks.whole("d_ff", d_ff)
    checks.flag("bias", bias)


def _check_activation(
    activation: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    want = "a function of a tensor"
    checks.need(callable(activation), "activation", repr(activation), want)
