"""The capstone's model: a small GPT with what earned its place since GPT-2.

B batch · T new tokens · S keys, cached ones included · D model width
H heads · K head width · F feed-forward width · V vocabulary

RMSNorm without gains, also after the embedding and on queries and keys;
rotary positions; squared ReLU; no biases; what writes to the residual stream
starts at zero. In the Hugging Face format this is a NanoChat model. Left
out: grouped heads and dropout, which a model of this size does not need.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from handmade import checks
from handmade.blocks.rope import apply_rope, rope_angles
from handmade.contracts import Cache
from handmade.models.decoder import begin, mask_and_positions

EPS = 1e-6  # of every norm, in units of x squared
THETA = 10000.0
SDPA_FROM = 129  # keys from which SDPA is the faster one in float32


@dataclass(frozen=True, kw_only=True)
class MiniGPTConfig:
    """The sizes of a MiniGPT.

    Raises ValueError where one is no whole number above 0, and where the
    heads do not share the width evenly or get an odd one.
    """

    vocab_size: int
    d_model: int = 160
    n_layers: int = 4
    n_heads: int = 4
    d_ff: int = 640
    max_seq_len: int = 128

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            checks.whole(name, value)
        if self.d_model % (2 * self.n_heads):
            raise ValueError(
                f"n_heads: got {self.n_heads}, want a number that shares "
                f"d_model = {self.d_model} into even widths"
            )


class MiniGPT(nn.Module):
    """Predict the next token at every position, (B, T) -> (B, T, V).

    x = norm(tok_emb(ids)); x = x + attn(norm(x)); x = x + ffn(norm(x)) for
    each block; lm_head(norm(x)), with norm(x) = x / sqrt(mean(x^2) + eps).
    """

    def __init__(self, config: MiniGPTConfig) -> None:
        super().__init__()
        kind = MiniGPTConfig
        checks.kind("config", config, kind, "a MiniGPTConfig")
        self.config = config
        D = config.d_model
        self.tok_emb = nn.Embedding(config.vocab_size, D)
        self.blocks = nn.ModuleList(
            MiniBlock(config, layer) for layer in range(config.n_layers)
        )
        self.lm_head = nn.Linear(D, config.vocab_size, bias=False)
        _init(self)

    def forward(
        self,
        ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        positions: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        cache: Cache | None = None,
        logits_to_keep: int | None = None,
    ) -> torch.Tensor:
        """Return the logits of the T new tokens, (B, T) -> (B, T, V).

        Arguments are those of `handmade.contracts.Decoder`.
        """
        c = self.config
        begin(c, ids, attention_mask, positions, mask, cache, logits_to_keep)
        mask, positions = mask_and_positions(
            ids, attention_mask, positions, mask, cache
        )
        rope = rope_angles(positions, c.d_model // c.n_heads, THETA)
        x = norm(self.tok_emb(ids))
        for block in self.blocks:
            x = block(x, rope, mask, cache)
        x = norm(x)
        if logits_to_keep is not None:
            x = x[:, -logits_to_keep:]
        logits: torch.Tensor = self.lm_head(x)
        return logits.float() if logits.dtype == torch.bfloat16 else logits

    def to_hf(self) -> Any:
        """Return the same model as a transformers ``NanoChatForCausalLM``."""
        # only here: the model itself runs without transformers
        from transformers import NanoChatConfig, NanoChatForCausalLM

        c = self.config
        hf_config = NanoChatConfig(
            vocab_size=c.vocab_size,
            hidden_size=c.d_model,
            intermediate_size=c.d_ff,
            num_hidden_layers=c.n_layers,
            num_attention_heads=c.n_heads,
            max_position_embeddings=c.max_seq_len,
            rms_norm_eps=EPS,
            rope_parameters={"rope_type": "default", "rope_theta": THETA},
            final_logit_softcapping=None,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
        hf_model: Any = NanoChatForCausalLM(hf_config)
        hf_model.load_state_dict(_hf_weights(self), assign=True)
        return hf_model.eval()


class MiniBlock(nn.Module):
    """Attention, then the feed-forward layer, each beside the stream."""

    def __init__(self, config: MiniGPTConfig, layer: int) -> None:
        super().__init__()
        checks.kind("config", config, MiniGPTConfig, "a MiniGPTConfig")
        checks.whole("layer", layer, at_least=0)
        D, self.n_heads, self.layer = config.d_model, config.n_heads, layer
        # one product instead of three: q, k and v read the same x
        self.qkv_proj = nn.Linear(D, 3 * D, bias=False)
        self.o_proj = nn.Linear(D, D, bias=False)
        self.up_proj = nn.Linear(D, config.d_ff, bias=False)
        self.down_proj = nn.Linear(config.d_ff, D, bias=False)

    def forward(
        self,
        x: torch.Tensor,
        rope: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor | None = None,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """(B, T, D) -> (B, T, D)."""
        checks.width("x", x, self.o_proj.out_features, axes=3)
        checks.cache("cache", cache)
        B, T, D = x.shape
        heads = (B, T, 3, self.n_heads, D // self.n_heads)
        qkv = self.qkv_proj(norm(x)).view(heads).permute(2, 0, 3, 1, 4)
        q_BHTK, k_BHTK, v_BHTK = qkv.unbind(0)
        q_BHTK = norm(apply_rope(q_BHTK, rope))
        k_BHTK = norm(apply_rope(k_BHTK, rope))
        k_BHSK, v_BHSK = k_BHTK, v_BHTK
        if cache is not None:
            k_BHSK, v_BHSK = cache.update(self.layer, k_BHTK, v_BHTK)
        out_BHTK = attend(q_BHTK, k_BHSK, v_BHSK, mask)
        x = x + self.o_proj(out_BHTK.transpose(1, 2).reshape(B, T, D))
        return x + self.down_proj(F.relu(self.up_proj(norm(x))).square())


def norm(x: torch.Tensor) -> torch.Tensor:
    """Divide each vector by its root mean square, (..., D) -> the same."""
    checks.floats("x", x, axes=1)
    return F.rms_norm(x, x.shape[-1:], eps=EPS)


def attend(
    q_BHTK: torch.Tensor,
    k_BHSK: torch.Tensor,
    v_BHSK: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mix values by softmax(q k^T / sqrt(K)), the fastest way on a CPU.

    (B, H, T, K), (B, H, S, K), (B, H, S, K) -> (B, H, T, K)

    Three plain matrix operations on batches of heads beat the fused kernel
    of PyTorch on a CPU in bfloat16 at every length and in float32 on short
    texts; what they cost is memory, B H T S numbers. ``mask`` is bool,
    (T, S) or (B, 1, T, S), True where a query may attend.
    """
    _check_attend(q_BHTK, k_BHSK, v_BHSK, mask)
    B, H, T, K = q_BHTK.shape
    S = k_BHSK.shape[2]
    if q_BHTK.dtype != torch.bfloat16 and S >= SDPA_FROM:
        return F.scaled_dot_product_attention(
            q_BHTK, k_BHSK, v_BHSK, attn_mask=mask
        )
    q, k, v = (
        x.reshape(B * H, x.shape[2], K) for x in (q_BHTK, k_BHSK, v_BHSK)
    )
    bias = _as_bias(mask, (B, H, T, S), q)
    weights = torch.baddbmm(bias, q, k.mT, alpha=1 / math.sqrt(K)).softmax(-1)
    return (weights.to(v.dtype) @ v).view(B, H, T, K)


