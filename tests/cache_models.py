"""Every model of the book with a cache, beside transformers' own.

`step` calls ours, `their_step` theirs, on a piece of the same texts and with
the same padding; both return the logits of the piece.
"""

import functools
from dataclasses import dataclass
from typing import Any

import test_gpt2
import test_mamba
import test_t5
import torch
import variant_helpers
from handmade.blocks.rope import token_positions
from handmade.inference.encoder_decoder import EncoderDecoderCache
from handmade.models.gpt2 import GPT2
from handmade.models.llama import Llama, LlamaConfig
from handmade.models.mamba import Mamba
from handmade.models.state_cache import StateCache
from handmade.models.t5 import T5
from handmade.models.variants import Variant

B, T = 5, 11
LEFT = variant_helpers.LEFT
VARIANTS = sorted(variant_helpers.MODELS)
WITH_KEYS = [*VARIANTS, "gpt2", "t5"]  # what has keys to keep
SIZES = {
    "vocab_size": 61, "d_model": 24, "n_layers": 3, "n_heads": 6,
    "n_kv_heads": 2, "d_ff": 40, "max_seq_len": 64, "d_head": 10,
}  # fmt: skip
ALL = [*WITH_KEYS, "mamba"]


@dataclass
class Both:
    """Our model and theirs, of one kind and with the same weights."""

    kind: str
    ours: Any
    theirs: Any

    def whole(self, ids, mask=None) -> torch.Tensor:
        """Return our logits of whole texts, without a cache."""
        if self.kind == "t5":
            return self.ours(READ, ids, decoder_attention_mask=mask)
        return self.ours(ids, mask)

    def cache(self, own=None) -> Any:
        """Return an empty cache of ours; ``own`` keeps the keys."""
        if self.kind == "mamba":
            return StateCache()
        return EncoderDecoderCache(own) if self.kind == "t5" else own

    def step(self, ids, mask, cache) -> torch.Tensor:
        if self.kind == "t5":
            return self.ours(
                READ, ids, decoder_attention_mask=mask, cache=cache
            )
        return self.ours(ids, mask, cache=cache)

    def their_step(self, ids, mask, cache) -> torch.Tensor:
        given = {"past_key_values": cache, "use_cache": True}
        if self.kind == "t5":
            return self.theirs(
                READ, decoder_input_ids=ids, decoder_attention_mask=mask,
                **given,
            ).logits  # fmt: skip
        if mask is not None:
            given["attention_mask"] = mask
            given["position_ids"] = token_positions(mask)[:, -ids.shape[1] :]
        return self.theirs(ids, **given).logits


def tiny_llama() -> Llama:
    torch.manual_seed(0)
    model = Llama(LlamaConfig(**SIZES)).double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3)
    return model


READ = test_t5.some_ids()


@functools.cache
def both(kind: str, dtype=torch.float64) -> Both:
    if kind == "gpt2":
        theirs = test_gpt2.hf_model(dtype)
        return Both(kind, GPT2.from_hf(theirs), theirs)
    if kind == "t5":
        theirs = test_t5.hf_model(dtype)
        return Both(kind, T5.from_hf(theirs), theirs)
    if kind == "mamba":
        theirs = test_mamba.hf_model(dtype)
        return Both(kind, Mamba.from_hf(theirs), theirs)
    theirs = variant_helpers.hf_model(kind, dtype)
    return Both(kind, Variant.from_hf(theirs), theirs)


def some_ids(rows: int = B, length: int = T) -> torch.Tensor:
    return variant_helpers.some_ids(length, rows)


def in_steps(call, ids, mask, cache, steps) -> torch.Tensor:
    """Feed texts piece by piece, the mask of each covering the past."""
    got, at = [], 0
    for step in steps:
        seen = None if mask is None else mask[:, : at + step]
        got.append(call(ids[:, at : at + step], seen, cache))
        at += step
    return torch.cat(got, 1)
