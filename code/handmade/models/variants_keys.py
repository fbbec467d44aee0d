"""Keys of a config.json that take more than another name, both ways.

Which layers have a window, how each kind of layer rotates, and the sizes of
latent attention. Every ``read_`` takes the values of a config, its missing
keys filled in, and returns fields of a VariantConfig; every ``write_`` takes
a VariantConfig and returns keys.

Left out: mixtures of experts with shared experts and groups, so that a
DeepSeek is read where all its layers are dense; and rotations by yarn, which
its long-context files ask for. Both are refused by name.
"""

from collections.abc import Mapping
from typing import Any

from handmade.checks import need, whole
from handmade.models import config as hf
from handmade.models.latent_attention import Latent

Values = dict[str, Any]
# how a config.json calls a layer with a window, and one without
KINDS = {"full": "full_attention", "sliding": "sliding_attention"}


def read_rope(values: Values) -> Values:
    """One rotation for all layers."""
    theta, scaling = hf.read_rope(values)
    return {"rope_theta": theta, "rope_scaling": scaling}


def write_rope(config: Any) -> Values:
    """One rotation for all layers, as new files spell it."""
    rope = hf.write_rope(config.rope_theta, config.rope_scaling)
    return {"rope_parameters": rope}


def read_head(values: Values) -> Values:
    """The width of a head, of kinds that need not state it and obey it."""
    return {"d_head": values["head_dim"]} if "head_dim" in values else {}


def write_head(config: Any) -> Values:
    """The width of a head, but where it is the usual one and not stated."""
    usual = config.d_head * config.n_heads == config.d_model
    stated = config.inert.get("head_dim")
    silent = usual and stated in (None, config.d_head)
    return {} if silent else {"head_dim": config.d_head}


def read_mixtral(values: Values) -> Values:
    """One rotation, and the width of a head where it is stated."""
    return {**read_rope(values), **read_head(values)}


def write_mixtral(config: Any) -> Values:
    """One rotation, and the width of a head where it was stated."""
    return {**write_rope(config), **write_head(config)}


def read_layers(values: Values, kinds: list[str] | None) -> Values:
    """Which layers have a window: as listed, or else ``kinds``."""
    given = values.get("layer_types")
    if given is None:
        return {"layer_kinds": kinds}
    ours = {theirs: our for our, theirs in KINDS.items()}
    known = isinstance(given, list | tuple) and all(k in ours for k in given)
    want = f"a list of {[*ours]}"
    need(known, "layer_types", repr(given), want)
    n = values["num_hidden_layers"]
    want = f"{n} of them, as many as num_hidden_layers"
    need(len(given) == n, "layer_types", f"{len(given)} layers", want)
    return {"layer_kinds": tuple(ours[kind] for kind in given)}


def write_layers(config: Any) -> Values:
    """Name the kind of each layer."""
    return {"layer_types": [KINDS[kind] for kind in config.layer_kinds]}


def read_qwen(values: Values) -> Values:
    """A window only where it is asked for, and from some layer on."""
    asked = values.get("use_sliding_window", False)
    need(isinstance(asked, bool), "use_sliding_window", asked, "a bool")
    window = values.get("sliding_window", 4096) if asked else None
    first = values.get("max_window_layers", 28)
    n = values["num_hidden_layers"]
    whole("max_window_layers", first, at_least=0)
    whole("num_hidden_layers", n)
    kinds = ["full"] * n if window is None else ["full"] * min(first, n)
    kinds += ["sliding"] * (n - len(kinds))
    read = {
        "window": window,
        **read_rope(values),
        **read_layers(values, kinds),
    }
    return {**read, **read_head(values)}


def write_qwen(config: Any) -> Values:
    """Ask for the window, where there is one."""
    return {
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        **write_layers(config),
        **write_rope(config),
    }


