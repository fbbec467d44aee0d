"""What guesses the next tokens: a smaller model, or the text itself.

R rows · W tokens of the longest · n tokens to guess · V vocabulary
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from handmade import checks
from handmade.contracts import Decoder
from handmade.inference import sampling
from handmade.inference import speculative_checks as check
from handmade.inference.arguments import check_int, check_options
from handmade.inference.cache import KVCache
from handmade.inference.rewind_cache import RewindCache


class Drafter:
    """What guesses the next tokens. It may be wrong; it may not lie.

    ``propose`` says what it drew and from which law. One that remembers
    what it has read implements the other three as well.
    """

    def start(self) -> None:
        """Forget everything: another text begins."""

    def propose(
        self, ids: Tensor, attention_mask: Tensor | None, n: int
    ) -> tuple[Tensor, Tensor | None]:
        """Guess at most n tokens after each text, with their law.

        (R, W) -> drafted (R, m), m <= n, law (R, m, V) or None: certain
        """
        raise NotImplementedError

    def rewind(self, drop: Tensor) -> None:
        """Forget the last ``drop`` tokens of each row: they were rejected."""

    def reorder(self, index: Tensor) -> None:
        """Keep these rows: the others have ended."""


class PromptLookup(Drafter):
    """Copy what followed the last words the last time they stood there.

    The longest ending of the text, of ``longest`` tokens at most, that
    stands in it before; of several places the latest. Free, and good where
    the answer repeats the question: editing, quoting, code.
    """

    def __init__(self, longest: int = 3) -> None:
        check_int("longest", longest, 1)
        self.longest = longest

    def propose(
        self, ids: Tensor, attention_mask: Tensor | None, n: int
    ) -> tuple[Tensor, Tensor | None]:
        """Guess at most n tokens of each row; none found, none guessed."""
        check.check_propose(ids, attention_mask, n)
        texts = ids.tolist()
        if attention_mask is not None:
            first = attention_mask.argmax(1).tolist()  # padding stands left
            texts = [t[at:] for t, at in zip(texts, first, strict=True)]
        found = [self.lookup(text, n) for text in texts]
        m = max(map(len, found))
        for guess, text in zip(found, texts, strict=True):
            # any guess will do where others guess more, if it is named
            guess += text[-1:] * (m - len(guess))
        return ids.new_tensor(found).view(len(found), m), None

    def lookup(self, text: list[int], n: int) -> list[int]:
        """Return the n tokens, or fewer, after the latest earlier match."""
        check.check_text(text, n)
        for size in range(min(self.longest, len(text) - 1), 0, -1):
            end = text[-size:]
            for at in range(len(text) - size - 1, -1, -1):
                if text[at : at + size] == end:
                    return text[at + size : at + size + n]
        return []


class ModelDraft(Drafter):
    """Guess with a smaller model, sampled as the target will be."""

    def __init__(
        self,
        model: Decoder,
        *,
        use_cache: bool = True,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self.options: Any = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
        check_options(temperature, None, generator, **self.options)
        checks.function("model", model, "a decoder")
        checks.flag("use_cache", use_cache)
        self.model, self.generator = model, generator
        self.temperature = temperature
        self.use_cache = use_cache
        self.start()

    def start(self) -> None:
        """Begin with an empty cache."""
        self.cache = RewindCache() if self.use_cache else None

    def propose(
        self, ids: Tensor, attention_mask: Tensor | None, n: int
    ) -> tuple[Tensor, Tensor | None]:
        """Draw n tokens of each row, one after the other, with their laws."""
        check.check_propose(ids, attention_mask, n)
        W, laws = ids.shape[1], []
        for _ in range(n):
            logits = read_on(self.model, ids, attention_mask, self.cache, 1)
            q = law(logits[:, -1], self.temperature, **self.options)
            token = sampling.sample(q.log(), generator=self.generator)
            ids = torch.cat((ids, token[:, None]), dim=1)
            attention_mask = longer(attention_mask, 1)
            laws.append(q)
        return ids[:, W:], torch.stack(laws, dim=1) if laws else None

    def rewind(self, drop: Tensor) -> None:
        """Take back what the cache has read of the rejected tokens."""
        if self.cache is not None and self.cache.layers:
            self.cache.rewind(drop)

    def reorder(self, index: Tensor) -> None:
        """Keep these rows of the cache."""
        if self.cache is not None:
            self.cache.reorder(index)


def law(
    logits: Tensor,
    temperature: float = 0.0,
    *,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Tensor:
    """Return the probabilities from which `generate` would draw.

    temperature 0 is greedy: the likeliest token has probability 1.

    Shape: (..., V) -> (..., V). Raises ValueError as `generate` does.
    """
    check.check_law(logits, temperature, top_k, top_p, min_p)
    if temperature == 0:
        return certain(sampling.greedy(logits), logits)
    logits = sampling.temperature(logits, temperature)
    if top_k is not None:
        logits = sampling.top_k(logits, top_k)
    if top_p is not None:
        logits = sampling.top_p(logits, top_p)
    if min_p is not None:
        logits = sampling.min_p(logits, min_p)
    return logits.softmax(-1)


def read_on(
    model: Decoder,
    ids: Tensor,
    attention_mask: Tensor | None,
    cache: KVCache | None,
    keep: int,
) -> Tensor:
    """Run what the cache has not read; return the logits of the last.

    Shape: ids (R, W) -> (R, keep, V), in float32. Raises ValueError where
    the model gives another shape, or leaves the cache as it was.
    """
    seen = 0 if cache is None else cache.length
    logits = model(
        ids[:, seen:], attention_mask, cache=cache, logits_to_keep=keep
    )
    check.check_read(logits, ids, cache, keep)
    return logits.float()


def certain(tokens: Tensor, like: Tensor) -> Tensor:
    """Return laws in which these tokens have probability 1, (..., V)."""
    zeros = like.new_zeros(*tokens.shape, like.shape[-1])
    return zeros.scatter_(-1, tokens[..., None], 1.0)


def longer(mask: Tensor | None, n: int) -> Tensor | None:
    """Extend a mask by n ones: what is guessed is real."""
    return None if mask is None else F.pad(mask, (0, n), value=1)
