"""What a state-space layer keeps of what it has read: a state, no tokens.

B batch · T tokens · I inner width · N state size
W tokens that the convolution sees
"""

from torch import Tensor

from handmade import checks


class StateCache:
    """Keep a window and a state a layer: as many bytes after any text.

    ``model(ids, cache=cache)``, then ``model(next_ids, cache=cache)``, as
    with a ``KVCache``. It has seen ``length`` tokens and keeps none.
    """

    kept = 0

    def __init__(self) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = []
        self.length = 0

    @property
    def nbytes(self) -> int:
        """Count the bytes of all windows and states."""
        return sum(x.nbytes for layer in self.layers for x in layer)

    def begin(self, rows: int, *, masked: bool) -> None:
        """Announce one pass over ``rows`` texts, before its first layer.

        A state has padding behind it: a mask given before is not needed
        again. Raises ValueError where the rows are others.
        """
        checks.whole("rows", rows, at_least=0)
        checks.flag("masked", masked)
        stored = self.layers[0][0].shape[0] if self.layers else rows
        want = f"the cache's {stored}"
        checks.need(rows == stored, "ids", f"{rows} rows", want)

    def update(
        self, layer: int, window: Tensor, state: Tensor, tokens: int
    ) -> None:
        """Replace a layer's window and state by those after ``tokens`` more.

        Raises ValueError where a layer comes out of order, and where its
        shapes change.
        """
        _check_update(self, layer, window, state, tokens)
        self.layers[layer : layer + 1] = [(window, state)]
        self.length += tokens if layer == 0 else 0

    def reorder(self, index: Tensor) -> None:
        """Keep the batch rows named by ``index``, repeats allowed, (N,).

        Raises ValueError where ``index`` is not a vector of whole numbers.
        """
        checks.ids("index", index, axes=1)
        want = "(N,), the rows"
        got = f"shape {tuple(index.shape)}"
        checks.need(index.ndim == 1, "index", got, want)
        self.layers = [
            (window.index_select(0, index), state.index_select(0, index))
            for window, state in self.layers
        ]

    def __repr__(self) -> str:
        layers = len(self.layers)
        return f"StateCache({layers} layers, {self.length} tokens seen)"


def check_state_cache(cache: object) -> None:
    """Raise ValueError unless it is a StateCache or None."""
    if cache is not None:
        want = "a StateCache: this layer has a state, not keys and values"
        checks.kind("cache", cache, StateCache, want)


def _check_update(
    cache: StateCache, layer: int, window: Tensor, state: Tensor, tokens: int
) -> None:
    checks.whole("layer", layer, at_least=0)
    checks.floats("window", window, axes=3)
    checks.floats("state", state, axes=3)
    checks.whole("tokens", tokens)
    last = len(cache.layers)
    want = f"at most {last}: layers enter the cache in order"
    checks.need(layer <= last, "layer", layer, want)
    if layer < last:
        for name, old, new in zip(
            ("window", "state"), cache.layers[layer], (window, state),
            strict=True,
        ):  # fmt: skip
            got, kept = tuple(new.shape), tuple(old.shape)
            checks.need(got == kept, name, f"shape {got}", kept)
