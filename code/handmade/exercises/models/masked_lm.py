"""The exercises of the page on masked language models.

B batch · T tokens · V vocabulary
"""

import torch
from torch.nn import functional as F

from handmade.exercises.cases import randoms
from handmade.exercises.core import Case, Exercise, Mistake
from handmade.text.data import IGNORE

# -- hide-tokens: fn(ids, special, chance, fate, other, mask_id)
#    -> read (B, T), labels (B, T)


def _hide(
    ids, special, chance, fate, other, mask_id, *, share=0.15, spare=True,
    bounds=(0.8, 0.9), label_all=False, swapped=True,
):  # fmt: skip
    chosen = chance < share
    if spare:
        chosen = chosen & ~special
    low, high = bounds
    read = ids.masked_fill(chosen & (fate < low), mask_id)
    if swapped:
        swap = chosen & (fate >= low) & (fate < high)
        read = torch.where(swap, other, read)
    labels = ids if label_all else ids.masked_fill(~chosen, IGNORE)
    return read, labels


def _label_changed(ids, special, chance, fate, other, mask_id):
    read, _ = _hide(ids, special, chance, fate, other, mask_id)
    return read, ids.masked_fill(read == ids, IGNORE)


def _label_read(ids, special, chance, fate, other, mask_id):
    read, labels = _hide(ids, special, chance, fate, other, mask_id)
    return read, torch.where(labels == IGNORE, labels, read)


def _hide_case(label: str, B: int, T: int, share: float, ends: int) -> Case:
    def make() -> tuple:
        generator = torch.Generator().manual_seed(B * T)
        ids = torch.randint(5, 30, (B, T), generator=generator)
        special = torch.zeros(B, T, dtype=torch.bool)
        if ends:
            special[:, 0] = special[:, -ends:] = True
            ids[:, 0], ids[:, -ends:] = 2, 3
        chance, fate = torch.rand(2, B, T, generator=generator)
        other = torch.randint(30, (B, T), generator=generator)
        return ids, special, chance * share, fate, other, 4

    return Case(label, make)


HIDE_TOKENS = Exercise(
    name="hide-tokens",
    reference=_hide,
    cases=(
        _hide_case("every token is chosen", 4, 30, 0.15, 0),
        _hide_case("special tokens at both ends", 5, 40, 0.15, 2),
        _hide_case("some tokens are chosen", 30, 40, 1.0, 1),
    ),
    mistakes=(
        Mistake(
            "labels stand at every token, also where none was chosen: the "
            "model learns to copy",
            lambda *args: _hide(*args, label_all=True),
        ),
        Mistake(
            "special tokens are chosen too",
            lambda *args: _hide(*args, spare=False),
        ),
        Mistake(
            "every chosen token becomes [MASK]",
            lambda *args: _hide(*args, bounds=(1.1, 1.1)),
        ),
        Mistake(
            "a chosen token that is left as it is has no label",
            _label_changed,
        ),
        Mistake(
            "the labels say what is read, not what stood there",
            _label_read,
        ),
        Mistake(
            "no chosen token is swapped: those with a fate of 0.8 to 0.9 stay",
            lambda *args: _hide(*args, swapped=False),
        ),
        Mistake(
            "every chosen token that is not hidden is swapped: none stays",
            lambda *args: _hide(*args, bounds=(0.8, 1.1)),
        ),
    ),
)


# -- masked-loss: fn(logits (B, T, V), labels (B, T)) -> ()


def _loss(logits, labels, at=slice(None)):
    return F.cross_entropy(logits[:, at].flatten(0, 1), labels.flatten())


def _over_all(logits, labels):
    chosen = labels != IGNORE
    return F.cross_entropy(logits[chosen], labels[chosen], reduction="sum") / (
        labels.numel()
    )


def _summed(logits, labels):
    chosen = labels != IGNORE
    return F.cross_entropy(logits[chosen], labels[chosen], reduction="sum")


def _by_row(logits, labels):
    pairs = zip(logits, labels, strict=True)
    return torch.stack([F.cross_entropy(x, y) for x, y in pairs]).mean()


def _as_zero(logits, labels):
    return _loss(logits, labels.clamp(min=0))


def _shifted(logits, labels):
    return F.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    )


def _loss_case(label: str, B: int, T: int, V: int, every: int) -> Case:
    def make() -> tuple:
        (logits,) = randoms((B, T, V))
        generator = torch.Generator().manual_seed(T)
        labels = torch.randint(V, (B, T), generator=generator)
        place = (
            torch.arange(B * T).reshape(B, T) * (torch.arange(B) + 1)[:, None]
        )
        return logits, labels.masked_fill(place % every != 0, IGNORE)

    return Case(label, make)


MASKED_LOSS = Exercise(
    name="masked-loss",
    reference=_loss,
    cases=(
        _loss_case("one row", 1, 9, 7, 3),
        _loss_case("rows with unequal numbers of labels", 3, 11, 6, 4),
        _loss_case("every token has a label", 2, 5, 8, 1),
    ),
    mistakes=(
        Mistake(
            "the sum is divided by all tokens, not by those with a label",
            _over_all,
        ),
        Mistake("the losses are summed, not averaged", _summed),
        Mistake(
            "each row is averaged first: a token of a row with few labels "
            "counts for more",
            _by_row,
        ),
        Mistake("a label of -100 is read as token 0", _as_zero),
        Mistake(
            "logits and labels are shifted, as for predicting the next token",
            _shifted,
        ),
    ),
)


# -- unigram-loss: fn(train_ids (N,), asked (M,), vocab_size) -> ()


def _unigram(train_ids, asked, vocab_size, *, add=1.0):
    counts = torch.bincount(train_ids, minlength=vocab_size).double() + add
    return -(counts / counts.sum()).log()[asked].mean()


def _from_itself(train_ids, asked, vocab_size):
    return _unigram(asked, asked, vocab_size)


def _bits(train_ids, asked, vocab_size):
    return _unigram(train_ids, asked, vocab_size) / torch.tensor(2.0).log()


def _unigram_case(label: str, N: int, M: int, V: int) -> Case:
    def make() -> tuple:
        generator = torch.Generator().manual_seed(N)
        ids = torch.randint(V, (N,), generator=generator)
        ids = (ids * torch.rand(N, generator=generator)).long()
        asked = torch.randint(V, (M,), generator=generator)
        return ids, asked, V

    return Case(label, make)


UNIGRAM_LOSS = Exercise(
    name="unigram-loss",
    reference=_unigram,
    cases=(
        _unigram_case("a short text", 20, 6, 9),
        _unigram_case("tokens that the text lacks", 30, 25, 40),
        _unigram_case("a longer text", 500, 50, 12),
    ),
    mistakes=(
        Mistake(
            "nothing is added to the counts: a token that the text lacks "
            "costs infinitely much",
            lambda *args: _unigram(*args, add=0.0),
        ),
        Mistake(
            "the frequencies are counted in the tokens asked for, which the "
            "baseline must not know",
            _from_itself,
        ),
        Mistake(
            "all tokens are taken to be equally frequent",
            lambda train_ids, asked, V: torch.tensor(float(V)).double().log(),
        ),
        Mistake("the loss is in bits, not in nats", _bits),
    ),
)
