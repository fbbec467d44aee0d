"""Speculative decoding: a cheap draft guesses, the model checks all at once.

R rows still being written · W tokens of the longest · n drafted tokens
V vocabulary

One pass over n + 1 tokens costs a model little more than one over a single
token, and gives its law after each of them. So let something cheap guess n
tokens, look at all of them in one pass, keep those that the model's own law
allows, and draw the next one so that what comes out has that law, exactly.

Rows of a batch keep different numbers. They stand flush right: a row that
lags gets padding on its left, in the text as in the caches, and a row that
has ended leaves the batch. Left out: a repetition penalty, trees of drafts,
a number of drafts that follows their success, a cache of the caller's.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from handmade.contracts import Decoder
from handmade.inference import sampling
from handmade.inference import speculative_checks as check
from handmade.inference.arguments import (
    Ids,
    check_int,
    check_options,
    check_prompt,
)
from handmade.inference.drafters import (
    Drafter,
    ModelDraft,
    certain,
    law,
    longer,
    read_on,
)
from handmade.inference.outputs import check_finite
from handmade.inference.rewind_cache import RewindCache, flush_right


class Speculated(NamedTuple):
    """What was written, and what the drafts were worth, row by row."""

    ids: Tensor  # (B, T + new), as `generate` returns them
    passes: Tensor  # (B,) passes of the target in which the row had a part
    judged: Tensor  # (B,) drafted tokens that were kept or rejected
    kept: Tensor  # (B,) those kept


def verify(
    p: Tensor,
    q: Tensor | None,
    drafted: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Return how many drafted tokens stay, and the token after them.

    Token x, drawn from q, stays with probability min(1, p(x) / q(x)). The
    first that does not is replaced by a draw from max(0, p - q), scaled to
    sum to 1; if all stay, one more is drawn from p. Each token is then
    distributed as p. q None: the draft was certain of its tokens.

    Shape: p (R, n + 1, V), q (R, n, V), drafted (R, n) -> (R,), (R,).
    Raises ValueError on shapes that do not fit each other.
    Source: [leviathan2023], [chen2023b].
    """
    check.check_verify(p, q, drafted, generator)
    R, n = drafted.shape
    if q is None:
        q = certain(drafted, p)
    # nothing was guessed for the last place: there q is 0, p - q is p
    q = torch.cat((q, torch.zeros_like(p[:, :1])), dim=1)
    p_x = p[:, :n].gather(2, drafted[:, :, None])[:, :, 0]
    q_x = q[:, :n].gather(2, drafted[:, :, None])[:, :, 0]
    # u < p / q without the division
    stays = _uniform(p_x, generator) * q_x < p_x
    kept = stays.long().cumprod(1).sum(1)
    rows = torch.arange(R, device=p.device)
    p_next, q_next = p[rows, kept], q[rows, kept]
    left = (p_next - q_next).clamp(min=0)
    # p = q but for rounding: a rejection by a hair leaves nothing to draw
    left = torch.where(left.sum(-1, keepdim=True) > 0, left, p_next)
    return kept, sampling.sample(left.log(), generator=generator)


