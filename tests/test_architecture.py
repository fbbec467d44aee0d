"""What a config is said to cost is what the real module costs.

Parameters against modules on the meta device, the cache against what a pass
leaves in one, operations against PyTorch's counter over a real pass.
"""

import pytest
import torch
from handmade.inference.cache import KVCache
from handmade.models.architecture import EQUAL_WIDTH, costs, layers
from handmade.models.latent_attention import Latent
from handmade.models.llama import PRESETS as LLAMAS
from handmade.models.llama import Llama, LlamaConfig
from handmade.models.mamba import Mamba, MambaConfig
from handmade.models.selective_scan import selective_scan
from handmade.models.state_cache import StateCache
from handmade.models.variants import PRESETS, Variant, VariantConfig
from test_kv_cache import SlidingWindowCache
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

SIZES = {
    "vocab_size": 61, "d_model": 24, "n_layers": 3, "n_heads": 6,
    "n_kv_heads": 2, "d_ff": 40, "d_head": 10, "max_seq_len": 99,
}  # fmt: skip
LATENT = SIZES | {"n_kv_heads": 6, "d_head": 4}
COMPRESSED = Latent(kv_rank=11, d_nope=7, d_rope=4, d_value=9)
SMALL = {
    "llama": LlamaConfig(**SIZES, attention_bias=True, tie_embeddings=True),
    "switches off": VariantConfig(**SIZES),
    "biases of q, k, v": VariantConfig(
        **SIZES, model_type="qwen2", attention_bias=True, out_bias=False
    ),
    "experts": VariantConfig(
        **SIZES, model_type="mixtral", n_experts=5, top_k=2
    ),
    "heads normed": VariantConfig(**SIZES, model_type="qwen3", qk_norm=True),
    "gemma": VariantConfig(
        **SIZES, model_type="gemma3_text", qk_norm=True, sandwich=True,
        one_plus_gain=True, window=5, layer_kinds=("sliding", "full"),
        local_theta=1e4, scale_embeddings=True, query_pre_attn_scalar=10,
        activation="gelu_pytorch_tanh",
    ),
    "latent": VariantConfig(
        **LATENT, model_type="deepseek_v3", latent=COMPRESSED
    ),
    "latent, queries too": VariantConfig(
        **LATENT, model_type="deepseek_v3", attention_bias=True,
        latent=Latent(kv_rank=11, d_nope=7, d_rope=4, d_value=9, q_rank=8),
    ),
    "mamba": MambaConfig(
        vocab_size=61, d_model=24, n_layers=3, d_inner=40, d_state=5,
        dt_rank=7, d_conv=3,
    ),
}  # fmt: skip
NAMED = {name: LlamaConfig.from_name(name) for name in LLAMAS} | {
    name: VariantConfig.from_name(name) for name in PRESETS
}


def build(config, device="cpu"):
    kinds = {LlamaConfig: Llama, VariantConfig: Variant, MambaConfig: Mamba}
    torch.manual_seed(0)
    with torch.device(device):
        return kinds[type(config)](config).eval()


def counted(run):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def ids(length):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(61, (1, length), generator=generator)


@pytest.mark.parametrize("config", [
    *SMALL.values(), *EQUAL_WIDTH.values(), *NAMED.values(),
], ids=[*SMALL, *EQUAL_WIDTH, *NAMED])  # fmt: skip
def test_parameters_are_those_of_the_module(config):
    model = build(config, "meta")
    whole = sum(p.numel() for p in model.parameters())
    assert costs(config, 1).parameters == whole
    for block, cost in zip(model.blocks, layers(config), strict=True):
        assert sum(p.numel() for p in block.parameters()) == cost.parameters


def test_active_parameters_are_those_that_a_token_meets():
    config = SMALL["experts"]
    model, met = build(config), set()
    for name, module in model.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            module.register_forward_hook(
                lambda module, args, out, name=name: met.add(name)
            )
    model(ids(1))
    active = sum(
        p.numel() for name, p in model.named_parameters()
        if name.rpartition(".")[0] in met
    )  # fmt: skip
    cost = costs(config, 1)
    assert cost.active == active < cost.parameters
    for other in SMALL.keys() - {"experts"}:
        cost = costs(SMALL[other], 1)
        assert cost.active == cost.parameters


@pytest.mark.parametrize("length", [1, 2, 17])
@pytest.mark.parametrize("name", sorted(SMALL.keys() - {"gemma", "mamba"}))
def test_the_cache_holds_as_many_bytes(name, length):
    cache = KVCache()
    build(SMALL[name])(ids(length), cache=cache)
    held = sum(k.nbytes + v.nbytes for k, v in cache.layers)
    assert costs(SMALL[name], length, bytes_a_number=4).cache_bytes == held


@pytest.mark.parametrize("length", [1, 4, 5, 6, 17])
def test_a_window_keeps_as_many_bytes(length):
    from transformers import DynamicCache

    config = SMALL["gemma"]
    theirs = build(config).to_hf()
    cache = DynamicCache(config=theirs.config)
    theirs(ids(length), past_key_values=cache)
    held = sum(
        x.nbytes for layer in cache.layers for x in (layer.keys, layer.values)
    )
    assert costs(config, length, bytes_a_number=4).cache_bytes == held
    sliding = VariantConfig(**SIZES, model_type="mistral", window=5)
    cache = SlidingWindowCache(5)
    build(sliding)(ids(length), cache=cache)
    held = sum(k.nbytes + v.nbytes for k, v in cache.layers)
    assert costs(sliding, length, bytes_a_number=4).cache_bytes == held


