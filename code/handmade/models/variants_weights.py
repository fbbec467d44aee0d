"""Which tensor of a checkpoint is which parameter of a `Variant`.

Each table is the Llama's with a few lines more. A line that stands in both
is read as it stands last.
"""

from handmade.models.llama import Llama
from handmade.models.load import Rule, Split, Stacked

THEIRS, OURS = "model.layers.{}", "blocks.{}"
# what each model adds to the table of the Llama, or says differently
HEADS = {
    f"{THEIRS}.self_attn.q_norm.weight": f"{OURS}.attn.q_norm.weight",
    f"{THEIRS}.self_attn.k_norm.weight": f"{OURS}.attn.k_norm.weight",
}
NORMS = {  # the second name is the Llama's norm before the feed-forward layer
    f"{THEIRS}.post_attention_layernorm": f"{OURS}.attn_post_norm",
    f"{THEIRS}.pre_feedforward_layernorm": f"{OURS}.ffn_norm",
    f"{THEIRS}.post_feedforward_layernorm": f"{OURS}.ffn_post_norm",
}
EXPERT = f"{OURS}.ffn.experts.{{}}"
EXPERTS: dict[str, str | Rule] = {
    f"{THEIRS}.mlp.gate.weight": f"{OURS}.ffn.router.weight",
    f"{THEIRS}.mlp.experts.gate_up_proj": Stacked(
        Split(f"{EXPERT}.gate_proj.weight", f"{EXPERT}.up_proj.weight")
    ),
    f"{THEIRS}.mlp.experts.down_proj": Stacked(f"{EXPERT}.down_proj.weight"),
}
# a published file has each expert for itself, under older names
SPARSE = f"{THEIRS}.block_sparse_moe"
EXPERTS_IN_FILES = {
    f"{SPARSE}.gate.weight": f"{OURS}.ffn.router.weight",
    f"{SPARSE}.experts.{{}}.w1.weight": f"{EXPERT}.gate_proj.weight",
    f"{SPARSE}.experts.{{}}.w3.weight": f"{EXPERT}.up_proj.weight",
    f"{SPARSE}.experts.{{}}.w2.weight": f"{EXPERT}.down_proj.weight",
}
PROJECTIONS = {
    "q_a_proj": "q_down_proj",
    "q_a_layernorm": "q_norm",
    "q_b_proj": "q_up_proj",
    "kv_a_proj_with_mqa": "kv_down_proj",
    "kv_a_layernorm": "kv_norm",
    "kv_b_proj": "kv_up_proj",
}
LATENT = {
    f"{THEIRS}.self_attn.{theirs}.{kind}": f"{OURS}.attn.{ours}.{kind}"
    for theirs, ours in PROJECTIONS.items()
    for kind in ("weight", "bias")
}

HF_WEIGHTS: dict[str, dict[str, str | Rule]] = {
    "llama": {**Llama.HF_WEIGHTS},
    "mistral": {**Llama.HF_WEIGHTS},
    "mixtral": {**Llama.HF_WEIGHTS, **EXPERTS},
    "qwen2": {**Llama.HF_WEIGHTS},
    "qwen3": {**Llama.HF_WEIGHTS, **HEADS},
    "gemma3_text": {
        **Llama.HF_WEIGHTS,
        **HEADS,
        **{f"{a}.weight": f"{b}.weight" for a, b in NORMS.items()},
    },
    "deepseek_v3": {**Llama.HF_WEIGHTS, **LATENT},
}
# our module -> the same place in transformers' model
HF_LAYERS: dict[str, dict[str, str]] = {
    **dict.fromkeys(HF_WEIGHTS, Llama.HF_LAYERS),
    "gemma3_text": {
        **Llama.HF_LAYERS,
        **{ours: theirs for theirs, ours in NORMS.items()},
    },
}