def write_qwen2(config: Any) -> Values:
    """As Qwen 3, and no width of a head where none was stated."""
    return {**write_qwen(config), **write_head(config)}


def read_gemma(values: Values) -> Values:
    """Every so many layers a full one; a rotation for each of the kinds."""
    every = values.get("sliding_window_pattern", 6)
    whole("sliding_window_pattern", every)
    n = values["num_hidden_layers"]
    whole("num_hidden_layers", n)
    kinds = ["sliding" if i % every else "full" for i in range(1, n + 1)]
    rope = values.get("rope_parameters") or {}
    names = [*KINDS.values()]
    nested = isinstance(rope, Mapping) and all(key in names for key in rope)
    need(nested, "rope_parameters", rope, f"a dict for each of {names}")
    scaled, plain = values.get("rope_scaling") or {}, {"rope_type": "default"}
    need(isinstance(scaled, Mapping), "rope_scaling", scaled, "a dict")
    full = {
        "rope_theta": values.get("rope_theta", 1e6),
        **(rope.get("full_attention") or plain),
        **scaled,
    }
    local = {
        "rope_theta": values.get("rope_local_base_freq", 1e4),
        **(rope.get("sliding_attention") or plain),
    }
    rest = {k: v for k, v in values.items() if k not in ROPE_OF_GEMMA}
    local_theta, scaling = hf.read_rope({**rest, "rope_parameters": local})
    want = "none for sliding_attention"
    need(scaling is None, "rope_parameters", repr(scaling), want)
    return {
        **read_rope({**rest, "rope_parameters": full}),
        "local_theta": local_theta,
        **read_layers(values, kinds),
    }


ROPE_OF_GEMMA = frozenset({
    "rope_theta", "rope_scaling", "rope_parameters", "rope_local_base_freq",
})  # fmt: skip


def write_gemma(config: Any) -> Values:
    """One rotation for each kind of layer."""
    local = config.local_theta or config.rope_theta
    full = hf.write_rope(config.rope_theta, config.rope_scaling)
    rope = {
        "full_attention": full,
        "sliding_attention": hf.write_rope(local, None),
    }
    return {"rope_parameters": rope, **write_layers(config)}


LATENT = {
    "kv_rank": ("kv_lora_rank", 512), "q_rank": ("q_lora_rank", 1536),
    "d_nope": ("qk_nope_head_dim", 128), "d_rope": ("qk_rope_head_dim", 64),
    "d_value": ("v_head_dim", 128), "interleaved": ("rope_interleave", True),
}  # fmt: skip


def read_deepseek(values: Values) -> Values:
    """The sizes of latent attention; no layer with a mixture of experts."""
    sizes = {k: values.get(key, usual) for k, (key, usual) in LATENT.items()}
    latent = Latent(**sizes)
    n, dense = values["num_hidden_layers"], values["first_k_dense_replace"]
    whole("num_hidden_layers", n)
    want = f"{n} or more, as many as num_hidden_layers: a mixture with "
    want += "shared experts and groups is not implemented"
    need(isinstance(dense, int) and dense >= n, "first_k_dense_replace",
         dense, want)  # fmt: skip
    width = latent.d_nope + latent.d_rope
    whole_head = values.get("qk_head_dim", width)
    need(whole_head == width, "qk_head_dim", whole_head, width)
    d_head = values.get("head_dim")
    want = f"{latent.d_rope}, which is qk_rope_head_dim"
    need(d_head in (None, latent.d_rope), "head_dim", d_head, want)
    return {"latent": latent, **read_rope(values)}


def write_deepseek(config: Any) -> Values:
    """The sizes of latent attention, and that all layers are dense."""
    z = config.latent
    dense = config.inert.get("first_k_dense_replace", config.n_layers)
    sizes = {
        key: getattr(z, k) for k, (key, _) in LATENT.items() if z is not None
    }
    return {
        **sizes,
        "first_k_dense_replace": dense,
        **write_rope(config),
    }