@torch.inference_mode()
def speculative_generate(
    target: Decoder,
    draft: Decoder | Drafter,
    ids: Tensor,
    *,
    n_draft: int,
    max_new_tokens: int,
    attention_mask: Tensor | None = None,
    eos_id: Ids = None,
    pad_id: int | None = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> Speculated:
    """Write what `generate` writes, several tokens a pass of the target.

    Arguments and ids are those of `generate`: at temperature 0 the same
    ids, above it ids of the same law (drawn in another way, so that one
    seed gives others). ``draft`` is a smaller model of the same vocabulary,
    sampled with the same filters, or a `Drafter`; ``n_draft`` how many
    tokens it guesses at a time, 0 for none.

    Raises ValueError as `generate` does, and on a draft that has another
    vocabulary, another device, less room, or guesses what it may not.
    """
    options: Any = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
    check_options(temperature, None, generator, **options)
    check_int("n_draft", n_draft, 0)
    ids, mask, eos, fill, _ = check_prompt(
        target, ids, max_new_tokens, attention_mask,
        eos_id, pad_id, None, use_cache,
    )  # fmt: skip
    longest = ids.shape[1] if mask is None else int(mask.sum(1).max())
    guesses = isinstance(draft, Drafter)
    check.check_draft(target, draft, ids, longest + max_new_tokens, guesses)
    if not isinstance(draft, Drafter):
        draft = ModelDraft(
            draft,
            use_cache=use_cache,
            temperature=temperature,
            generator=generator,
            **options,
        )
    draft.start()
    cache = RewindCache() if use_cache else None
    text, written = ids, _Written(ids, max_new_tokens, eos, fill)

    while len(written.rows):
        # no more than the row nearest to its end may still take
        n = min(n_draft, written.room() - 1)
        drafted, q = draft.propose(text, mask, n)
        check.check_proposal(target, drafted, q, len(text), n)
        n = drafted.shape[1]
        text, mask = torch.cat((text, drafted), dim=1), longer(mask, n)
        logits = read_on(target, text, mask, cache, n + 1)
        for i in range(n + 1):
            check_finite(logits[:, i], step=written.step() + i)
        p = law(logits, temperature, **options)
        kept, token = verify(p, q, drafted, generator=generator)
        going = written.add(drafted, kept, token)
        # rows that have ended leave; what was rejected is taken back
        drop, token = (n - kept)[going], token[going]
        text, mask = _take_back(text[going], mask, going, drop, token)
        for memory in (draft, cache):
            if memory is not None and len(going):
                memory.reorder(going)
                memory.rewind(drop)
    return written.result()


class _Written:
    """The ids of all rows, those still being written, and the counts."""

    def __init__(
        self, ids: Tensor, new: int, eos: Tensor | None, fill: int
    ) -> None:
        B, self.T = ids.shape
        self.new, self.eos = new, eos
        self.out = ids.new_full((B, self.T + new), fill)
        self.out[:, : self.T] = ids
        self.length = ids.new_zeros(B)  # new tokens so far
        self.counts = ids.new_zeros(3, B)  # passes, judged, kept
        self.rows = torch.arange(B if new else 0, device=ids.device)

    def room(self) -> int:
        """Count what the row nearest to its end may still take."""
        return self.new - int(self.length[self.rows].max())

    def step(self) -> int:
        """Count from 1 the new token that the slowest row is at."""
        return int(self.length[self.rows].min()) + 1

    def add(self, drafted: Tensor, kept: Tensor, token: Tensor) -> Tensor:
        """Write what was kept and the next; return who goes on, (r,)."""
        R, n = drafted.shape
        place = torch.arange(n + 1, device=drafted.device).expand(R, -1)
        new = torch.cat((drafted, token[:, None]), dim=1)
        new = new.scatter(1, kept[:, None], token[:, None])
        valid = place <= kept[:, None]
        ended = torch.zeros_like(valid)
        if self.eos is not None:
            ended = torch.isin(new, self.eos) & valid
            valid &= ended.long().cumsum(1) - ended.long() == 0
        at = self.rows[:, None].expand(R, n + 1)
        columns = self.T + self.length[self.rows][:, None] + place
        self.out[at[valid], columns[valid]] = new[valid]
        self.length[self.rows] += valid.sum(1)
        judged = (kept + 1).clamp(max=n)
        self.counts[:, self.rows] += torch.stack(
            (torch.ones_like(kept), judged, kept)
        )
        full = self.length[self.rows] == self.new
        going = (~(ended.any(1) | full)).nonzero()[:, 0]
        self.rows = self.rows[going]
        return going

    def result(self) -> Speculated:
        """Return what was written, as wide as its longest row."""
        width = self.T + int(self.length.max())
        return Speculated(self.out[:, :width], *self.counts)


def _take_back(
    text: Tensor,
    mask: Tensor | None,
    going: Tensor,
    drop: Tensor,
    token: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """Drop what was rejected, append the next token, hide new padding."""
    if not len(going):
        return text, mask
    if mask is not None:
        mask = mask[going]
    elif bool((drop != drop[0]).any()):
        mask = torch.ones_like(text)
    if mask is not None:
        mask = flush_right(mask, drop)
        place = torch.arange(mask.shape[1], device=mask.device)
        mask = mask.masked_fill(place < (drop - drop.min())[:, None], 0)
    text = torch.cat((flush_right(text, drop), token[:, None]), dim=1)
    return text, longer(mask, 1)


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw from [0, 1) where the generator lives, as `sample` does."""
    here = like.detach()
    if generator is not None and generator.device.type != here.device.type:
        here = here.to(generator.device)
    u = torch.empty_like(here).uniform_(generator=generator)
    return u.to(like.device)
