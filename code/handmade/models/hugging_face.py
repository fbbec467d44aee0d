"""Load a model of ours from a Hugging Face folder.

``from_pretrained`` is that of transformers retold in four steps: config,
class, files, tensors. It is stricter in one: a tensor that is missing stops
it, where transformers draws it at random, warns and goes on.

Left out: the hub, code that a folder brings along, and quantized tensors.
Which device a layer goes to is decided in ``device_map``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from handmade import checks
from handmade.checks import need
from handmade.models.gpt2 import GPT2
from handmade.models.llama import Llama
from handmade.models.shards import read_shards

# what a config.json calls its class -> ours
CLASSES: dict[str, type[Llama] | type[GPT2]] = {
    "LlamaForCausalLM": Llama,
    "GPT2LMHeadModel": GPT2,
}


def from_pretrained(
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> nn.Module:
    """Return the model of a folder with config.json and safetensors files.

    ``dtype`` is by default the one that the config states, else that of the
    tensors. The files are mapped, and each tensor is copied once.
    Raises ValueError for a class that we have not, a key of the config that
    ours does not implement, and files or tensors that are not whole.
    """
    _check_place(dtype, device)
    config = read_config_file(folder)
    model = class_of(config).from_weights(read_shards(folder), config)
    return model.to(device=device, dtype=dtype or _stated_dtype(config))


def read_config_file(folder: str | Path) -> dict[str, Any]:
    """Return the contents of a folder's config.json, a dict."""
    checks.path("folder", folder)
    path = Path(folder) / "config.json"
    need(path.is_file(), "folder", f"{str(folder)!r}", "one with config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"config.json: got {error}, want JSON") from error
    checks.kind("config.json", config, dict, "a dict")
    return config


def class_of(config: Mapping[str, Any]) -> type[Llama] | type[GPT2]:
    """Return our class for a config, by its ``architectures``.

    Raises ValueError where it names none of ours, or code of its own.
    """
    checks.mapping("config", config, "a dict of config.json")
    code = config.get("auto_map")
    need(code is None, "auto_map", code, "no code from the checkpoint")
    named = config.get("architectures")
    one = isinstance(named, list) and len(named) == 1 and named[0] in CLASSES
    need(one, "architectures", repr(named), f"one of {[*CLASSES]}")
    assert named is not None
    return CLASSES[named[0]]


def _stated_dtype(config: Mapping[str, Any]) -> torch.dtype | None:
    # the older of the two names is read where the newer is not there
    name = config.get("dtype") or config.get("torch_dtype")
    if name is None:
        return None
    dtype = getattr(torch, str(name).removeprefix("torch."), None)
    known = isinstance(dtype, torch.dtype) and dtype.is_floating_point
    need(known, "dtype", repr(name), "the name of a floating dtype")
    assert isinstance(dtype, torch.dtype)
    return dtype


def _check_place(
    dtype: torch.dtype | None, device: torch.device | str | None
) -> None:
    if dtype is not None:
        checks.dtype("dtype", dtype)
    checks.device("device", device)
