"""What a config costs, without building the model: the architecture map.

D model width · H query heads · G key/value heads · K head width · V vocabulary
F feed-forward width · E experts · L latent width · R width that turns
N width without position · W value width · Q query rank
of Mamba: N state size · R rank of the steps · W convolution

Four numbers: parameters, those that a token meets, the bytes that are kept of
what was read, and the floating-point operations of one more token. A
multiplication and an addition are two. Products of matrices, convolutions
and the scan are counted; norms, curves, rotations and the softmax are not,
as in PyTorch's own counter.
"""

from dataclasses import dataclass
from typing import Any

from handmade import checks
from handmade.models.latent_attention import Latent
from handmade.models.llama_config import LlamaConfig
from handmade.models.mamba import MambaConfig
from handmade.models.variants_config import VariantConfig

Config = LlamaConfig | MambaConfig

SIZES: dict[str, Any] = {
    "vocab_size": 32_000, "d_model": 2048, "n_layers": 24, "n_heads": 16,
    "n_kv_heads": 4, "d_ff": 5632, "d_head": 128, "max_seq_len": 131_072,
}  # fmt: skip
# each family's switches, at one width; a Mamba block is half a Llama block
EQUAL_WIDTH: dict[str, Config] = {
    "Llama": VariantConfig(**SIZES),
    "Llama, ungrouped": VariantConfig(**SIZES | {"n_kv_heads": 16}),
    "Mistral": VariantConfig(**SIZES, model_type="mistral", window=4096),
    "Mixtral": VariantConfig(
        **SIZES, model_type="mixtral", n_experts=8, top_k=2
    ),
    "Qwen3": VariantConfig(**SIZES, model_type="qwen3", qk_norm=True),
    "Gemma 3": VariantConfig(
        **SIZES,
        model_type="gemma3_text",
        window=1024,
        layer_kinds=("sliding",) * 5 + ("full",),
        local_theta=1e4,
        qk_norm=True,
        sandwich=True,
        one_plus_gain=True,
        scale_embeddings=True,
        activation="gelu_pytorch_tanh",
    ),
    "DeepSeek": VariantConfig(
        **SIZES | {"n_kv_heads": 16, "d_head": 64},
        model_type="deepseek_v3",
        latent=Latent(kv_rank=512, d_nope=128, d_rope=64, d_value=128),
    ),
    "Mamba": MambaConfig(vocab_size=32_000, d_model=2048, n_layers=48),
}


@dataclass(frozen=True)
class Layer:
    """What one block costs, in numbers that no length changes."""

    parameters: int
    active: int  # parameters that a token meets
    flops: int  # of a token, whatever came before it
    flops_a_key: int  # for each key that the token looks at
    kept_a_key: int  # numbers that a cache keeps of each key
    kept: int  # numbers it keeps whatever came before
    window: int | None  # how many keys a token looks at, its own included


@dataclass(frozen=True)
class Costs:
    """What a model costs at one length."""

    parameters: int
    active: int
    cache_bytes: int
    flops: int


def costs(
    config: Config,
    length: int,
    *,
    bytes_a_number: int = 2,
    absorbed: bool = True,
) -> Costs:
    """Count a model's parameters, its cache and the work of a token.

    flops = head + sum over layers of (flops + flops_a_key seen)
    seen = length, or the window where that is smaller

    ``flops`` are those of the token at place ``length``, with all before it
    in a cache; ``cache_bytes`` what is kept after it, for the next one. A
    sliding layer has to keep one key less than it looks at. ``absorbed``
    says in which order latent attention multiplies: without it, each step
    unpacks the keys and values of all tokens, as `LatentAttention` does.
    Raises ValueError for a length below 1.
    """
    _check_costs(config, length, bytes_a_number, absorbed)
    V, D = config.vocab_size, config.d_model
    blocks = layers(config, absorbed=absorbed)
    tied = isinstance(config, MambaConfig) or config.tie_embeddings
    ends = (1 if tied else 2) * V * D + D
    cached = work = 0
    for block in blocks:
        window = block.window or length + 1
        cached += block.kept + block.kept_a_key * min(length, window - 1)
        work += block.flops + block.flops_a_key * min(length, window)
    return Costs(
        parameters=ends + sum(b.parameters for b in blocks),
        active=ends + sum(b.active for b in blocks),
        cache_bytes=bytes_a_number * cached,
        flops=2 * V * D + work,
    )


