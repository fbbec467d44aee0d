"""From a folder of texts to batches: split, pack, mask, shuffle, resume.

B batch · T query tokens · S key/value tokens · N packed rows

Everything here is a function of its arguments: no global random state, no
iterator with a hidden position. The same seed and step give the same batch
on any machine with the same PyTorch, whose generators make the order; so a
run that was stopped goes on exactly where it was.
Left out: reading from disk in parallel, tokenizing, and padded batches.
"""

import hashlib
import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from handmade.text import checks

IGNORE = -100  # the label that cross_entropy leaves out
NOTHING = -1  # the document number of padding


def split(
    works: Mapping[str, str], share: float = 0.1, seed: int = 0
) -> tuple[dict[str, str], dict[str, str]]:
    """Hold out whole works: title -> text becomes (train, validation).

    A work is held out if the hash of seed and title, as a number between 0
    and 1, is below `share`. So neither the order of the dict, nor the
    machine, nor any other work has a say: adding a work moves no other one
    to the other side. The price is that `share` is met on average only, and
    badly by a few works. Raises ValueError where one of the two is empty.
    """
    _check_works(works, share, seed)
    held = {title for title in works if _hash(seed, title) < share}
    _check_sides(len(works), len(held), share, seed)
    train = {title: works[title] for title in works if title not in held}
    return train, {title: works[title] for title in works if title in held}


def _check_works(works: Any, share: Any, seed: Any) -> None:
    wanted = "a dict from title to text"
    checks.check_mapping(works, "works", wanted)
    for title, text in works.items():
        checks.check_text(title, "works: a title")
        checks.check_str(text, f"works: the text of {title!r}")
    checks.check_share(share, "share")
    checks.check_whole(seed, "seed", -math.inf)


def _check_sides(n: int, held: int, share: float, seed: int) -> None:
    if not 0 < held < n:
        raise ValueError(
            f"works: got {n} works, of which seed = {seed} and share = "
            f"{share} hold out {held}, want some on both sides"
        )


def _hash(seed: int, title: str) -> float:
    """Return a number in [0, 1] that looks random and never changes."""
    digest = hashlib.sha256(f"{seed}/{title}".encode()).digest()
    return float(int.from_bytes(digest) / 256 ** len(digest))


def ngram_bits(train: str, held_out: str, order: int = 5) -> float:
    """Return what an n-gram model of `train` pays for `held_out`, bits/byte.

    p_k(b | k bytes) = (count + 5 p_{k-1}) / (context count + 5), from k = 0
    to `order`, starting at 1/256: a model with no weights, trained in
    seconds. It memorizes, which is what makes it a meter for leaks: compare
    two ways of splitting one corpus. `order` is 7 at most: its bytes are
    counted as one int64. Raises ValueError where a text is not longer than
    `order` bytes.
    """
    checks.check_whole(order, "order", 0, 7)
    texts = []
    for name, text in (("train", train), ("held_out", held_out)):
        checks.check_text(text, name)
        texts.append(torch.tensor(list(text.encode())))
        if len(texts[-1]) <= order:
            raise ValueError(
                f"{name}: got {len(texts[-1])} bytes, want more than order "
                f"= {order}"
            )
    seen, asked = texts
    p = torch.full((len(asked) - order,), 1 / 256, dtype=torch.float64)
    for k in range(order + 1):
        old, new = _windows(seen, order, k), _windows(asked, order, k)
        together = _counts(old, new)
        context = _counts(old >> 8, new >> 8)  # without the last byte
        p = (together + 5 * p) / (context + 5)
    return float(-p.log2().mean())


def _windows(data: torch.Tensor, order: int, k: int) -> torch.Tensor:
    """Each byte with the k before it, as one number, (len - order,)."""
    code = torch.zeros(len(data) - order, dtype=torch.int64)
    for i in range(order - k, order + 1):
        code = code * 256 + data[i : i + len(code)]
    return code


