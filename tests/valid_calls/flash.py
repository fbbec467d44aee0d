"""Right calls of attention by tiles, of its kernel and of the counting."""

import torch
from handmade.devices import device

from valid_calls import call


def heads(where="cpu"):
    shapes = (2, 4, 5, 8), (2, 2, 7, 8), (2, 2, 7, 8)
    q, k, v = (torch.randn(shape, device=where) for shape in shapes)
    return {"q_BHTK": q, "k_BGSK": k, "v_BGSK": v, "causal": True,
            "scale": 0.3}  # fmt: skip


CALLS = {
    "inference.flash_tiles.online_softmax": lambda: call(
        scores=torch.randn(3, 7), block=2
    ),
    "inference.flash_attention.flash_attention": lambda: call(
        **heads(), mask=torch.ones(5, 7).bool(), block_q=2, block_k=3,
        return_lse=True,
    ),
    "inference.flash_kernel.kernel_attention": lambda: call(
        **heads(device()), block_q=16, block_k=16
    ),
}  # fmt: skip
