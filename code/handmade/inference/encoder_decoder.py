"""The cache of an encoder–decoder: what is written, and what was read.

B batch · S tokens

The decoder's own keys grow with every token; those of the text it looks into
do not, and are computed once. Both belong to the same rows, so both are
reordered when beams die and split.
"""

from typing import Any

import torch

from handmade import checks
from handmade.contracts import Cache
from handmade.inference.cache import KVCache


class EncoderDecoderCache:
    """Keep a decoder's keys in ``own``, and the text it reads in ``context``.

    It is a `handmade.contracts.Cache`: all that the contract asks for is
    asked of ``own``, by default a KVCache. The model's first call fills
    ``context``, and later ones find it there.
    """

    def __init__(self, own: Cache | None = None) -> None:
        checks.cache("own", own)
        self.own: Cache = KVCache() if own is None else own
        self.context: Any = None

    @property
    def length(self) -> int:
        """Count the tokens written so far, padding included."""
        return self.own.length

    @property
    def kept(self) -> int:
        """Count the keys that stand before the new ones."""
        return self.own.kept

    def begin(self, rows: int, *, masked: bool) -> None:
        """Announce one pass, as ``handmade.contracts.Cache`` says."""
        self.own.begin(rows, masked=masked)

    def update(
        self, layer: int, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take a layer's new keys and values, return all it has."""
        return self.own.update(layer, k, v)

    def reorder(self, index: torch.Tensor) -> None:
        """Keep the rows named by ``index``, of both texts, (N,)."""
        self.own.reorder(index)
        if self.context is not None:
            self.context = self.context.rows(index)

    def __repr__(self) -> str:
        read = "no text" if self.context is None else "a text"
        return f"EncoderDecoderCache({self.own!r}, {read} read)"
