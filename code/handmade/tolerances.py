"""How far two right answers may lie apart: one table for the whole book.

A share of the scale that a comparison states: `parity` takes each token's
largest number, an exercise the largest number wanted. A thousand roundings
of float32 (1.2e-07) fit into 1e-4; of float64 (2.2e-16) a hundred thousand
fit into 1e-10. The half precisions have so few digits (eps 9.8e-04 and
7.8e-03) that only a handful of roundings fits: what is deeper than a block
is compared in float32 and float64.
"""

import torch

TOLERANCES: dict[torch.dtype, float] = {
    torch.float64: 1e-10,
    torch.float32: 1e-4,
    torch.float16: 1e-2,
    torch.bfloat16: 3e-2,
}
