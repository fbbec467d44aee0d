"""A selective state-space layer: a memory of fixed size instead of a cache.

B batch · T tokens · D model width · I inner width · N state size
R rank of the step sizes · W tokens that the convolution sees

Each of the I channels keeps N numbers. A token decides how much of them is
forgotten, what is written and what is read; nothing looks back at a token.
The recurrence itself is in `selective_scan`; what the paper calls D is
``skip``. Left out: the second version's heads, and biases in the outer
projections.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from handmade import checks
from handmade.models.selective_scan import selective_scan
from handmade.models.state_cache import StateCache, check_state_cache

Scan = Callable[..., tuple[Tensor, Tensor]]


class StateSpace(nn.Module):
    """Mix tokens through a state that forgets what they tell it to.

    u, gate = in_proj(x);  u = silu(conv(u))
    dt, write, read = x_proj(u);  dt = softplus(dt_proj(dt))
    y = scan(u, dt, -exp(A_log), write, read) + skip u
    out_proj(y silu(gate)),  (B, T, D) -> (B, T, D)

    ``d_inner`` defaults to 2 D, ``dt_rank`` to D / 16, rounded up. ``scan``
    is ``selective_scan`` or ``parallel_scan``. Half precision is scanned in
    float32, float64 in float64; with ``precision=torch.float32`` some of its
    tensors are rounded to that, as Hugging Face's Mamba does. ``layer`` says
    which layer of a cache is this module's. Raises ValueError for sizes that
    are not whole and positive. [gu2024]
    """

    def __init__(
        self,
        d_model: int,
        *,
        d_inner: int | None = None,
        d_state: int = 16,
        d_conv: int = 4,
        dt_rank: int | None = None,
        scan: Scan = selective_scan,
        precision: torch.dtype | None = None,
        layer: int | None = None,
    ) -> None:
        super().__init__()
        checks.whole("d_model", d_model)
        D = d_model
        d_inner = 2 * D if d_inner is None else d_inner
        dt_rank = math.ceil(D / 16) if dt_rank is None else dt_rank
        _check_sizes(d_inner, d_state, d_conv, dt_rank, layer)
        _check_how(scan, precision)
        self.d_model, self.d_inner, self.d_state = D, d_inner, d_state
        self.d_conv, self.dt_rank = d_conv, dt_rank
        self.scan, self.precision, self.layer = scan, precision, layer
        self.in_proj = nn.Linear(D, 2 * d_inner, bias=False)
        self.conv = nn.Conv1d(d_inner, d_inner, d_conv, groups=d_inner)
        self.x_proj = nn.Linear(d_inner, dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(dt_rank, d_inner)
        self.A_log = nn.Parameter(torch.empty(d_inner, d_state))
        self.skip = nn.Parameter(torch.ones(d_inner))
        self.out_proj = nn.Linear(d_inner, D, bias=False)
        if self.A_log.device.type != "meta":
            self._init()

    def forward(
        self,
        x: Tensor,
        *,
        attention_mask: Tensor | None = None,
        cache: StateCache | None = None,
    ) -> Tensor:
        """Mix the T new tokens with what the state remembers.

        ``attention_mask`` (B, T) has 0 for padding, which writes nothing.
        ``cache`` hands over the state of the tokens before, and keeps that
        of the last. Raises ValueError for a width other than D, and for a
        cache where the module has no ``layer``.
        """
        _check_call(self, x, attention_mask, cache)
        wide = self.precision or torch.promote_types(x.dtype, torch.float32)
        window_BIW, state_BIN = _remembered(self, cache)
        x = _hide(x, attention_mask)
        u_BTI, gate_BTI = self.in_proj(x).chunk(2, dim=-1)
        u_BTI, window_BIW = self.convolve(u_BTI, window_BIW)
        u_BTI = _hide(u_BTI, attention_mask)
        dt_BTR, write_BTN, read_BTN = self.x_proj(u_BTI).split(
            (self.dt_rank, self.d_state, self.d_state), dim=-1
        )
        dt_BTI = F.linear(dt_BTR, self.dt_proj.weight)
        dt_BTI = F.softplus(dt_BTI + self.dt_proj.bias.to(wide))
        A_IN = -self.A_log.to(wide).exp()
        y_BTI, state_BIN = self.scan(
            u_BTI.to(wide), dt_BTI, A_IN, write_BTN.to(wide), read_BTN,
            state_BIN,
        )  # fmt: skip
        if cache is not None:
            cache.update(_slot(self), window_BIW, state_BIN, x.shape[1])
        y_BTI = (y_BTI + self.skip.to(wide) * u_BTI) * F.silu(gate_BTI)
        return self.out_proj(y_BTI.to(x.dtype))

    def convolve(
        self, u_BTI: Tensor, window_BIW: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mix each channel with its W - 1 last numbers, then bend.

        Returns silu(conv(u)), (B, T, I), and the last W - 1 of u, (B, I,
        W - 1), which the next token will ask for; before the first stand
        zeros. Raises ValueError for another width.
        """
        _check_window(self, u_BTI, window_BIW)
        u_BIT = u_BTI.mT
        if window_BIW is None:
            window_BIW = u_BIT.new_zeros(*u_BIT.shape[:2], self.d_conv - 1)
        seen_BIS = torch.cat((window_BIW, u_BIT), dim=-1)
        bent_BIT = F.silu(self.conv(seen_BIS))
        return bent_BIT.mT, seen_BIS[..., u_BIT.shape[-1] :]

    @classmethod
    def from_hf(cls, mixer: Any, **options: Any) -> "StateSpace":
        """Copy a transformers ``MambaMixer``; ``options`` are of the class.

        Raises ValueError for another module, and for one whose sizes, biases
        or activation are not those of this layer.
        """
        _check_mixer(mixer)
        state = mixer.state_dict()
        ours = cls(
            mixer.in_proj.in_features,
            d_inner=mixer.out_proj.in_features,
            d_state=mixer.A_log.shape[1],
            d_conv=mixer.conv1d.kernel_size[0],
            dt_rank=mixer.dt_proj.in_features,
            **{"precision": torch.float32, **options},
        )
        names = {"conv1d.weight": "conv.weight", "conv1d.bias": "conv.bias"}
        names["D"] = "skip"
        ours = ours.to(mixer.A_log.device, mixer.A_log.dtype)
        ours.load_state_dict({names.get(k, k): x for k, x in state.items()})
        return ours.train(mixer.training)

    @torch.no_grad()
    def _init(self) -> None:
        """Begin with N speeds of forgetting and steps of 0.001 to 0.1."""
        speeds_N = torch.arange(1.0, self.d_state + 1)
        self.A_log.copy_(speeds_N.log().expand_as(self.A_log))
        nn.init.uniform_(self.dt_proj.weight, -(bound := self.dt_rank**-0.5),
                         bound)  # fmt: skip
        low, high = math.log(0.001), math.log(0.1)
        dt_I = torch.exp(low + torch.rand(self.d_inner) * (high - low))
        # softplus undone: softplus(bias) = dt
        self.dt_proj.bias.copy_(dt_I + torch.log(-torch.expm1(-dt_I)))


