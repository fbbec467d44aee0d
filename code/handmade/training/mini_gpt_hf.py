"""The capstone's model in the Hugging Face format: a NanoChat.

Left out: n-grams, for which NanoChat has no place.
"""

from typing import TYPE_CHECKING

import torch

from handmade import checks

if TYPE_CHECKING:
    from handmade.training.mini_gpt_model import MiniGPT


def hf_weights(model: "MiniGPT") -> dict[str, torch.Tensor]:
    """Return the tensors by their names in NanoChat.

    NanoChat turns by the opposite angle. Turning (a, b) by -t is turning
    (b, a) by t, so the two halves of each head's rows change places in q and
    k; their product stays.
    """
    checks.module("model", model)
    H = model.config.n_heads
    weights: dict[str, torch.Tensor] = {
        "model.embed_tokens.weight": model.tok_emb.weight,
        "lm_head.weight": model.lm_head.weight,
    }
    ours = dict(model.named_parameters())
    for i in range(model.config.n_layers):
        q, k, v = ours[f"blocks.{i}.qkv_proj.weight"].chunk(3)
        at = f"model.layers.{i}"
        weights |= {
            f"{at}.self_attn.q_proj.weight": _swap_halves(q, H),
            f"{at}.self_attn.k_proj.weight": _swap_halves(k, H),
            f"{at}.self_attn.v_proj.weight": v,
            f"{at}.self_attn.o_proj.weight": ours[f"blocks.{i}.o_proj.weight"],
            f"{at}.mlp.fc1.weight": ours[f"blocks.{i}.up_proj.weight"],
            f"{at}.mlp.fc2.weight": ours[f"blocks.{i}.down_proj.weight"],
        }
    return {name: x.detach().clone() for name, x in weights.items()}


def _swap_halves(rows: torch.Tensor, n_heads: int) -> torch.Tensor:
    a, b = rows.unflatten(0, (n_heads, -1)).chunk(2, dim=1)
    return torch.cat((b, a), dim=1).flatten(0, 1)
