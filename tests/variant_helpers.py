"""Tiny models of seven kinds, no size equal to another, every one random."""

import torch
from handmade.blocks.rope import token_positions
from handmade.parity import parity
from handmade.weights.reference import random_reference

B, T, V, WINDOW = 5, 11, 61, 4
LEFT = torch.tensor([[0] * n + [1] * (T - n) for n in (0, 3, 1, 10, 6)])
MASKS = {"none": None, "left": LEFT, "right": LEFT.flip(-1)}
ROPE = {"rope_type": "default", "rope_theta": 777.0}
SIZES = {
    "vocab_size": V, "hidden_size": 24, "intermediate_size": 40,
    "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 10, "rms_norm_eps": 1e-3,
    "max_position_embeddings": 256, "pad_token_id": None,
    "rope_parameters": ROPE,
}  # fmt: skip
QWEN = {
    **SIZES, "use_sliding_window": True, "sliding_window": WINDOW,
    "max_window_layers": 1,
}  # fmt: skip
# transformers' own keys, by model_type
MODELS = {
    "llama": SIZES,
    "mistral": {**SIZES, "sliding_window": WINDOW},
    "mixtral": {
        **SIZES, "sliding_window": WINDOW, "num_local_experts": 5,
        "num_experts_per_tok": 2,
    },
    "qwen2": QWEN,
    "qwen3": {**QWEN, "attention_bias": True},
    "gemma3_text": {
        **SIZES, "sliding_window": WINDOW, "query_pre_attn_scalar": 7,
        "layer_types": [
            "sliding_attention", "full_attention", "sliding_attention",
        ],
        "final_logit_softcapping": 3.0,
        "rope_parameters": {
            "full_attention": {**ROPE, "rope_type": "linear", "factor": 3.0},
            "sliding_attention": {**ROPE, "rope_theta": 55.0},
        },
    },
    "deepseek_v3": {
        **SIZES, "num_key_value_heads": 6, "head_dim": 4,
        "kv_lora_rank": 14, "q_lora_rank": 18, "qk_nope_head_dim": 7,
        "qk_rope_head_dim": 4, "v_head_dim": 9, "first_k_dense_replace": 3,
        "attention_bias": True,
    },
}  # fmt: skip


def hf_config(kind, attn="sdpa", **changes):
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[kind](
        **{**MODELS[kind], **changes},
        attn_implementation=attn,
        # the grouped kernel that is the default knows no float64
        experts_implementation="eager",
    )


def hf_model(kind, dtype=torch.float32, attn="sdpa", seed=0, **changes):
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    config = hf_config(kind, attn, **changes)
    model = random_reference(
        MODEL_FOR_CAUSAL_LM_MAPPING[type(config)], config, seed
    )
    for parameter in model.parameters():
        if parameter.ndim == 3:  # all experts: else they say next to nothing
            parameter.data *= parameter.shape[1] ** 0.5
    # a cast of the whole rounds the rotary frequencies, which no loader does
    exact = dict(model.named_buffers())
    exact = {name: x.clone() for name, x in exact.items() if "freq" in name}
    model = model.to(dtype)
    for name, x in exact.items():
        model.get_buffer(name).data = x
    return model


def some_ids(length: int = T, rows: int = B, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(V, (rows, length), generator=generator)


def calls(ids, mask) -> dict:
    """Say the same to both models; theirs has to be told the positions."""
    ours, theirs = {"ids": ids}, {"input_ids": ids}
    if mask is not None:
        ours["attention_mask"] = theirs["attention_mask"] = mask
        theirs["position_ids"] = token_positions(mask)
    where = None if mask is None else mask.bool()
    return {"inputs": ours, "their_inputs": theirs, "where": where}


def compare(ours, theirs, ids, mask=None, layers=None):
    return parity(
        ours,
        theirs,
        layers=layers or ours.hf_layers,
        name=f"tiny {ours.config.model_type}",
        **calls(ids, mask),
    )


def came_back(ours, theirs):
    back = ours.to_hf()
    want, got = theirs.state_dict(), back.state_dict()
    assert want.keys() == got.keys()
    for name, x in want.items():
        assert torch.equal(got[name], x), name
        assert got[name].dtype == x.dtype
    assert back.config.to_dict() == theirs.config.to_dict()
    assert type(back) is type(theirs)
    return back
