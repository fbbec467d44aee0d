"""What a decoding loop may ask of a model and of a cache, and no more.

B batch · T new tokens · S keys of a query · G key/value heads · K head width
V vocabulary

Any function or module that is called like ``Decoder`` can be generated from,
and any object with the members of ``Cache`` can remember for it: one that
grows, one of fixed size, one that forgets all but a window. A model says by
``model.config.max_seq_len`` and ``model.config.vocab_size`` what it can read,
if it has such limits.
"""

from typing import Protocol, runtime_checkable

import torch


@runtime_checkable
class Cache(Protocol):
    """What a model has read, so that it need not read it again.

    Positions *seen* and keys *kept* are two numbers: a sliding window has
    seen all the text and keeps its end.
    """

    @property
    def length(self) -> int:
        """Count the positions seen, padding included."""

    @property
    def kept(self) -> int:
        """Count the keys a layer will put before the new ones."""

    def begin(self, rows: int, *, masked: bool) -> None:
        """Announce one pass over ``rows`` texts, before its first layer.

        ``masked`` says whether an attention mask came with it. Raises
        ValueError where the last pass was not finished, where the rows are
        others, and where there was a mask before and none is given now.
        """

    def update(
        self, layer: int, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take a layer's new keys and values, return those to attend to.

        (B, G, T, K) -> (B, G, kept + T, K), twice: the new ones stand last
        """

    def reorder(self, index: torch.Tensor) -> None:
        """Keep the batch rows named by ``index``, repeats allowed, (N,)."""


class Decoder(Protocol):
    """A model that predicts the next token at every position."""

    def __call__(
        self,
        ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        positions: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        cache: Cache | None = None,
        logits_to_keep: int | None = None,
    ) -> torch.Tensor:
        """Return the logits of the T new tokens, (B, T) -> (B, T, V).

        ``attention_mask`` (B, cache.length + T): 1 a token, 0 padding.
        ``positions`` (B, T) instead of those counted from it. ``mask``, bool
        (T, S) or (B, 1, T, S), S = cache.kept + T: what may be attended to,
        instead of the past; ``attention_mask`` still hides its padding.
        ``logits_to_keep`` n asks for the last n tokens only, (B, n, V).
        """


def limit(model: object, name: str) -> int | None:
    """Return ``model.config.max_seq_len`` or the like; None if unstated."""
    value = getattr(getattr(model, "config", None), name, None)
    return None if value is None else int(value)


def device_of(model: object) -> torch.device | None:
    """Return where a module's parameters live; None for a plain function."""
    if isinstance(model, torch.nn.Module):
        for parameter in model.parameters():
            return parameter.device
    return None
