"""Search for a likely sequence: keep the num_beams best prefixes at a time.

Equal to `generate(num_beams=...)` of transformers, its less obvious choices
included: scores are float32; hypotheses are ranked by their summed
log-probability over (generated length) ** length_penalty, the end token
counted; a finished hypothesis counts only if it was among the num_beams best
candidates of its step; and what rules a candidate out is -1e9, not -inf.

Left out on purpose: sampling inside beams, constraints, and filters on the
logits. A prompt is run once and its cache copied to the beams, where
transformers runs num_beams copies of it.

Shapes: B batch, T prompt tokens, S tokens so far, V vocabulary, N beams,
C candidates (N for each end token, and N more).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from handmade.contracts import Cache, Decoder, limit
from handmade.inference.arguments import (
    Ids,
    check_beams,
    check_candidates,
    check_prompt,
    grow_mask,
)
from handmade.inference.generate import decode_one_token, prefill
from handmade.inference.outputs import check_finite

NEVER = -1e9


class BeamOutput(NamedTuple):
    """The sequences, best first within a prompt, and their scores."""

    ids: Tensor  # (B * num_return_sequences, T + longest), then pad_id
    scores: Tensor  # (B * num_return_sequences,), length penalty applied


class Hypotheses(NamedTuple):
    """Token sequences of each prompt and what is known of them."""

    ids: Tensor  # (B, N, T + max_new_tokens), pad_id where nothing is yet
    scores: Tensor  # (B, N), NEVER where there is no sequence yet
    lengths: Tensor  # (B, N), tokens generated
    ended: Tensor  # (B, N) bool

    def best(self, n: int) -> tuple["Hypotheses", Tensor]:
        """Return the n best by score and where they stood, (B, n)."""
        index = self.scores.topk(n).indices
        row = torch.arange(len(index), device=index.device)[:, None]
        return Hypotheses(*(field[row, index] for field in self)), index


@torch.inference_mode()
def beam_search(
    model: Decoder,
    ids: Tensor,
    *,
    num_beams: int,
    max_new_tokens: int,
    attention_mask: Tensor | None = None,
    eos_id: Ids = None,
    pad_id: int | None = None,
    length_penalty: float = 1.0,
    early_stopping: bool | str = False,
    num_return_sequences: int = 1,
    use_cache: bool = True,
    cache: Cache | None = None,
) -> BeamOutput:
    """Return the best continuations that beam search finds, with scores.

    score = sum of log p(token) / (tokens generated) ** length_penalty.

    early_stopping True stops a prompt at num_beams finished hypotheses;
    False stops when the best running one, at its present length, would no
    longer beat the worst finished; "never" when it could not at any length.
    A cache given by the caller has seen the beginning of ids, as in
    `generate`, and is used up: its rows become those of the beams.

    Shape: ids (B, T) -> ids (B * num_return_sequences, T + new), scores
    (B * num_return_sequences,). Raises ValueError as `generate` does, on a
    vocabulary too small for the beams, and where fewer sequences were found
    than asked for (transformers returns some twice, scored -1e9).
    Sources: [graves2012], [wu2016].
    """
    check_beams(
        num_beams, num_return_sequences, length_penalty, early_stopping
    )
    ids, mask, eos, fill, cache = check_prompt(
        model, ids, max_new_tokens, attention_mask,
        eos_id, pad_id, cache, use_cache, at_least=1,
    )  # fmt: skip
    B, T = ids.shape
    N, end = num_beams, T + max_new_tokens
    n_candidates = N * (2 if eos is None else 1 + len(eos))
    vocab_size = limit(model, "vocab_size")
    if vocab_size is not None:
        check_candidates(n_candidates, N, vocab_size)
    if mask is not None:
        mask = grow_mask(mask.repeat_interleave(N, 0), end)
    prompt = torch.arange(B, device=ids.device)[:, None]
    running = first_beams(ids, N, end, fill)
    done = running._replace(scores=torch.full_like(running.scores, NEVER))
    can_improve = torch.ones_like(done.ended[:, :1])

    for S in range(T, end):
        seen = None if mask is None else mask[:, :S]
        flat = running.ids.view(B * N, end)
        if S == T:
            alone = None if seen is None else seen[::N]
            new = ids if cache is None else ids[:, cache.length :]
            logits = prefill(model, new, cache, alone).repeat_interleave(N, 0)
            if cache is not None:
                cache.reorder(prompt.expand(B, N).flatten())
        elif cache is not None:
            logits = decode_one_token(model, flat[:, S - 1 : S], cache, seen)
        else:
            logits = prefill(model, flat[:, :S], None, seen)
        check_finite(logits, step=S - T + 1)

        heirs, parent = extend(running, logits, S, n_candidates)
        if eos is not None:
            heirs = heirs._replace(ended=torch.isin(heirs.ids[:, :, S], eos))
        n_new = S + 1 - T
        if n_new == max_new_tokens:
            heirs = heirs._replace(ended=torch.ones_like(heirs.ended))

        going = heirs._replace(scores=heirs.scores + heirs.ended * NEVER)
        running, chosen = going.best(N)
        closed = ~can_improve * NEVER
        if early_stopping is True:
            closed = closed + done.ended.all(1, keepdim=True) * NEVER
        done = collect(done, heirs, closed, length_penalty)

        hope = n_new
        if early_stopping == "never" and length_penalty > 0:
            hope = max_new_tokens
        best = running.scores[:, :1] / hope**length_penalty
        worst = done.scores.amin(1, keepdim=True).expand(B, N)
        worst = worst.masked_fill(~done.ended, NEVER)
        can_improve = can_improve & (best > worst).any(1, keepdim=True)
        full = early_stopping is True and bool(done.ended.all())
        if full or not can_improve.any() or heirs.ended.all():
            break
        if cache is not None:
            cache.reorder((prompt * N + parent.gather(1, chosen)).flatten())

    R = num_return_sequences
    check_found(done, R, length_penalty)
    longest = int(done.lengths[:, :R].max())
    found = done.ids[:, :R, : T + longest].flatten(0, 1)
    return BeamOutput(found, done.scores[:, :R].flatten())


def first_beams(ids: Tensor, n: int, end: int, fill: int) -> Hypotheses:
    """Copy each prompt to n beams, of which only the first may be continued.

    All beams begin as the same prefix; without this they would all stay so.
    """
    B, T = ids.shape
    running = ids.new_full((B, n, end), fill)
    running[:, :, :T] = ids[:, None]
    scores = torch.full((B, n), NEVER, device=ids.device)
    scores[:, 0] = 0
    lengths = torch.zeros_like(scores, dtype=torch.int64)
    return Hypotheses(running, scores, lengths, lengths.bool())


def extend(
    running: Hypotheses, logits: Tensor, S: int, n: int
) -> tuple[Hypotheses, Tensor]:
    """Return the n best one-token continuations over all beams of a prompt.

    n is N for every end token and N more: even if all the best end, N are
    left to go on. Also returns the beam each came from, (B, n).
    """
    B, N, _ = running.ids.shape
    V = logits.shape[-1]
    check_candidates(n, N, V)
    total = logits.log_softmax(-1).view(B, N, V) + running.scores[:, :, None]
    scores, index = total.view(B, N * V).topk(n)
    parent, token = index // V, index % V
    ids = running.ids[torch.arange(B, device=index.device)[:, None], parent]
    ids[:, :, S] = token
    lengths = running.lengths.gather(1, parent) + 1
    return Hypotheses(ids, scores, lengths, torch.zeros_like(token).bool()), (
        parent
    )


def collect(
    done: Hypotheses, heirs: Hypotheses, closed: Tensor, length_penalty: float
) -> Hypotheses:
    """Merge those that just ended into the finished ones, keep the best N.

    Candidates beyond rank N are there to go on, not to be collected.
    """
    N = done.scores.shape[1]
    ended = heirs.ended.clone()
    ended[:, N:] = False
    # one length for all: they are all at the same step
    scores = heirs.scores / int(heirs.lengths[0, 0]) ** length_penalty
    heirs = heirs._replace(scores=scores + closed + ~ended * NEVER)
    heirs = heirs._replace(ended=ended)
    both = (torch.cat(pair, 1) for pair in zip(done, heirs, strict=True))
    return Hypotheses(*both).best(N)[0]


def check_found(done: Hypotheses, n: int, length_penalty: float) -> None:
    """Raise ValueError where a prompt has fewer than n real hypotheses.

    A few tokens of a small vocabulary make fewer sequences than there are
    beams; the rest descend from beams that were never there.
    """
    # a float: whole numbers have no negative powers
    summed = done.scores * done.lengths ** float(length_penalty)
    found = (done.ended & (summed > NEVER / 2)).sum(1)
    fewest = int(found.amin())
    if fewest < n:
        raise ValueError(
            f"num_return_sequences: got {n}, want at most {fewest}: there "
            f"are no more sequences after prompt {int(found.argmin())}"
        )
