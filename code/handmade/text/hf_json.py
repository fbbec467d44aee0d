"""Read and write `tokenizer.json`, the file of the `tokenizers` library.

Our tokenizers are saved in the format every other program reads. What we
cannot do the same way is refused by name, never ignored (`keys`).
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from handmade import checks
from handmade.cache import write_whole
from handmade.text.keys import NEEDED, Keys

PART = ((dict, type(None)), None)
FILE = Keys(
    taken={
        "model": ((dict,), NEEDED),
        "added_tokens": ((list,), []),
        "normalizer": PART,
        "pre_tokenizer": PART,
        "post_processor": PART,
        "decoder": PART,
    },
    # a text is encoded whole, and padded where a batch is made
    fixed={"version": ("1.0",), "truncation": (None,), "padding": (None,)},
)


def description(tokenizer: Any) -> dict[str, Any]:
    """Return what a Hugging Face tokenizer would write to its file.

    Takes a transformers fast tokenizer or a `tokenizers.Tokenizer`.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "to_str"):
        raise ValueError(
            f"tokenizer: got {type(tokenizer).__name__}, want a fast "
            "tokenizer of transformers or one of the tokenizers library"
        )
    described: dict[str, Any] = json.loads(backend.to_str())
    return described


def file_parts(described: Any, ignore: Collection[str] = ()) -> dict[str, Any]:
    """Return the parts of a file; `ignore` may name what cuts and pads."""
    check_ignore(ignore)
    if isinstance(described, dict):
        described = {k: v for k, v in described.items() if k not in ignore}
    return FILE.read(described, "tokenizer")


def check_ignore(ignore: Collection[str]) -> None:
    """Raise ValueError for names of what cannot be passed over."""
    known = ("truncation", "padding")
    want = f"some of {known}"
    checks.several("ignore", ignore, want)
    checks.need(set(ignore) <= set(known), "ignore", repr(ignore), want)


def save(path: str | Path, described: dict[str, Any]) -> Path:
    """Write the file whole, or not at all."""
    checks.path("path", path)
    checks.mapping("described", described, "a tokenizer's description")
    text = json.dumps(described, ensure_ascii=False, indent=1)
    return write_whole(Path(path), lambda file: _write(file, text))


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def load(path: str | Path) -> dict[str, Any]:
    """Read the file; ValueError names one that is broken."""
    checks.path("path", path)
    try:
        described = json.loads(
            Path(path).read_text(encoding="utf-8"), object_pairs_hook=_once
        )
        if not isinstance(described, dict) or "model" not in described:
            raise ValueError("there is no model in it")
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: got {error}, want a whole tokenizer.json"
        ) from error
    return described


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object, unless a key stands in it twice: which one counts?"""
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} twice in one object")
            seen.add(key)
    return made
