"""A cache of fixed size: allotted once, written in place, never copied.

B batch · G key/value heads · T new tokens · S key/value tokens · K head width
C capacity in tokens

The growing cache copies its whole past at every step. This one knows from
the start how many tokens it may hold, and a step writes T of them. Left out:
handing the whole memory to attention with a mask over what is not yet
written, as transformers does. It gives every step the same shapes, and pays
for C keys at each.
"""

import torch

from handmade import checks
from handmade.inference.cache import KVCache
from handmade.inference.cache_checks import check_new_keys, check_rows


class StaticCache(KVCache):
    """Keep the keys and values of up to ``capacity`` tokens a row.

    The memory, (B, G, C, K) twice a layer, is allotted when a layer first
    comes and stays where it is; ``layers`` are views of what is written of
    it. For inference alone: what is written in place has no gradient.
    """

    def __init__(self, capacity: int) -> None:
        checks.whole("capacity", capacity)
        super().__init__()
        self.capacity = capacity
        self.memory: list[tuple[torch.Tensor, torch.Tensor]] = []

    @property
    def nbytes(self) -> int:
        """Count the bytes of the memory, written or not."""
        return sum(x.nbytes for pair in self.memory for x in pair)

    def update(
        self, layer: int, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a layer's new keys and values, return all it has.

        (B, G, T, K), (B, G, T, K) -> (B, G, S + T, K), (B, G, S + T, K)
        What is returned is a view of the memory. Raises ValueError as
        ``KVCache`` does, where there is no room, and on keys that want a
        gradient; then nothing is written.
        """
        _check_update(self, layer, k, v)
        if layer == len(self.memory):
            self.memory.append((_allot(self, k), _allot(self, v)))
            self.layers.append(_first(self.memory[layer], 0))
        start = self.layers[layer][0].shape[-2]
        stop = start + k.shape[-2]
        for memory, new in zip(self.memory[layer], (k, v), strict=True):
            memory[..., start:stop, :] = new
        self.layers[layer] = _first(self.memory[layer], stop)
        self.filled = layer + 1
        return self.layers[layer]

    def reorder(self, index: torch.Tensor) -> None:
        """Keep the batch rows named by ``index``, repeats allowed, (N,).

        As many rows as before are written where the others stood. Raises
        ValueError where ``index`` is not a vector of whole numbers.
        """
        check_rows(index)
        for layer, pair in enumerate(self.layers):
            S = pair[0].shape[-2]
            chosen = [x.index_select(0, index) for x in pair]
            if len(index) != len(pair[0]):
                k, v = chosen
                self.memory[layer] = (_allot(self, k), _allot(self, v))
            for memory, new in zip(self.memory[layer], chosen, strict=True):
                memory[..., :S, :] = new
            self.layers[layer] = _first(self.memory[layer], S)

    def __repr__(self) -> str:
        layers, held = len(self.layers), f"{self.length} of {self.capacity}"
        return f"StaticCache({layers} layers, {held} tokens)"


def _first(
    pair: tuple[torch.Tensor, torch.Tensor], n: int
) -> tuple[torch.Tensor, torch.Tensor]:
    return pair[0][..., :n, :], pair[1][..., :n, :]


def _allot(cache: StaticCache, x: torch.Tensor) -> torch.Tensor:
    """Make room for ``capacity`` tokens of the rows of x.

    Not as an inference tensor, even inside ``torch.inference_mode``: such a
    one could not be written to outside of it, where a text may go on.
    """
    with torch.inference_mode(False):
        shape = (*x.shape[:-2], cache.capacity, x.shape[-1])
        return torch.zeros(shape, dtype=x.dtype, device=x.device)


def _check_update(
    cache: StaticCache, layer: int, k: torch.Tensor, v: torch.Tensor
) -> None:
    counts = [k.shape[-2] for k, _ in cache.layers]
    check_new_keys(cache, counts, layer, k, v)
    for name, x in (("k", k), ("v", v)):
        if x.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{name}: got one that wants a gradient, want none: a static "
                "cache is written in place (use torch.no_grad, or KVCache)"
            )
    # by layer 0, before anything of this pass is written
    seen = counts[layer] if layer < len(counts) else 0
    if seen + k.shape[-2] > cache.capacity:
        raise ValueError(
            f"cache: got {k.shape[-2]} new tokens after {seen}, want at most "
            f"its capacity of {cache.capacity} together"
        )
