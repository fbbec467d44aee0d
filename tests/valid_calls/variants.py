"""Right calls of the Llama with switches, and of its parts."""

import torch
from handmade.blocks.feedforward import SwiGLU
from handmade.blocks.multi_head import MultiHeadAttention
from handmade.blocks.norms import RMSNorm
from handmade.blocks.sandwich import OnePlusRMSNorm, SandwichBlock
from handmade.models.latent_attention import Latent, LatentAttention
from handmade.models.load import export
from handmade.models.variants import ScaledEmbedding, Variant, VariantConfig

from valid_calls import call
from valid_calls.models import SIZES, at, ids, mask, seen

GEMMA = {
    **SIZES,
    "model_type": "gemma3_text",
    "qk_norm": True,
    "window": 3,
    "layer_kinds": ("sliding", "full"),
    "local_theta": 50.0,
    "query_pre_attn_scalar": 6,
    "activation": "gelu_pytorch_tanh",
    "one_plus_gain": True,
    "sandwich": True,
    "scale_embeddings": True,
    "logit_soft_cap": 3.0,
    "attention_bias": True,
    "out_bias": True,
}
LATENT = {"kv_rank": 5, "d_nope": 3, "d_rope": 4, "d_value": 6, "q_rank": 7}


def gemma():
    return Variant(VariantConfig(**GEMMA)).eval()


def latent():
    return LatentAttention(12, 3, Latent(**LATENT), layer=0)


def parts(*names):
    made = {name: RMSNorm(8) for name in names if name.endswith("norm")}
    return made | {"attn": MultiHeadAttention(8, 2), "ffn": SwiGLU(8, 6)}


def sandwich():
    return parts("attn_norm", "attn_post_norm", "ffn_norm", "ffn_post_norm")


def stream(*shape):
    return torch.ones(shape)


CALLS = {
    "blocks.sandwich.OnePlusRMSNorm": lambda: call(d_model=8, eps=1e-6),
    "blocks.sandwich.OnePlusRMSNorm.forward": lambda: call(
        OnePlusRMSNorm(8), x=stream(2, 5, 8)
    ),
    "blocks.sandwich.SandwichBlock": lambda: call(**sandwich()),
    "blocks.sandwich.SandwichBlock.forward": lambda: call(
        SandwichBlock(**sandwich()), x=stream(2, 5, 8)
    ),
    "models.latent_attention.Latent": lambda: call(**LATENT),
    "models.latent_attention.LatentAttention": lambda: call(
        d_model=12, n_heads=3, sizes=Latent(**LATENT), layer=0
    ),
    "models.latent_attention.LatentAttention.forward": lambda: call(
        latent(), x=stream(2, 5, 12)
    ),
    "models.latent_attention.halves": lambda: call(x=stream(2, 5, 12)),
    "models.variants.ScaledEmbedding": lambda: call(vocab_size=9, d_model=4),
    "models.variants.ScaledEmbedding.forward": lambda: call(
        ScaledEmbedding(10, 4), ids=ids()
    ),
    "models.variants.Variant": lambda: call(config=VariantConfig(**GEMMA)),
    "models.variants.Variant.forward": lambda: call(
        gemma(),
        ids=ids(),
        attention_mask=mask(),
        positions=at(),
        mask=seen(),
        logits_to_keep=2,
    ),
    "models.variants.Variant.from_name": lambda: call(
        name="gemma-3-1b",
        overrides={"n_layers": 1, "vocab_size": 9, "d_model": 8},
    ),
    "models.variants.Variant.from_hf": lambda: call(hf_model=gemma().to_hf()),
    "models.variants.Variant.from_weights": lambda: call(
        weights=export(gemma(), gemma().hf_weights),
        config=gemma().config.to_hf(),
    ),
    "models.variants_config.VariantConfig": lambda: call(**GEMMA),
    "models.variants_config.VariantConfig.from_name": lambda: call(
        name="gemma-3-1b", overrides={"n_layers": 2}
    ),
    "models.variants_config.VariantConfig.from_hf": lambda: call(
        config=VariantConfig(**GEMMA).to_hf()
    ),
}
