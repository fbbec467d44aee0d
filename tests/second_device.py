"""A second device without a GPU: real numbers, and every mix-up raises.

Tensors on the device "second" wrap CPU tensors. Each operation checks that
its tensors live on one device (numbers, which are 0-dimensional CPU tensors,
may join, as on CUDA), computes on the CPU and wraps the result. So code under
test sees real values, `.item()` and all, forward, backward and in an
optimizer, while a tensor made on the wrong device is refused as CUDA would
refuse it.

    with second_device() as device:
        model = model.to(device)
        model(ids.to(device))    # DeviceMixupError where they meet the CPU

It is stricter than CUDA in one point: an index that stayed on the CPU is
refused, too, which CUDA copies over without a word and with a wait.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "second"
CPU = torch.device("cpu")


@functools.cache
def registered() -> torch.device:
    """Return the device, and make PyTorch know it."""
    backend_registration._setup_privateuseone_for_python_backend(NAME)
    # torch.random.fork_rng asks every device for its state: here, the CPU's
    module = getattr(torch, NAME)
    module.get_rng_state = lambda device=None: torch.get_rng_state()
    module.set_rng_state = lambda state, device=None: torch.set_rng_state(
        state
    )
    # and autocast, also where it is switched off, which dtypes it may take
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]
    return torch.device(NAME, 0)


# before the first backward pass, which counts the devices; but never beside
# tests on CUDA, whose backward passes fail where a second kind is known
if not os.environ.get("HANDMADE_DEVICE", "").startswith("cuda"):
    registered()

# what may see two devices at once: it carries numbers from one to the other
MOVES = {"_to_copy", "copy_", "_local_scalar_dense", "_copy_from"}
PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__)


class DeviceMixupError(RuntimeError):
    """Tensors of two devices met in one operation."""


class Second(Tensor):
    """A tensor on the second device: `inner` holds its numbers."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Second":
        return Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            inner.stride(),
            inner.storage_offset(),
            dtype=inner.dtype,
            device=registered(),
            requires_grad=False,
        )

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def __repr__(self, **_: Any) -> str:
        return f"Second({self.inner!r})"

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return run(func, args, dict(kwargs or {}))


class _Mode(TorchDispatchMode):
    """Sees the operations without a second tensor: factories and moves."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return run(func, args, dict(kwargs or {}))


class _Lists(TorchFunctionMode):
    """Carries lists to the second device and back, which C++ does itself."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func is Tensor.tolist:
            return unwrapped(args[0]).tolist()
        if func in (torch.tensor, torch.as_tensor):
            asked = options.pop("device", None)
            if isinstance(args[0], list | tuple):  # of numbers, on any device
                args = _map(unwrapped, args)
            made = func(*args, **options)
            return made if asked is None else made.to(asked)
        if func is Tensor.new_tensor:
            asked = options.pop("device", None) or args[0].device
            options.setdefault("dtype", args[0].dtype)
            return torch.tensor(*args[1:], **options).to(asked)
        if func in PRODUCTS and (args[0].ndim, args[1].ndim) == (1, 2):
            # C++ squeezes the result in place, and a wrapper keeps its shape
            return torch.mv(args[1].mT, args[0])
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            args = (args[0], _index(args[1], args[0].device), *args[2:])
        return func(*args, **options)


def _index(index: Any, device: torch.device) -> Any:
    """Make an index's lists tensors on the device, as indexing does."""
    if isinstance(index, tuple):
        return tuple(_index(each, device) for each in index)
    if isinstance(index, list):
        return torch.tensor(index).to(device)
    return index


def run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Compute one operation on the CPU; wrap it if it was the second's."""
    name = func._schema.name.split("::")[-1]
    tensors = [x for x in tree_leaves((args, kwargs)) if is_tensor(x)]
    here = [x for x in tensors if isinstance(x, Second)]
    strangers = [x for x in tensors if not isinstance(x, Second) and x.ndim]
    if here and strangers and name not in MOVES:
        raise DeviceMixupError(
            f"{name}: expected all tensors to be on the same device, found "
            f"{registered()} and cpu (shape {tuple(strangers[0].shape)})"
        )
    asked = kwargs.get("device")
    stays = bool(here) and asked is None
    goes = stays or (asked is not None and torch.device(asked).type == NAME)
    if goes and asked is not None:
        kwargs["device"] = CPU
    if goes and kwargs.get("generator") is not None:
        raise DeviceMixupError(
            f"{name}: generator on cpu, tensor on {registered()}"
        )
    out = func(*_map(unwrapped, args), **_map(unwrapped, kwargs))
    if not goes:
        return out
    first = func._schema.arguments[0].alias_info if args else None
    if first is not None and first.is_write and isinstance(args[0], Second):
        return args[0]  # in place: the tensor that came in
    # a view of an ordinary tensor stays one, also in inference mode
    ordinary = any(not x.is_inference() for x in here)
    mode = torch.inference_mode(
        torch.is_inference_mode_enabled() and not ordinary
    )
    with mode:
        return _map(wrapped, out)


def is_tensor(x: Any) -> bool:
    return isinstance(x, Tensor)


def unwrapped(x: Any) -> Any:
    """Return the CPU tensor within, or what came in."""
    return x.inner if isinstance(x, Second) else x


def wrapped(x: Any) -> Any:
    """Return a tensor on the second device; other things as they came."""
    return Second(x) if is_tensor(x) and not isinstance(x, Second) else x


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    return tree_map(function, tree)


@contextlib.contextmanager
def second_device() -> Iterator[torch.device]:
    """Let factories with device="second", and moves to it, work."""
    flags, device = torch.__future__, registered()
    before = flags.get_swap_module_params_on_conversion()
    # a wrapper cannot become a parameter's storage, but change places with it:
    # so parameters stay the same objects, and tied ones stay tied
    flags.set_swap_module_params_on_conversion(True)
    try:
        with _Lists(), _Mode():
            yield device
    finally:
        flags.set_swap_module_params_on_conversion(before)
