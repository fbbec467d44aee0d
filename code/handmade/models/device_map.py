"""Put a model on several devices: count, decide, move.

``layer_sizes`` counts bytes, ``device_map`` decides, and ``place`` moves the
layers and lets the activations follow. One device computes while the others
wait: this makes room for a model, and nothing faster.

Left out: weights that wait on the disk, several batches in flight, and beam
search over a cache on several devices.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from handmade import checks
from handmade.checks import need


def layer_sizes(model: nn.Module) -> dict[str, int]:
    """Return the bytes of each layer, in the order in which they run.

    The blocks are a layer each. What a layer shares with one before it, such
    as a tied head, is counted there, and a layer that is shared as a whole
    has no line of its own.
    """
    checks.module("model", model)
    sizes: dict[str, int] = {}
    counted: set[int] = set()
    for name, layer in _layers(model):
        own = {id(x): x.nbytes for x in layer.parameters()}
        new = [size for key, size in own.items() if key not in counted]
        counted |= set(own)
        if new:
            sizes[name] = sum(new)
    return sizes


def device_map(
    sizes: Mapping[str, int], room: Mapping[str, int]
) -> dict[str, str]:
    """Fill the devices one after the other with whole layers, in order.

    ``sizes`` are the bytes of each layer in the order in which they run,
    ``room`` those of each device. A layer that does not fit goes to the next
    device with all that follow it, so each device is entered once.
    Raises ValueError where the last device is full.
    """
    _check_bytes("sizes", sizes)
    _check_bytes("room", room)
    devices = list(room)
    placed: dict[str, str] = {}
    free = room[devices[0]]
    for layer, size in sizes.items():
        while size > free:
            devices.pop(0)
            _check_left(devices, layer, sizes, room)
            free = room[devices[0]]
        placed[layer] = devices[0]
        free -= size
    return placed


def place(model: nn.Module, placed: Mapping[str, str]) -> nn.Module:
    """Move each layer to its device, and let the activations follow.

    Each layer takes what it is given to its own device. What reads ids, an
    embedding or the whole model, gives its result back where the ids were.
    What is tied stays tied, on the device of the first of the two.
    Changes the model, once, and returns it.
    Raises ValueError for layers that the model has not, or that have no
    place.
    """
    _check_placed(model, placed)
    homes: dict[int, nn.Parameter] = {}
    for name, layer in _layers(model):
        shared = [homes[id(x)] for x in layer.parameters() if id(x) in homes]
        device = shared[0].device if shared else torch.device(placed[name])
        for owner, key, tensor in _slots(layer):
            if id(tensor) not in homes:
                moved = tensor.detach().to(device)
                homes[id(tensor)] = nn.Parameter(moved, tensor.requires_grad)
            owner.register_parameter(key, homes[id(tensor)])
        _follow(layer, device)
    _follow(model)
    return model


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, module): the parts of a model, its blocks one by one."""
    for name, part in model.named_children():
        if isinstance(part, nn.ModuleList):
            for i, block in enumerate(part):
                yield f"{name}.{i}", block
        else:
            yield name, part


def _slots(layer: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Yield (module, attribute, parameter) of all that a layer has."""
    for owner in layer.modules():
        for key, tensor in [*owner.named_parameters(recurse=False)]:
            yield owner, key, tensor


def _follow(module: nn.Module, device: torch.device | None = None) -> None:
    """Take a module's inputs to a device; what read ids gives its output back.

    A hook that comes after sees the inputs that were moved already, so the
    first of the two keeps where they came from.
    """
    homes: list[torch.device | None] = []

    def before(module: nn.Module, args: Any, kwargs: Any) -> Any:
        given = next(x for x in (*args, *kwargs.values()) if x is not None)
        homes.append(None if given.is_floating_point() else given.device)
        return (
            (args, kwargs) if device is None else _on(device, (args, kwargs))
        )

    def after(module: nn.Module, args: Any, out: Any) -> Any:
        home = homes.pop()
        return out if home is None else _on(home, out)

    module.register_forward_pre_hook(before, with_kwargs=True)
    module.register_forward_hook(after)


def _on(device: torch.device, value: Any) -> Any:
    """Move the tensors in a call's arguments; leave anything else."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple | list):
        return type(value)(_on(device, each) for each in value)
    if isinstance(value, dict):
        return {key: _on(device, each) for key, each in value.items()}
    return value


def _check_left(
    devices: list[str],
    layer: str,
    sizes: Mapping[str, int],
    room: Mapping[str, int],
) -> None:
    got = f"{sum(room.values())} bytes on {len(room)} devices"
    want = f"a place for {layer}, of {sum(sizes.values())} bytes in all"
    need(bool(devices), "room", got, want)


def _check_bytes(name: str, given: Mapping[str, int]) -> None:
    checks.mapping(name, given, "a dict from name to bytes")
    need(bool(given), name, "none", "at least one")
    for key, value in given.items():
        checks.text(name, key)
        checks.whole(name, value, at_least=0)


def _check_placed(model: nn.Module, placed: Mapping[str, str]) -> None:
    checks.module("model", model)
    checks.mapping("placed", placed, "a dict from layer to device")
    layers = list(layer_sizes(model))
    given = list(placed)
    want = f"a device for each of {layers}"
    need(sorted(given) == sorted(layers), "placed", given, want)
    for name, device in placed.items():
        checks.device(f"placed {name}", device)
        need(device is not None, f"placed {name}", None, "a device")