def layers(config: Config, *, absorbed: bool = True) -> list[Layer]:
    """Return what each block of a model costs, the first one first.

    Raises ValueError for what is none of our configs.
    """
    _check_config(config)
    checks.flag("absorbed", absorbed)
    if isinstance(config, MambaConfig):
        return [_state_space(config)] * config.n_layers
    if not isinstance(config, VariantConfig):
        return [_block(config, None, None, absorbed)] * config.n_layers
    return [
        _block(
            config,
            config.latent,
            config.window if kind == "sliding" else None,
            absorbed,
        )
        for kind in config.layer_kinds
    ]


def _block(
    c: LlamaConfig, latent: Latent | None, window: int | None, absorbed: bool
) -> Layer:
    """Add up attention, feed-forward layer and norms."""
    D = c.d_model
    expert = 3 * D * c.d_ff
    experts: int | None = getattr(c, "n_experts", None)
    chosen: int = getattr(c, "top_k", None) or 1
    router = 0 if experts is None else D * experts
    norms = (4 if getattr(c, "sandwich", False) else 2) * D
    if latent is None:
        attn = _attention(c, window)
    else:
        attn = _latent(c, latent, window, absorbed)
    return Layer(
        parameters=attn.parameters + router + (experts or 1) * expert + norms,
        active=attn.active + router + chosen * expert + norms,
        flops=attn.flops + 2 * (router + chosen * expert),
        flops_a_key=attn.flops_a_key,
        kept_a_key=attn.kept_a_key,
        kept=attn.kept,
        window=window,
    )


def _attention(c: LlamaConfig, window: int | None) -> Layer:
    """Count grouped attention: four matrices, a score and a mean a key."""
    D, queries, keys = c.d_model, c.n_heads * c.d_head, c.n_kv_heads * c.d_head
    matrices = 2 * D * queries + 2 * D * keys
    biases = (queries + 2 * keys) * c.attention_bias
    biases += D * getattr(c, "out_bias", c.attention_bias)
    gains = 2 * c.d_head * getattr(c, "qk_norm", False)
    return Layer(
        parameters=matrices + biases + gains,
        active=matrices + biases + gains,
        flops=2 * matrices,
        flops_a_key=2 * 2 * queries,  # its product with q, its share of v
        kept_a_key=2 * keys,
        kept=0,
        window=window,
    )


def _latent(
    c: LlamaConfig, z: Latent, window: int | None, absorbed: bool
) -> Layer:
    """Count latent attention, in one of the two orders of multiplying."""
    D, H, bias = c.d_model, c.n_heads, c.attention_bias
    L, N, R, W, Q = z.kv_rank, z.d_nope, z.d_rope, z.d_value, z.q_rank
    q_in = H * (N + R)
    q = D * q_in if Q is None else D * Q + Q * q_in
    down, up, out = D * (L + R), L * H * (N + W), H * W * D
    vectors = L + (0 if Q is None else Q)  # gains
    vectors += bias * (L + R + D + (0 if Q is None else Q))
    matrices = q + down + up + out
    if absorbed:
        # `up` meets the query and the output once; keys stay L + R wide
        flops, flops_a_key = 2 * matrices, 2 * H * (2 * L + R)
    else:
        # `up` meets each key again
        flops = 2 * (q + down + out)
        flops_a_key = 2 * up + 2 * H * (N + R + W)
    return Layer(
        parameters=matrices + vectors,
        active=matrices + vectors,
        flops=flops,
        flops_a_key=flops_a_key,
        kept_a_key=L + R,
        kept=0,
        window=window,
    )


def _state_space(c: MambaConfig) -> Layer:
    """Count a norm and a state-space layer."""
    D, N, R, W = c.d_model, c.d_state, c.dt_rank, c.d_conv
    inner = c.d_inner
    matrices = 3 * D * inner + inner * (W + R + 2 * N + R)
    # biases of conv and dt_proj, skip, A, and the norm's gain
    vectors = 3 * inner + inner * N + D
    # dt A, keep h + new, dt u write, h . read: six for each number of state
    return Layer(
        parameters=matrices + vectors,
        active=matrices + vectors,
        flops=2 * matrices + 6 * inner * N,
        flops_a_key=0,
        kept_a_key=0,
        kept=inner * (N + W - 1),
        window=None,
    )


def _check_config(config: object) -> None:
    kinds = (LlamaConfig, MambaConfig)
    want = "a LlamaConfig, a VariantConfig or a MambaConfig"
    checks.kind("config", config, kinds, want)


def _check_costs(
    config: object, length: int, bytes_a_number: int, absorbed: bool
) -> None:
    _check_config(config)
    checks.whole("length", length)
    checks.whole("bytes_a_number", bytes_a_number)
    checks.flag("absorbed", absorbed)
