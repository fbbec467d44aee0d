"""Right answers by transformers' own caches, and by loops and einsum."""

import torch
from handmade.blocks.attention import attention
from handmade.blocks.norms import RMSNorm
from handmade.inference.cache import KVCache
from handmade.models.variants import Variant


def window_keys(old, new, window):
    """Token by token: a queue that forgets from its front."""
    tokens = [*old.unbind(-2), *new.unbind(-2)]
    kept = list(tokens)
    while len(kept) >= window and kept:
        kept.pop(0)
    empty = old[..., :0, :]
    return torch.stack(tokens, -2), torch.stack(kept, -2) if kept else empty


def variant_cache_bytes(config, tokens, size):
    """Run one token of each layer, and see what a cache is given of it."""
    with torch.device("meta"):
        model = Variant(config)
        x = torch.empty(1, 1, config.d_model)
        rope = model._rope("full", torch.zeros(1, 1, dtype=torch.int64))
    total, cache = 0, KVCache()
    for kind, block in zip(config.layer_kinds, model.blocks, strict=True):
        block.attn(x, rope=rope, cache=cache)
        held = sum(part.numel() for part in cache.layers[-1])
        # the keys that the next token, at place `tokens`, can look at
        places = range(tokens)
        if kind == "sliding":
            places = [s for s in places if tokens - s < config.window]
        total += held * len(places) * size
    return total


def gemma_gain(weight, scalar):
    """Solve for the gain: the same score of a random query and key."""
    K = len(weight)
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(K, K, generator=generator, dtype=weight.dtype)
    normed = RMSNorm(K).to(weight.dtype)(q).detach()
    # of each axis alone, with keys that pick it out
    theirs = normed * (1 + weight) / scalar**0.5
    ours = normed / K**0.5
    return (theirs / ours).mean(0)


def absorb_latent(q, c, up):
    B, H, _, N = q.shape
    by_head = up.reshape(H, -1, c.shape[-1])
    q_latent = torch.einsum("bhtn,hnl->bhtl", q, by_head[:, :N])
    latents = c[:, None].expand(B, H, -1, -1)
    mixed = attention(q_latent, latents, latents, scale=N**-0.5)
    return torch.einsum("bhtl,hwl->bhtw", mixed, by_head[:, N:])
