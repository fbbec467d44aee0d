"""From a Llama in GGUF to a Hugging Face folder.

llama.cpp stores the rows of q_proj and k_proj in another order (its rotary
embedding turns neighbouring pairs, Hugging Face's turns halves), so they are
put back in place. transformers reads GGUF too, but takes over 14 seconds;
this is done once.
"""

import json
from pathlib import Path

import numpy as np
import torch

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

CONTROL_TOKEN = 3


def hf_name(name: str) -> str:
    """Map `blk.7.attn_q.weight` to `model.layers.7.self_attn.q_proj.weight`.

    Raises ValueError for a tensor no Llama has.
    """
    *block, part, kind = name.split(".")
    if part not in NAMES or kind != "weight":
        raise ValueError(f"name: got {name!r}, not a tensor of a Llama")
    prefix = f"model.layers.{block[1]}." if block else ""
    return f"{prefix}{NAMES[part]}.{kind}"


def unpermute(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Undo llama.cpp's row order: (H*K, D) -> (H*K, D)."""
    rows, width = weight.shape
    pairs = weight.reshape(n_heads, rows // n_heads // 2, 2, width)
    return pairs.swapaxes(1, 2).reshape(rows, width)


def llama_to_hf_folder(source: Path, folder: Path) -> None:
    """Write config, weights and tokenizer of the GGUF file into `folder`."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(source)
    except (ValueError, IndexError, OSError) as error:
        raise ValueError(f"{source} is not a whole GGUF file: {error}") from (
            error
        )
    meta = {name: field.contents() for name, field in reader.fields.items()}
    if meta["general.architecture"] != "llama":
        raise ValueError(
            f"{source}: got the architecture "
            f"{meta['general.architecture']!r}, wanted 'llama'"
        )
    config = llama_config(meta)
    _write_json(folder / "config.json", config)
    _write_weights(reader, config, folder / "model.safetensors")
    _write_tokenizer(meta, folder)


def llama_config(meta: dict) -> dict:
    """Return Hugging Face's config of the model that `meta` describes."""
    # the gain epsilon is stored as a float32: 9.999999747e-06 is 1e-5
    eps = float(f"{meta['llama.attention.layer_norm_rms_epsilon']:.6g}")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": meta["llama.vocab_size"],
        "hidden_size": meta["llama.embedding_length"],
        "intermediate_size": meta["llama.feed_forward_length"],
        "num_hidden_layers": meta["llama.block_count"],
        "num_attention_heads": meta["llama.attention.head_count"],
        "num_key_value_heads": meta["llama.attention.head_count_kv"],
        "max_position_embeddings": meta["llama.context_length"],
        "rms_norm_eps": eps,
        "rope_theta": meta["llama.rope.freq_base"],
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "pad_token_id": meta["tokenizer.ggml.padding_token_id"],
        "dtype": "float32",
    }


def _write_weights(reader, config: dict, path: Path) -> None:
    from gguf import dequantize
    from safetensors.torch import save_file

    heads = {
        "attn_q": config["num_attention_heads"],
        "attn_k": config["num_key_value_heads"],
    }
    weights = {}
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type)
        part = tensor.name.split(".")[-2]
        if part in heads:
            weight = unpermute(weight, heads[part])
        weight = np.array(weight, dtype=np.float32)  # a writable copy
        weights[hf_name(tensor.name)] = torch.from_numpy(weight)
    save_file(weights, path, metadata={"format": "pt"})


def _write_tokenizer(meta: dict, folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    tokens = meta["tokenizer.ggml.tokens"]
    merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(BPE(vocab, merges))
    # "smollm" in llama.cpp: every digit alone, then GPT-2's pattern
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(
                tokens, meta["tokenizer.ggml.token_type"], strict=True
            )
            if kind == CONTROL_TOKEN
        ]
    )
    tokenizer.save(str(folder / "tokenizer.json"))

    def token(role: str) -> str:
        return tokens[meta[f"tokenizer.ggml.{role}_token_id"]]

    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": token("bos"),
            "eos_token": token("eos"),
            "unk_token": token("unknown"),
            "pad_token": token("padding"),
            "model_max_length": meta["llama.context_length"],
            "clean_up_tokenization_spaces": False,
            "chat_template": meta["tokenizer.chat_template"],
        },
    )


def _write_json(path: Path, content: dict) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
