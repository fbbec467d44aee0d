"""The key/value cache: what a decoder need not compute twice.

B batch · G key/value heads · S key/value tokens · K head width

It is a list of (k, v) pairs, one a layer, that grows by concatenation: every
step copies the past, which is the simplest thing that is right. Left out: a
preallocated (static) cache and paging, which the pages on the key/value cache
and on serving build; they keep the contract of `handmade.contracts.Cache`.
"""

import torch

from handmade import checks


class KVCache:
    """Keep the keys and values of every layer, (B, G, S, K) each.

    A fresh one is empty; a model's forward pass fills it:
    ``model(ids, cache=cache)``, then ``model(next_ids, cache=cache)``.
    It keeps all it has seen, so ``kept`` equals ``length``.
    """

    def __init__(self) -> None:
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.masked = False  # whether the passes come with an attention mask
        self.filled = 0  # layers that the present pass has reached
        self.announced = False  # whether passes are told by ``begin``

    @property
    def length(self) -> int:
        """Count the tokens seen so far (S), padding included."""
        return self.layers[0][0].shape[-2] if self.layers else 0

    @property
    def kept(self) -> int:
        """Count the keys that stand before the new ones: here, all."""
        return self.length

    def begin(self, rows: int, *, masked: bool) -> None:
        """Announce one pass over ``rows`` texts, before its first layer.

        A mask given once is needed for ever: without it the padding among
        the keys would be attended to. One that comes later is taken: it
        covers the past too, where it should say what was true, all 1.
        Raises ValueError as ``handmade.contracts.Cache`` says.
        """
        _check_begin(self, rows, masked)
        self.masked = masked
        self.filled, self.announced = 0, True

    def update(
        self, layer: int, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append a layer's new keys and values, return all it has.

        (B, G, T, K), (B, G, T, K) -> (B, G, S + T, K), (B, G, S + T, K)
        Raises ValueError where a layer comes twice or out of order, where it
        falls behind layer 0, and where shapes or dtypes differ.
        """
        _check_update(self, layer, k, v)
        if layer == len(self.layers):
            self.layers.append((k, v))
        else:
            old_k, old_v = self.layers[layer]
            k, v = torch.cat((old_k, k), dim=-2), torch.cat((old_v, v), dim=-2)
            self.layers[layer] = (k, v)
        self.filled = layer + 1
        return k, v

    def reorder(self, index: torch.Tensor) -> None:
        """Keep the batch rows named by ``index``, repeats allowed, (N,).

        Beam search calls it when a beam dies and another one splits.
        Raises ValueError where ``index`` is not a vector of whole numbers.
        """
        checks.ids("index", index, axes=1)
        if index.ndim != 1:
            raise ValueError(
                f"index: got shape {tuple(index.shape)}, want (N,), the rows"
            )
        self.layers = [
            (k.index_select(0, index), v.index_select(0, index))
            for k, v in self.layers
        ]

    def __repr__(self) -> str:
        layers = len(self.layers)
        return f"KVCache({layers} layers, {self.length} tokens)"


def _check_begin(cache: KVCache, rows: int, masked: bool) -> None:
    checks.whole("rows", rows, at_least=0)
    checks.flag("masked", masked)
    if not cache.layers:
        return
    if 0 < cache.filled < len(cache.layers):
        raise ValueError(
            f"cache: got one whose last pass reached {cache.filled} of "
            f"{len(cache.layers)} layers, want a whole one: begin anew"
        )
    stored = cache.layers[0][0].shape[0]
    if rows != stored:
        raise ValueError(f"ids: got {rows} rows, want the cache's {stored}")
    if cache.masked and not masked:
        raise ValueError(
            "attention_mask: got None, want (B, S) for all the cache has "
            "seen: an earlier pass had padding to hide"
        )


def _check_update(
    cache: KVCache, layer: int, k: torch.Tensor, v: torch.Tensor
) -> None:
    checks.floats("k", k, axes=4)
    checks.floats("v", v, axes=4)
    checks.whole("layer", layer, at_least=0)
    seen, expected = cache.length, cache.filled
    if not cache.announced and expected == len(cache.layers) and layer == 0:
        expected = 0  # without ``begin``, layer 0 begins the next pass
    if layer != expected:
        why = (
            "two modules share this layer, or the last pass was interrupted"
            if 0 <= layer < expected
            else "layers enter the cache in order"
        )
        raise ValueError(f"layer: got {layer}, want {expected}: {why}")
    before = 0
    if layer < len(cache.layers):
        before = cache.layers[layer][0].shape[-2]
        old_k, old_v = cache.layers[layer]
        for name, old, new in (("k", old_k, k), ("v", old_v, v)):
            if _no_tokens(old) != _no_tokens(new) or old.dtype != new.dtype:
                raise ValueError(
                    f"{name}: got {tuple(new.shape)} {new.dtype}, want to "
                    f"extend {tuple(old.shape)} {old.dtype} along the tokens"
                )
    if k.shape[:-1] != v.shape[:-1]:
        raise ValueError(
            f"v: got {tuple(v.shape)}, want k's {tuple(k.shape)} up to the "
            "width"
        )
    if layer > 0 and before + k.shape[-2] != seen:
        raise ValueError(
            f"k: got {before + k.shape[-2]} keys for layer {layer}, want "
            f"{seen} as in layer 0: an earlier pass was interrupted"
        )


def _no_tokens(x: torch.Tensor) -> tuple[int, ...]:
    return (*x.shape[:-2], x.shape[-1])
