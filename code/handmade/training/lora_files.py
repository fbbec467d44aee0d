"""Adapters as files, which peft reads and which it writes.

D input width · F output width · R rank

Two files: the numbers of A and B, and a config, which is read whole or
refused. Left out: everything that peft can do beside a plain LoRA.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from handmade import checks
from handmade.inference.quantization import QuantizedLinear
from handmade.manifest import write_whole
from handmade.training.lora import adapters, inject, widths

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


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
        if name and _is_matrix(layer) and _knows(name, names)
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
        D, F = widths(model.get_submodule(name))
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


def _is_matrix(layer: nn.Module) -> bool:
    floats = isinstance(getattr(layer, "weight", None), nn.Parameter)
    return floats or isinstance(layer, QuantizedLinear)


def _knows(name: str, names: Mapping[str, str]) -> bool:
    try:
        _their_name(name, names)
    except ValueError:
        return False
    return True
