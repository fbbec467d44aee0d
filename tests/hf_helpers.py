"""Small models of transformers, sizes all different, and batches for them."""

import copy

import torch
import transformers
from handmade.blocks.rope import token_positions
from handmade.weights.reference import random_reference

LLAMA = transformers.LlamaConfig(
    vocab_size=29,
    hidden_size=12,
    num_hidden_layers=5,
    num_attention_heads=6,
    num_key_value_heads=2,
    intermediate_size=20,
    head_dim=4,
    max_position_embeddings=16,
    tie_word_embeddings=False,
)
GPT_2 = transformers.GPT2Config(
    vocab_size=31,
    n_embd=12,
    n_layer=5,
    n_head=3,
    n_inner=20,
    n_positions=16,
    bos_token_id=30,
    eos_token_id=30,
)


def drawn(hf_class, config, seed=0):
    """Return a random model; it may change the config, which is its own."""
    return random_reference(hf_class, copy.deepcopy(config), seed)


def batch(vocab_size, pad="left"):
    """Return ids, mask and positions of four texts, all lengths different."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocab_size, (4, 9), generator=generator)
    mask = torch.ones(4, 9, dtype=torch.long)
    for row, length in enumerate((9, 7, 4, 1)):
        hidden = slice(0, 9 - length) if pad == "left" else slice(length, 9)
        mask[row, hidden] = 0
    return ids, mask, token_positions(mask)
