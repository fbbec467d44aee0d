"""T5's tensors and layers, by their names in transformers and by ours.

Left out: what a file has besides, which is refused by name.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch

from handmade import checks
from handmade.models.t5_config import T5Config

# our module -> the same place in T5ForConditionalGeneration
LAYERS = {
    "tok_emb[0]": "encoder.embed_tokens",
    "encoder.bias": "encoder.block.0.layer.0.SelfAttention:1",
    "encoder.blocks.{}.attn_norm": "encoder.block.{}.layer.0.layer_norm",
    "encoder.blocks.{}.attn": "encoder.block.{}.layer.0.SelfAttention",
    "encoder.blocks.{}.ffn_norm": "encoder.block.{}.layer.1.layer_norm",
    "encoder.blocks.{}.ffn": "encoder.block.{}.layer.1.DenseReluDense",
    "encoder.blocks.{}": "encoder.block.{}",
    "encoder.norm": "encoder.final_layer_norm",
    "tok_emb[1]": "decoder.embed_tokens",
    "decoder.bias": "decoder.block.0.layer.0.SelfAttention:1",
    "decoder.blocks.{}.attn_norm": "decoder.block.{}.layer.0.layer_norm",
    "decoder.blocks.{}.attn": "decoder.block.{}.layer.0.SelfAttention",
    "decoder.blocks.{}.cross_norm": "decoder.block.{}.layer.1.layer_norm",
    "decoder.blocks.{}.cross_attn":
        "decoder.block.{}.layer.1.EncDecAttention",
    "decoder.blocks.{}.ffn_norm": "decoder.block.{}.layer.2.layer_norm",
    "decoder.blocks.{}.ffn": "decoder.block.{}.layer.2.DenseReluDense",
    "decoder.blocks.{}": "decoder.block.{}",
    "decoder.norm": "decoder.final_layer_norm",
    "lm_head": "lm_head",
    "": "",
}  # fmt: skip

# the tensors of a checkpoint -> our parameters; wi is that of a plain
# feed-forward layer, wi_0 and wi_1 are those of a gated one
WEIGHTS = {
    "shared.weight": "tok_emb.weight",
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight":
        "encoder.bias.weight",
    "encoder.block.{}.layer.0.layer_norm.weight":
        "encoder.blocks.{}.attn_norm.weight",
    "encoder.block.{}.layer.0.SelfAttention.q.weight":
        "encoder.blocks.{}.attn.q_proj.weight",
    "encoder.block.{}.layer.0.SelfAttention.k.weight":
        "encoder.blocks.{}.attn.k_proj.weight",
    "encoder.block.{}.layer.0.SelfAttention.v.weight":
        "encoder.blocks.{}.attn.v_proj.weight",
    "encoder.block.{}.layer.0.SelfAttention.o.weight":
        "encoder.blocks.{}.attn.o_proj.weight",
    "encoder.block.{}.layer.1.layer_norm.weight":
        "encoder.blocks.{}.ffn_norm.weight",
    "encoder.block.{}.layer.1.DenseReluDense.wi.weight":
        "encoder.blocks.{}.ffn.up_proj.weight",
    "encoder.block.{}.layer.1.DenseReluDense.wi_0.weight":
        "encoder.blocks.{}.ffn.gate_proj.weight",
    "encoder.block.{}.layer.1.DenseReluDense.wi_1.weight":
        "encoder.blocks.{}.ffn.up_proj.weight",
    "encoder.block.{}.layer.1.DenseReluDense.wo.weight":
        "encoder.blocks.{}.ffn.down_proj.weight",
    "encoder.final_layer_norm.weight": "encoder.norm.weight",
    "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight":
        "decoder.bias.weight",
    "decoder.block.{}.layer.0.layer_norm.weight":
        "decoder.blocks.{}.attn_norm.weight",
    "decoder.block.{}.layer.0.SelfAttention.q.weight":
        "decoder.blocks.{}.attn.q_proj.weight",
    "decoder.block.{}.layer.0.SelfAttention.k.weight":
        "decoder.blocks.{}.attn.k_proj.weight",
    "decoder.block.{}.layer.0.SelfAttention.v.weight":
        "decoder.blocks.{}.attn.v_proj.weight",
    "decoder.block.{}.layer.0.SelfAttention.o.weight":
        "decoder.blocks.{}.attn.o_proj.weight",
    "decoder.block.{}.layer.1.layer_norm.weight":
        "decoder.blocks.{}.cross_norm.weight",
    "decoder.block.{}.layer.1.EncDecAttention.q.weight":
        "decoder.blocks.{}.cross_attn.q_proj.weight",
    "decoder.block.{}.layer.1.EncDecAttention.k.weight":
        "decoder.blocks.{}.cross_attn.k_proj.weight",
    "decoder.block.{}.layer.1.EncDecAttention.v.weight":
        "decoder.blocks.{}.cross_attn.v_proj.weight",
    "decoder.block.{}.layer.1.EncDecAttention.o.weight":
        "decoder.blocks.{}.cross_attn.o_proj.weight",
    "decoder.block.{}.layer.2.layer_norm.weight":
        "decoder.blocks.{}.ffn_norm.weight",
    "decoder.block.{}.layer.2.DenseReluDense.wi.weight":
        "decoder.blocks.{}.ffn.up_proj.weight",
    "decoder.block.{}.layer.2.DenseReluDense.wi_0.weight":
        "decoder.blocks.{}.ffn.gate_proj.weight",
    "decoder.block.{}.layer.2.DenseReluDense.wi_1.weight":
        "decoder.blocks.{}.ffn.up_proj.weight",
    "decoder.block.{}.layer.2.DenseReluDense.wo.weight":
        "decoder.blocks.{}.ffn.down_proj.weight",
    "decoder.final_layer_norm.weight": "decoder.norm.weight",
    "lm_head.weight": "lm_head.weight",
}  # fmt: skip
# a table of cross-attention in old files, which nobody ever read
UNUSED = (
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
)

# the embedding by the names of those who share it
COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")


def weight_table(config: T5Config) -> dict[str, str]:
    """Return the weights' table without the lines of the other layer."""
    other = (".wi.",) if config.gated else (".wi_0.", ".wi_1.")
    return {
        theirs: ours
        for theirs, ours in WEIGHTS.items()
        if not any(part in theirs for part in other)
    }


def one_embedding(
    weights: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Leave out the copies of the embedding; refuse those that differ."""
    checks.mapping("weights", weights, "a dict of tensors")
    kept = {name: x for name, x in weights.items() if name not in COPIES}
    for name in COPIES:
        if name not in weights:
            continue
        shared = kept.setdefault("shared.weight", weights[name])
        if not torch.equal(weights[name], shared):
            raise ValueError(
                f"weights: got {name} unlike shared.weight, want them equal"
            )
    return kept


def tied_or_not(
    config: T5Config, weights: Mapping[str, torch.Tensor]
) -> T5Config:
    """Call a head that differs from the embedding a head of its own."""
    head, shared = (weights.get(f"{n}.weight") for n in ("lm_head", "shared"))
    if not config.tie_embeddings or head is None or shared is None:
        return config
    return replace(config, tie_embeddings=torch.equal(head, shared))
