"""Count the bytes that tensors hold while a block of code runs.

    with held() as memory:
        model = from_pretrained(folder)
    print(memory.peak, memory.now)

A tensor is seen when an operation of PyTorch gives it out, and it counts
until its storage is freed. Counted are the bytes of storages, so that views
and shared tensors cost nothing, and the meta device costs nothing. Pages of
a mapped file count apart, as ``mapped``: the system may drop them and read
them again.

Left out: other threads, what was there before, and what libraries allot
inside an operation. Where there is no /proc, as on a Mac, all memory that
PyTorch did not allot itself counts as mapped.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Held(TorchDispatchMode):
    """Bytes of tensors: ``now``, at their ``peak``, and ``mapped`` files."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = self.mapped = 0
        self.seen: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor) and x.device.type != "meta":
                self._see(x.untyped_storage())
        return out

    def _see(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self.seen:
            return
        mapped = _is_mapped(storage)
        size = 0 if mapped else storage.nbytes()
        self.mapped += storage.nbytes() if mapped else 0
        self.seen[storage._cdata] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, storage._cdata)

    def _free(self, key: int) -> None:
        self.now -= self.seen.pop(key)


def _is_mapped(storage: torch.UntypedStorage) -> bool:
    """Whether the bytes are pages of a file."""
    if storage.resizable():
        return False
    # not PyTorch's own memory: a file's pages, or what torch.load has read
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return True
    for line in maps.read_text().splitlines():
        pages, *_, last = line.split(maxsplit=5)
        start, end = (int(each, 16) for each in pages.split("-"))
        if start <= storage.data_ptr() < end:
            return last.startswith("/")
    return False


@contextmanager
def held() -> Iterator[Held]:
    """Count what is allotted inside; the counts stay readable after it."""
    with Held() as memory:
        yield memory
