"""A key/value cache whose rows can take back what they read last.

R rows · W entries · G key/value heads · S keys · K head width

Rows that take back different numbers have ends in different columns, and a
model's next pass wants them in one. Moving a row right costs a copy and no
arithmetic: its keys were turned to their positions when they were made.
"""

import torch
from torch import Tensor

from handmade.inference import speculative_checks as check
from handmade.inference.cache import KVCache


class RewindCache(KVCache):
    """A KVCache from which each row can take back what it read last."""

    def rewind(self, drop: Tensor) -> None:
        """Forget each row's last ``drop`` tokens, (R,), flush right again.

        Raises ValueError where drop is not one number a row, 0 to length.
        """
        check.check_drop(self, drop)
        self.layers = [
            (flush_right(k, drop, 2), flush_right(v, drop, 2))
            for k, v in self.layers
        ]


def flush_right(x: Tensor, drop: Tensor, axis: int = 1) -> Tensor:
    """Cut each row's last ``drop`` entries, keep the ends in one column.

    (R, W) -> (R, W - min drop). A row that loses more than the least is
    moved right, and what stands before its beginning is its first entry,
    repeated: padding, for a mask to hide. On any axis of a longer tensor.
    """
    check.check_flush(x, drop, axis)
    least, most = (int(d) for d in drop.aminmax())
    width = x.shape[axis] - least
    if least == most:
        return x.narrow(axis, 0, width)
    index = torch.arange(width, device=x.device) + least - drop[:, None]
    shape = [1] * x.ndim
    shape[0], shape[axis] = index.shape
    index = index.clamp(min=0).view(shape)
    into = [width if a == axis else s for a, s in enumerate(x.shape)]
    return x.gather(axis, index.expand(into))
