"""Comedy or history? A task made from the plays, without leaks.

B batch · T tokens · D model width · C classes

Whole plays are held out, and no person appears on both sides: a text that
names Falstaff would otherwise be told by the name. A text is a speech of
twelve words or more, without its speaker and without stage directions; a
speech that occurs twice counts once, and each genre has as many as the
other. Left out: tragedies, and plays whose speeches the file does not mark.
"""

import re
from collections.abc import Sequence
from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

from handmade import checks
from handmade.contracts import device_of
from handmade.models.bert import Bert
from handmade.models.sentences import mean_pool
from handmade.text.batch import fill_up
from handmade.weights.minilm import minilm
from handmade.weights.shakespeare import shakespeare

GENRES = ("comedy", "history")
# side -> the plays of each genre; plays that share persons stand on one side
PLAYS = {
    "train": (
        (
            "tempest", "two_gentlemen_of_verona", "merry_wives_of_windsor",
            "comedy_of_errors", "much_ado_about_nothing",
            "merchant_of_venice", "taming_of_the_shrew",
            "alls_well_that_ends_well", "winters_tale",
        ),
        (
            "richard_ii", "henry_iv_part_1", "henry_iv_part_2", "henry_v",
            "henry_vi_part_1", "henry_vi_part_2", "henry_vi_part_3",
            "richard_iii",
        ),
    ),
    "validation": (("twelfth_night",), ("john",)),
    "test": (("as_you_like_it", "measure_for_measure"), ("henry_viii",)),
}  # fmt: skip
EACH = {"train": 3000, "validation": 200, "test": 300}  # texts of a genre
WORDS = 12
SPEAKER = re.compile(r"[A-Z][\w .'-]{0,28}\.\n")
NO_LETTER = re.compile(r"[^a-z]")
DIRECTION = re.compile(r"\[[^\]]*\]|_")


def speeches(play: str) -> list[str]:
    """Return what is said in a play, without who says it, each once.

    Raises ValueError for a play that the corpus has not.
    """
    checks.text("play", play)
    plays = shakespeare()
    checks.need(play in plays, "play", repr(play), "a title of the corpus")
    found = []
    for part in plays[play].split("\n\n"):
        speaker = SPEAKER.match(part)
        if speaker is None:
            continue
        said = DIRECTION.sub(" ", part[speaker.end() :]).split()
        if len(said) >= WORDS:
            found.append(" ".join(said))
    return [*{_letters(said): said for said in found}.values()]


def genre_texts(side: str) -> tuple[tuple[str, int], ...]:
    """Return (text, genre's number) of a side, as many of each genre.

    A genre's texts are spread evenly over all its plays' speeches. Those of
    "validation" and "test" are none that "train" has. Raises ValueError for
    a side that is none of ``PLAYS``.
    """
    _check_side(side)
    return _texts(side)


def _letters(text: str) -> str:
    """What makes two speeches the same: neither case nor commas."""
    return NO_LETTER.sub("", text.lower())


def genre_rows(
    side: str, length: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a side's ids and mask (N, T), and its genres (N,).

    MiniLM's tokens, cut to `length` with the last one kept.
    """
    _check_side(side)
    checks.whole("length", length, at_least=3)
    return _rows(side, length)


class Classifier(nn.Module):
    """Tell a text's class from the mean of its tokens' vectors.

    logits = head(mean_t encoder(ids)_t),  (B, T), (B, T) -> (B, C)

    The head begins at zero: at first all classes are alike.
    """

    def __init__(self, encoder: Bert, n_classes: int = len(GENRES)) -> None:
        super().__init__()
        checks.kind("encoder", encoder, Bert, "a Bert")
        checks.whole("n_classes", n_classes)
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.d_model, n_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        hidden = self.encoder(ids, attention_mask)
        logits: torch.Tensor = self.head(mean_pool(hidden, attention_mask))
        return logits


def genre_classifier() -> Classifier:
    """Return MiniLM with a new head for the genres, without its pooler."""
    pretrained = minilm()
    encoder = Bert.from_weights(pretrained.weights, pretrained.config)
    encoder.pooler = None  # read by nothing here
    return Classifier(encoder)


def class_loss(
    model: nn.Module,
    ids: torch.Tensor,
    attention_mask: torch.Tensor,
    target: torch.Tensor,
) -> torch.Tensor:
    """Mean cross-entropy (nats) of each text's class: (B, T) -> scalar."""
    checks.module("model", model)
    checks.ids("target", target, axes=1)
    logits = model(ids, attention_mask)
    got, want = f"shape {tuple(target.shape)}", f"({len(logits)},)"
    checks.need(target.shape == logits.shape[:1], "target", got, want)
    return F.cross_entropy(logits, target)


@torch.no_grad()
def accuracy(
    model: nn.Module, rows: Sequence[torch.Tensor], batch: int = 50
) -> float:
    """Return the share of texts whose class is told right.

    ``rows`` are ids and mask (N, T) and classes (N,), as `genre_rows`
    gives them.
    """
    checks.module("model", model)
    checks.several("rows", rows, "ids, mask and classes")
    checks.need(len(rows) == 3, "rows", f"{len(rows)}", "ids, mask, classes")
    checks.whole("batch", batch)
    home = device_of(model) or "cpu"
    ids, mask, target = (part.to(home) for part in rows)
    right = 0
    for start in range(0, len(ids), batch):
        part = slice(start, start + batch)
        told = model(ids[part], mask[part]).argmax(-1)
        right += int((told == target[part]).sum())
    return right / len(ids)


@cache
def _texts(side: str) -> tuple[tuple[str, int], ...]:
    elsewhere = set()
    if side != "train":
        elsewhere = {_letters(text) for text, _ in genre_texts("train")}
    texts = []
    for genre, plays in enumerate(PLAYS[side]):
        every = [said for play in plays for said in speeches(play)]
        new = [said for said in every if _letters(said) not in elsewhere]
        count = EACH[side]
        picked = [new[i * len(new) // count] for i in range(count)]
        texts += [(said, genre) for said in picked]
    return tuple(texts)


@cache
def _rows(
    side: str, length: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokenizer = minilm().tokenizer()
    texts = genre_texts(side)
    rows = [tokenizer.encode(text).ids for text, _ in texts]
    cut = [
        row if len(row) <= length else [*row[: length - 1], row[-1]]
        for row in rows
    ]
    ids, mask = fill_up(cut, 0, "right")
    return ids, mask, torch.tensor([genre for _, genre in texts])


def _check_side(side: str) -> None:
    checks.text("side", side)
    checks.need(side in PLAYS, "side", repr(side), f"one of {[*PLAYS]}")