def _counts(seen: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """How often each number of `asked` occurs in `seen`."""
    values, counts = torch.unique(seen, return_counts=True)
    at = torch.searchsorted(values, asked).clamp(max=len(values) - 1)
    return torch.where(values[at] == asked, counts[at], 0)


@dataclass(frozen=True)
class Packed:
    """Rows of several documents each; every field is int64 (N, T).

    `labels` is the token after each one, IGNORE at a document's last token
    and at padding: already shifted, so do not shift again. `documents`
    numbers the pieces within a row from 0, padding is NOTHING. `positions`
    restart at 0 with each piece.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    documents: torch.Tensor
    positions: torch.Tensor

    @property
    def padding(self) -> float:
        """Return the share of places that hold no token."""
        return float((self.documents == NOTHING).double().mean())


def pack(
    documents: Sequence[Sequence[int]], T: int, *, pad_id: int = 0
) -> Packed:
    """Fill rows of T tokens with whole documents, best fit first.

    Documents go in from the longest to the shortest, each into the row with
    the least room that still holds it [ding2024]. One longer than T is first
    cut into pieces of T, and each piece is a document of its own: nothing is
    dropped, but what stood before a cut is no longer seen. Empty documents
    vanish. Raises ValueError where nothing is left to pack.
    """
    pieces = [
        document[start : start + T]
        for document in _checked(documents, T, pad_id)
        for start in range(0, len(document), T)
    ]
    rows: list[list[list[int]]] = []
    rooms: list[tuple[int, int]] = []  # (free places, row), ascending
    for piece in sorted(pieces, key=len, reverse=True):
        at = bisect_left(rooms, (len(piece), 0))
        if at == len(rooms):
            rooms.append((T, len(rows)))
            rows.append([])
        free, row = rooms.pop(at)
        rows[row].append(piece)
        insort(rooms, (free - len(piece), row))
    return _lay_out(rows, T, pad_id)


def _checked(documents: Any, T: Any, pad_id: Any) -> list[list[int]]:
    """Return documents as lists of int; refuse what is none."""
    checks.check_whole(T, "T", 1)
    checks.check_whole(pad_id, "pad_id", 0)
    checks.check_several(documents, "documents")
    listed = [checks.plain_ids(ids, "documents") for ids in documents]
    lowest = min((min(ids) for ids in listed if ids), default=None)
    if lowest is None:
        raise ValueError("documents: got no token, want at least one")
    checks.check_whole(lowest, "documents: an id", 0)
    return listed


def _lay_out(rows: list[list[list[int]]], T: int, pad_id: int) -> Packed:
    shape = (len(rows), T)
    ids = torch.full(shape, pad_id)
    labels = torch.full(shape, IGNORE)
    documents = torch.full(shape, NOTHING)
    positions = torch.zeros(shape, dtype=torch.int64)
    for i, pieces in enumerate(rows):
        start = 0
        for number, piece in enumerate(pieces):
            end = start + len(piece)
            tokens = torch.tensor(piece)
            ids[i, start:end] = tokens
            labels[i, start : end - 1] = tokens[1:]
            documents[i, start:end] = number
            positions[i, start:end] = torch.arange(len(piece))
            start = end
    return Packed(ids, labels, documents, positions)


def document_mask(documents_BT: torch.Tensor) -> torch.Tensor:
    """Allow each token the earlier ones of its own document, and itself.

    (B, T) -> bool (B, 1, T, T), True = may attend: block-diagonal and
    causal. Padding (NOTHING) neither sees nor is seen, so its rows are
    empty: SDPA gives zeros for them; where a mask is added to the scores,
    write finfo.min and not -inf, or they become nan. Raises ValueError on
    other shapes and on floats.
    """
    checks.check_tensor(documents_BT, "documents", "(B, T) of int", 2, "int")
    same_BTS = documents_BT[:, :, None] == documents_BT[:, None, :]
    real_BT1 = (documents_BT != NOTHING)[:, :, None]
    return (same_BTS & real_BT1).tril()[:, None]


def order(n: int, *, seed: int = 0, epoch: int = 0) -> torch.Tensor:
    """Return the order of n rows in one epoch: a permutation, int64 (n,).

    Its generator is its own, seeded by seed and epoch together, so nothing
    else that draws random numbers can move it.
    """
    checks.check_whole(n, "n", 1)
    checks.check_whole(epoch, "epoch", 0)
    checks.check_whole(seed, "seed", -math.inf)
    mixed = hashlib.sha256(f"{seed}:{epoch}".encode()).digest()[:7]
    generator = torch.Generator().manual_seed(int.from_bytes(mixed))
    return torch.randperm(n, generator=generator)


def batches(
    n: int, batch_size: int, *, seed: int = 0, step: int = 0
) -> Iterator[torch.Tensor]:
    """Yield the rows of step, step + 1, ... for ever, int64 (batch_size,).

    Each epoch is a new order of the n rows; the n % batch_size left at its
    end wait for another epoch, so that every batch is of one size. To
    resume a run, give the number of steps it has done: that is the whole
    state. Raises ValueError if n rows do not make a batch.
    """
    _check_batches(n, batch_size, step)
    per_epoch = n // batch_size
    epoch, within = divmod(step, per_epoch)
    while True:
        rows = order(n, seed=seed, epoch=epoch)
        for i in range(within, per_epoch):
            yield rows[i * batch_size : (i + 1) * batch_size]
        epoch, within = epoch + 1, 0


def _check_batches(n: Any, batch_size: Any, step: Any) -> None:
    checks.check_whole(n, "n", 1)
    checks.check_whole(batch_size, "batch_size", 1, n)
    checks.check_whole(step, "step", 0)
