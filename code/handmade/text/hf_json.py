"""Read and write `tokenizer.json`, the file of the `tokenizers` library.

Our tokenizers are saved in the format every other program reads. What we
cannot do the same way is refused by name, never ignored.
"""

import json
import re
from pathlib import Path
from typing import Any

from handmade.cache import write_whole


def description(tokenizer: Any) -> dict:
    """Return what a Hugging Face tokenizer would write to its file.

    Takes a transformers fast tokenizer or a `tokenizers.Tokenizer`.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "to_str"):
        raise ValueError(
            f"tokenizer: got {type(tokenizer).__name__}, want a fast "
            "tokenizer of transformers or one of the tokenizers library"
        )
    return json.loads(backend.to_str())


def require(found: Any, wanted: tuple, what: str) -> None:
    """Raise ValueError unless `found` is one of `wanted`."""
    if found not in wanted:
        raise ValueError(
            f"tokenizer: its {what} is {found!r}; this class does only "
            f"{' or '.join(map(repr, wanted))}"
        )


def special_tokens(described: dict) -> dict[str, int]:
    """Return the added tokens, text -> id; refuse the unusual kinds."""
    added = described.get("added_tokens") or []
    for token in added:
        for flag in ("single_word", "lstrip", "rstrip"):
            require(token.get(flag, False), (False,), f"token flag {flag}")
    return {token["content"]: token["id"] for token in added}


def added_tokens(special: dict[str, int]) -> list[dict]:
    """Return the same as the file's list."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    flags |= {"normalized": False, "special": True}
    return [{"id": i, "content": t, **flags} for t, i in special.items()]


def special_splitter(special: dict[str, int]) -> re.Pattern | None:
    """Return the pattern that finds special tokens, longest first."""
    if not special:
        return None
    longest_first = sorted(special, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, longest_first))})")


def save(path: str | Path, described: dict) -> Path:
    """Write the file whole, or not at all."""
    text = json.dumps(described, ensure_ascii=False, indent=1)
    return write_whole(
        Path(path), lambda file: file.write_text(text, encoding="utf-8")
    )


def load(path: str | Path) -> dict:
    """Read the file; ValueError names one that is broken."""
    try:
        described = json.loads(Path(path).read_text(encoding="utf-8"))
        model = described["model"]
        if not isinstance(model["vocab"], dict | list):
            raise TypeError("model.vocab is neither a dict nor a list")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a whole tokenizer.json: {error!r}"
        ) from error
    return described


def check_text(text: Any) -> None:
    """Raise ValueError for what is no text: not a str, or half a character.

    A lone surrogate (U+D800 to U+DFFF) is half of a UTF-16 pair. Python's
    strings can hold one, UTF-8 cannot write it.
    """
    if not isinstance(text, str):
        raise ValueError(f"text: got {type(text).__name__}, want str")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text: holds the lone surrogate U+{ord(text[error.start]):04X} "
            f"at index {error.start}, which no UTF-8 can spell"
        ) from None
