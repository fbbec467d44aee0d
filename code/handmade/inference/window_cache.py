"""A cache that lets go of what no query to come can reach.

B batch · G key/value heads · T new tokens · S key/value tokens · K head width
W window: the keys that a query sees, its own included

A layer with a sliding window never looks further back than W - 1 tokens from
its own. So W - 1 keys are enough for ever, whatever the length of the text.
Left out: a ring, which writes each key over the oldest instead of moving
W - 2 of them up, and returns keys out of their order.
"""

from collections.abc import Collection

import torch
from torch.nn import functional as F

from handmade import checks
from handmade.inference.cache import KVCache
from handmade.inference.cache_checks import check_new_keys


class WindowCache(KVCache):
    """Keep the last W - 1 keys and values of a layer, and count them all.

    The model has to hide what lies outside the window, also within a long
    prompt: a Mistral does by itself, any other is given
    ``mask=sliding_window_mask(T, W, cache.kept + T)``. ``full`` names layers
    without a window, as every sixth of Gemma 3: these keep all. The others
    then return zeros for what they let go, behind the mask, so that the keys
    of all layers are as many.
    """

    def __init__(self, window: int, *, full: Collection[int] = ()) -> None:
        checks.whole("window", window)
        checks.several("full", full, "the layers that keep all")
        for layer in full:
            checks.whole("full", layer, at_least=0)
        super().__init__()
        self.window, self.full = window, frozenset(full)
        self.seen: list[int] = []  # by each layer

    @property
    def length(self) -> int:
        """Count the tokens seen, padding included: positions go on here."""
        return self.seen[0] if self.seen else 0

    @property
    def kept(self) -> int:
        """Count the keys that a layer puts before the new ones."""
        return self.length if self.full else min(self.length, self.window - 1)

    @property
    def nbytes(self) -> int:
        """Count the bytes of all keys and values kept."""
        return sum(x.nbytes for pair in self.layers for x in pair)

    def update(
        self, layer: int, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the kept keys and values before the new; keep the last.

        (B, G, T, K), (B, G, T, K) -> (B, G, kept + T, K), twice
        All new ones are returned, however many: the first of them see keys
        that the last no longer do. Raises ValueError as ``KVCache`` does.
        """
        check_new_keys(self, self.seen, layer, k, v)
        if layer == len(self.layers):
            self.layers.append((k[..., :0, :], v[..., :0, :]))
            self.seen.append(0)
        old_k, old_v = self.layers[layer]
        k, v = torch.cat((old_k, k), dim=-2), torch.cat((old_v, v), dim=-2)
        gone = self.seen[layer] - old_k.shape[-2]
        self.seen[layer] += k.shape[-2] - old_k.shape[-2]
        self.layers[layer] = (k, v)
        if layer not in self.full:
            self.layers[layer] = (self._last(k), self._last(v))
        self.filled = layer + 1
        if gone and self.full:  # as many zeros as the full layers have keys
            k, v = F.pad(k, (0, 0, gone, 0)), F.pad(v, (0, 0, gone, 0))
        return k, v

    def _last(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the next token may see, (B, G, W - 1, K) at most."""
        gone = max(0, x.shape[-2] - (self.window - 1))
        # a slice alone would keep the whole text alive behind it
        return x[..., gone:, :].clone() if gone else x

    def __repr__(self) -> str:
        layers, kept = len(self.layers), self.kept
        return f"WindowCache({layers} layers, {kept} of {self.length} tokens)"
