"""What the decoding loops check after each pass: they do not trust a model.

B batch · V vocabulary

Logits of another shape, a cache that was left as it was, nan: each would
give text without an error, and the wrong one.
"""

import math

from torch import Tensor

from handmade.contracts import Cache


def check_output(
    logits: Tensor, ids: Tensor, cache: Cache | None, before: int
) -> None:
    """Raise ValueError unless a pass gave (B, 1, V) and filled its cache."""
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"model: got a {type(logits).__name__} from it, want logits, a "
            "tensor (B, 1, V)"
        )
    want = (ids.shape[0], 1)
    if logits.ndim != 3 or logits.shape[:2] != want or not logits.shape[2]:
        raise ValueError(
            f"model: got logits {tuple(logits.shape)} from it, want "
            f"(B, logits_to_keep, V) = ({want[0]}, 1, V)"
        )
    if not logits.is_floating_point():
        raise ValueError(f"model: got {logits.dtype} logits, want floats")
    if cache is not None and cache.length - before != ids.shape[1]:
        raise ValueError(
            f"cache: got {cache.length - before} new tokens in it, want the "
            f"{ids.shape[1]} of this pass: the model does not use its cache "
            "(use_cache=False does without)"
        )


def check_finite(logits: Tensor, step: int) -> None:
    """Raise ValueError on a row (B, V) from which no token can be chosen.

    One that holds nan or +inf, or nothing but -inf: the largest number of
    such a row is none, and greedy search would take token 0 for ever.
    """
    largest = logits.amax(-1)
    if bool(largest.isfinite().all()):
        return
    row = int((~largest.isfinite()).nonzero()[0])
    value = float(largest[row])
    got = "nan" if math.isnan(value) else "inf"
    got = "nothing but -inf" if value == -math.inf else got
    raise ValueError(
        f"logits: got {got} in row {row} at step {step}, want a row whose "
        "largest number is finite"
    )
