"""From a GGUF file's tokens and merges to Hugging Face's tokenizer files.

SmolLM2's byte-level pair encoding; `gguf_keys` refuses every other kind.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from handmade.weights.gguf_keys import shown, strings, whole

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # kinds of tokens


def read_tokenizer(meta: Mapping[str, Any]) -> "Tokenizer":
    """Return the file's tokenizer, as the `tokenizers` library has it."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    tokens = strings(meta, "tokenizer.ggml.tokens")
    vocab = {token: i for i, token in enumerate(tokens)}
    size = meta.get("llama.vocab_size", len(tokens))
    if len(vocab) < len(tokens) or len(tokens) != size:
        raise ValueError(
            f"tokenizer.ggml.tokens: got {len(tokens)} tokens, "
            f"{len(vocab)} different ones, want {size}"
        )
    tokenizer = Tokenizer(BPE(vocab, _merges(meta, vocab)))
    # "smollm" in llama.cpp: every digit alone, then GPT-2's pattern
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = _kinds(meta, tokens)
    for add, kind in (
        (tokenizer.add_special_tokens, CONTROL),
        (tokenizer.add_tokens, USER_DEFINED),
    ):
        add(
            [
                AddedToken(token, special=kind == CONTROL, normalized=False)
                for token, its in zip(tokens, kinds, strict=True)
                if its == kind
            ]
        )
    return tokenizer


def _merges(
    meta: Mapping[str, Any], vocab: Mapping[str, int]
) -> list[tuple[str, str]]:
    key = "tokenizer.ggml.merges"
    merges = []
    for text in strings(meta, key):
        left, _, right = text.partition(" ")
        if not all(part in vocab for part in (left, right, left + right)):
            raise ValueError(
                f"{key}: got {shown(text)}, want two tokens that make a third"
            )
        merges.append((left, right))
    return merges


def _kinds(meta: Mapping[str, Any], tokens: list[str]) -> list[int]:
    key = "tokenizer.ggml.token_type"
    found = meta.get(key)
    kinds = found.tolist() if isinstance(found, np.ndarray) else []
    known = {NORMAL, CONTROL, USER_DEFINED, UNUSED}
    if len(kinds) != len(tokens) or not known.issuperset(kinds):
        strange = sorted(map(str, set(kinds) - known))
        raise ValueError(
            f"{key}: got {len(kinds)} kinds, strange ones: {strange}, want "
            f"{len(tokens)} of {sorted(known)}"
        )
    return kinds


def token_id(meta: Mapping[str, Any], role: str) -> int | None:
    """Return the id of bos, eos, ...; None where the file has none."""
    key = f"tokenizer.ggml.{role}_token_id"
    found = meta.get(key)
    size = len(strings(meta, "tokenizer.ggml.tokens"))
    if found is not None and (type(found) is not int or found >= size):
        raise ValueError(f"{key}: got {shown(found)}, want an id below {size}")
    return found


def tokenizer_config(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Hugging Face's tokenizer needs beside its file."""
    tokens = strings(meta, "tokenizer.ggml.tokens")

    def token(role: str) -> str | None:
        i = token_id(meta, role)
        return None if i is None else tokens[i]

    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "unk_token": token("unknown"),
        "pad_token": token("padding"),
        "model_max_length": whole(meta, "llama.context_length"),
        "clean_up_tokenization_spaces": False,
    }
    if "tokenizer.chat_template" in meta:
        config["chat_template"] = meta["tokenizer.chat_template"]
    return config
