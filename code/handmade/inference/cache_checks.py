"""What the caches that do not only grow check before they take new keys.

B batch · G key/value heads · T new tokens · K head width

A cache that writes in place, or lets the past go, cannot be asked afterwards
what it was given. So new keys are compared with what the layer was given
before, and each layer's tokens are counted.
"""

from collections.abc import Sequence

import torch

from handmade import checks
from handmade.inference.cache import KVCache


def check_new_keys(
    cache: KVCache,
    counts: Sequence[int],
    layer: int,
    k: torch.Tensor,
    v: torch.Tensor,
) -> None:
    """Raise ValueError on keys and values that a layer cannot go on with.

    ``counts`` are the tokens that each layer of the cache has been given.
    """
    checks.floats("k", k, axes=4)
    checks.floats("v", v, axes=4)
    checks.whole("layer", layer, at_least=0)
    expected = cache.filled
    if not cache.announced and expected == len(cache.layers) and layer == 0:
        expected = 0  # without ``begin``, layer 0 begins the next pass
    if layer != expected:
        why = (
            "two modules share this layer, or the last pass was interrupted"
            if layer < expected
            else "layers enter the cache in order"
        )
        raise ValueError(f"layer: got {layer}, want {expected}: {why}")
    if k.shape[:-1] != v.shape[:-1]:
        raise ValueError(
            f"v: got {tuple(v.shape)}, want k's {tuple(k.shape)} up to the "
            "width"
        )
    before = 0
    if layer < len(cache.layers):
        before = counts[layer]
        for name, old, new in zip(
            "kv", cache.layers[layer], (k, v), strict=True
        ):
            _check_alike(name, old, new)
    if layer > 0 and before + k.shape[-2] != counts[0]:
        raise ValueError(
            f"k: got {before + k.shape[-2]} keys for layer {layer}, want "
            f"{counts[0]} as in layer 0: an earlier pass was interrupted"
        )


def check_rows(index: torch.Tensor) -> None:
    """Raise ValueError unless ``index`` is a vector of whole numbers."""
    checks.ids("index", index, axes=1)
    got = f"shape {tuple(index.shape)}"
    checks.need(index.ndim == 1, "index", got, "(N,), the rows")


def _check_alike(name: str, old: torch.Tensor, new: torch.Tensor) -> None:
    shape, kept = tuple(new.shape), tuple(old.shape)
    alike = shape[:-2] == kept[:-2] and shape[-1] == kept[-1]
    if not alike or old.dtype != new.dtype:
        raise ValueError(
            f"{name}: got {shape} {new.dtype}, want to extend {kept} "
            f"{old.dtype} along the tokens"
        )
