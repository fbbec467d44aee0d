"""LoRA: train a low-rank change of a frozen matrix, and merge it in the end.

D input width · F output width · R rank

W stays as it is; beside it stand A (R, D) and B (F, R), and only these two
learn: y = x W^T + s (x A^T) B^T, s = alpha / R. B starts at zero, so that
the model is at first the one that was loaded. Left out: dropout on the
adapter's path, and changes of embeddings and convolutions.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import chain

import torch
from torch import nn

from handmade import checks
from handmade.inference.quantization import QuantizedLinear


class LoRALinear(nn.Module):
    """A linear layer, frozen, and beside it a change of low rank.

    y = base(x) + (alpha / R) (x A^T) B^T,  (..., D) -> (..., F)

    A is drawn as `nn.Linear` draws its weights, B is zero. The base may be
    any module that maps D to F: a quantized one too, which then stays
    quantized. Raises ValueError for a rank that is not below both widths,
    and where the widths cannot be told. [hu2022]
    """

    def __init__(
        self,
        base: nn.Module,
        rank: int,
        alpha: float,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        D, F = widths(base)
        _check_rank(rank, alpha, D, F)
        if generator is not None:
            checks.generator("generator", generator)
        self.base = base.requires_grad_(False)
        self.rank, self.alpha = rank, alpha
        like = next(chain(base.parameters(), base.buffers()), None)
        dtype, device = _home(like)
        self.lora_A = nn.Parameter(
            torch.empty(rank, D, dtype=dtype, device=device)
        )
        self.lora_B = nn.Parameter(
            torch.zeros(F, rank, dtype=dtype, device=device)
        )
        bound = 1 / math.sqrt(D)
        with torch.no_grad():
            drawn = torch.empty(rank, D, dtype=dtype)
            drawn.uniform_(-bound, bound, generator=generator)
            self.lora_A.copy_(drawn)

    @property
    def scale(self) -> float:
        """Return alpha / R: with it a change of rank needs no new rate."""
        return self.alpha / self.rank

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        checks.width("x", x, self.lora_A.shape[1])
        change = (x.to(self.lora_A.dtype) @ self.lora_A.mT) @ self.lora_B.mT
        y: torch.Tensor = self.base(x)
        return y + (self.scale * change).to(y.dtype)

    def delta(self) -> torch.Tensor:
        """Return the change of the matrix, s B A, (F, D)."""
        return self.scale * (self.lora_B @ self.lora_A)

    def extra_repr(self) -> str:
        return f"rank={self.rank}, alpha={self.alpha}"


def inject(
    model: nn.Module,
    targets: Iterable[str],
    *,
    rank: int,
    alpha: float,
    generator: torch.Generator | None = None,
) -> list[str]:
    """Put a LoRALinear around each linear layer that a target names.

    A target is the last part of a module's name ("q_proj") or the whole of
    it. Everything else in the model is frozen. Returns the names of the
    layers, in the model's order. Raises ValueError for a target that names
    nothing, for one that is no linear layer, and for a second injection.
    """
    found = _wanted(model, targets)
    made = {
        name: LoRALinear(
            model.get_submodule(name), rank, alpha, generator=generator
        )
        for name in found
    }
    model.requires_grad_(False)
    for name, layer in made.items():
        _replace(model, name, layer)
        layer.lora_A.requires_grad_(True)
        layer.lora_B.requires_grad_(True)
    return found


@torch.no_grad()
def merge_adapters(model: nn.Module) -> None:
    """Add each change to its matrix, and take the adapters out.

    W <- W + s B A, computed in float32 or wider and rounded once. Raises
    ValueError, with nothing merged, where a matrix is quantized (it cannot
    hold the sum), and where it is tied to another place: merging would
    change that place too. `untie` it first.
    """
    layers = _mergeable(model)
    for name, layer in layers.items():
        weight = _weight(layer)
        wide = torch.promote_types(weight.dtype, torch.float32)
        change = layer.scale * (layer.lora_B.to(wide) @ layer.lora_A.to(wide))
        weight.copy_((weight.to(wide) + change).to(weight.dtype))
        _replace(model, name, layer.base)


def untie(model: nn.Module, name: str) -> None:
    """Give the layer `name` a matrix of its own, equal to the tied one.

    The embedding keeps the old one. It costs that many parameters again,
    and a config that says "tied" is no longer true of the model.
    """
    checks.module("model", model)
    checks.text("name", name)
    known = dict(model.named_modules())
    checks.need(name in known, "name", repr(name), "a module's name")
    layer = known[name]
    base = layer.base if isinstance(layer, LoRALinear) else layer
    widths(base)
    weight = base.get_parameter("weight")
    base.weight = nn.Parameter(weight.detach().clone(), weight.requires_grad)


def adapters(model: nn.Module) -> Iterator[tuple[str, LoRALinear]]:
    """Return the name and the layer of every adapter, in order."""
    checks.module("model", model)
    return (
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, LoRALinear)
    )


def trainable(model: nn.Module) -> tuple[int, int]:
    """Count the parameters that learn, and all of them, tied ones once."""
    checks.module("model", model)
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, learns in sizes if learns), sum(n for n, _ in sizes)


def _wanted(model: nn.Module, targets: Iterable[str]) -> list[str]:
    checks.module("model", model)
    checks.several("targets", targets, "a list of names, such as q_proj")
    wanted = list(targets)
    for target in wanted:
        checks.text("targets", target)
    if any(isinstance(m, LoRALinear) for m in model.modules()):
        raise ValueError("model: got one with adapters, want one without")
    found = [
        name
        for name, _ in model.named_modules()
        if name and (name in wanted or name.rpartition(".")[2] in wanted)
    ]
    for target in wanted:
        if not any(n == target or n.endswith(f".{target}") for n in found):
            raise ValueError(f"targets: got {target!r}, want a module's name")
    return found


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, layer)


def widths(base: nn.Module) -> tuple[int, int]:
    """Return the widths (D, F) that a linear layer maps between.

    Raises ValueError for what is no such layer.
    """
    checks.module("base", base)
    if isinstance(base, QuantizedLinear):
        rows, width = base.weight.shape
        return width, rows
    D = getattr(base, "in_features", None)
    F = getattr(base, "out_features", None)
    if not isinstance(D, int) or not isinstance(F, int):
        raise ValueError(
            f"base: got a {type(base).__name__}, want a linear layer, with "
            "in_features and out_features"
        )
    return D, F


def _home(
    like: torch.Tensor | None,
) -> tuple[torch.dtype, torch.device | None]:
    """Adapters are floats where the base is: its dtype, or float32."""
    if like is None:
        return torch.float32, None
    floats = like.dtype if like.is_floating_point() else torch.float32
    return floats, like.device


def _weight(layer: LoRALinear) -> torch.Tensor:
    weight: torch.Tensor = layer.base.get_parameter("weight")
    return weight


def _check_rank(rank: int, alpha: float, D: int, F: int) -> None:
    checks.whole("rank", rank)
    checks.positive("alpha", alpha)
    want = f"1 to {min(D, F)}, the smaller width"
    checks.need(rank <= min(D, F), "rank", rank, want)


def _mergeable(model: nn.Module) -> dict[str, LoRALinear]:
    checks.module("model", model)
    layers = dict(adapters(model))
    checks.need(bool(layers), "model", "no adapters", "one with adapters")
    for name, layer in layers.items():
        _check_mergeable(model, name, layer)
    return layers


def _check_mergeable(model: nn.Module, name: str, layer: LoRALinear) -> None:
    weight = dict(layer.base.named_parameters()).get("weight")
    if weight is None or not weight.is_floating_point():
        raise ValueError(
            f"model: got a {type(layer.base).__name__} at {name}, want a "
            "matrix of floats: a quantized one cannot hold the sum"
        )
    own = f"{name}.base.weight"
    twins = [
        other
        for other, p in model.named_parameters(remove_duplicate=False)
        if p is weight and other != own
    ]
    if twins:
        raise ValueError(
            f"model: got {name} tied to {twins[0]}, want a matrix of its "
            "own: merging would change both. untie it first"
        )
