"""Count the bytes that tensors hold while some code runs.

PyTorch tells a mode of every operation, in forward and backward passes
alike, and a tensor's memory dies with its last reader. So the count is exact
and the same on any machine, also on the meta device, where tensors have
shapes and no memory: what would not fit can be counted. Left out: scratch
space inside of one operation, and what an allocator keeps for later.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class MemoryCount(TorchDispatchMode):
    """Add up the memory of all tensors made inside, as long as they live.

    with MemoryCount() as count: ...;  count.peak, count.now: bytes

    Views share the memory of their tensor and count nothing; neither does
    what was there before.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        result = func(*args, **given)
        old = {each._cdata for each in _storages((args, given))}
        for storage in _storages(result):
            if storage._cdata not in old:
                kept = StorageWeakRef(storage), storage.nbytes()
                self._alive[storage._cdata] = kept
        self.peak = max(self.peak, self.now)
        return result

    @property
    def now(self) -> int:
        """Return the bytes of what is alive at this moment."""
        for at, (storage, _) in list(self._alive.items()):
            if storage.expired():
                del self._alive[at]
        return sum(size for _, size in self._alive.values())


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [
        each.untyped_storage()
        for each in tree_leaves(values)
        if isinstance(each, torch.Tensor)
    ]
