"""Count the bytes that PyTorch's operations write, by operation.

A view writes nothing. An operation that returns a new tensor writes all of
it, one that works in place writes what it was given. Time depends on the
machine and on what else it does; this is the same on any.
"""

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class BytesWritten(TorchDispatchMode):
    """Within ``with BytesWritten() as written``, count what is written.

    ``by_name["cat"]`` are the bytes of one operation, all calls together;
    ``largest`` is the largest new tensor of all, in bytes.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_name: Counter[str] = Counter()
        self.largest = 0

    @property
    def total(self) -> int:
        """Return the bytes of all operations together."""
        return self.by_name.total()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        found = out if isinstance(out, tuple | list) else (out,)
        for returned, value in zip(func._schema.returns, found, strict=False):
            alias = returned.alias_info
            new = alias is None
            if not isinstance(value, torch.Tensor):
                continue
            if new or alias.is_write:
                self.by_name[name] += value.nbytes
            if new:
                self.largest = max(self.largest, value.nbytes)
        return out