@pytest.mark.parametrize("length", [1, 2, 3, 17])
def test_a_state_keeps_as_many_bytes(length):
    cache, config = StateCache(), SMALL["mamba"]
    build(config)(ids(length), cache=cache)
    assert costs(config, length, bytes_a_number=4).cache_bytes == cache.nbytes


@pytest.mark.parametrize("length", [1, 2, 17])
@pytest.mark.parametrize("name", sorted(SMALL.keys() - {"gemma", "mamba"}))
def test_operations_of_a_step(name, length):
    model, cache = build(SMALL[name]), KVCache()
    if length > 1:
        model(ids(length - 1), cache=cache)
    found = counted(lambda: model(ids(1), cache=cache))
    assert costs(SMALL[name], length, absorbed=False).flops == found


@pytest.mark.parametrize("length", [1, 4, 5, 6, 17])
def test_operations_of_a_step_with_a_window(length):
    config = VariantConfig(**SIZES, model_type="mistral", window=5)
    model, cache = build(config), SlidingWindowCache(5)
    if length > 1:
        for token in ids(length - 1).T:
            model(token[None], cache=cache)
    found = counted(lambda: model(ids(1), cache=cache))
    assert costs(config, length).flops == found
    # and kinds of layers add up
    kinds = [layer.window for layer in layers(SMALL["gemma"])]
    assert kinds == [5, None, 5]


def absorbed(attn, x, c_SL, k_SR):
    """Attend without unpacking a key or a value: one token, no rotation."""
    z, H = attn.sizes, attn.n_heads
    up = attn.kv_up_proj.weight.view(H, z.d_nope + z.d_value, z.kv_rank)
    to_k_HNL, to_v_HWL = up.split([z.d_nope, z.d_value], dim=1)
    q_HK = attn.q_proj(x).view(H, 1, -1)
    q_HN, q_HR = q_HK.split([z.d_nope, z.d_rope], dim=-1)
    q_HL = q_HN @ to_k_HNL
    scores = (q_HL @ c_SL.T + q_HR @ k_SR.T) / q_HK.shape[-1] ** 0.5
    found_HL = scores.softmax(-1) @ c_SL
    return attn.o_proj((found_HL @ to_v_HWL.mT).flatten())


@pytest.mark.parametrize("S", [1, 2, 17])
def test_operations_of_the_absorbed_order(S):
    config = SMALL["latent"]
    attn = build(config).double().blocks[0].attn
    attn.sizes.__dict__["interleaved"] = False  # keys as they are kept
    torch.manual_seed(2)
    xs = torch.randn(1, S, 24, dtype=torch.float64)
    cache = KVCache()
    with torch.no_grad():
        want = attn(xs, cache=cache)[0, -1]
        (c, k), *_ = cache.layers
        got = absorbed(attn, xs[0, -1], c[0, 0], k[0, 0])
    torch.testing.assert_close(got, want)
    found = counted(lambda: absorbed(attn, xs[0, -1:], c[0, 0], k[0, 0]))
    layer, ffn = layers(config)[0], 6 * 24 * 40
    down = 2 * 24 * (11 + 4)
    assert layer.flops - ffn - down + S * layer.flops_a_key == found


class Elementwise(TorchDispatchMode):
    """Count what is multiplied and added, number by number."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        out = op(*args, **(kwargs or {}))
        name = op._schema.name
        if name in ("aten::mul", "aten::add"):
            self.count += out.numel()
        elif name == "aten::sum":
            self.count += args[0].numel()
        return out


@pytest.mark.parametrize("length", [1, 2, 17])
def test_operations_of_a_state_space(length):
    config = SMALL["mamba"]
    model, cache = build(config), StateCache()
    if length > 1:
        model(ids(length - 1), cache=cache)
    found = counted(lambda: model(ids(1), cache=cache))
    channels, N = 40, 5
    with Elementwise() as counter:
        one = torch.ones(1, 1, channels)
        selective_scan(one, one, -torch.ones(channels, N),
                       torch.ones(1, 1, N), torch.ones(1, 1, N))  # fmt: skip
    # the product of dt and u is one a channel, and not of the state
    scan = counter.count - channels
    assert scan == 6 * channels * N
    assert costs(config, length).flops == found + 3 * scan


def test_a_whole_pass_is_every_token_at_every_key():
    model, layer = build(SMALL["switches off"]), layers(SMALL["switches off"])
    T = 13
    found = counted(lambda: model(ids(T)))
    head = 2 * 61 * 24
    want = T * (head + sum(one.flops + T * one.flops_a_key for one in layer))
    assert found == want


def test_the_map_has_one_width():
    widths = {config.d_model for config in EQUAL_WIDTH.values()}
    vocabularies = {config.vocab_size for config in EQUAL_WIDTH.values()}
    assert (widths, vocabularies) == ({2048}, {32_000})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"config": 3}, "config: got an int, want a LlamaConfig"),
        ({"length": 0}, "length: got 0, want a whole number, 1 or more"),
        ({"bytes_a_number": 1.5}, "bytes_a_number: got 1.5"),
        ({"absorbed": 1}, "absorbed: got an int, want True or False"),
    ],
)
def test_what_cannot_be_counted_is_refused(given, message):
    right = {"config": SMALL["llama"], "length": 1}
    with pytest.raises(ValueError, match=message):
        costs(**{**right, **given})
