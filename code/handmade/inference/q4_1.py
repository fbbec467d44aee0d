"""Q4_1, the blocks of a real 4-bit file, decoded by hand.

A block is 20 bytes for 32 weights: a scale and a minimum in float16, then 16
bytes of two codes each. The low half of byte i is weight i, the high half is
weight i + 16: not its neighbour.

Left out: the other kinds of numbers that a GGUF file may hold.
"""

import torch
from torch import Tensor

from handmade import checks

BLOCK, BYTES = 32, 20


def decode_q4_1(data: Tensor) -> Tensor:
    """Return the weights of raw Q4_1 blocks: scale * code + low.

    (n,) uint8 -> (n / 20 * 32,) float32. Raises ValueError for what is not
    whole blocks of bytes.
    """
    _check_blocks(data)
    blocks = data.view(-1, BYTES)
    head = blocks[:, :4].contiguous().view(torch.float16).float()
    scale, low = head[:, :1], head[:, 1:]
    pairs = blocks[:, 4:]  # 16 bytes
    codes = torch.cat((pairs & 15, pairs >> 4), dim=1)  # 0-15, then 16-31
    return (scale * codes + low).flatten()


def _check_blocks(data: Tensor) -> None:
    checks.numbers("data", data)
    checks.need(data.dtype == torch.uint8, "data", data.dtype, "torch.uint8")
    if data.ndim != 1 or data.numel() % BYTES or not data.numel():
        raise ValueError(
            f"data: got shape {tuple(data.shape)}, want (n,), n a multiple "
            f"of {BYTES}"
        )