def _hide(x: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Set the padding to 0, which neither writes nor is read."""
    if attention_mask is None:
        return x
    return x * attention_mask[..., None].to(x.dtype)


def _remembered(
    layer: StateSpace, cache: StateCache | None
) -> tuple[Tensor | None, Tensor | None]:
    if cache is None or _slot(layer) >= len(cache.layers):
        return None, None
    return cache.layers[_slot(layer)]


def _slot(module: StateSpace) -> int:
    if module.layer is None:
        raise ValueError(
            "cache: got one, want a module that knows its layer: give each "
            "StateSpace of the model a number of its own, layer=0, 1 and so "
            "on, or they would share one state"
        )
    return module.layer


def _check_sizes(
    d_inner: int, d_state: int, d_conv: int, dt_rank: int, layer: int | None
) -> None:
    checks.whole("d_inner", d_inner)
    checks.whole("d_state", d_state)
    checks.whole("d_conv", d_conv)
    checks.whole("dt_rank", dt_rank)
    if layer is not None:
        checks.whole("layer", layer, at_least=0)


def _check_how(scan: Scan, precision: torch.dtype | None) -> None:
    checks.function("scan", scan, "selective_scan or parallel_scan")
    wide = (None, torch.float32, torch.float64)
    checks.need(precision in wide, "precision", precision, f"one of {wide}")


def _check_call(
    module: StateSpace,
    x: Tensor,
    attention_mask: Tensor | None,
    cache: StateCache | None,
) -> None:
    checks.width("x", x, module.d_model, axes=3)
    if attention_mask is not None:
        checks.yes_or_no("attention_mask", attention_mask)
        got, want = tuple(attention_mask.shape), tuple(x.shape[:2])
        checks.need(got == want, "attention_mask", f"shape {got}", want)
    check_state_cache(cache)


def _check_window(
    module: StateSpace, u: Tensor, window: Tensor | None
) -> None:
    checks.width("u", u, module.d_inner, axes=3)
    if window is not None:
        checks.floats("window", window, axes=3)
        want = (len(u), module.d_inner, module.d_conv - 1)
        got = tuple(window.shape)
        checks.need(got == want, "window", f"shape {got}", want)


def _check_mixer(mixer: Any) -> None:
    kind = type(mixer).__name__
    want = "a transformers MambaMixer"
    checks.need(kind == "MambaMixer", "mixer", f"a {kind}", want)
    biases = [mixer.in_proj.bias, mixer.out_proj.bias]
    none = all(bias is None for bias in biases)
    checks.need(none, "use_bias", True, "False: this layer has none")
    bias = mixer.conv1d.bias
    checks.need(bias is not None, "use_conv_bias", False, "True")
    act = mixer.activation
    checks.need(act == "silu", "hidden_act", repr(act), "silu")