def _as_bias(
    mask: torch.Tensor | None, shape: tuple[int, ...], like: torch.Tensor
) -> torch.Tensor:
    """Return what is added to the scores: 0, or next to -inf where hidden."""
    B, H, T, S = shape
    if mask is None:
        return like.new_zeros(1, T, S)
    hidden = torch.finfo(like.dtype).min / 2
    bias = like.new_zeros(mask.shape).masked_fill(~mask, hidden)
    if mask.ndim == 2:
        return bias[None]
    return bias.expand(B, H, T, S).reshape(B * H, T, S)


def _check_attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
) -> None:
    named = {"q": q, "k": k, "v": v}
    for name, x in named.items():
        checks.floats(name, x, axes=4)
    for name, x in named.items():
        want = (*q.shape[:2], k.shape[2], q.shape[3])
        fits = x is q or (x.shape == want and x.dtype == q.dtype)
        got = f"{tuple(x.shape)} {x.dtype}"
        checks.need(fits, name, got, f"(B, H, S, K) = {want} {q.dtype}")
    if mask is None:
        return
    got = getattr(mask, "dtype", type(mask).__name__)
    checks.need(got == torch.bool, "mask", got, "a tensor of bool")
    T, S = q.shape[2], k.shape[2]
    fits = tuple(mask.shape) in ((T, S), (1, 1, T, S), (len(q), 1, T, S))
    want_mask = f"(T, S) = {(T, S)} or (B, 1, T, S)"
    checks.need(fits, "mask", tuple(mask.shape), want_mask)


@torch.no_grad()
def _init(model: MiniGPT) -> None:
    """Draw what reads, and put zeros into what writes.

    A block that writes nothing is the identity: at the first step the model
    is its embedding and its head, and each block enters as it has learned
    something.
    """
    for name, p in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            p.zero_()
        elif name == "tok_emb.weight":
            p.normal_()
        elif name == "lm_head.weight":
            p.zero_()  # every token is equally likely at first: ln V nats
        else:
            p.normal_(std=1 / math.sqrt(p.shape[1]))


def _hf_weights(model: MiniGPT) -> dict[str, torch.Tensor]:
    """Return the tensors by their names in NanoChat.

    NanoChat turns by the opposite angle. Turning (a, b) by -t is turning
    (b, a) by t, so the two halves of each head's rows change places in q and
    k; their product stays.
    """
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
