"""LoRA: train a low-rank change of a frozen matrix, and merge it in the end.

D input width · F output width · R rank

W stays as it is; beside it stand A (R, D) and B (F, R), and only these two
learn: y = x W^T + s (x A^T) B^T, s = alpha / R. B starts at zero, so that
the model is at first the one that was loaded. Left out: dropout on the
adapter's path, and changes of embeddings and convolutions.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from handmade import checks
from handmade.manifest import write_whole

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


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
        D, F = _widths(base)
        _check_rank(rank, alpha, D, F)
        if generator is not None:
            checks.generator("generator", generator)
        self.base = base.requires_grad_(False)
        self.rank, self.alpha = rank, alpha
        like = next(base.parameters(), None)
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
    checks.module("model", model)
    layers = dict(adapters(model))
    checks.need(bool(layers), "model", "no adapters", "one with adapters")
    for name, layer in layers.items():
        _check_mergeable(model, name, layer)
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
    _widths(base)
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


def save_adapter(
    model: nn.Module, folder: Path | str, names: Mapping[str, str]
) -> Path:
    """Write the adapters alone, as peft writes them.

    ``names`` maps our modules to those of the transformers model that peft
    would wrap, a `{}` for a number as in ``HF_LAYERS``. Both files are whole
    or absent. Raises ValueError for adapters of different ranks, and where a
    name is missing.
    """
    checks.path("folder", folder)
    layers = dict(adapters(model))
    checks.need(bool(layers), "model", "no adapters", "one with adapters")
    sizes = {(layer.rank, layer.alpha) for layer in layers.values()}
    checks.need(len(sizes) == 1, "model", sorted(sizes), "one rank and alpha")
    (rank, alpha) = sizes.pop()
    theirs = {name: _their_name(name, names) for name in layers}
    tensors = {}
    for name, layer in layers.items():
        for part in ("lora_A", "lora_B"):
            key = f"base_model.model.{theirs[name]}.{part}.weight"
            tensors[key] = getattr(layer, part).detach().cpu().contiguous()
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(theirs.values()),
        "inference_mode": True,
    }
    folder = Path(folder)
    text = json.dumps(config, indent=1)
    write_whole(folder / WEIGHTS, lambda path: save_file(tensors, path))
    write_whole(
        folder / CONFIG, lambda path: path.write_text(text, encoding="utf-8")
    )
    return folder


# of adapter_config.json: what has to have one value, and what says nothing
# about numbers
REQUIRED: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "lora_dropout": (0, 0.0),
    "use_rslora": (False, None),
    "use_dora": (False, None),
    "fan_in_fan_out": (False, None),
    "modules_to_save": (None, []),
    "layers_to_transform": (None, []),
    "layers_pattern": (None, []),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "megatron_config": (None,),
    "layer_replication": (None,),
    "trainable_token_indices": (None,),
    "exclude_modules": (None, []),
    "target_parameters": (None, []),
    "lora_bias": (False, None),
    "alora_invocation_tokens": (None,),
    "use_qalora": (False, None),
    "corda_config": (None,),
    "eva_config": (None,),
    "loftq_config": ({}, None),
    # others change the base, which is not in the file
    "init_lora_weights": (True, False, "gaussian"),
}
INERT = {
    "task_type", "base_model_name_or_path", "inference_mode", "revision",
    "auto_mapping", "runtime_config", "peft_version",
    "megatron_core", "qalora_group_size", "ensure_weight_tying",
    "arrow_config",
}  # fmt: skip


def load_adapter(
    model: nn.Module, folder: Path | str, names: Mapping[str, str]
) -> list[str]:
    """Inject the adapters of a folder that we or peft have written.

    ``names`` as in `save_adapter`. Returns the names of the layers. Raises
    ValueError for a config key that is not implemented, by name and value,
    and for tensors that are missing, unexpected or misshapen; the model is
    then as it was.
    """
    checks.module("model", model)
    checks.path("folder", folder)
    checks.mapping("names", names, "a dict from our modules to theirs")
    folder = Path(folder)
    rank, alpha = _read_config(folder / CONFIG)
    tensors = load_file(folder / WEIGHTS)
    by_theirs = {
        _their_name(name, names): name
        for name, layer in model.named_modules()
        if name
        and isinstance(getattr(layer, "weight", None), nn.Parameter)
        and _knows(name, names)
    }
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, x in tensors.items():
        place, _, part = key.removesuffix(".weight").rpartition(".")
        place = place.removeprefix("base_model.model.")
        if part not in ("lora_A", "lora_B") or place not in by_theirs:
            raise ValueError(
                f"{WEIGHTS}: got {key}, want lora_A and lora_B of a layer "
                "that the model has"
            )
        found.setdefault(by_theirs[place], {})[part] = x
    for name, parts in found.items():
        D, F = _widths(model.get_submodule(name))
        want = {"lora_A": (rank, D), "lora_B": (F, rank)}
        got = {part: tuple(x.shape) for part, x in parts.items()}
        checks.need(got == want, f"{WEIGHTS}: {name}", got, want)
    checks.need(bool(found), WEIGHTS, "no adapter", "one at least")
    done = inject(model, list(found), rank=rank, alpha=alpha)
    with torch.no_grad():
        for name in done:
            layer = model.get_submodule(name)
            for part, x in found[name].items():
                layer.get_parameter(part).copy_(x)
    return done


def _read_config(path: Path) -> tuple[int, float]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: got {error}, want JSON") from error
    checks.mapping(str(path), config, "a JSON object")
    known = {"r", "lora_alpha", "target_modules"} | INERT | REQUIRED.keys()
    empty: tuple[Any, ...] = (None, False, [], {})
    odd = [
        f"{key} = {value!r}"
        for key, value in config.items()
        if (key in REQUIRED and value not in REQUIRED[key])
        or (key not in known and value not in empty)
    ]
    if odd:
        raise ValueError(
            f"{path}: got {', '.join(odd)}, which is not implemented, want a "
            "plain LoRA"
        )
    rank = checks.whole(f"{path}: r", config.get("r"))
    return rank, checks.positive(f"{path}: lora_alpha", config["lora_alpha"])


def _their_name(name: str, names: Mapping[str, str]) -> str:
    checks.mapping("names", names, "a dict from our modules to theirs")
    numbers = [part for part in name.split(".") if part.isdigit()]
    pattern = ".".join(
        "{}" if part.isdigit() else part for part in name.split(".")
    )
    for ours, theirs in names.items():
        if pattern == ours:
            return theirs.format(*numbers)
        if pattern.startswith(f"{ours}.") and ours:
            rest = pattern.removeprefix(f"{ours}.")
            return f"{theirs}.{rest}".format(*numbers)
    raise ValueError(f"names: got none for {name}, want one")


def _knows(name: str, names: Mapping[str, str]) -> bool:
    try:
        _their_name(name, names)
    except ValueError:
        return False
    return True


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, layer)


def _widths(base: nn.Module) -> tuple[int, int]:
    checks.module("base", base)
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
