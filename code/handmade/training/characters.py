"""A text as characters: its alphabet, its two sides, windows of it.

B batch · T tokens of a window

Left out: words and subwords, which the part on text is about. With some 90
characters the model's head costs nothing, and each loss is nats a character.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from handmade import checks


@dataclass(frozen=True)
class Alphabet:
    """The characters that a text may have, each with its number.

    Raises ValueError for none, and for one that stands there twice.
    """

    characters: str

    def __post_init__(self) -> None:
        checks.text("characters", self.characters)
        n, different = len(self.characters), len(set(self.characters))
        got, want = f"{n}, {different} different", "one or more, all different"
        checks.need(0 < n == different, "characters", got, want)

    @classmethod
    def of(cls, text: str) -> "Alphabet":
        """Return the alphabet of a text, in the order of Unicode."""
        checks.text("text", text)
        checks.need(bool(text), "text", "none", "one character or more")
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> torch.Tensor:
        """Return the numbers of a text's characters, int64 (T,).

        Raises ValueError naming the characters that are not in the alphabet.
        """
        checks.text("text", text)
        number = {c: i for i, c in enumerate(self.characters)}
        unknown = sorted(set(text) - number.keys())
        if unknown:
            raise ValueError(
                f"text: got {', '.join(map(repr, unknown[:5]))}"
                f"{' ...' * (len(unknown) > 5)}, want the model's "
                f"{len(self)} characters"
            )
        return torch.tensor([number[c] for c in text], dtype=torch.int64)

    def decode(self, ids: torch.Tensor) -> str:
        """Return the text of numbers, int64 (T,). Raises ValueError for
        a number that no character has."""
        checks.ids("ids", ids, axes=1)
        listed = ids.flatten().tolist()
        odd = [i for i in listed if not 0 <= i < len(self)]
        want = f"0 to {len(self) - 1}"
        checks.need(not odd, "ids", odd[:1] and odd[0], want)
        return "".join(self.characters[i] for i in listed)


def sides(text: str, share: float = 0.1) -> tuple[str, str]:
    """Cut a text in two: to train on, and the last `share` to validate.

    By position: a window of one side has no character of the other, and no
    author goes back to a scene he has left. Raises ValueError where a side
    would be empty.
    """
    checks.text("text", text)
    checks.number("share", share, at_least=0)
    cut = len(text) - round(share * len(text))
    if not 0 < cut < len(text):
        raise ValueError(
            f"text: got {len(text)} characters and share {share}, want both "
            "sides to have some"
        )
    return text[:cut], text[cut:]


def encoded(text: str) -> tuple[Alphabet, torch.Tensor, torch.Tensor]:
    """Return a text's alphabet, and both its sides as numbers.

    A text that was encoded before is not encoded again.
    """
    checks.text("text", text)
    return _encoded(text)


@functools.cache
def _encoded(text: str) -> tuple[Alphabet, torch.Tensor, torch.Tensor]:
    alphabet = Alphabet.of(text)
    learned, held = (alphabet.encode(side) for side in sides(text))
    return alphabet, learned, held


def draw_windows(
    ids: torch.Tensor, T: int, batch_size: int, generator: torch.Generator
) -> torch.Tensor:
    """Draw windows of T + 1 characters at random places, (B, T + 1).

    Raises ValueError for a text shorter than a window.
    """
    _check_windows(ids, T, batch_size)
    checks.generator("generator", generator)
    places = len(ids) - T
    starts = torch.randint(places, (batch_size,), generator=generator)
    return ids[starts[:, None] + torch.arange(T + 1)]


def shuffled_windows(
    ids: torch.Tensor, T: int, batch_size: int, *, step: int, seed: int
) -> torch.Tensor:
    """Return the windows of one step, each once in a pass, (B, T + 1).

    A pass over the text cuts it into windows that predict each character
    once, and takes them in an order of its own. Where they are cut differs
    from pass to pass, too. The order is a function of step and seed alone: a
    run that is resumed needs to remember no place in it. Raises ValueError
    for a text shorter than a window.
    """
    _check_windows(ids, T, batch_size)
    checks.whole("step", step, at_least=0)
    checks.whole("seed", seed, at_least=0)
    targets = len(ids) - 1
    n = max(1, (targets - (T - 1)) // T)  # wherever the first window begins
    slack = min(T, targets - n * T + 1)
    taken = range(step * batch_size, (step + 1) * batch_size)
    starts = [_cuts(n, T, slack, seed, i // n)[i % n] for i in taken]
    return ids[torch.stack(starts)[:, None] + torch.arange(T + 1)]


@functools.lru_cache(maxsize=4)
def _cuts(n: int, T: int, slack: int, seed: int, turn: int) -> torch.Tensor:
    """Return where the windows of one pass begin, in their order."""
    # a CPU's generator takes 32 bits of its seed: both have to be in them
    g = torch.Generator().manual_seed((seed + turn * 0x9E3779B1) % 2**32)
    first = torch.randint(slack, (1,), generator=g)
    return first + T * torch.randperm(n, generator=g)


def all_windows(
    ids: torch.Tensor, T: int, batch_size: int
) -> Iterator[torch.Tensor]:
    """Yield windows that predict each character after the first once.

    (B, T + 1) each, at most `batch_size` rows; the last one is shorter where
    the text is. Each row begins with the last character of the one before.
    Raises ValueError for a text of less than two characters.
    """
    _check_windows(ids, 1, batch_size)
    checks.whole("T", T)
    whole = (len(ids) - 1) // T
    if whole:
        starts = torch.arange(whole) * T
        rows = ids[starts[:, None] + torch.arange(T + 1)]
        yield from rows.split(batch_size)
    rest = ids[whole * T :]
    if len(rest) > 1:
        yield rest[None]


def _check_windows(ids: torch.Tensor, T: int, batch_size: int) -> None:
    checks.ids("ids", ids, axes=1)
    checks.whole("T", T)
    checks.whole("batch_size", batch_size)
    if ids.ndim != 1 or len(ids) <= T:
        raise ValueError(
            f"ids: got shape {tuple(ids.shape)}, want (n,) with n above {T}: "
            "a window and the character after it"
        )
