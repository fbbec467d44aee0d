"""What the last few characters say, looked up instead of worked out.

B batch · T new tokens · S tokens, cached ones included · D model width
V vocabulary

The n characters that end at a place are hashed into a bucket, and the
bucket's vector is added to the embedding, for n = 2 .. 6: what a table can
know the blocks need not learn. A step touches few of the rows, so each is
stepped where its gradient arrives, by its own rate, and no optimizer keeps
moments as large as the table. A table knows what it was trained on; what is
new in a text, its names above all, is looked up in the text itself: the
character that followed when the last few stood there before. Left out:
keeping apart what shares a bucket.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from handmade import checks
from handmade.contracts import Cache

ORDERS = (2, 3, 4, 5, 6)
REPEATS = (3, 5)  # characters that have to stand there again
PRIME = 1_000_003  # the hash of a text is a number to this base
MERSENNE = 2**31 - 1  # and taken modulo this one, a prime
ABSENT = 0  # stands for what is before the text; characters are 1, 2 ...


class NGrams(nn.Module):
    """Embed the 2- to 6-grams that end at each token, (B, T) -> (B, T, D).

    e_t = sum_n table_n[hash(c_{t-n+1} .. c_t)] + sum_m after_m[c_{s+1}], with
    tables of `buckets` rows, and s the last place before t where the same m
    characters end; all rows begin at zero. Raises ValueError where a size is
    no whole number.
    """

    squares: torch.Tensor  # sum over steps of each row's mean squared gradient

    def __init__(self, buckets: int, d_model: int, vocab_size: int) -> None:
        super().__init__()
        checks.whole("buckets", buckets)
        checks.whole("d_model", d_model)
        checks.whole("vocab_size", vocab_size)
        self.buckets = buckets
        rows = len(ORDERS) * buckets
        self.table = nn.Parameter(torch.zeros(rows, d_model))
        self.register_buffer("squares", torch.zeros(rows))
        # row 0 of each: nothing followed, the characters are new
        after = torch.zeros(len(REPEATS), vocab_size + 1, d_model)
        self.after = nn.Parameter(after)

    def forward(
        self,
        ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """Embed the n-grams of the T new tokens, (B, T) -> (B, T, D).

        With a cache the text before them is its layer 0; padding, which
        `attention_mask` (B, S) tells, is no part of an n-gram.
        """
        checks.ids("ids", ids, axes=2)
        checks.cache("cache", cache)
        T = ids.shape[1]
        text = ids + 1
        if attention_mask is not None:
            _check_padding(attention_mask, ids)
            text = text.where(attention_mask[:, -T:].bool(), ABSENT)
        if cache is not None:
            # as a key one wide: caches that reorder rows reorder it too
            seen = text[:, None, :, None].float()
            seen, _ = cache.update(0, seen, seen)
            text = seen[:, 0, :, 0].long()
        rows = ngram_rows(text, self.buckets)[:, -T:]
        bags = rows.reshape(-1, len(ORDERS))
        out = F.embedding_bag(bags, self.table, mode="sum", sparse=True)
        out = out.view(*ids.shape, -1)
        for n, after in zip(REPEATS, self.after, strict=True):
            out = out + F.embedding(followed(text, n, T), after)
        return out

    def learn_by(self, rate: Callable[[], float], eps: float = 1e-6) -> None:
        """Step each row as its gradient arrives, by AdaGrad on rows.

        s <- s + mean(g^2), row <- row - rate() g / (sqrt(s) + eps)
        """
        checks.function("rate", rate, "a function without arguments")
        checks.positive("eps", eps)

        @torch.no_grad()
        def arrived(table: torch.Tensor) -> None:
            grad, table.grad = table.grad, None
            if grad is None:
                return
            rows, g = grad._indices()[0], grad._values()
            self.squares.index_add_(0, rows, g.square().mean(-1))
            size = self.squares[rows].sqrt_().add_(eps)
            table.index_add_(0, rows, g / size[:, None], alpha=-rate())

        self.table.register_post_accumulate_grad_hook(arrived)


def ngram_rows(text: torch.Tensor, buckets: int) -> torch.Tensor:
    """Return the row of each n-gram, int64 (B, S) -> (B, S, orders).

    Its hash modulo `buckets`; the tables of the orders stand one after the
    other. Characters are 1 and above.
    """
    checks.whole("buckets", buckets)
    hashes = ngram_hashes(text, max(ORDERS))
    rows = [
        hashes[n - 1] * (2 * n + 1) % MERSENNE % buckets + i * buckets
        for i, n in enumerate(ORDERS)
    ]
    return torch.stack(rows, dim=-1)


def ngram_hashes(text: torch.Tensor, longest: int) -> list[torch.Tensor]:
    """Return hashes of the 1- to `longest`-grams that end at each character.

    int64 (B, S) -> `longest` of the same shape,
    hash_n = sum_{i < n} c_{t-i} PRIME^i mod 2^31 - 1.
    """
    checks.ids("text", text, axes=2)
    checks.whole("longest", longest)
    B, S = text.shape
    before = text.new_full((B, longest - 1), ABSENT)
    padded = torch.cat((before, text), dim=1)
    number, factor = torch.zeros_like(text), 1
    hashes: list[torch.Tensor] = []
    for i in range(longest):
        start = longest - 1 - i
        number = (number + padded[:, start : start + S] * factor) % MERSENNE
        factor = factor * PRIME % MERSENNE
        hashes.append(number)
    return hashes


def followed(text: torch.Tensor, n: int, last: int) -> torch.Tensor:
    """Return what followed when the n characters before stood there last.

    int64 (B, S) -> (B, last), for the `last` characters of the text; 0 where
    the n that end there are new to it.
    """
    checks.whole("n", n)
    checks.whole("last", last)
    number = ngram_hashes(text, n)[-1].int()
    S = text.shape[1]
    checks.need(last <= S, "last", last, f"up to the text's {S}")
    place = torch.arange(S, dtype=torch.int32, device=text.device)
    again = number[:, -last:, None] == number[:, None, :]
    again &= place[-last:, None] > place
    # the place behind the last of them: 0 is behind none
    next_one = torch.where(again, place + 1, 0).amax(-1)
    found = text.gather(1, next_one.long())
    return found.where(next_one > 0, ABSENT)


def _check_padding(attention_mask: torch.Tensor, ids: torch.Tensor) -> None:
    checks.yes_or_no("attention_mask", attention_mask)
    B, T = ids.shape
    got = tuple(attention_mask.shape)
    fits = len(got) == 2 and got[0] == B and got[1] >= T
    checks.need(fits, "attention_mask", got, f"({B}, S), S from {T}")
