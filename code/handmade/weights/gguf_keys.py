"""Every key that a Llama's GGUF file may have, in three lists.

Read: the conversion uses it. Wanted: another value would be another model or
tokenizer, so it is refused. Inert: it changes no number. What is in none of
them is refused by name and value, never passed over.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

READ = {
    "general.architecture",
    "general.alignment",
    "llama.vocab_size",
    "llama.context_length",
    "llama.embedding_length",
    "llama.block_count",
    "llama.feed_forward_length",
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.attention.key_length",
    "llama.attention.value_length",
    "llama.attention.layer_norm_rms_epsilon",
    "llama.rope.dimension_count",
    "llama.rope.freq_base",
    "llama.rope.scaling.type",
    "llama.rope.scaling.factor",
    "llama.rope.scale_linear",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.padding_token_id",
    "tokenizer.chat_template",
}

WANTED: dict[str, tuple[Any, ...]] = {
    "general.type": ("model",),
    "general.quantization_version": (2,),
    "llama.attention.causal": (True,),
    "llama.attention.clamp_kqv": (0.0,),
    "llama.attention.max_alibi_bias": (0.0,),
    "llama.rope.scaling.attn_factor": (1.0,),
    "llama.expert_count": (0,),
    "llama.expert_used_count": (0,),
    "llama.use_parallel_residual": (False,),
    "llama.tensor_data_layout": ("Meta AI original pth",),
    "split.no": (0,),
    "split.count": (0, 1),
    "tokenizer.ggml.model": ("gpt2",),
    "tokenizer.ggml.pre": ("smollm",),  # how a text falls into words
    "tokenizer.ggml.add_bos_token": (False,),
    "tokenizer.ggml.add_eos_token": (False,),
    "tokenizer.ggml.add_sep_token": (False,),
    "tokenizer.ggml.add_space_prefix": (False,),
    "tokenizer.ggml.remove_extra_whitespaces": (False,),
}
# a file that says nothing means another value than the one wanted
NEEDED = ("tokenizer.ggml.model", "tokenizer.ggml.pre")

INERT = re.compile(
    r"""general\.(
          name | author | version | organization | finetune | basename
        | description | quantized_by | size_label | license(\.\w+)? | url
        | doi | uuid | repo_url | tags | languages | datasets | file_type
        | source\.[\w.]+ | base_model\.[\w.]+ | dataset\.[\w.]+
        | sampling\.\w+ )
      | quantize\.imatrix\.\w+ | split\.tensors\.count
      | llama\.rope\.scaling\.(original_context_length | finetuned)
      | tokenizer\.ggml\.(scores | token_type_count
        | (eot | eom | cls | seperator | mask | prefix | suffix | middle
           | fim_\w+)_token_id )""",
    re.VERBOSE,
)


def check_keys(meta: Mapping[str, Any]) -> None:
    """Account for every key; raises ValueError naming what is not ours."""
    foreign = [
        f"{key}: got {shown(value)}"
        for key, value in meta.items()
        if key not in READ and key not in WANTED and not INERT.fullmatch(key)
    ]
    if foreign:
        raise ValueError(f"{'; '.join(foreign)}, which is not implemented")
    for key, allowed in WANTED.items():
        if key not in meta and key not in NEEDED:
            continue
        # True == 1 and 2.0 == 2: the kind of value counts too
        if not any(
            type(meta.get(key)) is type(value) and meta[key] == value
            for value in allowed
        ):
            want = " or ".join(map(repr, allowed))
            raise ValueError(f"{key}: got {shown(meta.get(key))}, want {want}")


def shown(value: object) -> str:
    """Return what stands for a value in a message: short in any case."""
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:70]} ... ({len(text)} signs)"


def whole(
    meta: Mapping[str, Any], key: str, default: int | None = None
) -> int:
    """Return a whole number above 0; raises ValueError for anything else."""
    found = meta.get(key, default)
    if type(found) is not int or found < 1:
        raise ValueError(f"{key}: got {shown(found)}, want a whole number > 0")
    return found


def positive(
    meta: Mapping[str, Any], key: str, default: float | None = None
) -> float:
    """Return a finite number above 0; raises ValueError for anything else."""
    found = meta.get(key, default)
    if type(found) is not float or not 0 < found < math.inf:
        raise ValueError(f"{key}: got {shown(found)}, want a number > 0")
    return found


def strings(meta: Mapping[str, Any], key: str) -> list[str]:
    """Return a list of strings; raises ValueError for anything else."""
    found = meta.get(key)
    if not isinstance(found, list):
        raise ValueError(f"{key}: got {shown(found)}, want strings")
    return found
