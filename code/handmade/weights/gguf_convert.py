"""From a Llama in GGUF to a Hugging Face folder.

llama.cpp stores the rows of q_proj and k_proj in another order (its rotary
embedding turns neighbouring pairs, Hugging Face's turns halves), so they are
put back in place. transformers reads GGUF too, but takes over 14 seconds;
this is done once. A file is converted whole or refused: keys, tensors and
tokens that have no place here are named.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handmade.weights.gguf_file import GGUFFile, read_gguf
from handmade.weights.gguf_keys import (
    check_keys,
    positive,
    shown,
    strings,
    whole,
)
from handmade.weights.gguf_tokenizer import (
    read_tokenizer,
    token_id,
    tokenizer_config,
)
from handmade.weights.pretrained import save_weights

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def hf_name(name: str) -> str:
    """Map `blk.7.attn_q.weight` to `model.layers.7.self_attn.q_proj.weight`.

    Raises ValueError for a tensor no Llama has.
    """
    *block, part, kind = name.split(".") if "." in name else ("", "")
    if part not in NAMES or kind != "weight" or len(block) not in (0, 2):
        raise ValueError(f"name: got {name!r}, want a tensor of a Llama")
    prefix = f"model.layers.{block[1]}." if block else ""
    return f"{prefix}{NAMES[part]}.{kind}"


def unpermute(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Undo llama.cpp's row order: (H*K, D) -> (H*K, D)."""
    rows, width = weight.shape
    pairs = weight.reshape(n_heads, rows // n_heads // 2, 2, width)
    return pairs.swapaxes(1, 2).reshape(rows, width)


def llama_to_hf_folder(source: Path, folder: Path) -> None:
    """Write config, weights and tokenizer of the GGUF file into `folder`.

    Raises ValueError, naming the file and what in it, for anything that
    could not be converted whole.
    """
    file = read_gguf(source)
    try:
        config = llama_config(file)
        check_tensors(file, config)
        tokenizer = read_tokenizer(file.meta)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    _write_json(folder / "config.json", config)
    _write_weights(file, config, folder / "model.safetensors")
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", tokenizer_config(file.meta))


def llama_config(file: GGUFFile) -> dict[str, Any]:
    """Return Hugging Face's config of the model that the file describes."""
    meta = file.meta
    if meta.get("general.architecture") != "llama":
        raise ValueError(
            f"general.architecture: got "
            f"{shown(meta.get('general.architecture'))}, want 'llama'"
        )
    check_keys(meta)
    tokens = strings(meta, "tokenizer.ggml.tokens")
    D = whole(meta, "llama.embedding_length")
    H = whole(meta, "llama.attention.head_count")
    # the gain epsilon is stored as a float32: 9.999999747e-06 is 1e-5
    eps = positive(meta, "llama.attention.layer_norm_rms_epsilon")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": whole(meta, "llama.vocab_size", len(tokens)),
        "hidden_size": D,
        "intermediate_size": whole(meta, "llama.feed_forward_length"),
        "num_hidden_layers": whole(meta, "llama.block_count"),
        "num_attention_heads": H,
        "num_key_value_heads": whole(meta, "llama.attention.head_count_kv", H),
        "max_position_embeddings": whole(meta, "llama.context_length"),
        "rms_norm_eps": float(f"{eps:.6g}"),
        "rope_theta": positive(meta, "llama.rope.freq_base", 10_000.0),
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": "output.weight" not in file.places,
        **{
            f"{role}_token_id": token_id(meta, name)
            for role, name in (
                ("bos", "bos"),
                ("eos", "eos"),
                ("pad", "padding"),
            )
        },
        "dtype": "float32",
    }
    return config | _head_width(meta, D, H) | _rope_scaling(meta)


def _head_width(meta: Mapping[str, Any], D: int, H: int) -> dict[str, int]:
    """Return the head's width where it is not D / H."""
    key = "llama.attention.key_length"
    K = whole(meta, key, D // H)
    if key not in meta and D % H:
        raise ValueError(
            f"llama.attention.head_count: got {H}, want a divisor of {D}"
        )
    for other in ("attention.value_length", "rope.dimension_count"):
        found = whole(meta, f"llama.{other}", K)
        if found != K:
            raise ValueError(f"llama.{other}: got {found}, want {K}")
    return {} if K * H == D else {"head_dim": K}


def _rope_scaling(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rotary setting where positions are scaled.

    Older files have a factor alone, `llama.rope.scale_linear`.
    """
    key, old = "llama.rope.scaling.type", "llama.rope.scale_linear"
    given = "llama.rope.scaling.factor"
    kind = meta.get(key, "linear" if old in meta else "none")
    if kind not in ("none", "linear"):
        raise ValueError(f"{key}: got {shown(kind)}, want 'none' or 'linear'")
    factors = {k: positive(meta, k) for k in (given, old) if k in meta}
    if len(set(factors.values())) > 1:
        raise ValueError(
            f"{given}: got {factors[given]}, and {old} {factors[old]}, want "
            "one of them"
        )
    factor = next(iter(factors.values()), None)
    if kind == "none":
        if factor not in (None, 1.0):
            raise ValueError(f"{given}: got {factor}, want none without {key}")
        return {}
    if factor is None:
        raise ValueError(f"{given}: got nothing, want one: {key} is {kind!r}")
    return {"rope_scaling": {"rope_type": "linear", "factor": factor}}


def check_tensors(file: GGUFFile, config: Mapping[str, Any]) -> None:
    """Hold names and shapes against the config; raises ValueError."""
    D, F = config["hidden_size"], config["intermediate_size"]
    H, G = config["num_attention_heads"], config["num_key_value_heads"]
    K = config.get("head_dim", D // H)
    if H % G or K % 2:
        raise ValueError(
            f"llama.attention.head_count_kv: got {G}, want a divisor of {H}, "
            f"and heads of an even width, not {K}"
        )
    block = {
        "attn_norm": (D,),
        "attn_q": (H * K, D),
        "attn_k": (G * K, D),
        "attn_v": (G * K, D),
        "attn_output": (D, H * K),
        "ffn_norm": (D,),
        "ffn_gate": (F, D),
        "ffn_up": (F, D),
        "ffn_down": (D, F),
    }
    want = {"token_embd": (config["vocab_size"], D), "output_norm": (D,)}
    if not config["tie_word_embeddings"]:
        want["output"] = (config["vocab_size"], D)
    for i in range(config["num_hidden_layers"]):
        if (name := f"blk.{i}.attn_q.weight") not in file.places:
            n = config["num_hidden_layers"]
            raise ValueError(f"tensors: got no {name}, want {n} blocks")
        want |= {f"blk.{i}.{part}": shape for part, shape in block.items()}
    shapes = {f"{name}.weight": shape for name, shape in want.items()}
    for name in sorted(file.places.keys() | shapes.keys()):
        place = file.places.get(name)
        got = place.shape if place else None
        if got != shapes.get(name):
            raise ValueError(
                f"tensors: got {name} of shape {got}, want "
                f"{shapes.get(name, 'no such tensor')}"
            )


def _write_weights(
    file: GGUFFile, config: Mapping[str, Any], path: Path
) -> None:
    heads = {
        "attn_q": config["num_attention_heads"],
        "attn_k": config["num_key_value_heads"],
    }
    weights = {}
    for name in file.places:
        weight = file.tensor(name)
        part = name.split(".")[-2]
        if part in heads:
            weight = unpermute(weight, heads[part])
        weight = np.ascontiguousarray(weight)
        weights[hf_name(name)] = torch.from_numpy(weight)
    save_weights(weights, path)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
