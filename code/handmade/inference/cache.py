"""The key/value cache: what a decoder need not compute twice.

B batch · G key/value heads · S key/value tokens · K head width

It is a list of (k, v) pairs, one a layer, that grows by concatenation: every
step copies the past, which is the simplest thing that is right. Left out: a
preallocated (static) cache and paging, which the pages on the key/value cache
and on serving build.
"""

import torch


class KVCache:
    """Keep the keys and values of every layer, (B, G, S, K) each.

    A fresh one is empty; a model's forward pass fills it:
    ``model(ids, cache=cache)``, then ``model(next_ids, cache=cache)``.
    """

    def __init__(self) -> None:
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    @property
    def length(self) -> int:
        """Count the tokens seen so far (S), padding included."""
        return self.layers[0][0].shape[-2] if self.layers else 0

    def update(
        self, layer: int, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append a layer's new keys and values, return all it has.

        (B, G, T, K), (B, G, T, K) -> (B, G, S + T, K), (B, G, S + T, K)
        Raises ValueError where layers come out of order or shapes differ.
        """
        if not 0 <= layer <= len(self.layers):
            raise ValueError(
                f"layer: got {layer}, want 0 to {len(self.layers)}: "
                "layers enter the cache in order"
            )
        if layer == len(self.layers):
            self.layers.append((k, v))
            return k, v
        old_k, old_v = self.layers[layer]
        for name, old, new in (("k", old_k, k), ("v", old_v, v)):
            if _no_tokens(old) != _no_tokens(new) or old.dtype != new.dtype:
                raise ValueError(
                    f"{name}: got {tuple(new.shape)} {new.dtype}, want to "
                    f"extend {tuple(old.shape)} {old.dtype} along the tokens"
                )
        k, v = torch.cat((old_k, k), dim=-2), torch.cat((old_v, v), dim=-2)
        self.layers[layer] = (k, v)
        return k, v

    def reorder(self, index: torch.Tensor) -> None:
        """Keep the batch rows named by ``index``, repeats allowed, (N,).

        Beam search calls it when a beam dies and another one splits.
        Raises ValueError where ``index`` is not a vector of whole numbers.
        """
        if index.ndim != 1 or index.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"index: got shape {tuple(index.shape)} and {index.dtype}, "
                "want a vector of batch rows"
            )
        self.layers = [
            (k.index_select(0, index), v.index_select(0, index))
            for k, v in self.layers
        ]

    def __repr__(self) -> str:
        layers = len(self.layers)
        return f"KVCache({layers} layers, {self.length} tokens)"


def _no_tokens(x: torch.Tensor) -> tuple[int, ...]:
    return (*x.shape[:-2], x.shape[-1])
