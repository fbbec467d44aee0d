"""A checkpoint on disk, as all of this folder's functions return it.

Reading it does not import transformers: that import alone takes longer than
loading the weights. Only `hf_model` and `hf_tokenizer` do.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint on disk, in Hugging Face's folder layout.

    `weights` and `config` are what our own models load; `hf_model` and
    `hf_tokenizer` build the reference to compare with.
    """

    name: str
    folder: Path
    auto_class: str

    @cached_property
    def config(self) -> dict:
        """Return the contents of config.json."""
        path = self.folder / "config.json"
        return json.loads(path.read_text(encoding="utf-8"))

    @cached_property
    def weights(self) -> dict[str, torch.Tensor]:
        """Return name -> float32 tensor, mapped from disk, not copied."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.folder / "model.safetensors"
        try:
            weights = load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        return {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in weights.items()
        }

    def tokenizer(self) -> "Tokenizer":
        """Return the tokenizer, as the `tokenizers` library reads it.

        It neither pads nor cuts: MiniLM's file asks for 128 tokens always.
        """
        from tokenizers import Tokenizer

        file = self.folder / "tokenizer.json"
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def hf_model(
        self, dtype: torch.dtype = torch.float32, attn: str = "eager"
    ):
        """Return transformers' own model, in eval mode."""
        import transformers

        auto = getattr(transformers, self.auto_class)
        with _quiet_loading():
            model = auto.from_pretrained(
                self.folder, dtype=dtype, attn_implementation=attn
            )
        return model.eval()

    def hf_tokenizer(self):
        """Return transformers' fast tokenizer."""
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(self.folder)


class _quiet_loading:  # noqa: N801 - used like a function
    """Hide transformers' progress bars: they would be a cell's output."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self.was_on = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()

    def __exit__(self, *_) -> None:
        from transformers.utils import logging

        if self.was_on:
            logging.enable_progress_bar()
