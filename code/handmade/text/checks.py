"""What is no text, no list of texts, no ids: told by name, never read."""

import math
from collections.abc import Iterable, Mapping
from operator import index
from typing import Any

LONGEST_PIECE = 256  # characters; cutting a text looks at every length
LARGEST_ID = 0x10FFFF  # BPE writes an id as one character


def named(value: Any) -> str:
    """Return how an error names a value: its type, and short values too."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        name = type(value).__name__
        return f"{name} of shape {tuple(shape)} and dtype {value.dtype}"
    shown = "" if value is None else f" {value!r}"
    shown = shown if len(shown) <= 40 else f"{shown[:36]} ..."
    return f"{type(value).__name__}{shown}"


def check_str(text: Any, name: str = "text") -> None:
    """Raise ValueError for what is not a str."""
    if not isinstance(text, str):
        raise ValueError(f"{name}: got {named(text)}, want str")


def check_text(text: Any, name: str = "text") -> None:
    """Raise ValueError for what is no text: not a str, or half a character.

    A lone surrogate (U+D800 to U+DFFF) is half of a UTF-16 pair. Python's
    strings can hold one, UTF-8 cannot write it.
    """
    check_str(text, name)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name}: got the lone surrogate U+{ord(text[error.start]):04X} "
            f"at index {error.start}, want what UTF-8 can spell"
        ) from None


def check_several(
    texts: Any,
    name: str = "texts",
    wanted: str = "several str, such as a list",
) -> None:
    """Raise ValueError unless `texts` can be gone through, and is no str.

    A str is several texts to Python: its letters. That is never meant.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise ValueError(f"{name}: got {named(texts)}, want {wanted}")


def str_list(
    several: Any, name: str, wanted: str = "several str, such as a list"
) -> list[str]:
    """Return several str as a list; raise ValueError for anything else."""
    check_several(several, name, wanted)
    listed = list(several)
    if not set(map(type, listed)) <= {str}:
        for text in listed:
            check_str(text, name)
    return listed


def distinct_texts(several: Any, name: str) -> list[str]:
    """Return texts as a list, each once; refuse the empty one."""
    check_several(several, name)
    listed = list(dict.fromkeys(several))
    for text in listed:
        check_text(text, name)
    if "" in listed:
        raise ValueError(f"{name}: got '', want no empty text")
    return listed


def check_counts(words: Any) -> None:
    """Raise ValueError unless `words` maps words to how often they occur."""
    if not isinstance(words, Mapping):
        raise ValueError(
            f"words: got {named(words)}, want a dict from word to count"
        )
    if not any(words):
        raise ValueError("texts: got no word, want text to learn from")
    for word, count in words.items():
        check_text(word, "words")
        check_whole(count, f"words: the count of {word[:20]!r}", 1)


def check_whole(
    value: Any, name: str, low: float, high: float = math.inf
) -> int:
    """Return a whole number between bounds, or raise ValueError."""
    wanted = "a whole number"
    if low > -math.inf:
        wanted = f"a whole number of at least {low:.0f}"
    if high < math.inf:
        wanted = f"a whole number from {low:.0f} to {high:.0f}"
    try:
        number = index(value)
    except TypeError:
        number = None
    if isinstance(value, bool) or number is None:
        raise ValueError(f"{name}: got {named(value)}, want {wanted}")
    if not low <= number <= high:
        raise ValueError(f"{name}: got {number}, want {wanted}")
    return number


def check_flag(value: Any, name: str) -> bool:
    """Return a bool, or raise ValueError."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: got {named(value)}, want True or False")
    return value


def plain_ids(ids: Any, name: str = "ids") -> list[int]:
    """Return ids, a list, a NumPy array or a tensor, as a list of int.

    Raises ValueError for what is no row of whole numbers.
    """
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise ValueError(f"{name}: got {named(ids)}, want one row of integers")
    listed = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    if not isinstance(listed, list):
        raise ValueError(f"{name}: got {named(ids)}, want one row of integers")
    if set(map(type, listed)) <= {int}:
        return listed
    return [_one_id(i, name) for i in listed]


def _one_id(value: Any, name: str) -> int:
    number = value.item() if hasattr(value, "item") else value
    if type(number) is not int:
        raise ValueError(
            f"{name}: got {named(value)} in it, want one row of integers"
        )
    return number


def check_vocab(
    vocab: Any, *, name: str = "vocab", longest: float = math.inf
) -> None:
    """Raise ValueError unless `vocab` maps texts to ids, each id once.

    Ids may have holes: decoding an id that no text has is an error then.
    """
    if not isinstance(vocab, Mapping) or not vocab:
        raise ValueError(
            f"{name}: got {named(vocab)}, want a dict from text to id"
        )
    owners: dict[int, str] = {}
    for text, i in vocab.items():
        check_text(text, name)
        if len(text) > longest:
            raise ValueError(
                f"{name}: got a piece of {len(text)} characters, "
                f"{text[:20]!r} ..., want at most {longest:.0f}"
            )
        check_whole(i, f"{name}: the id of {text!r}", 0, LARGEST_ID)
        if i in owners:
            raise ValueError(
                f"{name}: got id {i} for {owners[i]!r} and for {text!r}, "
                "want each id once"
            )
        owners[i] = text


def check_share(value: Any, name: str) -> float:
    """Return a number between 0 and 1, neither of them, or raise."""
    number = isinstance(value, int | float) and 0 < value < 1
    if not number:
        raise ValueError(
            f"{name}: got {value!r}, want a share between 0 and 1"
        )
    return float(value)


def check_mapping(found: Any, name: str, wanted: str) -> None:
    """Raise ValueError unless `found` is a dict with something in it."""
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"{name}: got {named(found)}, want {wanted}")


def check_tensor(
    tensor: Any, name: str, wanted: str, ndim: int | None, dtypes: str
) -> None:
    """Raise ValueError unless `tensor` has `ndim` axes and such a dtype.

    `dtypes` is "float", or "int" for what indexes rows and can be negative:
    a uint8 or bool tensor is a mask to PyTorch, not a list of rows.
    """
    import torch  # here: the tokenizers run where there is none

    if isinstance(tensor, torch.Tensor):
        integers = (torch.int16, torch.int32, torch.int64)
        right = tensor.dtype in integers
        if dtypes == "float":
            right = tensor.is_floating_point()
        if right and ndim in (None, tensor.ndim):
            return
    raise ValueError(f"{name}: got {named(tensor)}, want {wanted}")
